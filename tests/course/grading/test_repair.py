"""Which cells of a submission are executed, and with which sizes."""

import pytest

from helpers.course.grading.repair import needed, profile


@pytest.mark.parametrize(
    "last, executed",
    [
        ("print(a)", ["imports", "a"]),
        ("print(b)", ["imports", "a", "b again"]),
        ("a += 1", ["imports", "a"]),
        ("def f():\n    return b", ["imports", "a", "b again"]),
        ("for b in range(3):\n    print(b)", []),
        ("b = 1\nprint(b)", []),
        ("print(maybe)", ["first maybe", "imports", "a", "maybe"]),
        ("%magic\nprint(b)", ["imports", "a", "b again"]),
    ],
)
def test_what_no_mark_depends_on_is_not_executed(last, executed):
    cells = {
        "first maybe": "maybe = 0",
        "imports": "import math",
        "a": "a = math.pi",
        "slow": "b = sum(range(10**9))",
        "b again": "b = [a for _ in range(3)]",
        "maybe": "if a > 3:\n    maybe = 1",
        "last": last,
    }
    cells = [{"id": name, "kind": "code", "source": source} for name, source in cells.items()]
    assert needed(cells, {"last"}) == {*executed, "last"}


def test_the_grading_profile_has_small_sizes_and_another_seed():
    values = {}
    exec(
        profile(
            "MODEL = 'scenes'\nSEED = 0\nN_PICTURES = 10\nN_MEASURED = 2\nN_STEPS = 50\n"
            "NOISE = 0.15",
            7,
        ),
        values,
    )
    values.pop("__builtins__")
    assert values == {
        "MODEL": "scenes",
        "SEED": 7,
        "N_PICTURES": 3,
        "N_MEASURED": 2,
        "N_STEPS": 12,
        "NOISE": 0.15,
    }
