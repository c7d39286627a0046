"""Two hundred submissions made from our notebook: right, partly right, wrong, hostile; what one
costs in time and memory."""

import json
import os
import resource
import sys
import time
from pathlib import Path

import pytest
from submissions import submission

from helpers.course.grade import NOTEBOOKS, grade
from helpers.course.grading.sandbox import Limits, isolation

NAME = "smoothgrad_1_method"
N = int(os.environ.get("SUBMISSIONS", 200))
SMOOTHGRAD = """def my_smoothgrad(model, pixels, target, fields, noise):
    total = torch.zeros_like(pixels)
    for field in fields:
        total += my_gradient(model, pixels + noise * field, target){}
    return total / len(fields)"""
KINDS = (  # of ten: (changed cells, points)
    *[({}, 12)] * 4,
    ({"solution-smoothgrad": SMOOTHGRAD.format("")}, 12),
    ({"solution-smoothgrad": SMOOTHGRAD.format(".abs()")}, 5),
    ({"solution-smoothgrad": SMOOTHGRAD.format(" / noise")}, 5),
    ({"solution-gradient": "def my_gradient(model, pixels, target):\n    return pixels"}, 0),
    ({"solution-smoothgrad": "raise NotImplementedError()"}, 4),
)
HOSTILE = (
    "import os\nos._exit(1)",
    "while True: pass",
    "x = bytearray(50 * 2**30)",
    "import os\nos.kill(-1, 9)",
    "import shutil\nshutil.rmtree('/', ignore_errors=True)",
    "print('x' * 2**28)",
)


@pytest.mark.slow
@pytest.mark.skipif(isolation() != "namespaces", reason="this system allows no namespaces")
def test_two_hundred(tmp_path, capsys):
    source, expected = NOTEBOOKS / f"{NAME}.ipynb", {}
    for number in range(N):
        changes, points = (
            KINDS[number % 10]
            if number % 10 < len(KINDS)
            else ({"solution-smoothgrad": HOSTILE[number // 10 % len(HOSTILE)]}, 4)
        )
        student = f"s{number:03d}"
        expected[student] = points
        submission(source, tmp_path / "in" / f"{student}_{NAME}.ipynb", changes)
    begun, cpu = time.monotonic(), time.process_time()
    with capsys.disabled():
        summaries = grade(
            tmp_path / "in",
            tmp_path / "out",
            only=[NAME],
            seed=1,
            workers=2,
            limits=Limits(cell=6, idle=10, memory=1800 * 2**20),
        )
    wall, cpu = time.monotonic() - begun, time.process_time() - cpu
    assert {
        student: total["notebooks"][NAME]["automatic"] for student, total in summaries.items()
    } == expected
    records = [
        json.loads(path.read_text())["record"]
        for path in Path(tmp_path / "out" / "records").glob("*/*.json")
    ]
    seconds = {
        what: sum(record["seconds"].get(what, 0) for record in records) / N
        for what in ("start", "notebook", "total")
    }
    beyond = seconds["total"] - seconds["start"] - seconds["notebook"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with capsys.disabled():
        print(
            f"\n{N} submissions in {wall:.0f} s with 2 workers; each: {seconds['start']:.1f} s "
            f"start and imports, {seconds['notebook']:.1f} s notebook, {beyond:.1f} s beyond (of "
            f"the grader's own processor time {cpu / N:.2f} s); peak memory: grader "
            f"{memory / 2**20:.0f} MiB, a submission "
            f"{max(record['peak'] for record in records) / 2**20:.0f} MiB",
            file=sys.stderr,
        )
    assert cpu / N < 3
