"""A right answer keeps its points, and what the grader did not manage to run is not graded."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from submissions import SOLVED, submission
from test_grade import NAME, SEED, needs_walls

from helpers.course import grade as module
from helpers.course.grade import CannotGrade, grade
from helpers.course.grading import sandbox, score
from helpers.course.grading.handed_in import Handed
from helpers.course.grading.score import empty_record, not_run
from helpers.course.grading.tasks import Given
from helpers.course.release import edition


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
    words = {
        "solution-gradient": SOLVED["solution-gradient"] + "\nimport subprocess",
        "solution-smoothgrad": "raise ValueError('Ada was here')",
        "observation": "Ada Lovelace: it is smoother.",
    }
    for name in (f"{NAME}.ipynb", "Ada Lovelace.ipynb"):
        submission(source, tmp_path / "in" / "Ada Lovelace" / name, words)
    options = {"sources": source.parent, "seed": SEED, "limits": small_limits}
    grade(tmp_path / "in", tmp_path / "out", anonymous=True, markers=("ben",), **options)
    (page,) = (tmp_path / "out" / "students").glob("s-*.html")
    for path in (page, tmp_path / "out" / "index.html", tmp_path / "out" / "marks.csv"):
        assert "Ada" not in path.read_text() and page.stem in path.read_text(), path
    assert "mentions subprocess: look at it" in page.read_text()
    assert f"{page.stem},Ada" in (tmp_path / "out" / "names.csv").read_text()
    assert "Ada" in (tmp_path / "out" / "grades.csv").read_text()
    assert list((tmp_path / "out" / "feedback").glob("Ada_Lovelace*.html"))


def not_executed(monkeypatch, problem="it is a test"):
    """Records without a process."""
    record = not_run(empty_record(), NAME, problem)
    monkeypatch.setattr(module, "grade_notebook", lambda *_, **__: json.loads(json.dumps(record)))
    monkeypatch.setattr(module, "_solved_first", lambda *_: None)
    return record


def test_who_is_alike_or_gone_is_told_by_codes(tmp_path, source, monkeypatch, capsys):
    copied = "def my_gradient(model, pixels, target):\n    x = pixels\n" + "".join(
        f"    x = x * {i} + target[{i}] - model(x)[{i}:, {i + 1}]\n" for i in range(9)
    )
    record = not_executed(monkeypatch)
    record["functions"] = {"my_gradient": copied}
    for name in ("Ada Lovelace", "Bob Dam"):
        submission(source, tmp_path / "in" / name / f"{NAME}.ipynb")
    options = {"sources": source.parent, "seed": SEED}
    out = tmp_path / "out"
    grade(tmp_path / "in", out, **options)
    assert "Ada" in (out / "similarity.csv").read_text()
    marks = f"student,notebook,task,mark\nEve,{NAME},figure,3\n"
    (out / "marks.csv").write_text(marks)
    grade(tmp_path / "in", out, anonymous=True, **options)
    seen = [out / name for name in ("similarity.csv", "marks.csv", "index.html")]
    for path in [*seen, *(out / "students").iterdir()]:
        assert not {"Ada", "Bob", "Eve"} & set(re.findall(r"\w+", path.read_text())), path
    assert "are kept: s-" in capsys.readouterr().err
    names = dict(csv.reader((out / "names.csv").open()))
    assert {"Ada Lovelace", "Bob Dam", "Eve"} < set(names.values())
    grade(tmp_path / "in", out, **options)
    assert "Eve" in (out / "marks.csv").read_text(), "and back again"


def test_each_student_is_asked_about_one_of_the_variants(tmp_path, source, monkeypatch):
    asked = []
    record = not_executed(monkeypatch)

    def graded(path, source, setting, **_):
        asked.append(setting.given.seed)
        return json.loads(json.dumps(record))

    monkeypatch.setattr(module, "grade_notebook", graded)
    monkeypatch.setattr(module.syllabus, "variants", lambda *_: 3)
    monkeypatch.setattr(module, "_given", lambda seed: Given(seed))
    for number in range(12):
        submission(source, tmp_path / "in" / f"s{number}_{NAME}.ipynb")
    options = {"sources": source.parent, "seed": SEED, "workers": 1}
    grade(tmp_path / "in", tmp_path / "out", **options)
    first = list(asked)
    assert len(set(first)) == 3 and SEED in first
    grade(tmp_path / "in", tmp_path / "out", **options)
    assert asked == first, "each has its variant, and none is graded again"
    handed = Handed()
    seeds = {module._variant(SEED, name, handed) for name in ("ada", "hal", "kim")}
    handed.about["id"] = "7"
    assert len(seeds) > 1 and len({module._variant(SEED, n, handed) for n in ("ada", "hal")}) == 1


def test_a_notebook_of_another_edition_is_said_to_be_one(tmp_path, source, monkeypatch, capsys):
    """And nothing else: what was marked stays."""
    notebook = json.loads(source.read_text())
    ours = edition(NAME)
    editions = {
        "same": ours,
        "older": ours | {"version": "v0.0.1"},
        "points": ours | {"parts": {"my_gradient": 1}},
        "silent": {},
        "odd": {"version": ["x"] * 2000},
    }
    for name, about in editions.items():
        text = json.dumps(notebook | {"metadata": {"course": about}})
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / f"{NAME}.ipynb").write_text(text)
    monkeypatch.setattr(score, "_execute", lambda *_: None)
    monkeypatch.setattr(module, "_solved_first", lambda *_: None)
    options = {"sources": source.parent, "seed": SEED}
    grade(tmp_path / "in", tmp_path / "out", **options)
    said = capsys.readouterr().err
    older = f"handed out as v0.0.1, graded by {ours['version']}"
    assert f"1 notebooks: {older}" in said and said.count("1 notebooks: ") == 2
    for name in editions:
        page = (tmp_path / "out" / "students" / f"{name}.html").read_text()
        assert (older in page) == (name == "older")
        assert ("were others when it was handed out" in page) == (name == "points")
    marks = tmp_path / "out" / "marks.csv"
    rows = list(csv.reader(marks.open()))
    rows[1][4] = "3"
    with marks.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    monkeypatch.setattr(module, "_code_here", lambda: "a later version")
    again = grade(tmp_path / "in", tmp_path / "out", **options)
    assert again[rows[1][0]]["notebooks"][NAME]["by_hand"] == 3


@needs_walls
@pytest.mark.slow
def test_behind_a_linked_environment_a_submission_gets_its_points(tmp_path, source):
    """A .venv that is a link to one under somebody's home, which only they may open."""
    submission(source, tmp_path / "in" / "ada" / f"{NAME}.ipynb")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "environment").symlink_to(sys.prefix)
    (tmp_path / ".venv").symlink_to(home / "environment")
    command = [tmp_path / ".venv" / "bin" / "python", "-m", "helpers", "grade", tmp_path / "in"]
    command += ["--out", tmp_path / "out", "--notebooks", source.parent, "--require-isolation"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "out" / "grades.csv").open())
    assert row[NAME] == "12"
