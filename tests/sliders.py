"""Which notebooks have sliders, and what two ways of moving them, in a browser and in plain Python,
have in common."""

import dis
import re
import types

import nbformat

from helpers.course.colab import ROOT

SCREENSHOTS = ROOT / "build" / "browser"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FEW = ("00_start_here", "ig_1_method", "smoothgrad_2_noise_strength", "ig_4_quality")
"""Between them they have every kind of panel. `make test` moves these in a browser, if there is
one, on one page (the last one's panel goes on to read the page's names), and the controls of the
others in plain Python; `make test-all` moves all of them both ways."""


def has_sliders(cell):
    """Whether a committed cell showed a ``Panel``."""
    shown = [output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", [])]
    return any("[sliders" in text for text in shown)


def with_sliders():
    """The notebooks that have sliders."""
    return [
        path for path in NOTEBOOKS if any(map(has_sliders, nbformat.read(path, as_version=4).cells))
    ]


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
    """Whether a line of status says a control's value: a number, up to rounding, or a label such as
    "2: a name (90 %)", whose number and addition may be missing."""
    try:
        return any(
            abs(float(found) - float(value)) <= 0.005
            for found in re.findall(r"-?\d+(?:\.\d+)?", status)
        )
    except ValueError:
        return re.sub(r"^\d+: | \([^)]*%\)$", "", value) in status
