"""A submission put in order: its own solutions and words, everything else as in the source
notebook.

Known cells come in the source's order, with check cells, bootstrap and parameters restored; a
student's own cells follow the cell they stood after.
"""

import ast
import re
import symtable
from dataclasses import dataclass, field

SMALL = {"N_MEASURED": 8, "N_LIVE": 3, "N_PICTURES": 3, "N_SAMPLES": 20}
"""What the grading profile makes of a notebook's sizes; any other N_… is at most ``OTHER``."""
OTHER = 12
MOST_PARSED = 2**17  # characters of a notebook, an eighth of them in one cell
_BINDING = ast.Assign | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
_MAGIC, _WORD = re.compile(r"(?<![^\n])[ \t]*[%!?].*"), re.compile(r"[^\W\d]\w*")


@dataclass
class Repaired:
    """cells: {"id", "kind", "source", "of", "attachments", "theirs": whether it differs from the
    source's} in order; ``of`` is the id of the known cell that a student's own cell follows, and of
    a known cell its own. for_tasks: the ids of those
    that the tasks need; for_marks: of those that the tasks or what a person marks needs. remarks:
    what was found out of order."""

    cells: list[dict]
    for_tasks: set[str] = field(default_factory=set)
    for_marks: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)


def is_solution(cell) -> bool:
    """Whether a cell of a source notebook is the student's to fill in."""
    return bool(_nbgrader(cell).get("solution")) or "solution" in cell.metadata.get("tags", [])


def _nbgrader(cell):
    return cell.metadata.get("nbgrader") or {}


def is_locked(cell) -> bool:
    """Whether the grader restores a cell of a source notebook: bootstrap, parameters and check
    cells."""
    return not is_solution(cell) and (
        cell.id in ("bootstrap", "parameters") or cell.id.startswith("check-")
    )


def repair(submission, source, *, seed) -> Repaired:
    """The cells to execute of a submission (``reading.read_notebook``'s), with the parameters of
    the grading profile."""
    known = {cell.id: cell for cell in source.cells}
    theirs, own, remarks, order = {}, {None: []}, [], []
    last = None
    for cell, name in zip(submission, recognised(submission, source), strict=True):
        if name is None:
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
    result, wanted = Repaired([], remarks=remarks), set()

    def add(kind, source_text, name, of, attachments=(), differs=True):
        told = {"id": name, "kind": kind, "source": source_text, "of": of}
        result.cells.append(told | {"attachments": dict(attachments), "theirs": differs})
        if kind != "code":
            return
        ours = known.get(name)
        by_hand = ours is not None and bool(_nbgrader(ours).get("grade"))
        always = name == "bootstrap" or (ours is not None and is_solution(ours))
        if ours is None or source_text != ours.source or by_hand or always:
            wanted.add(name)
        if always:
            result.for_marks.add(name)
        if always and not by_hand:
            result.for_tasks.add(name)

    def add_own(after):
        for number, cell in enumerate(own.get(after, [])):
            add(cell.kind, cell.source, f"own-{after or 0}-{number}", after, cell.attachments)

    add_own(None)
    for name, ours in known.items():
        mine = theirs.get(name)
        changed = mine is not None and _plain(mine.source) != _plain(ours.source)
        if name == "parameters":
            if changed:  # what it adds to ours stays
                add("code", mine.source, "own-parameters", name)
            add("code", profile(ours.source, seed), name, name, differs=False)
        elif is_locked(ours) or (mine is None and not is_solution(ours)):
            add(ours.cell_type, ours.source, name, name, differs=False)
        elif mine is None:
            remarks.append(f"cell {name} is missing")
        else:
            add(mine.kind, mine.source, name, name, mine.attachments, changed)
        if changed and name.startswith("check-") and is_locked(ours):
            remarks.append(f"cell {name} had been changed; it was restored")
        add_own(name)
    executed = needed(result.cells, wanted)
    result.cells = [
        cell for cell in result.cells if cell["kind"] != "code" or cell["id"] in executed
    ]
    result.for_tasks = needed(result.cells, result.for_tasks)
    result.for_marks = needed(result.cells, result.for_marks)
    return result


def recognised(submission, source) -> list[str | None]:
    """For each cell of a submission the id of the source's cell that it is, or None: by its names,
    and where tools or copying took those away by its tags, its text, the function it defines, or,
    for what a student fills in, by its place among the others."""
    known = {cell.id: cell for cell in source.cells}
    found = [next((name for name in cell.names if name in known), None) for cell in submission]

    def claim(marks, ours):
        """Cells that nobody claimed yet and that share a mark become one, in order; ``marks`` of a
        cell's kind, source and tags."""
        free = {
            name: marks(cell.cell_type, cell.source, cell.metadata.get("tags", []))
            for name, cell in ours.items()
            if name not in found
        }
        for number, cell in enumerate(submission):
            if found[number] is None:
                mine = marks(cell.kind, cell.source, cell.tags)
                found[number] = next((name for name in free if free[name] & mine), None)
                free.pop(found[number], None)

    claim(lambda kind, source, tags: {"parameters", "bootstrap"} & {*tags}, known)
    claim(lambda kind, source, tags: {(kind, _plain(source))}, known)
    to_fill = {name: cell for name, cell in known.items() if is_solution(cell)}
    claim(lambda kind, source, tags: _defined(source) if kind == "code" else set(), to_fill)
    names = list(known)
    for place, (name, ours) in enumerate(known.items()):
        if name in found or not is_solution(ours):
            continue
        before = [i for i, other in enumerate(found) if other in names[:place]]
        after = [i for i, other in enumerate(found) if other in names[place:]]
        gap = range(max(before, default=-1) + 1, min(after, default=len(found)))
        words = ours.cell_type == "markdown"
        fits = [i for i in gap if found[i] is None and submission[i].source.strip()]
        fits = [i for i in fits if words or submission[i].kind == "code"]
        fits.sort(key=lambda i: words and submission[i].kind == "code")
        if fits:
            found[fits[0]] = name
    return found


def _defined(source):
    return set(re.findall(r"^def (\w+)", source, re.MULTILINE))


def _plain(source):
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def needed(cells, wanted) -> set[str]:
    """The ids of the code cells to execute for the ``wanted`` ones: theirs, and those of earlier
    cells that bind what they use.

    A full notebook measures for a minute what no mark depends on; this is what remains of it. A
    cell that is no plain Python, imports everything, or is too long to take apart, is always
    executed, and may use whatever it mentions.
    """
    found, missing, left = set(), set(), MOST_PARSED
    for cell in reversed([cell for cell in cells if cell["kind"] == "code"]):
        source = cell["source"]
        magic, left = "\n".join(_MAGIC.findall(source)), left - len(source)
        try:
            if len(source) > MOST_PARSED // 8 or left < 0:
                raise ValueError("too long")
            bound, certain, used = _names(_MAGIC.sub(_blank, source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            bound, certain, used, magic = set(), set(), set(), source
        if magic or cell["id"] in wanted or bound & missing:
            found.add(cell["id"])
            missing = missing - certain | used | set(_WORD.findall(magic))
    return found


def _blank(line):
    return line[0][: len(line[0]) - len(line[0].lstrip())] + "pass"


def _names(source):
    """(the global names that a cell binds, those among them that it binds whatever happens, those
    it uses from elsewhere, also within functions)."""
    bound, certain, used = set(), set(), set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            raise ValueError("it may bind any name")
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        names, tables = table.get_symbols(), list(table.get_children())
        binds = {name.get_name() for name in names if name.is_assigned() or name.is_imported()}
        uses = {name.get_name() for name in names if name.is_referenced()}
        for inner in tables:
            tables += inner.get_children()
            uses |= {name.get_name() for name in inner.get_symbols() if name.is_global()}
        if isinstance(statement, ast.AugAssign):
            uses |= binds
        for loop in ast.walk(statement):
            if isinstance(loop, ast.For):
                uses -= {name.id for name in ast.walk(loop.target) if isinstance(name, ast.Name)}
        bound, used = bound | binds, used | uses - certain
        if isinstance(statement, _BINDING):
            certain |= binds
    return bound, certain, used


def profile(parameters, seed) -> str:
    """The parameters cell with another seed and small sizes."""
    lines = [parameters, "", f"SEED = {seed}  # from here: the grading profile"]
    for name, size in re.findall(r"(?m)^(N_\w+) = ([\d_]+) *(?:#.*)?$", parameters):
        lines.append(f"{name} = {min(int(size), SMALL.get(name, OTHER))}")
    return "\n".join(lines)
