"""What a guarded cell may print otherwise on another machine, and what it may not."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import nbformat
import pytest
from tolerant import disagreement

from helpers.course.run import ROOT

STORED = """\
300 pictures of scenes, n=50, σ=0.15      mass          AUC
black        0.425 [0.408, 0.442]         0.86
white       −0.031 [-0.052, 0.017]      110.36

gap 12.5%, 1.5e-04, nan; training seeds 0.024, 0.131; squeezenet1_1; 96 % → 3 of 20"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.425", "0.426"),  # a unit of the last digit
        ("0.86", "0.85"),
        ("110.36", "110.80"),  # 0.4 % of itself
        ("12.5%", "12.4 %"),
        ("1.5e-04", "1.6e-04"),
        ("−0.031", "-0.031"),  # another minus
        ("         0.86", " 0.86"),  # a column's width
        ("σ=0.15", "σ=0.16"),
        (STORED, STORED + "\n"),  # how a last line ends
    ],
)
def test_agrees(before, after):
    assert before in STORED
    for one, other in ((before, after), (after, before)):
        assert not disagreement(STORED.replace(before, one), STORED.replace(before, other))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.425", "0.432"),  # three tolerances
        ("110.36", "112.02"),
        ("12.5%", "13.0%"),
        ("1.5e-04", "1.5e-03"),
        ("−0.031", "0.031"),  # a sign
        ("σ=0.15", "σ=0.20"),
        ("nan", "0.1"),
        ("0.024", "nan"),
        ("0.86", "1"),
        ("n=50", "n=51"),  # a setting, a count
        ("300", "299"),
        ("96 %", "95 %"),
        ("3 of", "4 of"),
        ("squeezenet1_1", "squeezenet1_0"),
        ("mass", "mess"),  # a word, also where no number moves
        ("pictures of", "picturesof"),
        ("[-0.052", "(-0.052"),
        ("0.024, 0.131", "0.131, 0.024"),  # places exchanged
        ("black        0.425", "white        0.425"),
        ("0.017]      110.36\n", "0.017]      110.36"),  # an empty line
        ("0.86\n", "0.86\n\n"),
        ("0.86\n", "0.86\nred 0.1\n"),  # a line more
        ("0.131", "0.131, 0.131"),
    ],
)
def test_disagrees(before, after):
    assert before in STORED
    changed = STORED.replace(before, after, 1)
    assert disagreement(STORED, changed) and disagreement(changed, STORED)
    lines = STORED.splitlines()
    assert disagreement(STORED, "\n".join([lines[0], lines[2], lines[1], *lines[3:]]))


def test_a_cell_may_have_a_tolerance_of_its_own():
    assert not disagreement("0.86, 3 of 20", "0.90, 4 of 20", absolute=0.05, count=1)
    assert disagreement("0.86", "0.92", absolute=0.05) and disagreement("3 of", "5 of", count=1)
    assert not disagreement("1.00", "1.09", relative=0.1) and disagreement("1", "1.1", relative=0.1)
    assert "line 2: stored 'b 1.0', found 'b 2.0': 1.0 and 2.0" in disagreement(
        "a\nb 1.0", "a\nb 2.0"
    )


def test_nbval_compares_so(tmp_path):
    """A notebook that prints otherwise than was stored, in its guarded cells and in one other; of
    tables the text alone counts."""
    shown = {"text/plain": "mass\na  0.44", "text/html": "<td>0.44</td>"}
    shows = f"from IPython.display import display\ndisplay({shown}, raw=True)"
    cells = {
        "near": ("print('mass  0.426 of 300')", "mass 0.425 of 300\n", {}),
        "far": ("print('mass 0.432 of 300')", "mass 0.425 of 300\n", {}),
        "word": ("print('AUC 0.425 of 300')", "mass 0.425 of 300\n", {}),
        "missing": ("print('mass 0.425')", "mass 0.425\nAUC 0.1\n", {}),
        "loose": ("print('mass 0.430')", "mass 0.425\n", {"tolerance": {"absolute": 0.01}}),
        "table": (shows, ("mass\na  0.43", "<td>0.43</td>"), {}),
        "table far": (shows, ("mass\na  0.46", "<td>0.44</td>"), {}),
        "not guarded": ("print('mass 0.430')", "mass 0.425\n", {"tags": []}),
    }
    notebook = nbformat.v4.new_notebook()
    for source, stored, metadata in cells.values():
        if isinstance(stored, str):
            output = nbformat.v4.new_output("stream", name="stdout", text=stored)
        else:
            data = dict(zip(("text/plain", "text/html"), stored, strict=True))
            output = nbformat.v4.new_output("display_data", data=data)
        metadata = {"tags": ["nbval-check-output"]} | metadata
        cell = nbformat.v4.new_code_cell(
            source, outputs=[output], metadata=metadata, execution_count=1
        )
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "a.ipynb")
    report = tmp_path / "report.xml"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tolerant", "-c", ROOT / "pyproject.toml"),
            *(f"--rootdir={tmp_path}", tmp_path / "a.ipynb", f"--junitxml={report}"),
        ],
        cwd=ROOT / "tests" / "notebooks",
        capture_output=True,
        text=True,
    )
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert len(cases) == len(cells), ran.stdout
    failed = {
        name: case.find("failure").text
        for name, case in zip(cells, cases, strict=True)
        if case.find("failure") is not None
    }
    assert set(failed) == {"far", "word", "missing", "table far"}, failed
    assert "0.425 and 0.432 differ by more than 0.0021" in failed["far"]
    assert "other words" in failed["word"] and "found None" in failed["missing"]
