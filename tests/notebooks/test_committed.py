"""What is committed: executed top to bottom, small, clean, and readable without a kernel."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").rglob("*.ipynb"))
SHIPPED = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return SHIPPED[path.stem]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert {"00_start_here", "smoothgrad_1_method"} <= set(SHIPPED)


def test_executed_from_top_to_bottom(notebook):
    assert [cell.execution_count for cell in code_cells(notebook)] == list(
        range(1, len(code_cells(notebook)) + 1)
    )


def test_valid_small_and_for_any_python3_kernel(path, notebook):
    nbformat.validate(notebook)
    assert path.stat().st_size <= 1.5 * 2**20
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata


def test_no_output_that_a_reader_should_not_see(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            assert output.output_type != "error" and output.get("name") != "stderr"
            assert "application/vnd.jupyter.widget-view+json" not in data, (
                "shows as an error without a kernel"
            )
            assert not re.search(
                r"/(home|root|tmp|usr)/", output.get("text", "") + data.get("text/plain", "")
            )


def test_cells_are_short_enough_to_read(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 70


def test_parameters_cell_comes_first_and_can_be_overridden(path, notebook):
    if path.parent.name == "evidence":
        return  # it reads what was measured, and has nothing to choose
    tags = [cell.metadata.get("tags", []) for cell in code_cells(notebook)]
    assert "bootstrap" in tags[0] and "parameters" in tags[1]
    for name in ("MODEL", "IMAGES", "SEED"):
        assert re.search(rf"^{name} = ", code_cells(notebook)[1].source, re.MULTILINE)


def test_verdicts_are_guarded(notebook):
    guarded = [
        cell
        for cell in code_cells(notebook)
        if "nbval-check-output" in cell.metadata.get("tags", [])
    ]
    assert guarded and all(cell.outputs for cell in guarded)


def test_links_between_notebooks_lead_somewhere(path, notebook):
    for cell in notebook.cells:
        for link in re.findall(r"\]\(([\w./-]+\.ipynb)\)", cell.source):
            assert (path.parent / link).is_file(), link
