"""What an instructor reads agrees with what the course is: totals, a rubric for each cell that a
person marks, options, columns and settings."""

import re
import subprocess
import sys
from itertools import groupby

import nbformat
import pytest

from helpers.course import syllabus
from helpers.course.grading.handed_in import ABOUT
from helpers.course.grading.score import BY_HAND
from helpers.course.release import ROOT

PAGE, RUBRIC = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("instructors", "rubric")
)
SECTIONS = {  # notebook → (cell, mark, answer)
    name: [
        (part, mark, answer)
        for part, answers in re.findall(r"^`([\w-]+)`\n\n((?:- .*\n)+)", text, flags=re.M)
        for mark, answer in re.findall(r"^- \*\*(\w)\*\* (.+)", answers, flags=re.M)
    ]
    for name, text in re.findall(
        r"^## \[.*?]\(../notebooks/(\w+).ipynb\)\n(.*?)(?=^## |\Z)", RUBRIC, flags=re.M | re.S
    )
}
MARKED = [name for name, parts in BY_HAND.items() if parts]


def rows(text):
    """The cells of a text's tables, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r" ?\| ?", line)[1:-1] for line in lines]
    return [row for row, line in zip(cells, lines, strict=True) if not set(line) <= set("|-")]


def test_the_table_of_parts_is_the_course_s():
    said = {
        row[0].split("**")[1]: re.findall(r"\d+", row[1])
        for row in rows(PAGE)
        if row[0].startswith("**")
    }
    groups = {
        group: list(entries)
        for group, entries in groupby(syllabus.load(), key=lambda entry: entry.group)
    }
    groups["all"] = syllabus.load()
    expected = {
        group: [f"{sum(map(each, entries)):g}" for each in (lambda _: 1, _minutes, _points)]
        for group, entries in groups.items()
    }
    assert {group: said.get(group) for group in expected} == expected
    assert [group for group in said if group in expected] == list(expected), "and their order"


def _minutes(entry):
    return entry.minutes


def _points(entry):
    return entry.points


def test_the_rubric_has_each_notebook_that_a_person_marks():
    assert list(SECTIONS) == MARKED


@pytest.mark.parametrize("name", MARKED)
def test_each_marked_cell_has_an_a_a_c_and_an_f(name):
    found = [(part, mark) for part, mark, _ in SECTIONS[name]]
    assert found == [(part, mark) for part, _ in BY_HAND[name] for mark in "ACF"]


@pytest.mark.parametrize("name", MARKED)
def test_its_numbers_are_those_of_the_solved_page(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    words = [cell.source for cell in notebook.cells if cell.id.startswith("observation")]
    shown = set(re.findall(r"\d+\.\d+", " ".join(words)))
    said = {
        number
        for _, mark, answer in SECTIONS[name]
        if mark in "AC"
        for number in re.findall(r"\d+\.\d+", answer)
    }
    assert said and said <= shown, said - shown


def test_options_columns_and_settings_are_there():
    helps = "".join(
        subprocess.run(
            [sys.executable, "-m", "helpers", command, "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stdout
        for command in ("grade", "release", "precheck")
    )
    options = set(re.findall(r"--[a-z][a-z-]+", PAGE)) - {"--local-directory"}  # Dask's own
    assert options and not [option for option in options if option not in helps]
    columns = {name for row in rows(PAGE) for name in re.findall(r"`(\w+)`", row[0])}
    assert {"pattern", "student", *ABOUT} <= columns
    for setting in ("due", "late_days", "late_cost", "bonus", "evidence_opens", "seed", "variants"):
        assert f"`{setting} = " in PAGE
