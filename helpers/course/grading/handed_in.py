"""Which notebook of which student lies where."""

import re
from pathlib import Path

import nbformat

from helpers.course.grading.reading import BadNotebook, read_notebook
from helpers.course.grading.repair import is_solution


def handed_in(folder, sources) -> dict[str, dict[str, list[Path]]]:
    """student → source's name → the files that may be it, the likeliest first; "" for files that
    are none of ours.

    Args:
        folder: holds one folder for each student (the notebooks anywhere within), or notebooks
            whose names say the student and the source, as ``ada_smoothgrad_1_method.ipynb``; or
            both.
        sources: paths of the source notebooks.

    Links are not followed: they could lead to another's work.
    """
    ids = {
        Path(path).stem: {
            cell.id for cell in nbformat.read(path, as_version=4).cells if is_solution(cell)
        }
        for path in sources
    }
    students = {}
    for entry in sorted(Path(folder).iterdir()):
        if entry.name.startswith((".", "__MACOSX")) or entry.is_symlink():
            continue
        if entry.is_dir():
            student = students.setdefault(entry.name, {})
            files = [
                path
                for path in sorted(entry.rglob("*.ipynb"))
                if not _hidden(path.relative_to(entry))
            ]
            for path in files:
                student.setdefault(_which(path, ids), []).append(path)
        elif entry.suffix == ".ipynb":
            which = _which(entry, ids)
            rest = entry.stem.replace(which, "") if which else entry.stem
            name = re.sub(r"^[\W_]+|[\W_]+$", "", rest) or entry.stem
            students.setdefault(name, {}).setdefault(which, []).append(entry)
    for student in students.values():
        for which, files in student.items():
            files.sort(key=lambda path: (path.stem != which, str(path)))
    return students


def _which(path, ids):
    """The source's name: in the file's name, else the one of which it has more solution cells than
    of any other, or ""."""
    if named := [name for name in ids if name in path.stem]:
        return max(named, key=len)
    try:
        own = {name for cell in read_notebook(path) for name in cell.names}
    except BadNotebook:
        return next(iter(ids)) if len(ids) == 1 else ""
    shared = {name: len(own & theirs) for name, theirs in ids.items()}
    first, *others = sorted(shared, key=shared.get, reverse=True)
    return first if shared[first] > max([0, *(shared[name] for name in others)]) else ""


def _hidden(path):
    return any(part.startswith(".") for part in path.parts)
