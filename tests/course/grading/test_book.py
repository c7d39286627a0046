"""The grade book: marks are never lost, and what comes out is what others read."""

import csv
import io
from datetime import datetime
from zlib import crc32

import numpy as np
import pytest

from helpers.course import syllabus
from helpers.course.grading import book, tables
from helpers.course.grading.book import mark_of, read_marks, summary, update_marks, write_grades
from helpers.course.grading.handed_in import Handed
from helpers.course.grading.pages import hidden, write_feedback, write_student
from helpers.course.grading.score import NOT_HANDED_IN, empty_record, not_run, tasks_of
from helpers.course.grading.session import _plain
from helpers.course.grading.similarity import alike

NAME = "smoothgrad_1_method"
NAMES = [
    "'t Hooft",
    "=cmd|' /C calc'!A0",
    "'=x",
    "-1",
    "Łukasz",
    "O'Neil, Anna",
    'a "b"',
    "@x",
    "ada",
]


def record(words="It is 0.7.", earned=12):
    found = empty_record()
    found["tasks"] = [
        {"name": task.name, "points": task.points, "earned": task.points, "checks": []}
        for task in tasks_of(NAME)
    ]
    found["by_hand"] = [
        {
            "name": what,
            "points": 4,
            "ids": [what],
            "words": words,
            "work": f"{what}{crc32(words.encode())}",
        }
        for what in ("figure", "observation")
    ]
    return found


def records(*names, **other):
    return {name: {NAME: record(f"{name}'s words")} for name in names} | other


def given(path, student, mark, task="figure", encode=lambda text: text.encode()):
    """Fill in a mark as a spreadsheet would."""
    rows = list(csv.reader(io.StringIO(path.read_text())))
    for row in rows:
        if tables._unescaped(row[0]) == student and row[2] == task:
            row[4:6] = [mark, "well seen"]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path.write_bytes(encode(text.getvalue()))


def marks_of(path, work, **options):
    marks, notes = update_marks(path, work, **options)
    return {
        student: [mark_of(marks, student, NAME, item)[0] for item in own[NAME]["by_hand"]]
        for student, own in work.items()
    }, notes


@pytest.mark.parametrize("student", NAMES)
def test_a_mark_stays_whatever_a_student_is_called(tmp_path, student):
    path, work = tmp_path / "marks.csv", records(*NAMES)
    update_marks(path, work)
    given(path, student, "3,5")
    for _ in range(3):
        marks, notes = marks_of(path, work)
        assert marks == {name: [3.5 if name == student else None, None] for name in NAMES}
        assert not notes and len(read_marks(path)) == 2 * len(NAMES)


SAVED = {
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16 and tabs": lambda text: text.replace(",", "\t").encode("utf-16"),
    "cp1252 and semicolons": lambda text: text.replace(",", ";").encode("cp1252"),
    "sep=": lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(),
    "old Mac": lambda text: text.replace("\r\n", "\n").encode(),
}


@pytest.mark.parametrize("way", SAVED)
def test_marks_are_read_however_they_were_saved(tmp_path, way):
    path, work = tmp_path / "marks.csv", records("Zoë", "'t Hooft")
    update_marks(path, work)
    given(path, "Zoë", "2", encode=SAVED[way])
    assert marks_of(path, work) == ({"Zoë": [2, None], "'t Hooft": [None, None]}, [])


def test_what_a_spreadsheet_cannot_save_finds_its_way_by_the_work(tmp_path):
    path, work = tmp_path / "marks.csv", records("Łukasz", "ada")
    update_marks(path, work)
    given(path, "Łukasz", "2", encode=lambda text: text.encode("cp1252", "replace"))
    marks, notes = marks_of(path, work)
    assert marks == {"Łukasz": [2, None], "ada": [None, None]}
    assert "the mark is that of ?ukasz" in notes[0]


def test_a_mark_goes_along_with_a_renamed_folder_and_stays_of_who_is_gone(tmp_path):
    path = tmp_path / "marks.csv"
    update_marks(path, records("ada", "bob", "cyd"))
    for name in ("ada", "bob"):
        given(path, name, "4")
    work = records("cyd", **{"Ada L": records("ada")["ada"]})
    marks, notes = marks_of(path, work)
    assert marks == {"cyd": [None, None], "Ada L": [4, None]}
    assert any("kept: ada, bob" in note for note in notes)
    assert read_marks(path)["bob", NAME, "figure"]["mark"] == "4"
    assert marks_of(path, records("ada", "bob", "cyd"))[0]["bob"] == [4, None], "and back again"


def test_two_with_the_same_work_get_nobodys_mark(tmp_path):
    path, same = tmp_path / "marks.csv", records("ada")["ada"]
    update_marks(path, {"ada": same})
    given(path, "ada", "4")
    assert marks_of(path, {"x": same, "y": same})[0] == {"x": [None, None], "y": [None, None]}


def test_work_that_changed_since_it_was_marked_is_said_so(tmp_path):
    path = tmp_path / "marks.csv"
    update_marks(path, records("ada"))
    given(path, "ada", "4")
    anew = {"ada": {NAME: record("other words")}}
    for _ in range(2):
        marks, _ = update_marks(path, anew)
        told = summary("ada", anew["ada"], marks, [NAME])
        assert told["notebooks"][NAME]["by_hand"] == 4
        assert "figure: handed in anew since it was marked" in told["problems"][0]
    text = path.read_text().replace(records("ada")["ada"][NAME]["by_hand"][0]["work"], "")
    path.write_text(text)
    marks, _ = update_marks(path, anew)
    assert not summary("ada", anew["ada"], marks, [NAME])["problems"]


def test_markers_get_equal_shares_and_keep_them(tmp_path):
    path, names = tmp_path / "marks.csv", [f"s{i}" for i in range(7)]
    update_marks(path, records(*names[:4]), markers=("anna", "ben"))
    before = {key: row["marker"] for key, row in read_marks(path).items()}
    update_marks(path, records(*names), markers=("anna", "ben"))
    after = {key: row["marker"] for key, row in read_marks(path).items()}
    assert all(after[key] == marker for key, marker in before.items())
    assert sorted(list(after.values()).count(name) for name in ("anna", "ben")) == [6, 8]


def test_marks_are_given_to_codes(tmp_path):
    path, work, codes = tmp_path / "marks.csv", records("ada", "bob"), {"ada": "s-1", "bob": "s-0"}
    options = {"shown": codes.get, "names": [(code, name) for name, code in codes.items()]}
    update_marks(path, work, **options)
    assert "ada" not in path.read_text()
    given(path, "s-1", "3")
    both = {"ada": [3, None], "bob": [None, None]}
    assert marks_of(path, work, **options)[0] == both
    _, notes = marks_of(path, records("bob"), **options)
    assert "kept: s-1" in notes[0] and "ada" not in path.read_text(), "nor of who is gone"
    assert marks_of(path, work, names=options["names"])[0] == both, "and with names again"


@pytest.mark.parametrize(
    ("said", "hidden_too"),
    [
        ("By Ada Lovelace, with lovelace_ada", True),
        ("ada-lovelace_smoothgrad_1_method (1).ipynb was taken", True),
        ('<img alt="Ada\'s figure" src="data:image/png;base64,Ada0">', False),
        ("ask a.l@x.edu, 0815; Bob van Dam helped", True),
        ("Lovelace wrote O&#39;Neil", True),
    ],
)
def test_a_page_that_is_marked_says_codes_alone(said, hidden_too):
    ada, bob, max_ = Handed(), Handed(), Handed()
    ada.called, ada.about = {"lovelace_ada"}, {"id": "0815", "email": "a.l@x.edu"}
    students = {"Ada Lovelace": ada, "Bob van Dam": bob, "max": max_}
    codes = {"Ada Lovelace": "s-1", "Bob van Dam": "s-2", "max": "s-3"}
    style = "<style>.Ada{}</style>"
    page = hidden(students, codes.get)(f"{style}<p>{said}: model(x).max()</p>", "Ada Lovelace")
    text = page.removeprefix(style)
    assert page.startswith(style) and "s-1" in text and "model(x).max()" in text
    for name in ("Ada ", "Ada&", "Lovelace", "lovelace", "0815", "a.l@", "Bob", "Dam"):
        assert name not in text
    assert ("Ada0" in text) != hidden_too, "a picture is no text"
    assert "s-3" in hidden(students, codes.get)("</style><td>max: ValueError</td>")


def test_files_for_course_systems(tmp_path):
    ada, bob = Handed(), Handed()
    ada.about = {"id": "007", "email": "ada@x.edu", "group": "B"}
    work = records("ada", bob={NAME: not_run(empty_record(), NAME, NOT_HANDED_IN)})
    work["cyd"] = {NAME: not_run(empty_record(), NAME, "not a Jupyter notebook")}
    handed = {"ada": ada, "bob": bob, "cyd": None}
    marks, _ = update_marks(tmp_path / "marks.csv", work)
    totals = {n: summary(n, own, marks, [NAME], handed=handed[n]) for n, own in work.items()}
    notes = write_grades(tmp_path, totals)
    tables = {
        name: list(csv.DictReader((tmp_path / f"{name}.csv").open()))
        for name in ("grades", "canvas", "moodle")
    }
    grades = {row["student"]: row for row in tables["grades"]}
    assert grades["ada"]["id"] == "007" and grades["ada"]["email"] == "ada@x.edu"
    assert [grades[name][NAME] for name in grades] == ["12", "0", ""]
    assert tables["canvas"][0]["Student"] == "Points Possible" and tables["canvas"][0][NAME] == "20"
    assert [row[NAME] for row in tables["canvas"][1:]] == ["12", "", ""]
    assert tables["canvas"][1]["ID"] == "007" and tables["canvas"][1]["Section"] == "B"
    # a row without what Moodle looks people up by would be taken for the person before it
    (row,) = tables["moodle"]
    assert row == {"Full name": "ada", "Email address": "ada@x.edu", NAME: "12"}
    assert notes == ["not in moodle.csv, as their email is not known: bob, cyd"]
    del ada.about["email"]
    assert write_grades(tmp_path, totals)
    assert (tmp_path / "moodle.csv").read_text().splitlines()[0] == f"Full name,ID number,{NAME}"


def test_days_late(monkeypatch, tmp_path):
    text = (syllabus.NOTEBOOKS / "course.toml").read_text()
    text = text.replace(f'name = "{NAME}"', f'name = "{NAME}"\ndue = 2027-02-01')
    (tmp_path / "course.toml").write_text("late_days = 1\nlate_cost = 0.25\n" + text)
    entries = {entry.name: entry for entry in syllabus.load(tmp_path / "course.toml")}
    monkeypatch.setattr(book.syllabus, "entry", entries.get)
    lateness = syllabus.lateness(tmp_path / "course.toml")
    assert lateness == (1, 0.25) and syllabus.lateness() == (0, 0)
    for when, extension, days, earned in (
        (datetime(2027, 2, 1, 23, 59), "", 0, 12),
        (datetime(2027, 2, 2, 10), "", 1, 12),
        (datetime(2027, 2, 3, 10), "", 2, 9),
        (datetime(2027, 2, 3, 10), "2", 0, 12),
        (datetime(2027, 3, 3), "", 29, 0),
        (None, "", 0, 12),
    ):
        handed = Handed()
        handed.when, handed.about = {NAME: when}, {"extension": extension}
        told = summary("ada", records("ada")["ada"], {}, [NAME], handed=handed, lateness=lateness)
        assert told["late"].get(NAME, 0) == days and told["notebooks"][NAME]["earned"] == earned
    handed.late.add(NAME)  # of whom nobody knows more
    handed.dated[NAME] = ", says the course system"
    told = summary("ada", records("ada")["ada"], {}, [NAME], handed=handed, lateness=(0, 0.25))
    assert told["late"] == {NAME: 1} and told["notebooks"][NAME]["earned"] == 9
    write_grades(tmp_path, {"ada": told})
    assert f"{NAME}: 1, says the course system" in (tmp_path / "grades.csv").read_text()
    write_feedback(tmp_path, "ada", records("ada")["ada"], {}, told)
    assert "1 days late, says the" in (tmp_path / "feedback" / "ada.html").read_text()
    handed.about["extension"] = "1"
    told = summary("ada", records("ada")["ada"], {}, [NAME], handed=handed, lateness=(0, 0.25))
    assert not told["late"]


def test_the_page_to_give_back_holds_nothing_of_ours(tmp_path):
    work = records("ada")
    work["ada"][NAME]["remarks"] = ["cell x mentions fork: look at it"]
    update_marks(tmp_path / "marks.csv", work)
    given(tmp_path / "marks.csv", "ada", "3")
    marks, _ = update_marks(tmp_path / "marks.csv", work)
    write_feedback(tmp_path, "ada", work["ada"], marks, summary("ada", work["ada"], marks, [NAME]))
    page = (tmp_path / "feedback" / "ada.html").read_text()
    assert "3 of 4" in page and "well seen" in page and "my_gradient" in page
    assert (
        "fork" not in page and "ours" not in page.split("</style>")[1] and "reference" not in page
    )


def test_a_picture_in_words_is_the_students_own(tmp_path, source):
    work = records("ada")
    for item in work["ada"][NAME]["by_hand"]:
        item["words"] = (
            f"![mine](attachment:a.png) ![ours](../reference/{NAME}-figure-0.png) ![x](/y.png)"
        )
        item["attachments"] = {"a.png": "data:image/png;base64,QUJD"}
    marks, _ = update_marks(tmp_path / "marks.csv", work)
    total = summary("ada", work["ada"], marks, [NAME])
    write_student(tmp_path, "ada", work["ada"], {NAME: source}, marks, total)
    page = (tmp_path / "students" / "ada.html").read_text()
    assert page.count('src="data:image/png;base64,QUJD"') == 2
    assert "a picture that is not in the notebook: ours" in page
    assert f'src="../reference/{NAME}-figure-0.png"' not in page


def test_a_film_reaches_the_marker(tmp_path, source):
    kinds = ["video/mp4", "video/x-msvideo", "image/gif"]
    arrays = {str(place): np.full(3, place, np.uint8) for place in range(3)}
    shown = _plain({"cell": {"error": None}, "kinds": kinds}, arrays)
    assert len(shown["pictures"]) == 2, "what a page does not show is left out"
    work = records("ada")
    work["ada"][NAME]["cells"] = {"figure": shown}
    marks, _ = update_marks(tmp_path / "marks.csv", work)
    total = summary("ada", work["ada"], marks, [NAME])
    write_student(tmp_path, "ada", work["ada"], {NAME: source}, marks, total)
    page = (tmp_path / "students" / "ada.html").read_text()
    assert '<video controls loop src="data:video/mp4;base64,AAAA"></video>' in page
    assert "media-src data:" in page and 'figure" src="data:image/gif' in page


COPIED = """def my_aggregate(gradients, how):
    # {}
    parts = [g.clone().reshape(len(g), -1) for g in gradients]
    stack = torch.stack(parts).sort(0).values
    if how in ("mean", "median"):
        return stack.cumsum(0)[-1] / len(parts)
    return (stack * stack).sum(0).sqrt() - stack.amax(0)
"""


def test_functions_that_are_alike_are_listed():
    ours = "def my_aggregate(gradients, how):\n    return gradients.mean(0)\n"
    renamed = COPIED.format("bob's").replace("stack", "pile").replace("parts", "bits")
    other = "def my_aggregate(gradients, how):\n    n = len(gradients)\n" + "\n".join(
        f"    if how == '{i}': return gradients.abs().pow({i}).topk(n // {i}, dim=0)"
        for i in "2345"
    )
    functions = {
        name: {"my_aggregate": text}
        for name, text in {
            "ada": COPIED.format("mine"),
            "bob": renamed,
            "cyd": other,
            "dan": ours,
            "eve": ours,
        }.items()
    }
    ((share, task, *who),) = alike(functions, {"my_aggregate": ours})
    assert share > 0.9 and task == "my_aggregate" and who == ["ada", "bob"]


@pytest.mark.parametrize(("lost", "bonus"), [(0, 1), (3, 1), (4, 0)])
def test_whoever_passes_85_per_cent_of_the_tests_of_exercise_6_has_the_bonus_point(lost, bonus):
    name = "captum_1_off_the_shelf"  # 21 tests: 18 are 86 %, 17 are 81 %
    found = empty_record()
    found["tasks"] = [
        {"name": task.name, "points": task.points, "earned": task.points, "checks": []}
        for task in tasks_of(name)
    ]
    found["tasks"][2]["earned"] -= lost
    total = summary("ada", {name: found}, {}, [name])["totals"]
    assert total["Exercise 6"] == (21 - lost, 21) and total[book.BONUS] == (bonus, 1)
    assert book.BONUS not in summary("ada", {NAME: record()}, {}, [NAME])["totals"]
