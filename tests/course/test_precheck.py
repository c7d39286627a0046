"""What runs on a push: points, shares and reasons in a file, an exit status by the threshold, and a
summary on the run's page."""

import json

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.course import precheck
from helpers.course.precheck import main, result, summary
from helpers.course.release import _WORKFLOW

RIGHT = """
def get_path(image, baseline, num_samples):
    return [baseline + i / (num_samples - 1) * (image - baseline) for i in range(num_samples)]
"""
SHORT = RIGHT.replace("(num_samples - 1)", "num_samples")  # two of its four tests fail
CHECK = "from helpers import check\nget_path = check('get_path')"


def notebook(folder, *sources, words=None, name="mine.ipynb"):
    cells = [new_code_cell(source) for source in (*sources, CHECK)]
    if words is not None:
        cell = new_markdown_cell(words, id="observation")
        cell.metadata["nbgrader"] = {"grade": True, "solution": True}
        cells.append(cell)
    path = folder / name
    nbformat.write(new_notebook(cells=cells), path)
    return path


def status(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return int(ended.value.code)


def test_points_share_and_a_reason_for_each_test(tmp_path):
    found = result(notebook(tmp_path, SHORT))
    assert (found["points"], found["of"], found["share"]) == (2, 4, 0.5)
    lost = [test for test in found["tests"] if not test["passed"]]
    assert [test["function"] for test in lost] == ["get_path"] * 2
    assert "one step short" in lost[0]["reason"]
    assert result(notebook(tmp_path, RIGHT))["share"] == 1


def test_the_exit_status_follows_the_threshold(tmp_path):
    half, whole = (
        notebook(tmp_path, source, name=name)
        for source, name in ((SHORT, "half.ipynb"), (RIGHT, "whole.ipynb"))
    )
    assert [status(half, "--threshold", share) for share in (0.5, 0.51)] == [0, 1]
    assert status(whole, "--threshold", 1) == 0 and status(half, whole, "--threshold", 0.85) == 1
    assert [status(whole), status(half)] == [0, 1]


def test_without_a_threshold_a_failing_or_an_empty_cell_counts(tmp_path):
    assert status(notebook(tmp_path, RIGHT, "1 / 0")) == 1
    assert status(notebook(tmp_path, RIGHT, "1 / 0"), "--threshold", 0.85) == 0
    assert status(notebook(tmp_path, RIGHT, words="YOUR ANSWER HERE")) == 1
    assert status(notebook(tmp_path, RIGHT, words="0.3 against 0.4")) == 0


def test_a_file_and_a_summary_on_the_page(tmp_path, monkeypatch):
    page, file = tmp_path / "summary.md", tmp_path / "result.json"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    path = notebook(tmp_path, SHORT, "1 / 0", words="")
    assert status(path, "--json", file, "--threshold", 0.85) == 1
    told = json.loads(file.read_text())
    assert told["threshold"] == 0.85 and told["passed"] is False
    assert told["notebooks"] == [json.loads(json.dumps(result(path)))]
    text = page.read_text()
    assert "| mine.ipynb | 2 of 4 | 50%, 85% needed |" in text
    assert "one step short" in text and "ZeroDivisionError" in text and "is empty" in text
    assert "50% ✓" in summary(told["notebooks"], 0.5)


def test_only_what_was_begun_is_asked_on_a_push(tmp_path, monkeypatch, capsys):
    stub = RIGHT.split("return")[0] + "raise NotImplementedError()\n"
    notebook(tmp_path, RIGHT, name="captum_1_off_the_shelf.ipynb")
    notebook(tmp_path, stub, name="captum_2_from_scratch.ipynb")
    monkeypatch.setattr(precheck, "NOTEBOOKS", tmp_path)
    assert status("--begun") == 0
    said = capsys.readouterr().out
    assert "1 notebooks are begun" in said and "captum_2" not in said


@pytest.mark.parametrize(
    "arguments", [[], ["none.ipynb"], ["--begun", "a.ipynb"], ["--begun", "--threshold", "85"]]
)
def test_what_makes_no_sense_is_an_error(arguments):
    assert status(*arguments) == 2


def test_the_workflow_runs_these_checks():
    steps = yaml.safe_load(_WORKFLOW)["jobs"]["checks"]["steps"]
    run = [step["run"] for step in steps if "run" in step]
    assert run[-1] == "python -m helpers precheck --begun --json result.json --threshold 0.85"
