"""Which notebook of which student lies where, in a folder as a course system hands it over."""

import os
import re
import shutil
import stat
import time
import unicodedata
import zipfile
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import nbformat

from helpers.course.grading.reading import MOST_BYTES, BadNotebook, read_notebook
from helpers.course.grading.repair import is_solution
from helpers.course.grading.tables import read_table

MOST_ENTRIES, DEEPEST = 10_000, 8  # files and folders looked at in one student's folder, levels
MOST_UNPACKED = 2**30  # bytes of one archive
ABOUT_NOW = 600  # seconds within which the files of one download are written
ABOUT = ("id", "email", "group", "extension")
"""What students.csv may say of a student, beside a pattern and a name."""
_NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)
_LATER = re.compile(r"[ _]*(?:\((\d+)\)|-(\d{1,3}))$")  # what browsers and Canvas add
_WHEN = ("%Y-%m-%d-%H-%M-%S", "%b %d, %Y %I%M %p", "%B %d, %Y %I%M %p")
_CREATED = re.compile(r"\s*:created_at: (\d{4}(?:-\d\d){2} \d\d(?::\d\d){2})\S* ?([+-]\d\d:\d\d)?")
_SYSTEMS = tuple(
    map(
        re.compile,
        (
            # Moodle (whose number is another one in each assignment), Blackboard, Brightspace,
            # Gradescope, Canvas without and with names
            r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<file>.*)",
            r"(?:.*_)?(?P<name>[^_]+)_attempt_(?P<when>\d{4}(?:-\d\d){5})_?(?P<file>.*)",
            r"(?P<id>\d+)-\d+ - (?P<name>.+?) - (?P<when>\w+ \d+, \d{4} \d+ [AP]M)"
            r"(?: - (?P<file>.+))?",
            r"(?P<name>submission_(?P<id>\d+))",
            r"(?P<name>anon_[^\W_]{5})_(?:(?P<late>LATE)_)?(?P<version>\d{2,})_(?P<file>.+)",
            r"(?P<name>[^_]+)_(?:(?P<late>LATE)_)?(?P<id>\d{2,})_(?P<version>\d{2,})_(?P<file>.+)",
        ),
    )
)


class Handed(dict):
    """What one student handed in: {source's name, or "" for files that are none of ours: its files,
    the one to grade first}. ``about``: id, email, group, extension as far as known; ``called``:
    what folders and files call the student; ``when``: {source's name: when its first file was
    handed in}, as the course system says, or as ``dated`` says; ``late``: the sources' names that
    the course system calls late; ``back``: the names under which it takes a page for this
    student."""

    def __init__(self):
        super().__init__()
        self.about, self.when, self.dated, self.remarks = {}, {}, {}, []
        self.called, self.late, self.back = set(), set(), []


@dataclass(order=True)
class _File:
    """Sorted, the latest version of a notebook comes first, then the plainest name."""

    rank: tuple
    path: Path
    when: datetime | None = None
    late: str | None = None  # "": the course system says that it is not


def handed_in(folder, sources, *, students=None, out=None) -> dict[str, Handed]:
    """student → what was handed in.

    Args:
        folder: holds a folder for each student (the notebooks anywhere within, zipped or not), or
            notebooks whose names say the student and the source, as in
            ``ada_smoothgrad_1_method.ipynb``; as they are downloaded from Canvas, Moodle,
            Blackboard, Brightspace or Gradescope, or one level higher or lower; or a zip of these.
        sources: paths of the source notebooks.
        students: the path of a table students.csv with a column ``pattern`` (``*`` and ``?``, of
            the folder's or file's name) and any of ``student``, ``id``, ``email``, ``group``,
            ``extension``.
        out: the folder for what is in archives; what lies there is not looked at. None: archives
            are left closed.

    Links are not followed: they could lead to another's work.

    Raises:
        ValueError: nothing is recognised.
    """
    ids = {
        Path(path).stem: {
            cell.id for cell in nbformat.read(path, as_version=4).cells if is_solution(cell)
        }
        for path in sources
    }
    roster, out = _roster(students), None if out is None else Path(out)
    folder = Path(folder)
    if out is not None:
        shutil.rmtree(out / "unpacked", ignore_errors=True)
    if folder.is_file():
        if out is None:
            raise ValueError(f"{folder} is no folder")
        folder = _unpacked(folder, out / "unpacked" / "all", [])
    found = {}
    _class(_descended(folder, ids, out), ids, roster, out, found)
    if not any(which for handed in found.values() for which in handed):
        seen = [readable(path.name) for path in sorted(folder.iterdir())[:12]]
        raise ValueError(
            f"no notebook of this course is in {readable(folder)}: expected a folder for each "
            f"student, or notebooks named like ada_{next(iter(ids))}.ipynb; found "
            f"{', '.join(seen) or 'nothing'}"
        )
    return {name: handed for (name, _), handed in _named(found)}


def readable(name) -> str:
    """A file's name as text that every file can hold: without spaces around it, what is no
    character written out."""
    name = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))
    name = name.replace(r"\udc", r"\x")  # how Python says a byte that is no text
    return unicodedata.normalize("NFC", name).strip()


def _roster(path):
    if path is None:
        return []
    rows = read_table(path, ("pattern",))
    for row in rows:
        if row.get("extension") and not re.fullmatch(r"\d+", row["extension"]):
            raise ValueError(
                f"{path}: an extension is a number of days, found {row['extension']!r}"
            )
    return rows


def _descended(folder, ids, out):
    """The folder, or the only one in it, if the students are there."""
    entries = _entries(folder, out)
    if len(entries) == 1 and entries[0].is_dir() and _is_class(entries[0], ids):
        return _descended(entries[0], ids, out)
    return folder


def _entries(folder, out=None):
    hidden = out.resolve() if out else None
    return [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith((".", "__MACOSX"))
        and not path.is_symlink()
        and path.resolve() != hidden
        and path.name != "students.csv"
    ]


def _is_class(folder, ids):
    """Whether a folder holds the work of several students."""
    entries, names, within = _entries(folder), set(), []
    for entry in entries:
        if _system(entry.name):
            return True
        if entry.is_dir():
            within.append({_by_name(path.name, ids) for path in _notebooks(entry)[0]} - {""})
        elif _NOTEBOOK.search(entry.name) and (which := _by_name(entry.name, ids)):
            names.add(_rest(entry.name, which))
    return len(names - {""}) > 1 or any(
        one & other for i, one in enumerate(within) for other in within[:i]
    )


def _class(folder, ids, roster, out, found):
    """Add to ``found``, (name, id) → ``Handed``, what lies in a folder of many students."""
    people, systems = _gradescope(folder / "submission_metadata.yml"), {}
    for entry in _entries(folder, out):
        systems[entry] = _system(entry.name) or {}
    numbers = {(told.get("name"), told.get("number")) for told in systems.values()}
    several = Counter(name for name, number in numbers if number)
    # unpacked downloads side by side; one student's folder alone cannot look so
    downloads = {entry for entry in systems if entry.is_dir()}
    if not all(
        not systems[each] and any(_system(path.name) for path in _entries(each))
        for each in downloads
    ):
        downloads = set()
    for entry, told in systems.items():
        if entry in downloads:
            _class(entry, ids, roster, out, found)
            continue
        remarks, files, within = [], [entry], told.get("file") or entry.name
        if entry.suffix.lower() == ".zip" and not entry.is_dir() and out is not None:
            place = out / "unpacked" / f"{len(list((out / 'unpacked').glob('*')))}"
            unpacked = _unpacked(entry, place, remarks)
            if not told and _is_class(unpacked, ids):
                _class(_descended(unpacked, ids, None), ids, roster, None, found)
                continue
            files, cut = _notebooks(unpacked)
            within = entry.stem
        elif entry.is_dir():
            files, cut = _notebooks(entry)
            for archive in [path for path in files if path.suffix.lower() == ".zip"]:
                files.remove(archive)
                if out is not None:
                    place = out / "unpacked" / f"{len(list((out / 'unpacked').glob('*')))}"
                    files += _notebooks(_unpacked(archive, place, remarks))[0]
                else:
                    remarks.append(f"{readable(archive.name)} was left closed")
            within = entry.name
        elif not _NOTEBOOK.search(entry.name):
            continue
        else:
            cut = False
        if cut:
            remarks.append(f"only {MOST_ENTRIES} files and folders were looked at")
        single = files == [entry]
        which = _which(entry, within if single else "", ids) if single else None
        name = told.get("name") or (_rest(within, which) if single else readable(within))
        name = name or (readable(folder.resolve().name) if which else readable(within))
        called = name
        about = {"id": told["id"]} if told.get("id") else {}
        told_apart = told.get("number", "") if several[told.get("name")] > 1 else ""
        if told.get("name") in people:
            about |= people[told["name"]]
            name = about.pop("name", None) or name
        for row in roster:
            if fnmatchcase(readable(entry.name), row["pattern"]):
                name = row.get("student") or name
                about |= {key: row[key] for key in ABOUT if row.get(key)}
                break
        when = _moment(told.get("when")) or about.pop("when", None)
        handed = found.setdefault((name, about.get("id", told_apart)), Handed())
        handed.about |= about
        handed.called |= {called, told.get("id") or called}
        handed.back += [back] if (back := _back(entry.name)) not in [None, *handed.back] else []
        handed.remarks += remarks
        late = (told.get("late") or "") if told.get("version") else None
        for path in files:
            mine = which if single else _which(path, path.name, ids)
            rank = _rank(path, mine, told, when, entry)
            handed.setdefault(mine, []).append(_File(rank, path, when, late))


def _named(found):
    """((name, id), handed) in order, names that several have told apart by the id; the files
    sorted."""
    several = {name for name, _ in found if sum(other == name for other, _ in found) > 1}
    every = [file for own in found.values() for files in own.values() for file in files]
    believed = _believed([file.path.lstat().st_mtime for file in every])
    for (name, number), handed in sorted(found.items()):
        for which, files in handed.items():
            files.sort()
            first, date = files[0], files[0].path.lstat().st_mtime
            if first.late:
                handed.late.add(which)
                handed.dated[which] = ", says the course system, which counts no days"
                handed.remarks.append("the course system calls it late")
            if first.when:
                handed.when[which] = first.when
            elif first.late != "" and believed(date):
                handed.when[which] = datetime.fromtimestamp(date)
                handed.dated[which] = ", by the file's date"
            handed[which] = [file.path for file in files]
        yield (f"{name} {number}".strip() if name in several else name, number), handed


def _believed(dates):
    """Which of the files' dates, in seconds, say when something was handed in: those that most
    share say when it was downloaded or unpacked."""
    order = sorted(dates)

    def alone(date):
        near = bisect_right(order, date + ABOUT_NOW) - bisect_left(order, date - ABOUT_NOW)
        return 3 * near <= len(order) and date <= time.time()

    return alone


def _rank(path, which, told, when, entry):
    """Smaller is likelier: handed in later, a later version, a plainer name, less deep."""
    stem = _NOTEBOOK.sub("", path.name)
    later = _LATER.search(stem)
    number = int(later[1] or later[2]) if later else 0
    return (
        -(when.timestamp() if when else 0),
        -int(told.get("version") or 0),
        -number,
        _LATER.sub("", stem) != which,
        len(path.parts),
        readable(str(path)),
    )


def _system(name):
    """What a course system's name of a file or folder says; None if it is none."""
    stem = readable(name)
    for pattern in _SYSTEMS:
        if match := pattern.fullmatch(stem):
            return match.groupdict()
    return None


def _back(name):
    """Under which name in a zip Moodle or Canvas takes a page for whom it called a file or folder
    so; None for others."""
    if match := re.fullmatch(r"(.+_\d+)_assignsubmission_.*", name):
        return f"{match[1]}_assignfeedback_file_/feedback.html"
    match = re.fullmatch(r"((?:anon_[^\W_]{5}|[^_]+_(?:LATE_)?\d{2,})_(?:LATE_)?\d{2,}_).+", name)
    return match and f"{match[1]}feedback.html"


def _moment(text):
    for form in _WHEN if text else ():
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


def _gradescope(path):
    """submission_N → {name, id, email, when}, of Gradescope's table of who handed in what."""
    people, current = {}, None
    if path.is_file() and not path.is_symlink() and path.stat().st_size < MOST_BYTES:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := re.match(r"(submission_\d+):", line):
                current = people.setdefault(match[1], {})
            elif current is not None and (
                match := re.match(r"[\s-]*:(name|sid|email):\s*['\"]?(.*?)['\"]?\s*$", line)
            ):
                current.setdefault({"sid": "id"}.get(match[1], match[1]), match[2])
            elif current is not None and (match := _CREATED.match(line)):
                moment = datetime.fromisoformat(match[1] + (match[2] or ""))
                current["when"] = moment.astimezone().replace(tzinfo=None)
    return people


def _notebooks(folder):
    """(what may be a notebook or an archive in a folder, whether there was more than is looked at):
    what is only named like one too, so that somebody says so."""
    found, todo, left = [], [(folder, 0)], MOST_ENTRIES
    for place, depth in todo:
        with os.scandir(place) as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    return sorted(found), True
                if entry.name.startswith((".", "__MACOSX")) or entry.is_symlink():
                    continue
                if entry.is_dir() and depth < DEEPEST:
                    todo.append((Path(entry.path), depth + 1))
                if _NOTEBOOK.search(entry.name) or entry.name.lower().endswith(".zip"):
                    found.append(Path(entry.path))
    plain = [path for path in found if not path.is_dir()]
    return sorted(plain or found), False


def _unpacked(archive, into, remarks):
    """The folder that now holds what may be notebooks in an archive."""
    into.mkdir(parents=True)
    left = MOST_UNPACKED
    try:
        with zipfile.ZipFile(archive) as opened:
            for number, member in enumerate(opened.infolist()):
                parts = [readable(part) for part in PurePosixPath(member.filename).parts]
                wanted = _NOTEBOOK.search(member.filename) or parts[-1:] == [
                    "submission_metadata.yml"
                ]
                if member.is_dir() or not wanted or not parts or {"..", "/"} & set(parts):
                    continue
                if stat.S_ISLNK(member.external_attr >> 16) or member.file_size > MOST_BYTES:
                    remarks.append(f"{parts[-1]} was left in its archive")
                    continue
                left -= member.file_size
                if number > MOST_ENTRIES or left < 0:
                    remarks.append(f"{readable(archive.name)} holds more than is unpacked")
                    break
                path = into.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, path.open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
                with suppress(ValueError, OverflowError):  # an archive's date may be none
                    os.utime(path, (datetime(*member.date_time).timestamp(),) * 2)
    except Exception as error:  # zipfile raises whatever comes to hand
        remarks.append(f"{readable(archive.name)}: {type(error).__name__}: {error}")
    return into


def _by_name(name, ids):
    """The source that a file's name says, or ""."""
    plain = re.sub(r"[^a-z0-9]+", "_", _NOTEBOOK.sub("", name).lower())
    return max((which for which in ids if which.lower() in plain), key=len, default="")


def _rest(name, which):
    """What a file's name says beside the source: the student."""
    stem = _LATER.sub("", readable(_NOTEBOOK.sub("", name)))
    if which:
        words = map(re.escape, re.split("[^a-z0-9]+", which.lower()))
        stem = re.sub("[^a-z0-9]+".join(words), "", stem, flags=re.IGNORECASE)
    stem = re.sub(r"(^|_)LATE(_|$)", "_", stem)
    return re.sub(r"^[\W_]+|[\W_]+$", "", stem)


def _which(path, name, ids):
    """The source's name: in the file's name, else the one of which it has more solution cells than
    of any other, or ""."""
    if named := _by_name(name, ids):
        return named
    try:
        own = {name for cell in read_notebook(path).cells for name in cell.names}
    except BadNotebook:
        return next(iter(ids)) if len(ids) == 1 else ""
    shared = {name: len(own & theirs) for name, theirs in ids.items()}
    first, *others = sorted(shared, key=shared.get, reverse=True)
    return first if shared[first] > max([0, *(shared[name] for name in others)]) else ""
