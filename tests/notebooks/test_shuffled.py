"""No claim is one that any data would support: with the data shuffled, it fails."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.course.run import ROOT

HERE = ROOT / "tests" / "notebooks"
CLAIMING = [
    path
    for path in sorted((ROOT / "notebooks" / "evidence").glob("*.ipynb"))
    if "check_claim(" in path.read_text(encoding="utf-8")
]
SHUFFLES = 10  # any one may put two settings back where they were; of 60 claims five left one
CLAIM = re.compile(r"^(supported|not supported|unsupported|undecided): (.*?)(?: \([-−\d.]+ \[.*)?$")
NUMBERS = (  # not of one setting against another: most settings' values would do
    "noisy copies still named at 15 %",
    "the truth itself hides less well than 30 %",  # as any control does
    "log10 error at 50 steps, EfficientNet-Lite0's",
    "hardly agrees with",  # nor does what was shuffled
    "the gradient is another after one block",  # as most maps of most networks
    "likeness to 50 other copies",  # as of most maps
    "log10 of the gradient of p, logits × 3, over the logit's",
)


def claims(path, shuffle):
    """{claim: whether it is supported} of a notebook whose data are shuffled."""
    notebook = nbformat.read(path, as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    assert "bootstrap" in notebook.cells[first].metadata.tags
    source = (HERE / "shuffled.py").read_text().replace("SHUFFLE = 0", f"SHUFFLE = {shuffle}")
    notebook.cells.insert(first + 1, nbformat.v4.new_code_cell(source))
    NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    found = {}
    for line in filter(None, map(CLAIM.match, printed.splitlines())):
        # two sides of one number are one claim
        found[line[2]] = found.get(line[2], True) and line[1] == "supported"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", CLAIMING, ids=lambda path: path.stem)
def test_shuffled_data_support_no_claim(path):
    standing = None
    for shuffle in range(SHUFFLES):
        found = claims(path, shuffle)
        stands = {claim for claim, supported in found.items() if supported}
        standing = stands if standing is None else standing & stands
        standing = {claim for claim in standing if not any(map(claim.__contains__, NUMBERS))}
        if not standing:
            break
    assert found and not standing, "\n".join(sorted(standing))
