"""Who handed in what, however it was downloaded."""

import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from helpers.course.grade import NOTEBOOKS
from helpers.course.grading.handed_in import MOST_ENTRIES, handed_in, readable

SOURCES = [NOTEBOOKS / f"{name}.ipynb" for name in ("smoothgrad_1_method", "ig_1_method")]
A, B = "smoothgrad_1_method", "ig_1_method"
BOTH = {"Jane Doe": {A: 1, B: 1}}


def laid(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"nbformat": 4, "cells": []}))
    return folder


def who(folder, **options):
    return {
        student: {name: len(files) for name, files in own.items()}
        for student, own in handed_in(folder, SOURCES, **options).items()
    }


@pytest.mark.parametrize(
    "names, expected",
    [
        ([f"doejane_12345_678910_{A}.ipynb", f"doejane_12345_678911_{B}.ipynb"], {A: 1, B: 1}),
        (
            [f"doejane_12345_678910_{A}.ipynb", f"doejane_LATE_12345_678911_{A}-1.ipynb"],
            {A: 2},
        ),
        (
            [
                f"ps1_doejane_attempt_2017-03-03-11-00-00_{A}.ipynb",
                f"ps1_doejane_attempt_2017-03-03-17-00-00_{A}.ipynb",
                "ps1_doejane_attempt_2017-03-03-17-00-00.txt",
            ],
            {A: 2},
        ),
        (
            [
                f"12345-67890 - doejane - Jan 15, 2024 1230 PM/{A}.ipynb",
                f"12345-67890 - doejane - Jan 16, 2024 930 AM/{A}.ipynb",
            ],
            {A: 2},
        ),
        ([f"doejane_1234_assignsubmission_file_/{n}.ipynb" for n in (A, B)], {A: 1, B: 1}),
        ([f"doejane_1234_assignsubmission_file_{n}.ipynb" for n in (A, B)], {A: 1, B: 1}),
        (
            [
                f"A-1/doejane_1234_assignsubmission_file_/{A}.ipynb",
                f"B-2/doejane_777_assignsubmission_file_/{B}.ipynb",
                f"B-2/roejim_778_assignsubmission_file_/{B}.ipynb",
            ],
            {A: 1, B: 1},
        ),
        ([f"doejane_{A}.ipynb.txt", "doejane_IG 1 Method.IPYNB"], {A: 1, B: 1}),
        ([f"doejane_{A}.ipynb.json", f"doejane_{A} (1).ipynb"], {A: 2}),
        ([f"hand-in/doejane/{A}.ipynb", f"hand-in/doejane2/{A}.ipynb"], {A: 1}),
        (
            [f"doejane/deep/er/{A}.ipynb", f"doejane/.ipynb_checkpoints/{A}-checkpoint.ipynb"],
            {A: 1},
        ),
    ],
    ids=[
        *("canvas", "canvas twice", "blackboard", "brightspace", "moodle", "moodle flat"),
        "two of moodle's assignments",
        *("suffixes", "versions", "one level too high", "deep"),
    ],
)
def test_names_of_course_systems(tmp_path, names, expected):
    assert who(laid(tmp_path, *names))["doejane"] == expected


@pytest.mark.parametrize(
    "names, latest",
    [
        ([f"ada_{A}.ipynb", f"ada_{A}-2.ipynb", f"ada_{A}-1.ipynb"], f"ada_{A}-2.ipynb"),
        ([f"ada_{A} (1).ipynb", f"ada_{A}.ipynb"], f"ada_{A} (1).ipynb"),
        (
            [f"ada_123_99_{A}.ipynb", f"ada_LATE_123_100_{A}.ipynb"],
            f"ada_LATE_123_100_{A}.ipynb",
        ),
        (
            [f"p_ada_attempt_2017-03-{d}-11-00-00_{A}.ipynb" for d in ("09", "10", "08")],
            f"p_ada_attempt_2017-03-10-11-00-00_{A}.ipynb",
        ),
    ],
)
def test_the_latest_version_is_graded(tmp_path, names, latest):
    (ada,) = handed_in(laid(tmp_path, *names), SOURCES).values()
    assert ada[A][0].name == latest


def test_a_moment_is_read_where_the_name_says_it(tmp_path):
    laid(tmp_path, f"12345-67890 - Jane Doe - Jan 16, 2024 930 AM/{A}.ipynb")
    jane = handed_in(tmp_path, SOURCES)["Jane Doe"]
    assert jane.about["id"] == "12345" and str(jane.when[A]) == "2024-01-16 09:30:00"


def dated(folder, *names, days=()):
    """Files laid there that were written so many days after the first of February 2024."""
    laid(folder, *names)
    for name, day in zip(names, days, strict=True):
        os.utime(folder / name, (datetime(2024, 2, 1 + day).timestamp(),) * 2)
    return folder


def test_dates_of_files_are_believed_where_few_share_them(tmp_path):
    names = [f"{who}/{A}.ipynb" for who in ("ada", "bob", "cyd", "dan")]
    found = handed_in(dated(tmp_path, *names, days=[0, 1, 2, 3]), SOURCES)
    assert {own.when[A].day for own in found.values()} == {1, 2, 3, 4}
    assert all(own.dated[A] == ", by the file's date" for own in found.values())
    found = handed_in(dated(tmp_path, *names, days=[5, 5, 5, 1]), SOURCES)
    assert [A in own.when for own in found.values()] == [False, False, False, True]
    assert not handed_in(laid(tmp_path, *names), SOURCES)["ada"].when, "all written just now"
    assert not handed_in(dated(tmp_path / "one", names[0], days=[9]), SOURCES)["ada"].when


def test_dates_in_an_archive_are_kept(tmp_path):
    names = [f"{who}_123{i}_assignsubmission_file_/{A}.ipynb" for i, who in enumerate("abc")]
    archive = zipped(tmp_path / "all.zip", dated(tmp_path / "in", *names, days=[1, 3, 5]))
    found = handed_in(archive, SOURCES, out=tmp_path / "out")
    assert [own.when[A].day for own in found.values()] == [2, 4, 6]


def test_canvas_says_who_is_late_and_dates_count_no_further(tmp_path):
    names = [f"ada_12345_678910_{A}.ipynb", f"bob_LATE_12346_678911_{A}.ipynb"]
    names += [f"{name}_1234{i}_67891{i}_{A}.ipynb" for i, name in enumerate(("cyd", "dan"), 7)]
    found = handed_in(dated(tmp_path, *names, days=[1, 1, 2, 9]), SOURCES)
    assert [own.late for own in found.values()] == [set(), {A}, set(), set()]
    assert not any(own.when for own in found.values())
    assert found["bob"].remarks == ["the course system calls it late"]


def test_one_students_own_folder_is_one_student(tmp_path):
    assert who(laid(tmp_path / "ada", f"{A}.ipynb", f"{B}.ipynb")) == {"ada": {A: 1, B: 1}}


def test_gradescope_names_are_those_of_its_table(tmp_path):
    laid(tmp_path, f"submission_7/{A}.ipynb")
    (tmp_path / "submission_metadata.yml").write_text(
        "submission_7:\n  :submitters:\n  - :name: Jane Doe\n    :sid: '42'\n    :email: j@x.edu\n"
        "  :created_at: 2024-02-03 20:46:27.000000000 +00:00\n  :score: 1.0\n"
    )
    jane = handed_in(tmp_path, SOURCES)["Jane Doe"]
    utc = datetime(2024, 2, 3, 20, 46, 27, tzinfo=UTC)
    assert jane.when == {A: utc.astimezone().replace(tzinfo=None)} and not jane.dated
    assert jane.about == {"id": "42", "email": "j@x.edu"}


def zipped(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_archives_are_opened(tmp_path):
    whole = laid(tmp_path / "plain", f"ada/{A}.ipynb", f"bob/{A}.ipynb", f"bob/{B}.ipynb")
    expected = {"ada": {A: 1}, "bob": {A: 1, B: 1}}
    archive = zipped(tmp_path / "class.zip", whole)
    assert who(archive, out=tmp_path / "out") == expected, "the archive itself"
    (tmp_path / "in").mkdir()
    archive.rename(tmp_path / "in" / "class.zip")
    assert who(tmp_path / "in", out=tmp_path / "out") == expected, "within a folder"
    own = laid(tmp_path / "own", "cyd/x.txt")
    zipped(own / "cyd" / "work.zip", whole / "bob")
    zipped(own / f"dan_12345_67890_{A}.zip", whole / "ada")
    assert who(own, out=tmp_path / "out") == {"cyd": {A: 1, B: 1}, "dan": {A: 1}}


def test_an_archive_cannot_write_elsewhere(tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "in" / "ada" / "work.zip", "w") as archive:
        archive.writestr(f"../../../{A}.ipynb", "{}")
        archive.writestr(f"/{A}.ipynb", "{}")
        archive.writestr(f"{A}.ipynb", "{}")
    assert who(tmp_path / "in", out=tmp_path / "out") == {"ada": {A: 1}}
    assert not (tmp_path / f"{A}.ipynb").exists()


def test_names_that_files_do_not_hold_are_written_out(tmp_path):
    for name in (b"caf\xe9", b"caf\xea"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), name))
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)), f"{A}.ipynb").write_text("{}")
    laid(tmp_path, f"ada /{A}.ipynb", f"'t Hooft/{A}.ipynb")
    assert list(who(tmp_path)) == ["'t Hooft", "ada", "caf\\xe9", "caf\\xea"]
    assert readable("a\nb\ud800") == "a\\nb\\ud800"


def test_what_is_only_named_like_a_notebook_is_not_opened(tmp_path):
    laid(tmp_path, f"good/{A}.ipynb")
    (tmp_path / "folder" / f"{A}.ipynb").mkdir(parents=True)
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / f"{A}.ipynb")
    os.mkfifo(tmp_path / f"bob_{A}.ipynb")
    assert who(tmp_path) == {name: {A: 1} for name in ("bob", "fifo", "folder", "good")}


def test_a_folder_of_many_folders_is_not_walked_to_its_end(tmp_path):
    laid(tmp_path, f"good/{A}.ipynb", f"many/{A}.ipynb")
    for number in range(MOST_ENTRIES + 500):
        (tmp_path / "many" / f"{number}").mkdir()
    many = handed_in(tmp_path, SOURCES)["many"]
    assert f"only {MOST_ENTRIES} files and folders were looked at" in many.remarks


def test_a_table_names_students(tmp_path):
    laid(tmp_path, f"x17/{A}.ipynb", f"y_{B}.ipynb")
    (tmp_path / "students.csv").write_text("pattern;student;id;extension\nx*;Ada;7;2\ny_*;Ada;7;\n")
    found = handed_in(tmp_path, SOURCES, students=tmp_path / "students.csv")
    assert {A, B} == set(found["Ada"]) and found["Ada"].about == {"id": "7", "extension": "2"}


def test_nothing_recognised_is_an_error_that_shows_what_was_found(tmp_path):
    (tmp_path / "essay.docx").write_text("x")
    with pytest.raises(ValueError, match=r"found essay\.docx"):
        handed_in(tmp_path, SOURCES)


def test_the_grades_among_the_submissions_are_nobody(tmp_path):
    laid(tmp_path, f"ada/{A}.ipynb", f"grades/records/{A}.ipynb")
    assert list(who(tmp_path, out=tmp_path / "grades")) == ["ada"]
