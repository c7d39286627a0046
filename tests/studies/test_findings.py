"""What evidence pages say of other networks and of photographs is what was measured."""

import re

import nbformat
import pytest
from tolerant import disagreement

from helpers.course.run import ROOT
from helpers.studies import findings as module
from helpers.studies.findings import findings, in_short

LINES = {
    "smoothgrad_1_method": "noise of 15 % against the gradient",
    "smoothgrad_2_noise_strength": "noise of 5 % against the gradient",
    "smoothgrad_3_sample_count": "three samples against the most",
    "smoothgrad_4_noise_distribution": "uniform noise against normal",
    "smoothgrad_5_aggregation": "mean of squares against the gradient squared",
    "ig_1_method": "IG from black against the gradient",
    "ig_2_baseline": "IG from the mean colour against black",
    "ig_3_steps": "five steps against the most",
    "ig_5_beyond_hiding": "guided backprop against the gradient",
}


@pytest.fixture(scope="module")
def found():
    return findings()


@pytest.mark.parametrize("name", LINES)
def test_the_line_of_findings_elsewhere(name, found, monkeypatch):
    monkeypatch.setattr(module, "findings", lambda: found)
    notebook = nbformat.read(ROOT / "notebooks" / "evidence" / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    (said,) = re.findall(r"^\*Elsewhere\* \(\[findings\]\(.*?\)\), (.*)\.$", text, re.MULTILINE)
    assert not disagreement(in_short(LINES[name]), said)
