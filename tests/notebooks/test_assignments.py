"""The assignments: short, in the agreed order, and running whoever wrote the functions."""

import re
import subprocess
import sys

import budgets
import nbformat
import papermill
import pytest
from solutions import RIGHT

from helpers.course import syllabus
from helpers.course.grading.score import TASKS
from helpers.course.release import student_version

NOTEBOOKS = syllabus.NOTEBOOKS
ENTRIES = {entry.name: entry for entry in syllabus.load()}
FUNCTIONS = {task.name for task in TASKS}


@pytest.fixture(params=ENTRIES, scope="module")
def entry(request):
    return ENTRIES[request.param]


@pytest.fixture(scope="module")
def notebook(entry):
    return nbformat.read(NOTEBOOKS / f"{entry.name}.ipynb", as_version=4)


def test_the_course_names_every_assignment_in_its_order():
    assert sorted(ENTRIES) == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    assert next(iter(ENTRIES)) == "00_start_here"


def test_budgets(notebook):
    found = budgets.of(notebook)
    assert found["words"] <= budgets.WORDS
    assert found["longest visible cell"] <= budgets.LINES
    assert found["printed numbers"] <= budgets.NUMBERS
    assert found["widest line"] <= budgets.COLUMNS
    assert found["folded"] <= budgets.FOLDED
    assert found["figures"] >= 3


def test_the_model_answer_is_short(notebook):
    for cell in notebook.cells:
        if cell.id.startswith("observation"):
            assert len(re.findall(r"\w[\w’'.-]*", cell.source)) <= budgets.MODEL_ANSWER, cell.id


def test_every_number_of_the_model_answer_stands_in_an_output(notebook):
    """Printed, in a table, or over a panel of a figure, which its alt text repeats."""
    outputs = [output for cell in budgets.code_cells(notebook) for output in cell.outputs]
    shown = " ".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs
    )
    for cell in notebook.cells:
        if cell.id.startswith("observation"):
            said = re.findall(r"\d+\.\d+", cell.source)
            assert said and not [number for number in said if number not in shown], cell.id


def test_every_check_and_table_is_held_against_what_is_committed(notebook):
    """A check that fails goes on and does not raise: re-execution compares what it said."""
    for cell in budgets.code_cells(notebook):
        told = any(
            output.output_type == "stream" or "text/html" in output.get("data", {})
            for output in cell.outputs
        )
        if cell.id.startswith("check-"):
            assert told and "".join(output.text for output in cell.outputs).startswith("✓"), cell.id
        assert ("nbval-check-output" in cell.metadata.tags) == told, cell.id


def test_points_are_the_course_s(entry, notebook):
    graded = {}
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade"):
            assert about["grade_id"] == cell.id
            graded[next(iter(syllabus.asked(cell)), cell.id)] = about["points"]
    assert graded == entry.parts and list(graded) == list(entry.parts)


def test_six_steps_in_their_order(entry, notebook):
    ids = [cell.id for cell in notebook.cells]
    assert ids[:3] == ["title", "bootstrap", "parameters"] and ids[-1] == "evidence"
    places = [ids.index(name) for name in ("see-it", "panel", "self-test")]
    assert places == sorted(places)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "$$" in text or entry.name == "00_start_here"
    assert text.count('<details class="answer">') == 3
    functions = [part for part in entry.parts if part in FUNCTIONS]
    assert text.count('<details class="hint">') >= 2 * len(functions)
    assert "(evidence/" in notebook.cells[-1].source
    for cell in notebook.cells:
        for link in re.findall(r"\]\(([\w./-]+\.ipynb)\)", cell.source):
            assert (NOTEBOOKS / link).is_file(), link


def test_what_a_student_writes_is_used(entry, notebook):
    """After its check, in the cells that follow."""
    later = {}
    for cell in reversed(budgets.code_cells(notebook)):
        for name in syllabus.asked(cell):
            assert re.search(rf"\b{name}\b", later.get("text", "")), f"{name} is never used"
        later["text"] = cell.source + "\n" + later.get("text", "")


def test_nothing_stored_is_read(notebook):
    for cell in budgets.code_cells(notebook):
        assert not re.search(r"helpers\.studies|load_results|study-", cell.source), cell.id


def test_every_figure_says_in_words_what_it_compares(notebook):
    for cell in budgets.code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt.split()) >= 8, cell.id


def run(notebook, tmp_path):
    """Its outputs as text, all cells run."""
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    source.write_text(nbformat.writes(notebook))
    papermill.execute_notebook(
        str(source), str(target), cwd=str(NOTEBOOKS), progress_bar=False, kernel_name="python3"
    )
    cells = nbformat.read(target, as_version=4).cells
    return {
        cell.id: "".join(output.get("text", "") for output in cell.outputs)
        for cell in cells
        if cell.cell_type == "code"
    }


QUICK = "smoothgrad_1_method"  # in `make test`; the others in `make test-all`
EACH = [
    pytest.param(entry, marks=() if name == QUICK else pytest.mark.slow, id=name)
    for name, entry in ENTRIES.items()
]


@pytest.fixture
def without_studies(tmp_path, monkeypatch):
    """The data as students get them."""
    from helpers.benchmark.models import DATA

    folder = tmp_path / "data"
    folder.mkdir()
    for path in DATA.iterdir():
        if not path.name.startswith("study-"):
            (folder / path.name).symlink_to(path)
    monkeypatch.setenv("HELPERS_DATA", str(folder))


@pytest.mark.parametrize("entry", EACH)
@pytest.mark.parametrize("solved", ["by another", "by nobody"])
def test_it_runs_whoever_wrote_the_functions(solved, entry, tmp_path, without_studies):
    """No cell needs a name that only a solution defines; and nothing of the stored measurements."""
    notebook = student_version(nbformat.read(NOTEBOOKS / f"{entry.name}.ipynb", as_version=4))
    functions = [part for part in entry.parts if part in FUNCTIONS]
    for cell in notebook.cells:
        if solved == "by another" and any(f"def {name}(" in cell.source for name in functions):
            cell.source = RIGHT
    said = run(notebook, tmp_path)
    for name in functions:
        text = next(text for text in said.values() if f" {name}: " in text)
        if solved == "by another":
            assert text.startswith(f"✓ {name}"), text
        else:
            assert text.startswith(f"✗ {name}: not written yet"), text
            on_the_page = any(  # some only serve what is written later
                re.search(rf"\b{name}\b(?!\")", cell.source)
                for cell in budgets.code_cells(notebook)
                if not cell.id.startswith(("solution-", "check-"))
            )
            label = f"[{name}: the package's, not yours]"
            assert not on_the_page or any(label in text for text in said.values()), name


@pytest.mark.parametrize("entry", [each for each in EACH if ENTRIES[each.id].points])
def test_a_solution_that_no_longer_passes_fails_its_check_when_the_page_is_run_again(entry):
    path = syllabus.NOTEBOOKS.parent / "build" / "broken" / f"{entry.name}.ipynb"
    notebook = nbformat.read(NOTEBOOKS / path.name, as_version=4)
    cleared = student_version(notebook.copy())
    first = next(i for i, cell in enumerate(notebook.cells) if cell.id.startswith("solution-"))
    notebook.cells[first].source = cleared.cells[first].source
    check = next(i for i, cell in enumerate(notebook.cells) if cell.id.startswith("check-"))
    notebook.cells = notebook.cells[: check + 1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(path)],
        cwd=path.parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1 and "1 failed" in ran.stdout, ran.stdout[-2000:]
    assert "not written yet" in ran.stdout
