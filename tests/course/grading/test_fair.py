"""A right answer keeps its points, and what the grader did not manage to run is not graded."""

from dataclasses import replace

import pytest
from submissions import SOLVED, submission
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
    right = not_run(empty_record(), NAME, "not handed in, say")
    monkeypatch.setattr(module, "grade_notebook", lambda *_, **__: right)
    again = grade(tmp_path / "in", tmp_path / "out", sources=source.parent, seed=SEED)["ada"]
    assert "a flaw of ours" not in again["problems"][0], "it is tried again"


SPIN = "import time\nt = time.process_time()\nwhile time.process_time() < t + 1.6:\n    pass"


@needs_walls
@pytest.mark.slow
def test_cells_that_use_up_the_time_cost_no_points(tmp_path, source, small_limits):
    """Each is within its limit, and all together are not."""

    def spun(cells):
        own = [{"cell_type": "code", "id": f"own{i}", "metadata": {}} for i in range(12)]
        own = [{**cell, "source": SPIN, "outputs": [], "execution_count": None} for cell in own]
        return [*cells[:4], *own, *cells[4:]]

    submission(source, tmp_path / "in" / "ada" / f"{NAME}.ipynb", edit=spun)
    found = grade(
        tmp_path / "in",
        tmp_path / "out",
        sources=source.parent,
        seed=SEED,
        limits=replace(small_limits, cpu=16),
    )
    assert found["ada"]["notebooks"][NAME]["automatic"] == 12
    record = module._whole(tmp_path / "out", "ada", NAME)
    assert "more than 16 s of processor time in all; it was run again" in record["remarks"][0]
    assert record["cells"]["figure"]["pictures"], "what a person marks is drawn all the same"


@needs_walls
@pytest.mark.slow
def test_a_notebook_saved_elsewhere_keeps_its_points(tmp_path, source, small_limits):
    """No names, other line ends, an own constant, a magic, captum, words in a raw cell."""

    def anew(cells):
        for number, cell in enumerate(cells):
            cell["metadata"] = {}
            text = "".join(cell["source"])
            if cell["id"] == "parameters":
                text += "\nMINE = 1"
            if cell["id"] == "figure":
                text = f"%matplotlib widget\n{text}"
            if cell["id"] == "solution-smoothgrad":
                lines = text.splitlines()
                own = ["    from captum.attr import visualization", "    assert MINE"]
                text = "\n".join([lines[0], *own, *lines[1:]])
            if cell["id"] == "observation":
                cell["cell_type"] = "raw"
                text = "It is smoother: 1.9 against 2.4."
            cell |= {"source": text.replace("\n", "\r\n"), "id": str(number)}
        return cells

    submission(source, tmp_path / "in" / "ada" / f"{NAME}.ipynb", edit=anew)
    found = grade(
        tmp_path / "in",
        tmp_path / "out",
        sources=source.parent,
        seed=SEED,
        limits=replace(small_limits, cell=10),
    )
    record = module._whole(tmp_path / "out", "ada", NAME)
    assert found["ada"]["notebooks"][NAME]["automatic"] == 12, record
    assert not record["remarks"] or all("captum" in remark for remark in record["remarks"])
    assert not record["errors"] and len(record["cells"]["figure"]["pictures"]) == 1
    (words,) = [item["words"] for item in record["by_hand"] if item["name"] == "observation"]
    assert words == "It is smoother: 1.9 against 2.4."
    page = (tmp_path / "out" / "students" / "ada.html").read_text()
    assert f'href="../../in/ada/{NAME}.ipynb"' in page


@needs_walls
@pytest.mark.slow
def test_who_marks_sees_codes_and_remarks_on_cells(tmp_path, source, small_limits):
    words = {"solution-gradient": SOLVED["solution-gradient"] + "\nimport subprocess"}
    submission(source, tmp_path / "in" / "Ada" / f"{NAME}.ipynb", words)
    options = {"sources": source.parent, "seed": SEED, "limits": small_limits}
    grade(tmp_path / "in", tmp_path / "out", anonymous=True, markers=("ben",), **options)
    (page,) = (tmp_path / "out" / "students").glob("s-*.html")
    for path in (page, tmp_path / "out" / "index.html", tmp_path / "out" / "marks.csv"):
        assert "Ada" not in path.read_text() and page.stem in path.read_text()
    assert "mentions subprocess: look at it" in page.read_text()
    assert f"{page.stem},Ada" in (tmp_path / "out" / "names.csv").read_text()
    assert "Ada" in (tmp_path / "out" / "grades.csv").read_text()
    assert (tmp_path / "out" / "feedback" / "Ada.html").is_file()
