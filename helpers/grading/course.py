"""What students get, and what their processes see while they are graded: the helpers and the data, without the grader."""

import compileall
import shutil
from pathlib import Path

from helpers.models import DATA

HELPERS = Path(__file__).resolve().parents[1]
_FOR_STUDENTS = ("__init__.py", "cells.py")  # of helpers/grading: what precheck needs
_FOR_THE_SANDBOX = (*_FOR_STUDENTS, "remote.py", "student.py", "wire.py")
_NOT_FOR_STUDENTS = ("grade.py", "release.py")


def copy_course(folder, *, sandbox=False):
    """helpers/ and data/ as students get them; with ``sandbox`` also what answers the grader, compiled, and fonts found."""
    folder = Path(folder)
    (folder / "helpers" / "grading").mkdir(parents=True)
    for path in sorted(HELPERS.glob("*.py")):
        if path.name not in _NOT_FOR_STUDENTS:
            shutil.copy(path, folder / "helpers")
    for name in _FOR_THE_SANDBOX if sandbox else _FOR_STUDENTS:
        shutil.copy(HELPERS / "grading" / name, folder / "helpers" / "grading")
    shutil.copytree(DATA, folder / "data", ignore=shutil.ignore_patterns("overview.png", ".*"))
    if sandbox:
        compileall.compile_dir(folder / "helpers", quiet=1)
        _find_fonts(folder / "tmp" / "matplotlib")
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def _find_fonts(folder):
    """Matplotlib looks for fonts once, for seconds, and keeps what it found in a folder that it wants to be writable."""
    import matplotlib
    from matplotlib import font_manager

    folder.mkdir(parents=True)
    kept = Path(matplotlib.get_cachedir()) / f"fontlist-v{font_manager.FontManager.__version__}.json"
    if kept.is_file():
        shutil.copy(kept, folder)
