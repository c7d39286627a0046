"""Which notebooks have sliders, and what two ways of moving them, in a browser and in plain Python,
have in common."""

import dis
import re
import types

import nbformat

from helpers.course.colab import ROOT

SCREENSHOTS = ROOT / "build" / "browser"
FOLDER = ROOT / "notebooks"
NOTEBOOKS = [*sorted(FOLDER.glob("*.ipynb")), *sorted(FOLDER.glob("evidence/*.ipynb"))]


def name_of(path):
    """What tells an assignment from the evidence of the same name."""
    return path.relative_to(FOLDER).with_suffix("").as_posix().replace("/", "-")


def has_sliders(cell):
    """Whether a committed cell showed a ``Panel``."""
    shown = [output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])]
    return any("un the notebook to move" in text for text in shown)


def with_sliders():
    """The notebooks that have sliders."""
    return [
        path for path in NOTEBOOKS if any(map(has_sliders, nbformat.read(path, as_version=4).cells))
    ]


def kinds(path):
    """The functions that make a notebook's panels."""
    source = "\n".join(cell.source for cell in cut(path).cells)
    return set(re.findall(r"\b(explore_\w+|Panel)\(", source))


def few(paths):
    """Of the notebooks as many as have every kind of panel between them. `make test` moves these in
    a browser, if there is one, on one page, and the controls of the others in plain Python; `make
    test-all` moves all of them both ways."""
    chosen, left = [], {path: kinds(path) for path in paths}
    while left and (best := max(left, key=lambda path: len(left[path]))) and left[best]:
        chosen.append(best)
        left = {path: kind - left[best] for path, kind in left.items() if path != best}
    return chosen


def cut(path):
    """A notebook with those cells only that its sliders need: the cells that show them, the
    bootstrap cell, and each that binds a name which a later one of them uses."""
    notebook, needed, kept = nbformat.read(path, as_version=4), set(), []
    for cell in reversed([cell for cell in notebook.cells if cell.cell_type == "code"]):
        bound, free = _names(compile(cell.source, path.name, "exec"))
        if has_sliders(cell) or "bootstrap" in cell.metadata.get("tags", []) or bound & needed:
            needed = needed - bound | free
            kept.append(cell)
    notebook.cells = kept[::-1]
    return notebook


def _names(code):
    """(names that a cell binds, names that it uses before it has bound them)"""
    bound, free = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            bound.add(step.argval)
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL") and step.argval not in bound:
            free.add(step.argval)
    for (
        inner
    ) in code.co_consts:  # a function runs later: all that the cell binds may be bound by then
        if isinstance(inner, types.CodeType):
            free |= _names(inner)[1] - bound
    return bound, free


def carries(status, value):
    """Whether a line of status says a control's value: a number, up to rounding, per cent counted
    as hundredths, or a label such as "2: a name (90 %)", whose number and addition may be
    missing."""
    try:
        (wanted,) = _numbers(value, whole=True)
    except ValueError:
        return re.sub(r"^\d+: | \([^)]*%\)$", "", value) in status
    return any(abs(found - wanted) <= 0.005 for found in _numbers(status))


def _numbers(text, whole=False):
    """The numbers of a text, or the one that it is."""
    number = r"(-?\d+(?:\.\d+)?)( ?%)?"
    found = [re.fullmatch(number, text)] if whole else re.finditer(number, text)
    return [float(one[1]) / (100 if one[2] else 1) for one in found if one]
