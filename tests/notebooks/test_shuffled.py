"""No claim is one that any data would support: with the data shuffled, it fails."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.course.run import ROOT

HERE = ROOT / "tests" / "notebooks"
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
SHUFFLES = 5  # any one may put two settings back where they were
CLAIM = re.compile(r"^(supported|not supported|unsupported|undecided): (.*?)(?: \([-−\d.]+ \[.*)?$")


def claims(path, shuffle):
    """{claim: whether it is supported} of a notebook whose data are shuffled."""
    notebook = nbformat.read(path, as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    assert "bootstrap" in notebook.cells[first].metadata.tags
    source = (HERE / "shuffled.py").read_text().replace("SHUFFLE = 0", f"SHUFFLE = {shuffle}")
    notebook.cells.insert(first + 1, nbformat.v4.new_code_cell(source))
    for cell in notebook.cells:
        if "shipped = (MODEL" in cell.source:
            cell.source += "\nshipped = False"
    NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    found = filter(None, map(CLAIM.match, printed.splitlines()))
    return {claim[2]: claim[1] == "supported" for claim in found}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shuffled_data_support_no_claim(path):
    standing = None
    for shuffle in range(SHUFFLES):
        found = claims(path, shuffle)
        stands = {claim for claim, supported in found.items() if supported}
        standing = stands if standing is None else standing & stands
        if not standing:
            break
    assert found and not standing, "\n".join(sorted(standing))
