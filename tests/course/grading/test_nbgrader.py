"""The real nbgrader generates the students' version of each notebook, and autogrades what comes
back.

It lives in an environment of its own, of what requirements-grading.txt asks for.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from environments import environment

from helpers.course.grading.score import BY_HAND, points_of, tasks_of
from helpers.course.release import student_version

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
SOURCES = [path for name in BY_HAND if (path := NOTEBOOKS / f"{name}.ipynb").is_file()]
WANTED = (NOTEBOOKS.parent / "requirements-grading.txt").read_text(encoding="utf-8")


@pytest.fixture
def course(tmp_path):
    """A course folder of nbgrader whose notebooks run on this environment's Python."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Python 3",
                "language": "python",
            }
        )
    )
    for name in ("helpers", "data"):
        (tmp_path / name).symlink_to(NOTEBOOKS.parent / name)
    (tmp_path / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'course'\n"
        "c.ExecutePreprocessor.timeout = 3600\n"
    )

    programs = environment("nbgrader", WANTED).parent

    def run(*command):
        env = {
            **os.environ,
            "JUPYTER_PATH": str(tmp_path / "jupyter"),
            "PYTHONPATH": str(tmp_path),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [programs / "nbgrader", *command], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]

    run.folder = tmp_path
    return run


@pytest.mark.slow
def test_nbgrader_generates_and_autogrades(course):
    path = NOTEBOOKS / "smoothgrad_1_method.ipynb"
    source = course.folder / "source" / "method" / path.name
    source.parent.mkdir(parents=True)
    shutil.copy(path, source)
    course("generate_assignment", "method", "--create")
    generated = nbformat.read(course.folder / "release" / "method" / path.name, as_version=4)
    assert not any(
        "BEGIN SOLUTION" in cell.source for cell in generated.cells if cell.cell_type == "code"
    )
    cleared = {
        cell.id: cell.source for cell in student_version(nbformat.read(path, as_version=4)).cells
    }
    for cell in generated.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            # a figure that nobody has drawn yet is no error in ours
            ours = cleared[cell.id].strip()
            by_hand = cell.metadata.nbgrader.grade and cell.cell_type == "code"
            stub = "\nraise NotImplementedError()" if by_hand else ""
            assert cell.source.strip() == ours + stub, "ours clears as nbgrader does"
    for student, notebook in (
        ("ada", path),
        ("bob", course.folder / "release" / "method" / path.name),
    ):
        target = course.folder / "submitted" / student / "method" / path.name
        target.parent.mkdir(parents=True)
        shutil.copy(notebook, target)
    course("autograde", "method", "--create")
    with sqlite3.connect(course.folder / "gradebook.db") as book:
        scores = dict(
            book.execute(
                "select student.id, sum(coalesce(grade.auto_score, 0)) from grade "
                "join submitted_notebook on grade.notebook_id = submitted_notebook.id "
                "join submitted_assignment "
                "on submitted_notebook.assignment_id = submitted_assignment.id "
                "join student on student_id = student.id group by student.id"
            )
        )
    assert scores == {"ada": 12, "bob": 0}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_words_hold_the_markers_of_a_solution(path):
    """nbgrader would take them for the beginning of one that has no end."""
    words = [
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    assert not [text for text in words if "BEGIN SOLUTION" in text or "END SOLUTION" in text]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_metadata_says_the_same_points_as_the_grader(path):
    cells = [
        cell for cell in nbformat.read(path, as_version=4).cells if cell.metadata.get("nbgrader")
    ]
    meta = [cell.metadata.nbgrader for cell in cells]
    automatic = sorted(each.points for each in meta if each.grade and not each.solution)
    by_hand = [each.points for each in meta if each.grade and each.solution]
    assert automatic == sorted(task.points for task in tasks_of(path.stem))
    assert by_hand == [points for _, points in BY_HAND[path.stem]]
    assert sum(automatic) + sum(by_hand) == points_of(path.stem)
    assert all(
        each.grade_id == cell.id and each.schema_version == 3
        for cell, each in zip(cells, meta, strict=True)
    )
