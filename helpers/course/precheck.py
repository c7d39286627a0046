"""Run a notebook's visible checks before handing it in, or on every push.

python -m helpers precheck notebooks/smoothgrad_1_method.ipynb
python -m helpers precheck notebooks/*.ipynb --json result.json --threshold 0.85

Every cell runs, also after one that fails, and each function is asked what its check asks. This is
no grade: a grade asks about other pictures and another network. The notebook itself is not changed.
"""

import argparse
import json
import os
import re
import signal
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import nbformat

from helpers.course.grading.cells import Cells
from helpers.course.lesson import examine, seed_in, task, yours
from helpers.course.syllabus import NOTEBOOKS, asked, load

_STUB = "raise NotImplementedError()"


class TooSlowError(TimeoutError):
    """A cell ran longer than it may."""


@contextmanager
def _clock(seconds):
    def ring(*_):
        raise TooSlowError(f"it ran longer than {seconds} s")

    if not hasattr(signal, "SIGALRM"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def precheck(path, *, seconds=120) -> list[tuple[str, str | None]]:
    """Run a notebook: (name, error or None) for each function that it checks, for each cell that
    fails, for each that a person marks and nobody filled, and for its controls, as "sliders"."""
    told = []
    for name, kind, found in _looked_at(path, seconds):
        if kind == "checks":
            lost = [f"{text}: {reason}" for _, text, reason in found if reason]
            told.append((name, "; ".join(lost) or None))
        else:
            told.append((name, found))
    return told


def result(path, *, seconds=120) -> dict:
    """Run a notebook and count: {"notebook", "points" of "of", "share", "tests": [{"function",
    "test", "points", "passed", "reason"}], "errors": {cell: what went wrong}, "empty": [cells that
    a person marks and nobody filled]}. Points are those of the checks, which a machine gives."""
    tests, errors, empty = [], {}, []
    for name, kind, found in _looked_at(path, seconds):
        if kind == "checks":
            tests += [
                {
                    "function": name,
                    "test": text,
                    "points": points,
                    "passed": reason is None,
                    "reason": reason,
                }
                for points, text, reason in found
            ]
        elif kind == "empty":
            empty.append(name)
        elif found:
            errors[name] = found
    total = sum(test["points"] for test in tests)
    got = sum(test["points"] for test in tests if test["passed"])
    return {
        "notebook": Path(path).name,
        "points": got,
        "of": total,
        "share": round(got / total, 4) if total else 1.0,
        "tests": tests,
        "errors": errors,
        "empty": empty,
    }


def _looked_at(path, seconds):
    """(name, "checks", what ``examine`` finds) of each function, (cell, "error" or "empty", what is
    wrong), and ("sliders", "sliders", an error or None) at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook = nbformat.read(path, as_version=4)
    here, told = Path.cwd(), []
    os.chdir(Path(path).resolve().parent)  # as Jupyter would
    try:
        cells = Cells(_clock, TooSlowError, seconds)
        for cell in notebook.cells:
            if _unfilled(cell):
                told.append((cell.id, "empty", "empty: this cell is marked by a person"))
            if cell.cell_type != "code":
                continue
            if error := cells.run(cell.source)["error"]:
                told.append((cell.get("id", "?"), "error", error))
            for name in asked(cell):
                mine = yours(cells.namespace.get(name))
                found = examine(task(name), mine, seed=seed_in(cells.namespace))
                told.append((name, "checks", found))
        if error := cells.move_sliders()["error"]:
            told.append(("sliders", "error", error))
    finally:
        os.chdir(here)
    return told


def _unfilled(cell):
    about = cell.metadata.get("nbgrader", {})
    left = re.sub(r"#? *YOUR (CODE|ANSWER) HERE", "", cell.source).strip()
    return about.get("grade") and about.get("solution") and not left


def summary(found, threshold=None) -> str:
    """What ``result`` found of several notebooks, as a table in Markdown, with what was lost."""
    lines = ["| notebook | points | share |", "|---|---|---|"]
    for one in found:
        share = f"{one['share']:.0%}"
        if threshold is not None:
            share += " ✓" if one["share"] >= threshold else f", {threshold:.0%} needed"
        lines.append(f"| {one['notebook']} | {one['points']:g} of {one['of']:g} | {share} |")
    for one in found:
        lost = [
            f"- `{test['function']}`, {test['test']}: {test['reason']}"
            for test in one["tests"]
            if not test["passed"]
        ]
        lost += [f"- cell `{name}`: {error}" for name, error in one["errors"].items()]
        lost += [f"- cell `{name}` is empty; a person marks it" for name in one["empty"]]
        lines += ["", f"**{one['notebook']}**", "", *lost] if lost else []
    return "\n".join(lines) + "\n"


def _bonus(found):
    """What the points are for the bonus point, in words; "" where the notebook gives none."""
    entry = {each.name: each for each in load()}.get(Path(found["notebook"]).stem)
    if entry is None or entry.bonus is None:
        return ""
    has = found["share"] >= entry.bonus
    return f", {found['share']:.0%}: " + (
        "the bonus point" if has else f"no bonus point yet, {entry.bonus:.0%} are needed"
    )


def _begun(path):
    """Whether a function that a check asks about is written in it."""
    cells = nbformat.read(path, as_version=4).cells
    wanted = {name for cell in cells if cell.cell_type == "code" for name in asked(cell)}
    return any(
        f"def {name}(" in cell.source and _STUB not in cell.source
        for cell in cells
        for name in wanted
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers precheck",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument(
        "--begun",
        action="store_true",
        help="all notebooks of the course in which a function is written, instead of naming them",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write points, shares, reasons")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="SHARE",
        help="share of each notebook's check points, 0 to 1, from which the exit status is 0; "
        "without it every check must pass and no cell may fail",
    )
    arguments = parser.parse_args(arguments)
    threshold = arguments.threshold
    if threshold is not None and not 0 <= threshold <= 1:
        parser.error(f"--threshold must be from 0 to 1, found {threshold}")
    if arguments.begun == bool(arguments.notebooks):
        parser.error("name notebooks, or give --begun")
    if arguments.begun:
        every = (NOTEBOOKS / f"{entry.name}.ipynb" for entry in load())
        arguments.notebooks = [path for path in every if path.is_file() and _begun(path)]
        print(f"{len(arguments.notebooks)} notebooks are begun")
    if missing := [str(path) for path in arguments.notebooks if not path.is_file()]:
        parser.error(f"no such notebook: {', '.join(missing)}")
    found = []
    for path in arguments.notebooks:
        found.append(one := result(path))
        print(f"{path}: {one['points']:g} of {one['of']:g} points of its checks{_bonus(one)}")
        by_function = {}
        for test in one["tests"]:
            by_function.setdefault(test["function"], []).append(test)
        for name, tests in by_function.items():
            lost = [f"{test['test']}: {test['reason']}" for test in tests if not test["passed"]]
            print(f"  FAILED  {name}: {'; '.join(lost)}" if lost else f"  passed  {name}")
        for name, error in one["errors"].items():
            print(f"  FAILED  {name}: {error}")
        for name in one["empty"]:
            print(f"  FAILED  {name}: empty: this cell is marked by a person")
    if arguments.json:
        passed = [threshold is None or one["share"] >= threshold for one in found]
        told = {"threshold": threshold, "passed": all(passed), "notebooks": found}
        arguments.json.write_text(
            json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(summary(found, threshold))
    if threshold is None:
        clean = all(one["share"] == 1 and not one["errors"] and not one["empty"] for one in found)
    else:
        clean = all(one["share"] >= threshold for one in found)
    sys.exit(not clean)
