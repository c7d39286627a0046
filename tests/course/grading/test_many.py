"""Two hundred submissions of fifty programs, right, unconventional, wrong, hostile, as course
systems hand them over: what each earns and costs, and the same grades from a grader that is killed
again and again."""

import csv
import json
import os
import random
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from programs import HANDED_IN_AS, NO_NOTEBOOKS, PROGRAMS
from submissions import submission
from test_grade import NAME, SEED, needs_walls

from helpers.course.grade import grade

N = int(os.environ.get("SUBMISSIONS", 200))
KILLS, AMONG = 10, 20
pytestmark = [pytest.mark.slow, needs_walls]


def test_there_are_enough_of_them():
    assert len(PROGRAMS) >= 40


def handed(folder, source, n):
    """Lay out n submissions; student → (program, its points)."""
    cases, expected = [*PROGRAMS.items(), *NO_NOTEBOOKS.items()], {}
    random.Random(0).shuffle(cases)
    for number in range(n):
        name, case = cases[number % len(cases)]
        student = f"s{number:03d}"
        path = folder / HANDED_IN_AS[number % len(HANDED_IN_AS)].format(student)
        if isinstance(case, str):
            path = folder / f"{student}_{NAME}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(case)
            expected[student] = name, None
        else:
            changes, edit, points = case
            submission(source, path, changes, edit=edit)
            expected[student] = name, points
    return expected


@pytest.fixture(scope="module")
def many(tmp_path_factory, source, small_limits):
    folder = tmp_path_factory.mktemp("many")
    expected = handed(folder / "in", source, N)
    begun, cpu = time.monotonic(), time.process_time()
    summaries = grade(
        folder / "in",
        folder / "out",
        sources=source.parent,
        seed=SEED,
        workers=2,
        limits=replace(small_limits, cpu=60),
    )
    return folder, expected, summaries, time.monotonic() - begun, time.process_time() - cpu


def test_two_hundred(many, capsys):
    folder, expected, summaries, wall, cpu = many
    earned = {student: one["notebooks"][NAME]["automatic"] for student, one in summaries.items()}
    wrong = {
        student: (name, points, earned.get(student, "lost"))
        for student, (name, points) in expected.items()
        if earned.get(student, "lost") != points
    }
    assert not wrong and earned.keys() == expected.keys()
    records = [
        json.loads(path.read_text())["record"]
        for path in Path(folder / "out" / "records").glob("*/*.json")
    ]
    assert len(records) == len(list((folder / "out" / "students").glob("*.html"))) == N
    each = {
        what: sum(record["seconds"].get(what, 0) for record in records) / N
        for what in ("start", "notebook", "total")
    }
    beyond = each["total"] - each["start"] - each["notebook"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with capsys.disabled():
        print(
            f"\n{N} submissions in {wall:.0f} s with 2 workers; each: {each['start']:.1f} s "
            f"start and imports, {each['notebook']:.1f} s notebook, {beyond:.1f} s beyond (of "
            f"the grader's own processor time {cpu / N:.2f} s); peak memory: grader "
            f"{memory / 2**20:.0f} MiB, a submission "
            f"{max(record['peak'] for record in records) / 2**20:.0f} MiB",
            file=sys.stderr,
        )
    assert cpu / N < 3 and memory < 2 * 2**30


def test_killed_ten_times_it_ends_with_the_same_grades(many, tmp_path, source):
    students = list(handed(tmp_path / "in", source, AMONG))
    command = [sys.executable, "-c", GRADE, tmp_path, source.parent, str(SEED)]
    records, moment = tmp_path / "out" / "records", random.Random(1)
    kills = 0
    while kills < KILLS:
        kept = list(records.glob("*/*.json"))
        for path in kept[: AMONG // 2] if len(kept) == AMONG else ():
            path.unlink()  # something is left to be killed at
        before = len(list(records.glob("*/*.json")))
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while kills % 3 and len(list(records.glob("*/*.json"))) <= before and run.poll() is None:
            time.sleep(0.05)
        time.sleep(moment.uniform(0, 8))
        kills += run.poll() is None
        run.kill()
        run.wait()
    subprocess.run(command, check=True)
    rows = {}
    for out in (tmp_path / "out", many[0] / "out"):
        table = list(csv.DictReader((out / "grades.csv").open()))
        rows[out] = [row for row in table if row["student"] in students]
    once, often = rows.values()
    assert len(once) == AMONG and once == often


GRADE = """
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, "tests/course/grading")
from conftest import SMALL
from helpers.course.grade import grade

folder = Path(sys.argv[1])
grade(folder / "in", folder / "out", sources=Path(sys.argv[2]), seed=int(sys.argv[3]), workers=2,
      limits=replace(SMALL, cpu=60))
"""
