"""Run a notebook's visible checks before handing it in.

python -m helpers precheck notebooks/smoothgrad_1_method.ipynb

Every cell runs, also after one that fails, and each function is asked what its check asks. This is
no grade: a grade asks about other pictures and another network. The notebook itself is not changed.
"""

import argparse
import os
import re
import signal
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import nbformat

from helpers.course.grading.cells import Cells
from helpers.course.lesson import examine, task, yours
from helpers.course.syllabus import asked


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook = nbformat.read(path, as_version=4)
    here, told = Path.cwd(), []
    os.chdir(Path(path).resolve().parent)  # as Jupyter would
    try:
        cells = Cells(_clock, TooSlowError, seconds)
        for cell in notebook.cells:
            if _unfilled(cell):
                told.append((cell.id, "empty: this cell is marked by a person"))
            if cell.cell_type != "code":
                continue
            if error := cells.run(cell.source)["error"]:
                told.append((cell.get("id", "?"), error))
            for name in asked(cell):
                found = examine(task(name), yours(cells.namespace.get(name)))
                lost = [f"{text}: {reason}" for _, text, reason in found if reason]
                told.append((name, "; ".join(lost) or None))
        if error := cells.move_sliders()["error"]:
            told.append(("sliders", error))
    finally:
        os.chdir(here)
    return told


def _unfilled(cell):
    about = cell.metadata.get("nbgrader", {})
    left = re.sub(r"#? *YOUR (CODE|ANSWER) HERE", "", cell.source).strip()
    return about.get("grade") and about.get("solution") and not left


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m helpers precheck",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    failed = False
    for path in parser.parse_args(arguments).notebooks:
        print(path)
        for name, error in precheck(path):
            print(f"  {'FAILED' if error else 'passed'}  {name}" + (f": {error}" if error else ""))
            failed |= error is not None
    sys.exit(failed)
