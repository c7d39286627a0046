"""Submissions graded for real, each in a process of its own: right, partly right, wrong, broken and
hostile."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from submissions import SOLVED, submission

from helpers.course.grade import grade
from helpers.course.grading.sandbox import isolation

NAME, SEED = "smoothgrad_1_method", 5
RIGHT = SOLVED["solution-smoothgrad"]
needs_walls = pytest.mark.skipif(
    isolation() != "namespaces", reason="this system allows no namespaces: nothing to test"
)


def after(text):
    """A solution cell that is right, and does something else first."""
    return {"solution-smoothgrad": f"{text}\n\n{RIGHT}"}


def inside(text):
    """A solution whose function does something else first."""
    lines = RIGHT.splitlines()
    return {
        "solution-smoothgrad": "\n".join(
            [lines[0], *(f"    {line}" for line in text.splitlines()), *lines[1:]]
        )
    }


def _out_of_order(cells):
    """From the fifth cell on backwards, and my_gradient twice, first a wrong one."""
    wrong = {**cells[4], "source": "def my_gradient(model, pixels, target):\n    return pixels"}
    return [cells[0], wrong, *cells[1:4], *cells[:3:-1]]


# name → (changed cells, points of my_gradient (4) and my_smoothgrad (8), what the record must say
# somewhere)
GENTLE = {
    "right": ({}, 4, 8, ""),
    "partly": (
        {"solution-smoothgrad": RIGHT.replace("target)", "target).abs()")},
        4,
        1,
        "mean of the absolute gradients",
    ),
    "empty": (
        {key: "raise NotImplementedError()" for key in SOLVED},
        0,
        0,
        "there is no function my_gradient",
    ),
    "syntax": ({"solution-smoothgrad": "def my_smoothgrad(:"}, 4, 0, "SyntaxError"),
    "slider": (
        {
            "figure": "import ipywidgets as w\n\n\ndef draw(x):\n    return 1 / (5 - x)\n\n\n"
            "w.interact(draw, x=w.IntSlider(2, min=0, max=5))",
            **after("!echo a shell\n%matplotlib inline"),
        },
        4,
        8,
        "ZeroDivisionError",
    ),
    "wrong": (
        {
            "check-gradient": "print('fine')",
            "check-smoothgrad": "N_PICTURES = 100",
            "solution-gradient": "def my_gradient(model, pixels, target):\n"
            "    return pixels.sign()",
        },
        0,
        8,  # which does what it should with a right my_gradient
        "relative error",
    ),
}
HOSTILE = {
    "loop": (
        inside("while True:\n    try:\n        1 + 1\n    except Exception:\n        pass"),
        4,
        0,
        "longer than 2 s",
    ),
    "dies": (after("import os\nos._exit(3)"), 4, 0, "ended by itself (status 3"),
    "dies late": (inside("import ctypes\nctypes.string_at(0)"), 4, 0, "ended by itself (signal 11"),
    "returns": (
        {"solution-smoothgrad": "def my_smoothgrad(*_):\n    return torch.zeros(2**24)"},
        4,
        0,
        "of at most 32",
    ),
    "liar": (
        inside(
            "import gc, os\nfor line in gc.get_objects():\n    if type(line).__name__ == 'Line':\n"
            "        line._outgoing.write(b'\\xff' * 100)\n        line._outgoing.flush()"
        ),
        4,
        0,
        "protocol",
    ),
}
# Those that meet a wall which test_sandbox.py has around a bare Python: `make test-all` also grades
# them.
WALLED = {
    "stubborn": (
        after(
            "while True:\n    try:\n        while True:\n            pass\n"
            "    except BaseException:\n        pass"
        ),
        4,
        0,
        "did not react",
    ),
    "at once": (after("block = bytearray(50 * 2**30)"), 4, 0, "MemoryError"),
    "group": (inside("import os\nos.killpg(0, 9)"), 4, 0, "my_smoothgrad"),
    "sleep": (after("import time\ntime.sleep(10**6)"), 4, 0, "slept longer than 6 s"),
    "memory": (after("blocks = []\nwhile True:\n    blocks.append(b'x' * 2**26)"), 4, 0, "emory"),
    "forks": (
        after(
            "import os\nfor _ in range(10**6):\n    try:\n        os.fork()\n"
            "    except OSError:\n        pass"
        ),
        4,
        0,
        "solution-smoothgrad: ",
    ),
}


def all_said(record):
    return json.dumps(record, ensure_ascii=False)


def graded(folder, source, limits, cases, **options):
    for name, (changes, *_) in cases.items():
        submission(source, folder / "in" / f"{name}_{NAME}.ipynb", changes)
    summaries = grade(
        folder / "in",
        folder / "out",
        sources=source.parent,
        seed=SEED,
        limits=limits,
        workers=2,
        **options,
    )
    records = {
        name: json.loads((path / f"{NAME}.json").read_text())["record"]
        for name in summaries
        for path in (folder / "out" / "records").glob(f"{name.replace(' ', '_')}*")
    }
    return summaries, records


def check(records, cases):
    for name, (_, gradient, smoothgrad, said) in cases.items():
        earned = [task["earned"] for task in records[name]["tasks"]]
        assert earned == [gradient, smoothgrad], (
            name,
            records[name]["tasks"],
            records[name]["errors"],
        )
        assert said in all_said(records[name]), (name, records[name])


@pytest.fixture(scope="module")
def gentle(tmp_path_factory, source, small_limits):
    folder = tmp_path_factory.mktemp("gentle")
    submission(
        source,
        folder / "in" / "order" / f"{NAME}.ipynb",
        edit=_out_of_order,
    )
    submission(
        source,
        folder / "in" / "missing" / "my work.ipynb",
        edit=lambda cells: cells[:2] + cells[4:6],
    )
    (folder / "in" / f"text_{NAME}.ipynb").write_text("no JSON")
    (folder / "in" / "nothing").mkdir()
    summaries, records = graded(folder, source, small_limits, GENTLE)
    return folder, summaries, records


def test_each_gets_what_it_earned_and_a_reason(gentle):
    check(gentle[2], GENTLE)
    for name, record in gentle[2].items():
        assert sum(check["points"] for task in record["tasks"] for check in task["checks"]) == 12, (
            name
        )


def test_broken_notebooks_get_a_score_and_a_reason(gentle):
    _, summaries, records = gentle
    automatic = {name: summaries[name]["notebooks"][NAME]["automatic"] for name in summaries}
    assert (automatic["order"], automatic["missing"]) == (12, 4)
    assert (automatic["text"], automatic["nothing"]) == (None, 0)
    assert "not a Jupyter notebook" in records["text"]["problem"]
    assert records["nothing"]["problem"] == "it was not handed in"
    assert "cell solution-smoothgrad is missing" in records["missing"]["remarks"]
    assert any("out of order" in remark for remark in records["order"]["remarks"])
    assert any("there twice" in remark for remark in records["order"]["remarks"])
    assert "cell check-gradient had been changed; it was restored" in records["wrong"]["remarks"]


def test_errors_of_sliders_are_seen(gentle):
    (error,) = gentle[2]["slider"]["errors"]  # and its shell commands are none
    assert error.startswith("sliders: ") and "ZeroDivisionError" in error
    assert gentle[2]["right"]["errors"] == []


def test_pages_and_tables(gentle):
    folder, summaries, records = gentle
    rows = {row["student"]: row for row in csv.DictReader((folder / "out" / "grades.csv").open())}
    assert (
        list(rows) == list(summaries)
        and rows["right"][NAME] == "12"
        and rows["right"]["SmoothGrad (of 20)"] == "12"
    )
    assert len(records["right"]["cells"]["figure"]["pictures"]) == 1, "also without plt.show()"
    page = (folder / "out" / "students" / "partly.html").read_text()
    assert (
        "this is the mean of the absolute gradients" in page
        and "data:image/png;base64" in page
        and "1.95 against" in page
    )
    assert (
        "word for word ours" in page
        and "word for word" not in (folder / "out" / "students" / "empty.html").read_text()
    )
    assert "students/partly.html" in (folder / "out" / "index.html").read_text()
    assert rows["nothing"]["not handed in"] == NAME and not rows["nothing"]["problems"]


def test_marks_survive_and_are_added_and_nothing_is_run_again(
    gentle, source, small_limits, monkeypatch
):
    folder = gentle[0]
    marks = folder / "out" / "marks.csv"
    rows = list(csv.reader(marks.open()))
    with marks.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet would
        writer = csv.writer(file, delimiter=";")
        for row in rows:
            if row[:3] == ["right", NAME, "figure"]:
                row[4:] = ["3,5", "axes?"]
            if row[:3] == ["wrong", NAME, "figure"]:
                row[4] = "17"
            writer.writerow(row)
    monkeypatch.setattr(
        "helpers.course.grade.grade_notebook", lambda *_, **__: pytest.fail("graded again")
    )
    again = grade(folder / "in", folder / "out", sources=source.parent, limits=small_limits)
    assert again["right"]["notebooks"][NAME]["by_hand"] == 3.5 and again["right"]["waiting"] == 1
    assert "the mark '17' is no number from 0 to 4" in again["wrong"]["problems"][-1]
    assert "axes?" in (folder / "out" / "students" / "right.html").read_text()
    assert "3,5" in marks.read_text()


GUEST = """
import os, shutil, signal, socket
from pathlib import Path

for path in SECRETS:
    try:
        Path(path).read_bytes()
    except OSError:
        continue
    raise SystemExit(f'WAS READ: {path}')
for path in ('/x', '/course/helpers/benchmark/models.py', '/usr/x'):
    try:
        Path(path).write_text('x')
    except OSError:
        continue
    raise SystemExit(f'WAS WRITTEN: {path}')
for address in ADDRESSES:
    try:
        socket.create_connection(address, 1)
    except OSError:
        continue
    raise SystemExit(f'WAS REACHED: {address}')
for pid in (os.getppid(), 1, -1):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
for _ in range(1024):
    print('x' * 2**20)
for fd in (1, 2):
    for _ in range(64):
        os.write(fd, b'y' * 2**20)
try:
    for i in range(100):
        open(f'{i}', 'wb').write(bytes(2**20))
except OSError as error:
    print(error)
else:
    raise SystemExit('WAS FILLED: the disk')
for path in ('/course', '/tmp', os.getcwd()):
    shutil.rmtree(path, ignore_errors=True)
"""
"""Reads, writes, reaches, kills, floods, fills and deletes what it can, and is graded all the
same."""


@needs_walls
@pytest.mark.parametrize("walled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_hostile_submissions_harm_nobody(tmp_path, source, small_limits, walled):
    secret = tmp_path / "secret.txt"
    secret.write_text("the solutions")
    with socket.create_server(("127.0.0.1", 0)) as server:
        secrets = (str(secret), str(source), "/proc/1/environ", "/etc/shadow")
        addresses = (("127.0.0.1", server.getsockname()[1]), ("1.1.1.1", 53))
        tries = f"SECRETS, ADDRESSES = {secrets!r}, {addresses!r}\n{GUEST}"
        guests = {"guest": (after(tries), 4, 8, ""), "right": GENTLE["right"]}
        cases = (WALLED if walled else HOSTILE) | guests
        _, records = graded(tmp_path, source, small_limits, cases)
    check(records, cases)
    assert records["guest"]["errors"] == records["right"]["errors"] == []
    assert secret.read_text() == "the solutions"
    # forks share what is counted for each
    alone = [record["peak"] for name, record in records.items() if name != "forks"]
    assert max(alone) < small_limits.memory + 600 * 2**20


@needs_walls
def test_killed_and_started_again_it_ends_with_the_same_grades(tmp_path, source, gentle):
    names = ["partly", "right"]
    for name in names:
        submission(source, tmp_path / "in" / f"{name}_{NAME}.ipynb", GENTLE[name][0])
    command = [
        sys.executable,
        "-m",
        "helpers",
        "grade",
        tmp_path / "in",
        "--out",
        tmp_path / "out",
        "--seed",
        str(SEED),
        "--notebooks",
        source.parent,
        "--workers",
        "1",
    ]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    records = tmp_path / "out" / "records"
    while not list(records.glob("*/*.json")):
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    kept = {path: path.stat().st_mtime_ns for path in records.glob("*/*.json")}
    assert 1 <= len(kept) < len(names)
    grade(tmp_path / "in", tmp_path / "out", sources=source.parent, seed=SEED, workers=1)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items()), (
        "what was graded is not graded again"
    )
    for name in names:
        again = json.loads((records / name / f"{NAME}.json").read_text())["record"]
        assert again["tasks"] == gentle[2][name]["tasks"]


def test_without_walls_it_warns_or_refuses(tmp_path, monkeypatch, capsys):
    from helpers.course import grade as module

    monkeypatch.setattr(module, "isolation", lambda: "limits only")
    monkeypatch.setattr(
        sys, "argv", ["grade", str(tmp_path), "--out", str(tmp_path / "out"), "--require-isolation"]
    )
    with pytest.raises(SystemExit):
        module.main()
    assert "no namespaces" in capsys.readouterr().err


def test_without_walls_it_still_grades(tmp_path, source, small_limits):
    _, records = graded(tmp_path, source, small_limits, {"right": GENTLE["right"]}, isolated=False)
    check(records, {"right": GENTLE["right"]})
