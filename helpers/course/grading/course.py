"""What students get, and what their processes see while they are graded: helpers and data, without
the grader; the notebooks' own checks, which hold references, only where nobody is graded."""

import compileall
import shutil
from pathlib import Path

from helpers.benchmark.models import DATA

HELPERS = Path(__file__).resolve().parents[2]
ROOMS = ("attribution", "benchmark", "measures", "display")
_FOR_STUDENTS = {
    ".": ("__init__", "__main__", "evaluate", "noise", "checks", "files"),
    "course": ("__init__", "colab", "precheck", "lesson", "syllabus"),
    # what precheck and the notebooks' own checks need
    "course/grading": ("__init__", "cells", "guard", "remote"),
}
_CHECKS = {
    "course/grading": (
        *("tasks", "tasks_smoothgrad", "tasks_ig", "tasks_relatives", "tasks_captum"),
        "tasks_further",
    )
}
"""Beside these rooms, which they get whole: what was measured, and the room that measures, answers
the tasks. A file that is missing stops the copy."""
_FOR_THE_SANDBOX = {"course/grading": ("student", "wire")}


def copy_course(folder, *, sandbox=False):
    """helpers/ and data/ as students get them; with ``sandbox`` also what answers the grader,
    compiled, and fonts found."""
    folder = Path(folder)
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HELPERS / room, folder / "helpers" / room, ignore=ignored)
    for wanted in (_FOR_STUDENTS, _FOR_THE_SANDBOX if sandbox else _CHECKS):
        for place, names in wanted.items():
            (folder / "helpers" / place).mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.copy(HELPERS / place / f"{name}.py", folder / "helpers" / place)
    kept_back = shutil.ignore_patterns("study-*", "overview.png", ".*")
    shutil.copytree(DATA, folder / "data", ignore=kept_back)
    if sandbox:
        compileall.compile_dir(folder / "helpers", quiet=1)
        _find_fonts(folder / "tmp" / "matplotlib")
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def _find_fonts(folder):
    """Matplotlib looks for fonts once, for seconds, and keeps what it found in a folder that it
    wants to be writable."""
    import matplotlib
    from matplotlib import font_manager

    folder.mkdir(parents=True)
    kept = (
        Path(matplotlib.get_cachedir()) / f"fontlist-v{font_manager.FontManager.__version__}.json"
    )
    if kept.is_file():
        shutil.copy(kept, folder)
