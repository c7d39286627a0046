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
from contextlib import chdir, contextmanager
from pathlib import Path

import nbformat

from helpers.course.grading.cells import Cells
from helpers.course.lesson import examine, seed_in, task, yours
from helpers.course.syllabus import NOTEBOOKS, asked, load

_STUB = "raise NotImplementedError()"


@contextmanager
def _clock(seconds):
    def ring(*_):
        raise TimeoutError

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


def result(path, *, seconds=120) -> dict:
    """Run a notebook and count: {"notebook", "points" of "of", "share", "tests": [{"function",
    "test", "points", "passed", "reason"}], "errors": {cell, or "sliders" for its controls: what
    went wrong}, "empty": [cells that a person marks and nobody filled]}. Points are those of the
    checks, which a machine gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook = nbformat.read(path, as_version=4)
    tests, errors, empty = [], {}, []
    with chdir(Path(path).resolve().parent):  # as Jupyter would
        cells = Cells(_clock, TimeoutError, seconds)
        for cell in notebook.cells:
            if _unfilled(cell):
                empty.append(cell.id)
            if cell.cell_type != "code":
                continue
            if error := cells.run(cell.source)["error"]:
                errors[cell.get("id", "?")] = error
            for name in asked(cell):
                mine, seed = yours(cells.namespace.get(name)), seed_in(cells.namespace)
                for points, text, reason in examine(task(name), mine, seed=seed):
                    told = {"function": name, "test": text, "points": points}
                    tests.append(told | {"passed": reason is None, "reason": reason})
        if error := cells.move_sliders()["error"]:
            errors["sliders"] = error
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
        lost = [f"- `{name}`: {reason}" for name, reason in _lost(one)]
        lines += ["", f"**{one['notebook']}**", "", *lost] if lost else []
    return "\n".join(lines) + "\n"


def _lost(found):
    """[(function or cell, what is wrong with it)]."""
    failed = [test for test in found["tests"] if not test["passed"]]
    return [
        *((test["function"], f"{test['test']}: {test['reason']}") for test in failed),
        *found["errors"].items(),
        *((name, "is empty: this cell is marked by a person") for name in found["empty"]),
    ]


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
        lost = _lost(one)
        for name in dict.fromkeys(test["function"] for test in one["tests"]):
            if name not in dict(lost):
                print(f"  passed  {name}")
        for name, reason in lost:
            print(f"  FAILED  {name}: {reason}")
    if threshold is None:
        passed = all(not _lost(one) for one in found)
    else:
        passed = all(one["share"] >= threshold for one in found)
    if arguments.json:
        told = {"threshold": threshold, "passed": passed, "notebooks": found}
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        arguments.json.write_text(text, encoding="utf-8")
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(summary(found, threshold))
    sys.exit(not passed)
