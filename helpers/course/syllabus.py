"""The course as notebooks/course.toml says it: notebooks in reading order, their questions, minutes
and points."""

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
_KEYS = {"name", "group", "question", "minutes", "parts"}


@dataclass(frozen=True)
class Entry:
    """A notebook of the course.

    Attributes:
        parts: {function to write, or id of a cell that a person marks: points}, in the notebook's
            order.
        bonus: the share of its points that earns one bonus point; None where there is none to earn.
        due: a ``datetime`` until which it may be handed in; None where the course names none.
    """

    name: str
    group: str
    question: str
    minutes: int
    parts: dict[str, float]
    due: datetime | None = None
    bonus: float | None = None

    @property
    def points(self):
        return round(sum(self.parts.values()), 9)


@lru_cache
def load(path=NOTEBOOKS / "course.toml") -> tuple[Entry, ...]:
    """The notebooks of a course, in reading order.

    Raises:
        ValueError: an entry that lacks a key, has one too many, or is there twice.
    """
    entries = []
    for found in tomllib.loads(Path(path).read_text(encoding="utf-8"))["notebook"]:
        if found.keys() - {"due", "bonus"} != _KEYS:
            raise ValueError(
                f"{path}: {found.get('name', 'a notebook')} must have exactly "
                f"{', '.join(sorted(_KEYS))}, found {', '.join(sorted(found))}"
            )
        if found["name"] in (entry.name for entry in entries):
            raise ValueError(f"{path}: {found['name']} is there twice")
        if not all(
            isinstance(points, (int, float)) and points >= 0 for points in found["parts"].values()
        ):
            raise ValueError(f"{path}: points of {found['name']} must be numbers of at least 0")
        if type(found.get("due")) is date:  # to the end of that day
            found["due"] = datetime.combine(found["due"] + timedelta(days=1), time())
        if not isinstance(found.get("due"), datetime | None) or getattr(
            found.get("due"), "tzinfo", None
        ):
            raise ValueError(f"{path}: due must be a date, or a local 2027-02-01T12:00:00")
        if not (found.get("bonus") is None or 0 < found["bonus"] <= 1):
            raise ValueError(f"{path}: bonus of {found['name']} must be a share of its points")
        entries.append(Entry(**found))
    return tuple(entries)


def lateness(path=NOTEBOOKS / "course.toml") -> tuple[float, float]:
    """(days that a student may be late in all, the share of a notebook's points that each further
    day costs): late_days and late_cost in course.toml, 0 where they are not."""
    found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    days, cost = found.get("late_days", 0), found.get("late_cost", 0)
    if not (isinstance(days, int | float) and isinstance(cost, int | float) and 0 <= cost <= 1):
        raise ValueError(f"{path}: late_days must be a number, late_cost one from 0 to 1")
    return days, cost


def seed_of(student="", path=NOTEBOOKS / "course.toml") -> int:
    """SEED of the notebooks as they are handed out: seed in course.toml, 0 where there is none, for
    everyone; for a student's own edition one that follows from it and the id."""
    year = _whole_number(path, "seed", 0)
    return year if not student else _drawn(year, student) % 10**6


def variant_of(student, path=NOTEBOOKS / "course.toml") -> int:
    """Which of so many sets of pictures grading asks a student about: variants in course.toml."""
    return _drawn("variant", student) % variants(path)


def variants(path=NOTEBOOKS / "course.toml") -> int:
    """How many sets of pictures grading has; 1 where course.toml does not say."""
    return _whole_number(path, "variants", 1)


def _whole_number(path, key, least):
    found = tomllib.loads(Path(path).read_text(encoding="utf-8")).get(key, least)
    if type(found) is not int or found < least:
        raise ValueError(f"{path}: {key} must be a whole number of at least {least}")
    return found


def _drawn(*words):
    text = "\0".join(map(str, words)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def bonus_rule(path=NOTEBOOKS / "course.toml") -> tuple[float, float]:
    """(bonus points that make a step, by how much a step raises the final grade): [bonus] in
    course.toml; (0, 0) where the course has none."""
    found = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("bonus", {})
    rule = found.get("points", 0), found.get("raises", 0)
    if not all(isinstance(each, int | float) and each >= 0 for each in rule):
        raise ValueError(f"{path}: points and raises of [bonus] must be numbers of at least 0")
    return rule


def evidence_opens(path=NOTEBOOKS / "course.toml"):
    """The day from which students may read the evidence, a ``datetime.date``; None where the course
    names none."""
    found = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("evidence_opens")
    if found is not None and type(found) is not date:
        raise ValueError(f"{path}: evidence_opens must be a date, 2027-02-01, found {found!r}")
    return found


def asked(cell) -> list[str]:
    """The functions that a notebook's cell checks, by their names."""
    return re.findall(r"""\bcheck\(["'](\w+)["']\)""", "".join(cell["source"]))


_SAID = re.compile(r"\((\d+(?:\.\d+)?(?: \+ \d+(?:\.\d+)?)*) points?\)")


def with_points(notebook, entry):
    """The notebook with an ``Entry``'s points, in place: in its cells' nbgrader metadata, where a
    check cell's are those of the function it asks, and wherever its words say minutes, points or
    the share that earns a bonus point."""
    parts, heading = entry.parts, None
    for cell in notebook["cells"]:
        about = cell["metadata"].get("nbgrader", {})
        part = next(iter(asked(cell)), cell.get("id"))
        if about.get("grade") and part in parts:
            about["points"] = parts[part]
            if heading is not None:
                heading[1].append(parts[part])
        if cell["cell_type"] != "markdown" or about.get("solution"):
            continue
        lines = "".join(cell["source"]).split("\n")
        for i, line in enumerate(lines):
            if line.startswith("## "):
                _say(heading)
                heading = ((cell, i), []) if _SAID.search(line) else None
                continue
            named = next((name for name in re.findall(r"`(\w+)\(", line) if name in parts), None)
            if named:
                lines[i] = _SAID.sub(f"({_number(parts[named])})", line, count=1)
        cell["source"] = _facts("\n".join(lines), entry)
    _say(heading)
    return notebook


def _say(heading):
    """Write the points of the parts below a heading into it."""
    if heading is None or not heading[1]:
        return
    (cell, i), points = heading
    lines = cell["source"].split("\n")
    each = " + ".join(f"{one:g}" for one in points) if " + " in lines[i] else None
    lines[i] = _SAID.sub(f"({f'{each} points' if each else _number(sum(points))})", lines[i])
    cell["source"] = "\n".join(lines)


def _number(points):
    return f"{points:g} point{'s' * (points != 1)}"


def _facts(text, entry):
    """The line below a notebook's title with the minutes, points and share of an ``Entry``."""
    text = re.sub(r"^\*\d+ minutes · ", f"*{entry.minutes} minutes · ", text, flags=re.MULTILINE)
    text = re.sub(r"(?<= minutes · )\d+(?:\.\d+)? points?", _number(entry.points), text)
    if entry.bonus is None:
        return text
    needed = math.ceil(entry.bonus * entry.points - 1e-9)
    return re.sub(
        r"whoever passes \d+ % of them, \d+,",
        f"whoever passes {entry.bonus * 100:g} % of them, {needed},",
        text,
    )


def entry(name) -> Entry:
    """One notebook's entry."""
    found = {each.name: each for each in load()}
    if name not in found:
        raise ValueError(f"{name} is not in course.toml; known: {', '.join(found)}")
    return found[name]
