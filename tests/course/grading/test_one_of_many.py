"""One submission never stops the others: alone and beside two good ones, grades for all and a
reason for the one, within its own limits."""

import csv
import io
import json
import os
import re
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from submissions import submission
from test_grade import NAME, SEED, after, inside, needs_walls

from helpers.course import grade as module
from helpers.course.grade import grade
from helpers.course.grading.reading import MOST_BYTES, BadNotebook, read_notebook
from helpers.course.grading.remote import Answer, asked
from helpers.course.grading.repair import needed
from helpers.course.grading.tasks import Given
from helpers.course.grading.wire import WireError, receive, send

NAMES = ", ".join(f"a{i}" for i in range(60_000))
PARTS = "x = f'" + "{1}{SOLO}" * 100_000 + "'"


def test_a_long_cell_costs_the_grader_no_time():
    cells = [
        {"id": name, "kind": "code", "source": source}
        for name, source in {"names": f"def f(): return {NAMES}", "parts": PARTS}.items()
    ]
    begun = time.process_time()
    assert needed(cells, {"names"}) == {"names", "parts"}
    for text in ("a = 1;" * 2500, "f'{a}'\n" * 2300, "x=f'" + "{a}" * 5300 + "'"):
        needed([{"id": str(i), "kind": "code", "source": text} for i in range(40)], {"0"})
    assert time.process_time() - begun < 25


@pytest.mark.parametrize(
    "text, said",
    [
        ("no JSON", "not a Jupyter notebook"),
        ("[" * 10**6, "not a Jupyter notebook"),
        ('{"cells": [' + "[]," * 2 * 10**7 + "[]]}", "reading it takes|cells, of at most"),
        (json.dumps({"cells": [{"cell_type": "raw", "source": "x" * 5 * 2**20}]}), "characters"),
        ('{"cells": 7}', "not a Jupyter notebook"),
        ('{"cells": [{"cell_type": "code", "source": {"a": 1}, "metadata": [1]}]}', None),
    ],
    ids=["text", "deep", "many", "long", "number", "odd"],
)
def test_a_file_is_read_in_a_process_with_limits(tmp_path, text, said):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    if said is None:
        assert len(read_notebook(path).cells) == 1
    else:
        with pytest.raises(BadNotebook, match=said):
            read_notebook(path)


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "fifo.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    with (tmp_path / "sparse.ipynb").open("wb") as file:
        file.truncate(2**31)
    (tmp_path / "link.ipynb").symlink_to("/etc/passwd")
    for name in ("fifo", "folder", "sparse", "link"):
        with pytest.raises(BadNotebook, match=f"plain|more than {MOST_BYTES // 2**20}"):
            read_notebook(tmp_path / f"{name}.ipynb")


def test_a_message_is_mostly_arrays(tmp_path):
    path = tmp_path / "message"
    with path.open("wb") as file:
        send(file, {"x": ["y"] * 2**18})
    with path.open("rb") as file, pytest.raises(WireError, match="bytes of text"):
        receive(file)


@pytest.mark.parametrize("shape", [(1, 3, 1024, 1024), (400, 3, 64, 64), (1, 2**23)])
def test_the_network_is_not_asked_about_too_much(shape):
    answer = Answer()
    message, arrays = asked(None, "logits", {"points": np.zeros(shape, np.uint8)}, answer)
    assert "of at most" in message["error"] and not arrays and not answer.logits


def test_in_parts_the_network_says_the_same():
    given = Given(3)
    points = given.pictures(3).numpy()
    many = np.concatenate([points] * 100)
    weights = np.random.default_rng(0).standard_normal((300, len(given.facts["classes"])))
    for what in ("logits", "gradient"):
        whole, part = (
            asked(given.network, what, {"points": p, "weights": w}, Answer())[1]["answer"]
            for p, w in ((many, weights), (many[-3:], weights[-3:]))
        )
        np.testing.assert_allclose(whole[-3:], part, rtol=1e-9)


def test_a_page_that_cannot_be_written_costs_that_page(tmp_path, source, monkeypatch, capsys):
    for name in ("ada", "bob"):
        submission(source, tmp_path / "in" / name / f"{NAME}.ipynb")
    record = module.not_run(module.empty_record(), NAME, "it is a test")
    monkeypatch.setattr(module, "grade_notebook", lambda *_, **__: record)
    monkeypatch.setattr(module, "_solved_first", lambda *_: None)
    write = module.write_student

    def fails(out, student, *rest, **named):
        if student == "ada":
            raise OSError("no space")
        return write(out, student, *rest, **named)

    monkeypatch.setattr(module, "write_student", fails)
    found = grade(tmp_path / "in", tmp_path / "out", sources=source.parent, seed=SEED)
    assert "could not be written: OSError: no space" in found["ada"]["problems"][-1]
    assert len(found["bob"]["problems"]) == 1 and "ada: its page" in capsys.readouterr().err
    assert (tmp_path / "out" / "students" / "bob.html").is_file()
    assert (tmp_path / "out" / "index.html").is_file()


def test_what_a_killed_grader_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    for name in (f"grading-{os.getpid()}-x", "grading-999999999-y", "grading-mine"):
        (tmp_path / name / "course").mkdir(parents=True)
    module._sweep()
    assert {p.name for p in tmp_path.iterdir()} == {f"grading-{os.getpid()}-x", "grading-mine"}


# name → (changed cells, points, what its record says)
ODD = {
    "surrogate words": ({"observation": "half \ud800 a letter"}, 12, "half ?"),
    "surrogate error": (after("raise ValueError('\\ud800')"), 4, "ValueError"),
    "names": (after(f"def unused(): return {NAMES}"), 12, ""),
    "parts": (after("SOLO = 2\n" + PARTS), 4, "solution-smoothgrad: it ran longer"),
    "asks much": (
        inside("model(torch.zeros(1, 3, 1024, 1024, dtype=torch.uint8))"),
        4,
        "asked about pictures of shape",
    ),
    "long text": (
        inside(
            "import gc, os, struct\nfor line in gc.get_objects():\n"
            "    if type(line).__name__ == 'Line':\n"
            "        line._outgoing.write(struct.pack('<II', 60 * 2**20, 0) + b'[' * 60 * 2**20)\n"
            "        line._outgoing.flush()"
        ),
        4,
        "bytes of text",
    ),
    "long key": (
        {"solution-smoothgrad": "def my_smoothgrad(*_):\n    return {'k' * 10**7: torch.ones(1)}"},
        4,
        "a dict",
    ),
    "folders": (
        after(
            "import os\ntry:\n    for i in range(2 * 10**6): os.mkdir(str(i))\n"
            "except OSError as error: print(error)"
        ),
        12,
        "",
    ),
}


def lay_odd(path, kind):
    """One thing that is no notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**31)
    elif kind == "60 MB":
        path.write_text('{"cells": [' + "1," * 30 * 2**20 + "1]}")
    else:
        path.write_text(kind)


ALONE = {
    "fifo": "not a plain file",
    "folder": "not a plain file",
    "sparse": "more than 128",
    "60 MB": "cells, of at most|takes more than",
    "no JSON": "not a Jupyter notebook",
    "{}": "not a Jupyter notebook",
}


@pytest.mark.parametrize("kind", ALONE)
def test_alone_it_is_not_graded_and_the_status_says_so(tmp_path, source, monkeypatch, capsys, kind):
    lay_odd(tmp_path / "in" / "ada" / f"{NAME}.ipynb", kind)
    monkeypatch.setattr(module, "_solved_first", lambda *_: None)
    command = [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert module.main([*command, "--notebooks", str(source.parent)]) == 1
    (row,) = csv.DictReader((tmp_path / "out" / "grades.csv").open())
    assert row["student"] == "ada" and row[NAME] == "" and re.search(ALONE[kind], row["problems"])
    assert "1 notebooks could NOT be graded" in capsys.readouterr().err
    assert (tmp_path / "out" / "students" / "ada.html").is_file()


@pytest.mark.parametrize("kind", ["link", "no zip", "nothing"])
def test_where_nobody_is_found_the_status_says_so(tmp_path, source, capsys, kind):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    if kind != "nothing":
        lay_odd(tmp_path / "in" / "ada" / f"{NAME}.{'zip' if kind == 'no zip' else 'ipynb'}", kind)
    with pytest.raises(SystemExit) as end:
        module.main([str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert end.value.code == 1 and "no notebook of this course is in" in capsys.readouterr().err
    assert not (tmp_path / "out" / "grades.csv").exists()


@needs_walls
@pytest.mark.slow
@pytest.mark.parametrize("name", [*ODD, "caf\udce9"])
def test_alone_it_gets_its_grade_and_a_reason(tmp_path, source, small_limits, name):
    changes, points, said = ODD.get(name, ({}, 12, ""))
    submission(source, tmp_path / "in" / name / f"{NAME}.ipynb", changes)
    options = {"sources": source.parent, "seed": SEED, "limits": small_limits}
    ((student, total),) = grade(tmp_path / "in", tmp_path / "out", **options).items()
    assert total["notebooks"][NAME]["automatic"] == points and not total["not_graded"]
    path = module._record_file(tmp_path / "out", student, NAME)
    assert said in json.dumps(json.loads(path.read_text())["record"], ensure_ascii=False)
    assert len(list((tmp_path / "out" / "students").glob("*.html"))) == 1


@needs_walls
@pytest.mark.slow
@pytest.mark.parametrize("name", ["long text", "folders", "all"])
def test_the_others_get_their_grades(tmp_path, source, small_limits, name):
    cases = ODD if name == "all" else {name: ODD[name]}
    for good in ("good 1", "good 2"):
        submission(source, tmp_path / "in" / good / f"{NAME}.ipynb")
    for case, (changes, *_) in cases.items():
        submission(source, tmp_path / "in" / case / f"{NAME}.ipynb", changes)
    if name == "all":
        for kind in ("fifo", "folder", "sparse"):
            lay_odd(tmp_path / "in" / kind / f"{NAME}.ipynb", kind)
        latin = os.path.join(os.fsencode(tmp_path / "in"), b"caf\xe9")
        os.mkdir(latin)
        submission(source, Path(os.fsdecode(latin)) / f"{NAME}.ipynb")
    found = grade(
        tmp_path / "in",
        tmp_path / "out",
        sources=source.parent,
        seed=SEED,
        limits=small_limits,
        workers=2,
    )
    earned = {name: total["notebooks"][NAME]["automatic"] for name, total in found.items()}
    expected = {"good 1": 12, "good 2": 12} | {case: told[1] for case, told in cases.items()}
    if name == "all":
        expected |= {"caf\\xe9": 12} | dict.fromkeys(["fifo", "folder", "sparse"])
    assert earned == expected
    for case, (_, _, said) in cases.items():
        path = module._record_file(tmp_path / "out", case, NAME)
        assert said in json.dumps(json.loads(path.read_text())["record"], ensure_ascii=False), case
    assert len(list((tmp_path / "out" / "students").glob("*.html"))) == len(expected)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert held < 2, f"the grader held {held:.1f} GiB, with two workers"


def test_the_places_of_a_tuple_arrive_in_their_order():
    """safetensors gives them in any: nodes and weights changed places."""
    arrays = {str(place): np.full(2, place) for place in range(12)}
    for _ in range(5):
        stream = io.BytesIO()
        send(stream, {}, arrays)
        stream.seek(0)
        _, found = receive(stream)
        assert list(found) == list(arrays)
        assert [int(each[0]) for each in found.values()] == list(range(12))
