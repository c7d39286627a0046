"""Which cells of a submission are executed, and with which sizes."""

import json
from pathlib import Path

import nbformat
import pytest

from helpers.course.grading import score
from helpers.course.grading.reading import Cell, read_notebook
from helpers.course.grading.repair import is_solution, needed, profile, recognised, repair
from helpers.course.grading.score import BY_HAND


@pytest.mark.parametrize(
    "last, executed",
    [
        ("print(a)", ["imports", "a"]),
        ("print(b)", ["imports", "a", "b again"]),
        ("a += 1", ["imports", "a"]),
        ("def f():\n    return b", ["imports", "a", "b again"]),
        ("for b in range(3):\n    print(b)", []),
        ("b = 1\nprint(b)", []),
        ("print(maybe)", ["first maybe", "imports", "a", "maybe"]),
        ("%magic\nprint(b)", ["imports", "a", "b again"]),
    ],
)
def test_what_no_mark_depends_on_is_not_executed(last, executed):
    cells = {
        "first maybe": "maybe = 0",
        "imports": "import math",
        "a": "a = math.pi",
        "slow": "b = sum(range(10**9))",
        "b again": "b = [a for _ in range(3)]",
        "maybe": "if a > 3:\n    maybe = 1",
        "last": last,
    }
    cells = [{"id": name, "kind": "code", "source": source} for name, source in cells.items()]
    assert needed(cells, {"last"}) == {*executed, "last"}


def test_the_grading_profile_has_small_sizes_and_another_seed():
    values = {}
    exec(
        profile(
            "MODEL = 'scenes'\nSEED = 0\nN_PICTURES = 10\nN_MEASURED = 2\nN_STEPS = 50\n"
            "NOISE = 0.15",
            7,
        ),
        values,
    )
    values.pop("__builtins__")
    assert values == {
        "MODEL": "scenes",
        "SEED": 7,
        "N_PICTURES": 3,
        "N_MEASURED": 2,
        "N_STEPS": 12,
        "NOISE": 0.15,
    }


NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
SOURCES = [NOTEBOOKS / f"{name}.ipynb" for name in BY_HAND]


def handed(source, change=lambda cell: None):
    """A source notebook as cells that were handed in, its solutions written anew."""
    cells = []
    for cell in nbformat.read(source, as_version=4).cells:
        text = cell.source
        if is_solution(cell):
            text = f"# mine\n{text}" if cell.cell_type == "code" else "It is 0.7."
        mine = Cell(cell.cell_type, text, [cell.id], list(cell.metadata.get("tags", [])))
        cells.append(change(mine) or mine)
    return cells


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("lost", ["ids", "ids and tags", "kinds of words"])
def test_cells_are_recognised_without_their_names(source, lost):
    known = nbformat.read(source, as_version=4)

    def change(cell):
        cell.names = ["7"]
        cell.tags = [] if lost != "ids" else cell.tags
        if lost == "kinds of words" and cell.source == "It is 0.7.":
            cell.kind = "raw"

    found = recognised(handed(source, change), known)
    assert found == [cell.id for cell in known.cells]
    repaired = repair(handed(source, change), known, seed=7)
    assert not [cell for cell in repaired.cells if cell["id"].startswith("own-")]
    assert not repaired.remarks


def test_new_cells_are_the_students_own_and_words_in_them_are_seen(source):
    known = nbformat.read(source, as_version=4)
    cells = handed(source)
    assert cells[-1].names == ["observation"]
    cells[-1] = Cell("code", "It is 0.9.", ["new"])
    cells.insert(3, Cell("code", "import math", ["other"]))
    repaired = repair(cells, known, seed=7)
    last = repaired.cells[-1]
    assert (last["id"], last["kind"], last["source"]) == ("observation", "code", "It is 0.9.")
    (item,) = [
        i for i in score._by_hand(source.stem, source, repaired) if i["name"] == "observation"
    ]
    assert "It is 0.9." in item["words"]


def test_a_constant_added_to_the_parameters_stays_and_ours_rule(source):
    def change(cell):
        if cell.names == ["parameters"]:
            cell.source += "\nN_PICTURES = 10**6\nMINE = 3"
        if cell.names == ["solution-gradient"]:
            cell.source += "\nprint(MINE)"

    repaired = repair(handed(source, change), nbformat.read(source, as_version=4), seed=7)
    values = {}
    for cell in repaired.cells:
        if cell["of"] == "parameters":
            exec(cell["source"], values)
    assert (values["MINE"], values["N_PICTURES"], values["SEED"]) == (3, 3, 7)
    assert "own-parameters" in repaired.for_tasks and not repaired.remarks


def test_a_magic_does_not_hide_what_a_cell_needs():
    cells = {
        "imports": "import math",
        "a": "a = math.pi",
        "unused": "z = 1",
        "last": "%matplotlib inline\nif a:\n    %time print(a)\n!ls",
    }
    cells = [{"id": name, "kind": "code", "source": source} for name, source in cells.items()]
    assert needed(cells, {"last"}) == {"imports", "a", "last"}


@pytest.mark.parametrize("kind", ["crlf", "bom", "utf-16", "large", "version 3", "list"])
def test_a_notebook_is_read_however_it_was_saved(tmp_path, source, kind):
    raw = json.loads(source.read_text())
    expected = [cell.source for cell in nbformat.read(source, as_version=4).cells]
    if kind == "crlf":
        for cell in raw["cells"]:
            cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")
    if kind == "list":
        for cell in raw["cells"]:
            cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    if kind == "large":
        data = {"image/png": "A" * 8 * 2**20}
        raw["cells"][3]["outputs"] = [{"output_type": "display_data", "data": data}] * 5
    if kind == "version 3":
        cells = [
            {**cell, "input": cell.pop("source")} if cell["cell_type"] == "code" else cell
            for cell in raw.pop("cells")
        ]
        raw |= {"nbformat": 3, "worksheets": [{"cells": cells}]}
    coding = {"bom": "utf-8-sig", "utf-16": "utf-16"}.get(kind, "utf-8")
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(raw), encoding=coding)
    cells = read_notebook(path).cells
    assert [cell.source for cell in cells] == expected
    assert not repair(cells, nbformat.read(source, as_version=4), seed=7).remarks


def test_pasted_pictures_come_along(tmp_path):
    cell = {
        "cell_type": "markdown",
        "source": "![](attachment:a.png)",
        "attachments": {"a.png": {"image/png": "QUJD", "text/html": "<b>"}},
    }
    (tmp_path / "a.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [cell]}))
    (found,) = read_notebook(tmp_path / "a.ipynb").cells
    assert found.attachments == {"a.png": "data:image/png;base64,QUJD"}
