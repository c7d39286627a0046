"""A submission put in order: its own solutions and words, everything else as in the source
notebook.

Cells are known by nbgrader's grade_id, else by their id (also where Colab keeps it). Known cells
come in the source's order, with check cells, bootstrap and parameters restored; a student's own
cells follow the cell they stood after.
"""

import ast
import json
import re
import symtable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

MOST_BYTES = 30 * 2**20  # of a notebook file
SMALL = {"N_MEASURED": 8, "N_LIVE": 3, "N_PICTURES": 3, "N_SAMPLES": 20}
"""What the grading profile makes of a notebook's sizes; any other N_… is at most ``OTHER``."""
OTHER = 12


class BadNotebook(ValueError):
    """A submission that cannot be read as a notebook, and why."""


@dataclass
class Repaired:
    """cells: {"id", "kind", "source", "of"} in order; ``of`` is the id of the known cell that a
    student's own cell follows, and of a known cell its own. remarks: what was found out of
    order."""

    cells: list[dict]
    remarks: list[str] = field(default_factory=list)


def read_notebook(path):
    """A notebook of any version 4 (or 3, upgraded), or BadNotebook."""
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        raise BadNotebook("not a plain file")
    if path.stat().st_size > MOST_BYTES:
        raise BadNotebook(
            f"{path.stat().st_size / 2**20:.0f} MiB: more than {MOST_BYTES / 2**20:.0f}"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        notebook = (
            nbformat.from_dict(raw)
            if raw.get("nbformat") == 4
            else nbformat.convert(nbformat.from_dict(raw), 4)
        )
        for cell in notebook.cells:
            source = cell.get("source", "")
            cell.source = "".join(source) if isinstance(source, list) else str(source)
            metadata = cell.get("metadata")
            cell.metadata = nbformat.from_dict(metadata if isinstance(metadata, dict) else {})
            cell.cell_type = str(cell.cell_type)
    except Exception as error:  # nbformat raises whatever comes to hand
        raise BadNotebook(
            f"not a Jupyter notebook ({type(error).__name__}: {str(error)[:200]})"
        ) from None
    return notebook


def cell_id(cell) -> str | None:
    """Under which name the source would know it."""
    nbgrader = cell.metadata.get("nbgrader")
    names = (
        nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None,
        cell.get("id"),
        cell.metadata.get("id"),
    )
    return next((name for name in names if name and isinstance(name, str)), None)


def is_solution(cell) -> bool:
    """Whether a cell of a source notebook is the student's to fill in."""
    return bool(
        (cell.metadata.get("nbgrader") or {}).get("solution")
    ) or "solution" in cell.metadata.get("tags", [])


def is_locked(cell) -> bool:
    """Whether the grader restores a cell of a source notebook: bootstrap, parameters and check
    cells."""
    return not is_solution(cell) and (
        cell.id in ("bootstrap", "parameters") or cell.id.startswith("check-")
    )


def repair(submission, source, *, seed) -> Repaired:
    """The cells to execute of a submission (a notebook), with the parameters of the grading
    profile."""
    known = {cell.id: cell for cell in source.cells}
    theirs, own, remarks, order = {}, {None: []}, [], []
    last = None
    for cell in submission.cells:
        name = cell_id(cell)
        if name not in known:
            own.setdefault(last, []).append(cell)
            continue
        if name in theirs:
            if is_solution(known[name]) and cell.source != theirs[name].source:
                remarks.append(f"cell {name} is there twice; both were run")
                own.setdefault(name, []).append(cell)
            else:
                remarks.append(f"cell {name} is there twice; the first was taken")
            continue
        theirs[name], last = cell, name
        order.append(name)
    if order != [name for name in known if name in theirs]:
        remarks.append("cells were out of order; they were run in the source's order")
    result, wanted = Repaired([], remarks), set()

    def add(cell, source_text, name, of):
        result.cells.append({"id": name, "kind": cell.cell_type, "source": source_text, "of": of})
        if cell.cell_type == "code" and (
            name not in known
            or source_text != known[name].source
            or _marked(known[name])
            or name == "bootstrap"
        ):
            wanted.add(name)

    for number, cell in enumerate(own[None]):
        add(cell, cell.source, f"own-0-{number}", None)
    for name, ours in known.items():
        mine = theirs.get(name)
        if name == "parameters":
            add(ours, profile(ours.source, seed), name, name)
        elif is_locked(ours) or (mine is None and not is_solution(ours)):
            add(ours, ours.source, name, name)
        elif mine is None:
            remarks.append(f"cell {name} is missing")
        else:
            add(mine, mine.source, name, name)
        if (
            mine is not None
            and name.startswith("check-")
            and is_locked(ours)
            and mine.source.strip() != ours.source.strip()
        ):
            remarks.append(f"cell {name} had been changed; it was restored")
        for number, cell in enumerate(own.get(name, [])):
            add(cell, cell.source, f"own-{name}-{number}", name)
    executed = needed(result.cells, wanted)
    result.cells = [
        cell for cell in result.cells if cell["kind"] != "code" or cell["id"] in executed
    ]
    return result


def _marked(cell):
    """Whether points depend on a cell of a source notebook."""
    return is_solution(cell) or bool((cell.metadata.get("nbgrader") or {}).get("grade"))


def needed(cells, wanted) -> set[str]:
    """The ids of the code cells to execute for the ``wanted`` ones: theirs, and those of earlier
    cells that bind what they use.

    A full notebook measures for a minute what no mark depends on; this is what remains of it. A
    cell that is no plain Python (magics) is always executed.
    """
    found, missing = set(), set()
    for cell in reversed([cell for cell in cells if cell["kind"] == "code"]):
        try:
            bound, certain, used = _names(cell["source"])
        except (SyntaxError, ValueError, RecursionError):
            found.add(cell["id"])
            continue
        if cell["id"] in wanted or bound & missing:
            found.add(cell["id"])
            missing = missing - certain | used
    return found


def _names(source):
    """(the global names that a cell binds, those among them that it binds whatever happens, those
    it uses from elsewhere, also within functions)."""
    bound, certain, used = set(), set(), set()
    for statement in ast.parse(source).body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        binds = {
            name.get_name()
            for name in table.get_symbols()
            if name.is_assigned() or name.is_imported()
        }
        uses, tables = (
            {name.get_name() for name in table.get_symbols() if name.is_referenced()},
            list(table.get_children()),
        )
        for inner in tables:
            tables += inner.get_children()
            uses |= {name.get_name() for name in inner.get_symbols() if name.is_global()}
        if isinstance(statement, ast.AugAssign):
            uses |= binds
        loops = [node.target for node in ast.walk(statement) if isinstance(node, ast.For)]
        uses -= {
            name.id for target in loops for name in ast.walk(target) if isinstance(name, ast.Name)
        }
        bound, used = bound | binds, used | uses - certain
        if isinstance(
            statement, ast.Assign | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
        ):
            certain |= binds
    return bound, certain, used


def profile(parameters, seed) -> str:
    """The parameters cell with another seed and small sizes."""
    lines = [parameters, "", f"SEED = {seed}  # from here: the grading profile"]
    for node in ast.parse(parameters).body:
        name = (
            node.targets[0].id
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            else ""
        )
        if (
            re.match(r"N_", name)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, int)
        ):
            lines.append(f"{name} = {min(node.value.value, SMALL.get(name, OTHER))}")
    return "\n".join(lines)
