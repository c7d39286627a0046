"""The house: which room may ask which, how much each may hold, and where its old modules went."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import helpers
from helpers.__main__ import COMMANDS, main

HELPERS = Path(helpers.__file__).parent
# From the ground up; a module imports from its own room and from those below. The last two that
# stand side by side do not import each other.
GROUND = {"evaluate", "noise", "checks", "files", "workers"}
FLOORS = (
    {"ground"},
    {"benchmark"},
    {"attribution"},
    {"measures"},
    {"studies", "display"},
    {"course"},
    {"__main__"},
)
# Raise a budget on purpose, in the change that needs it, and say in its message what it bought.
LINES = {
    "attribution": 2560,
    "benchmark": 2930,
    "measures": 1520,
    "studies": 3700,
    "display": 3750,
    "course": 7300,
    "ground": 740,
}
COURSE_SHARE = 0.40


def room(module):
    first = module.split(".")[1]
    return "ground" if first in GROUND else first


def floor(module):
    return next(i for i, rooms in enumerate(FLOORS) if room(module) in rooms)


def modules():
    """{dotted name: path} of all modules but the package's own, which hands on from anywhere."""
    names = {}
    for path in sorted(HELPERS.rglob("*.py")):
        parts = path.relative_to(HELPERS.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    del names["helpers"]
    return names


def imported(name, path, known):
    """The modules of helpers that a module imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            module = resolve_name("." * node.level + (node.module or ""), package)
            submodules = {f"{module}.{alias.name}" for alias in node.names} & known
            found |= submodules or {module}
    return {module for module in found if module.split(".")[0] == "helpers"}


@pytest.fixture(scope="module")
def graph():
    every = modules()
    return {name: imported(name, path, set(every)) for name, path in every.items()}


def violations(graph):
    """Imports against the order: (module, what it imports)."""
    return [
        (name, other)
        for name, others in graph.items()
        for other in others
        if other == "helpers" or (room(other) != room(name) and floor(other) >= floor(name))
    ]


def circle(graph):
    """A module that imports itself, by way of others; None where there is none."""
    reached = {name: set(others) for name, others in graph.items()}
    for _ in graph:
        for others in reached.values():
            others |= set().union(*(reached.get(other, set()) for other in others))
    return next((name for name, others in reached.items() if name in others), None)


def test_imports_run_one_way(graph):
    assert violations(graph) == []
    assert circle(graph) is None


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("helpers.attribution.gradients", "helpers.measures.quality"),
        ("helpers.evaluate", "helpers.benchmark.models"),
        ("helpers.studies.store", "helpers.display.plotting"),
        ("helpers.display.plotting", "helpers.studies.store"),
        ("helpers.benchmark.images", "helpers"),
    ],
)
def test_an_arrow_back_up_is_seen(graph, name, other):
    assert violations(graph | {name: graph[name] | {other}}) == [(name, other)]


def test_a_circle_is_seen(graph):
    back = {"helpers.attribution.targets": {"helpers.attribution.smoothgrad"}}
    assert circle(graph | back) is not None


def test_at_most_thirteen_entries():
    entries = {path.name for path in HELPERS.iterdir()} - {"__pycache__"}
    assert len(entries) <= 13, sorted(entries)


def test_the_rooms_say_what_they_are_and_nothing_else():
    for path in HELPERS.glob("*/__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree) and len(tree.body) == 1, path


def test_each_room_keeps_to_its_budget_of_lines():
    held = dict.fromkeys(LINES, 0)
    for path in HELPERS.rglob("*.py"):
        within = path.relative_to(HELPERS).parts[0]
        key = within if within in LINES else "ground"
        held[key] += len(path.read_text(encoding="utf-8").splitlines())
    over = {name: n for name, n in held.items() if n > LINES[name]}
    assert not over, f"lines over the budget: {over}"
    assert held["course"] <= COURSE_SHARE * sum(held.values()), held


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_what_a_student_types_is_imported_when_it_is_asked_for():
    process = python("import sys, helpers; assert 'torch' not in sys.modules, 'torch'")
    assert process.returncode == 0, process.stderr
    listed = dir(helpers)
    for name in helpers.__all__:
        assert callable(getattr(helpers, name)) and name in listed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gradients", "attribution.gradients"),
        ("smoothgrad", "attribution.smoothgrad"),
        ("models", "benchmark.models"),
        ("ig_studies", "studies.integrated_gradients"),
        ("grading.sandbox", "course.grading"),
        ("explorer", "display.explorer"),
    ],
)
def test_an_old_module_name_says_where_it_went(old, new):
    assert (HELPERS / f"{new.replace('.', '/')}.py").is_file() or "grading" in new
    process = python(f"from helpers.{old} import anything")
    assert f"ImportError: helpers.{old.split('.')[0]} is now helpers.{new}" in process.stderr


def test_a_module_that_never_was_is_not_found():
    assert "No module named 'helpers.nothing'" in python("import helpers.nothing").stderr
    assert "cannot import name 'nothing'" in python("from helpers import nothing").stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_and_does_nothing_else(command, capsys, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: pytest.fail("wrote a file"))
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and said.startswith(f"usage: python -m helpers {command} ")


def test_commands_are_imported_when_called_and_only_those_present_are_listed(monkeypatch, capsys):
    listing = python(
        "import sys; from helpers.__main__ import main; main([]); assert 'torch' not in sys.modules"
    )
    assert listing.returncode == 0, listing.stderr
    assert main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == list(COMMANDS)
    monkeypatch.setitem(COMMANDS, "grade", ("helpers.course.taken_out", "grade"))
    assert main(["grade"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("unknown command 'grade'") and "\n  grade" not in said
