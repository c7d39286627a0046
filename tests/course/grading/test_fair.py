"""A right answer keeps its points, and what the grader did not manage to run is not graded."""

import pytest
from submissions import submission
from test_grade import NAME, SEED, needs_walls

from helpers.course import grade as module
from helpers.course.grade import CannotGrade, grade
from helpers.course.grading import sandbox
from helpers.course.grading.score import empty_record, not_run


@needs_walls
def test_where_python_is_hidden_nobody_is_graded(tmp_path, source, monkeypatch):
    submission(source, tmp_path / "in" / "ada" / f"{NAME}.ipynb")
    monkeypatch.setattr(sandbox, "_visible", lambda: ([], []))
    with pytest.raises(CannotGrade, match=r"nobody was graded.*my_gradient 0 of 4"):
        grade(tmp_path / "in", tmp_path / "out", sources=source.parent, seed=SEED + 1)
    assert not (tmp_path / "out" / "grades.csv").exists()


def test_a_solved_edition_that_loses_points_stops_the_run(tmp_path, source, capsys, monkeypatch):
    def wrong(*_, **__):
        record = not_run(empty_record(), NAME, "it is a Tuesday")
        return record

    submission(source, tmp_path / "in" / "ada" / f"{NAME}.ipynb")
    monkeypatch.setattr(module, "grade_notebook", wrong)
    monkeypatch.setattr(module, "_full", set())
    with pytest.raises(SystemExit) as end:
        module.main(
            [
                *(str(tmp_path / "in"), "--out", str(tmp_path / "out")),
                *("--notebooks", str(source.parent), "--only", NAME),
            ]
        )
    assert end.value.code == 1 and "it is a Tuesday" in capsys.readouterr().err


def test_what_the_grader_failed_at_is_not_graded(tmp_path, source, capsys, monkeypatch):
    def fails(path, *_, **__):
        raise RuntimeError("a flaw of ours")

    submission(source, tmp_path / "in" / "ada" / f"{NAME}.ipynb")
    monkeypatch.setattr(module, "grade_notebook", fails)
    monkeypatch.setattr(module, "_solved_first", lambda *_: None)
    found = grade(tmp_path / "in", tmp_path / "out", sources=source.parent, seed=SEED)["ada"]
    assert found["notebooks"][NAME]["earned"] is None and found["not_graded"] == 1
    assert "a flaw of ours" in found["problems"][0]
    rows = (tmp_path / "out" / "grades.csv").read_text().splitlines()
    assert rows[1].startswith("ada,,,")
    assert "not graded" in (tmp_path / "out" / "students" / "ada.html").read_text()
    assert "not graded" in (tmp_path / "out" / "index.html").read_text()
