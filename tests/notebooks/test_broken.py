"""What re-execution is worth: a copy of each evidence page, broken in three ways, fails in those
three cells and no other."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import nbformat
import pytest
from sliders import has_sliders

from helpers.course.run import ROOT

PAGES = [
    path
    for path in sorted((ROOT / "notebooks" / "evidence").glob("*.ipynb"))
    if "check_claim(" in path.read_text(encoding="utf-8")
]
MOVED = """
import gc

from helpers.display.explorer import Panel


def fail(**values):
    raise ZeroDivisionError("a callback failed")


for panel in [thing for thing in gc.get_objects() if type(thing) is Panel]:
    control = next(control for control in panel.controls.values() if hasattr(control, "min"))
    panel.draw = fail
    control.value = control.max if control.value == control.min else control.min"""


def false_observation(cell):
    """A claim turned into its contrary."""
    if "check_claim(" in cell.source:
        other = {"above": "below", "below": "above"}
        cell.source = re.sub(
            r"\b(above|below)=(?!=)", lambda found: f"{other[found[1]]}=", cell.source
        )
        return True


def failing_callback(cell):
    """A slider that is moved and cannot be drawn."""
    if has_sliders(cell):
        cell.source += MOVED
        return True


def stale_output(cell):
    """Another digit in what a guarded cell printed."""
    if "nbval-check-output" in cell.metadata.get("tags", []) and "check_claim(" not in cell.source:
        for output in cell.outputs:
            # what was printed, or the text of a table
            printed = output.output_type == "stream"
            said, key = (output, "text") if printed else (output.get("data", {}), "text/plain")
            before = said.get(key, "")
            after = re.sub(
                r"\d(?=\.)", lambda digit: str((int(digit[0]) + 1) % 10), before, count=1
            )
            if after != before:
                said[key] = after
                return True


DEFECTS = {
    false_observation: r"AssertionError: (unsupported|undecided): ",
    failing_callback: r"ZeroDivisionError: a callback failed",
    stale_output: r"Cell outputs differ",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_broken_copy_fails_in_each_broken_cell_for_its_own_reason(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # The position of the first cell that a defect applies to (notebooks without sliders have none
    # for one of them).
    broken = {
        defect: next((i for i, cell in enumerate(cells) if defect(cell)), None)
        for defect in DEFECTS
    }
    expected = {
        position: DEFECTS[defect] for defect, position in broken.items() if position is not None
    }
    with_sliders = any(map(has_sliders, nbformat.read(path, as_version=4).cells))
    assert len(expected) == len(DEFECTS) - (not with_sliders), "some defect found no cell to break"
    # in the checkout, where the bootstrap cell finds its root
    copy = ROOT / "build" / "broken" / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, copy)
    report = tmp_path / "report.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", str(copy), f"--junitxml={report}"],
        cwd=ROOT,
        capture_output=True,
    )
    cases = [case.find("failure") for case in ElementTree.parse(report).iter("testcase")]
    failed = {
        i: re.sub(r"(\x1b|#x1B)\[[\d;]*m", "", case.text)
        for i, case in enumerate(cases)
        if case is not None
    }
    assert set(failed) == set(expected), failed
    for position, reason in expected.items():
        assert re.search(reason, failed[position]), failed[position]
