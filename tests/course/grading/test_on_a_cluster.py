"""The same grades from the workers of a cluster, each with walls of its own."""

import json

import pytest
from submissions import submission
from test_grade import NAME, SEED, needs_walls

from helpers.course.grade import grade


@needs_walls
@pytest.mark.slow
def test_a_cluster_gives_the_grades_of_this_machine(cluster, tmp_path, source):
    cases = {"right": {}, "wrong": {"solution-smoothgrad": "def my_smoothgrad(*_):\n    return 1"}}
    for name, changes in cases.items():
        submission(source, tmp_path / "in" / name / f"{NAME}.ipynb", changes)
    cluster.worker(), cluster.worker()
    found = {}
    for where, address in (("here", None), ("there", cluster.address)):
        out = tmp_path / where
        grade(tmp_path / "in", out, sources=source.parent, seed=SEED, workers=1, address=address)
        found[where] = {
            path.relative_to(out).as_posix(): json.loads(path.read_text(encoding="utf-8"))["record"]
            for path in sorted(out.glob("records/*/*.json"))
        }
    assert len(found["here"]) == 2 and found["here"].keys() == found["there"].keys()
    for name, record in found["here"].items():
        there = found["there"][name]
        for key in ("problem", "tasks", "by_hand", "errors", "remarks"):
            assert there[key] == record[key], (name, key)
