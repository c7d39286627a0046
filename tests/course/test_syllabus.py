"""The course's file: what it must hold, and where its points go."""

import copy
import math
import re
from dataclasses import replace

import nbformat
import pytest

from helpers.course import syllabus
from helpers.course.syllabus import Entry

ENTRY = """
[[notebook]]
name = "one"
group = "All"
question = "Why?"
minutes = 10
parts = { my_gradient = 4, figure = 2.5 }
"""


def written(tmp_path, text):
    path = tmp_path / f"{abs(hash(text))}.toml"  # each is read once
    path.write_text(text)
    return path


def test_points_are_the_sum_of_the_parts(tmp_path):
    (one,) = syllabus.load(written(tmp_path, ENTRY))
    assert (one.name, one.minutes, one.points) == ("one", 10, 6.5)
    assert list(one.parts) == ["my_gradient", "figure"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENTRY.replace("minutes = 10\n", ""), "must have exactly"),
        (ENTRY + "colour = 1\n", "must have exactly"),
        (ENTRY + ENTRY, "one is there twice"),
        (ENTRY.replace("2.5", "-1"), "numbers of at least 0"),
        (ENTRY.replace("2.5", '"two"'), "numbers of at least 0"),
    ],
)
def test_what_is_wrong_is_said(text, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        syllabus.load(written(tmp_path, text))


def test_a_name_that_is_not_there_lists_those_that_are():
    with pytest.raises(ValueError, match="known: 00_start_here"):
        syllabus.entry("two")


def test_points_go_to_the_check_that_asks_and_to_the_cell_that_a_person_marks():
    def cell(name, source, points):
        new = nbformat.v4.new_code_cell(source, metadata={"nbgrader": {"grade": True}})
        new["id"], new.metadata.nbgrader["points"] = name, points
        return new

    check = cell("check-gradient", 'my_gradient = check("my_gradient")', 1)
    notebook = nbformat.v4.new_notebook(cells=[check, cell("figure", "", 1)])
    parts = {"my_gradient": 7, "figure": 3}
    syllabus.with_points(notebook, Entry("one", "All", "Why?", 10, parts))
    assert [each.metadata.nbgrader.points for each in notebook.cells] == [7, 3]


@pytest.mark.parametrize("entry", syllabus.load(), ids=lambda entry: entry.name)
def test_points_that_change_change_the_words_that_say_them(entry):
    path = syllabus.NOTEBOOKS / f"{entry.name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    before = copy.deepcopy(notebook)
    assert syllabus.with_points(notebook, entry) == before
    doubled = {part: 2 * points + 1 for part, points in entry.parts.items()}
    bonus = entry.bonus and 0.5
    syllabus.with_points(notebook, replace(entry, parts=doubled, minutes=7, bonus=bonus))
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "*7 minutes · " in words
    if bonus:
        assert f"50 % of them, {math.ceil(sum(doubled.values()) / 2)}, gets" in words
    elif doubled:
        said = re.findall(r"^## .*\(([\d +]+) points?\)", words, flags=re.MULTILINE)
        assert sum(map(int, " ".join(said).replace("+", " ").split())) == sum(doubled.values())
        assert f" · {sum(doubled.values())} points" in words
        for name, points in re.findall(r"`(\w+)\([^`]*`[^\n]*?\((\d+) points?\)", words):
            assert doubled[name] == int(points)


def test_the_day_on_which_evidence_opens_is_a_date_or_none(tmp_path):
    assert syllabus.evidence_opens(written(tmp_path, ENTRY)) is None
    dated = written(tmp_path, "evidence_opens = 2027-02-01\n" + ENTRY)
    assert syllabus.evidence_opens(dated).isoformat() == "2027-02-01"
    with pytest.raises(ValueError, match="must be a date"):
        syllabus.evidence_opens(written(tmp_path, 'evidence_opens = "soon"\n' + ENTRY))


def test_a_bonus_is_a_share_and_its_worth_two_numbers(tmp_path):
    (one,) = syllabus.load(written(tmp_path, ENTRY + "bonus = 0.85\n"))
    assert one.bonus == 0.85 and syllabus.load(written(tmp_path, ENTRY))[0].bonus is None
    with pytest.raises(ValueError, match="share of its points"):
        syllabus.load(written(tmp_path, ENTRY + "bonus = 85\n"))
    rule = "bonus = { points = 3, raises = 0.33 }\n"
    assert syllabus.bonus_rule(written(tmp_path, rule + ENTRY)) == (3, 0.33)
    assert syllabus.bonus_rule(written(tmp_path, ENTRY)) == (0, 0)
    with pytest.raises(ValueError, match="at least 0"):
        syllabus.bonus_rule(written(tmp_path, rule.replace("0.33", '"much"') + ENTRY))
    assert syllabus.bonus_rule() == (3, 0.33)


def test_another_year_and_another_student_have_other_seeds(tmp_path):
    here, later = written(tmp_path, ENTRY), tmp_path / "later.toml"
    later.write_text("seed = 5\nvariants = 4\n" + ENTRY)
    assert (syllabus.seed_of(path=here), syllabus.seed_of(path=later)) == (0, 5)
    seeds = {syllabus.seed_of(who, path) for who in ("ada", "bob") for path in (here, later)}
    assert len(seeds) == 4 and syllabus.seed_of("ada", later) in seeds
    assert syllabus.variants(here) == 1 and syllabus.variant_of("ada", here) == 0
    assert {syllabus.variant_of(f"s{i}", later) for i in range(40)} == {0, 1, 2, 3}
    for wrong in ("seed = -1", "seed = 1.5", "seed = true", 'seed = "x"'):
        later.write_text(f"{wrong}\n" + ENTRY)
        with pytest.raises(ValueError, match="seed must be a whole number"):
            syllabus.seed_of(path=later)
