"""What students get: everything that they need, and no solution."""

import re
import subprocess
import sys

import nbformat
import pytest

from helpers.course import syllabus
from helpers.course.colab import origin
from helpers.course.grading.reading import read_notebook
from helpers.course.grading.repair import is_locked, is_solution
from helpers.course.precheck import result
from helpers.course.release import ROOT, release, student_version


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "release"
    return out, release(out)


def test_solutions_and_outputs_are_gone_and_the_rest_is_kept(released):
    _, written = released
    assert [path.stem for path in written] == [entry.name for entry in syllabus.load()]
    for path in written:
        source = nbformat.read(ROOT / "notebooks" / path.name, as_version=4)
        student = nbformat.read(path, as_version=4)
        assert [cell.id for cell in student.cells] == [cell.id for cell in source.cells]
        for ours, theirs in zip(source.cells, student.cells, strict=True):
            assert theirs.metadata == ours.metadata
            assert not theirs.get("outputs") and not theirs.get("execution_count")
            if is_solution(ours):
                assert (
                    "YOUR " in theirs.source
                    and "SOLUTION" not in theirs.source
                    and theirs.source != ours.source
                )
            elif is_locked(ours):
                assert theirs.source == ours.source


def test_the_grader_the_tests_and_the_solved_notebooks_stay_behind(released):
    out, _ = released
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert not {
        name
        for name in names
        if "score" in name or "sandbox" in name or name.startswith(("tests", ".git/", "docs"))
    }
    assert {
        "README.md",
        "LICENSE",
        "requirements.txt",
        "helpers/course/precheck.py",
        "data/scenes-0.safetensors",
    } <= names
    assert not {"helpers/course/grade.py", "helpers/course/release.py"} & names


def test_in_colab_it_fetches_the_repository_it_is_handed_out_in(tmp_path):
    address = "https://github.com/school/handout"
    for path in release(tmp_path / "out", repository=f"{address}/"):
        text = path.read_text()
        assert "OWNER" not in text and f'"{address}"' in text.replace('\\"', '"'), path.name
    assert address in (tmp_path / "out" / "pyproject.toml").read_text()


def parameters(path):
    cells = nbformat.read(path, as_version=4).cells
    return next(cell.source for cell in cells if cell.id == "parameters")


def test_a_notebook_says_which_edition_it_is_of(released):
    for path in released[1]:
        about = nbformat.read(path, as_version=4).metadata["course"]
        assert about == {"version": origin()[1], "parts": syllabus.entry(path.stem).parts}
        assert read_notebook(path).edition == about, "as the grader reads it"


def test_a_student_and_a_year_have_pictures_of_their_own(tmp_path, released, monkeypatch):
    sources = ROOT / "notebooks"
    assert all("\nSEED = 0" in parameters(path) for path in released[1])
    text, entry = (sources / "course.toml").read_text(), syllabus.entry("ig_1_method")
    monkeypatch.setattr(syllabus, "load", lambda: (entry,))
    (tmp_path / "ig_1_method.ipynb").write_bytes((sources / "ig_1_method.ipynb").read_bytes())
    found = {}
    for year in ("", "seed = 2027\n"):
        (tmp_path / "course.toml").write_text(year + text)
        for who in ("", "ada", "bob"):
            (path,) = release(tmp_path / "out", sources=tmp_path, student=who)
            (found[year, who],) = re.findall(r"^SEED = (\d+)", parameters(path), re.M)
            assert parameters(path) == parameters(released[1][0].parent / path.name).replace(
                "SEED = 0", f"SEED = {found[year, who]}"
            )
    assert found["seed = 2027\n", ""] == "2027" and len(set(found.values())) == 6


def test_a_solution_without_its_tag_is_an_error_not_a_leak(source):
    notebook = nbformat.read(source, as_version=4)
    cell = notebook.cells[4]
    cell.metadata.pop("nbgrader")
    cell.metadata["tags"] = []
    with pytest.raises(ValueError, match="solution-gradient"):
        student_version(notebook)


def test_answers_and_links_to_evidence_are_gone_and_questions_stay():
    words = """1. Which one?

<details class="answer"><summary>Answer</summary>

The first.
</details>

2. See [the measure](evidence/how.ipynb), or not ([How](evidence/how.ipynb)).

<details class="hint"><summary>Hint</summary>

Think.
</details>

**The evidence**: 300 pictures: [measured](evidence/a.ipynb). Next: [two](two.ipynb)"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(words)])
    assert (
        student_version(notebook).cells[0].source
        == """1. Which one?

2. See the measure, or not.

<details class="hint"><summary>Hint</summary>

Think.
</details>

Next: [two](two.ipynb)"""
    )


def test_outside_of_a_function_a_stub_runs():
    """A figure that nobody drew does not stop the notebook; a function that nobody wrote is an
    error when it is called."""
    cell = nbformat.v4.new_code_cell(
        "### BEGIN SOLUTION\nfigure = 1\n### END SOLUTION", metadata={"tags": ["solution"]}
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert student_version(notebook).cells[0].source == "# YOUR CODE HERE"


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="something else"):
        release(tmp_path)


def test_precheck_in_a_release(released, source):
    """As the release's README says, and with the released helpers alone."""
    out, _ = released
    notebook = out / "notebooks" / "mine.ipynb"
    notebook.write_text(source.read_text())
    command = [sys.executable, "-m", "helpers", "precheck", "notebooks/mine.ipynb"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    assert (
        "passed  my_gradient" in done.stdout
        and "passed  my_smoothgrad" in done.stdout
        and "FAILED  check-smoothgrad: AssertionError" in done.stdout
    ), done.stderr
    assert done.returncode == 1
    notebook.unlink()


def test_precheck_says_what_a_person_marks_and_nobody_filled(released, source):
    out, _ = released
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.id == "observation":
            cell.source = "YOUR ANSWER HERE"
    path = out / "notebooks" / "unfilled.ipynb"
    nbformat.write(notebook, path)
    empty = result(path)["empty"]
    path.unlink()
    assert "observation" in empty and "figure" not in empty
