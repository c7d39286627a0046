"""Opening a notebook in Colab: the cell it begins with, its badge, and what Colab lacks.

python -m helpers colab    # writes both anew into every notebook and the README, and points

The repository's address and version stand in pyproject.toml and nowhere else; while OWNER stands in
for the owner, the address is git's ``origin``, if that is on GitHub, and the command writes it
there. As long as neither is known there are no badges. The revision fetched is the version's tag.
In Colab this module is run before anything is installed, so it needs the standard library only.
"""

import importlib
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Colab's own, and running already: never installed
KEPT = ("torch", "torchvision", "jupyter", "ipykernel")
_OPEN = "https://colab.research.google.com/github"
_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*/([\w.-]+\.ipynb)\)")
_BOOTSTRAP = """\
# @title Set-up
import subprocess
import sys
from pathlib import Path

here = Path("{folder}").resolve()
root = next((p for p in (here, *here.parents) if (p / "helpers").is_dir()), None)
if "google.colab" in sys.modules:
{fetch}
    subprocess.run([sys.executable, "-m", "helpers.course.colab"], cwd=root, check=True)
assert root, "Open this notebook from a checkout: it needs the folder helpers/."
sys.path.insert(0, str(root))

import numpy as np
import torch
from helpers import *"""
_FETCH = """\
    if not root:
        root, git = here, "git -c advice.detachedHead=false clone -q --depth=1"
        source = ["--branch={revision}", "{repository}"]
        subprocess.run([*git.split(), *source, str(root)], check=True)"""
_NOWHERE = """\
    assert root, "No public address of this course is known yet to fetch it from.\""""
_ADDRESS = re.compile(r"(?:https://github\.com/|git@github\.com:)([\w.-]+/[\w.-]+?)(?:\.git)?/?")
_FOLDED = "hide-input"


def origin() -> tuple[str, str]:
    """(the repository's address, the tag of this version), from pyproject.toml; the address is ""
    while nobody has named the owner."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project["urls"]["Repository"].rstrip("/")
    return "" if "/OWNER/" in repository else repository, f"v{project['version']}"


def from_git() -> str:
    """The address of git's ``origin`` as Colab wants it; "" where that is not on GitHub."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        said = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # no git here
        return ""
    found = _ADDRESS.fullmatch(said)
    return f"https://github.com/{found[1]}" if found else ""


def bootstrap(repository, revision) -> str:
    """The source of the cell that every notebook begins with. It does nothing in a checkout but
    find it. ``repository`` "" fetches nothing in Colab either, and says so."""
    fetch = _FETCH.format(repository=repository, revision=revision) if repository else _NOWHERE
    return _BOOTSTRAP.format(folder=(repository or ".").rsplit("/", 1)[-1], fetch=fetch)


def badge(name, repository, revision) -> str:
    """The Markdown link that opens ``notebooks/name`` in Colab, which takes notebooks from GitHub
    by their path there; "" where no repository is known."""
    if not repository:
        return ""
    host, _, path = repository.partition("github.com/")
    if host != "https://":
        raise ValueError(
            f"Colab opens repositories at https://github.com/OWNER/NAME, found {repository!r}"
        )
    return f"[![Open in Colab]({_IMAGE})]({_OPEN}/{path}/blob/{revision}/notebooks/{name})"


def stamp(notebook, name, repository=None, revision=None):
    """Put the bootstrap cell's source and the badge under the title into a notebook, in place of
    those there, and fold its machinery for every program that shows it; return it.

    Args:
        notebook: parsed JSON or an nbformat node; one without a cell tagged ``bootstrap`` is left
            alone.
        name: its path in notebooks/.
        repository, revision: where Colab shall fetch from; default: ``origin()``.
    """
    here = (repository, revision) if repository and revision else origin()
    tagged = [(cell, cell["metadata"].get("tags", [])) for cell in notebook["cells"]]
    if not any("bootstrap" in tags for _, tags in tagged):
        return notebook
    for cell, tags in tagged:
        if "bootstrap" in tags:
            cell["source"] = bootstrap(*here)
            if _FOLDED not in tags:
                tags.append(_FOLDED)
        if _FOLDED in tags:
            cell["metadata"].setdefault("jupyter", {})["source_hidden"] = True  # JupyterLab
            cell["metadata"]["cellView"] = "form"  # Colab; the site goes by the tag
    first = notebook["cells"][0]
    title, _, rest = BADGE.sub("", "".join(first["source"])).partition("\n")
    if title.startswith("# "):
        parts = (title, badge(name, *here), rest.strip())
        first["source"] = "\n\n".join(part for part in parts if part)
    return notebook


def name_of(path) -> str:
    """A notebook's path in notebooks/, which is its name in Colab; elsewhere its file's name."""
    path, home = path.resolve(), ROOT / "notebooks"
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else path.name


def install_missing() -> list[str]:
    """Install what the notebooks import and is not there, moving nothing that is; the requirements
    that were installed."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    requirement = re.compile(r"^([\w-]+).*", re.MULTILINE)
    needed, *_ = text.split("\n\n")  # its first paragraph; the others are for running and testing
    found = [each for each in requirement.finditer(needed) if each[1] not in KEPT]
    missing = [each[0] for each in found if not _version(each[1])]
    if missing:
        names = {*requirement.findall(text), *KEPT}
        there = {name: _version(name) for name in names}
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
            # pip refuses rather than move one of these
            pins.writelines(f"{name}=={version}\n" for name, version in there.items() if version)
            pins.flush()
            install = [sys.executable, "-m", "pip", "install", "--quiet", "-c", pins.name]
            subprocess.run([*install, *missing], check=True)
        importlib.invalidate_caches()
    return missing


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main(arguments=None):
    import argparse

    import nbformat

    from helpers.course import syllabus
    from helpers.files import written_whole

    argparse.ArgumentParser(
        prog="python -m helpers colab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    found = from_git()
    if not origin()[0] and found:
        file = ROOT / "pyproject.toml"
        text = file.read_text(encoding="utf-8")
        named = re.sub(r'(?m)^Repository = ".+"', lambda _: f'Repository = "{found}"', text)
        with written_whole(file) as whole:
            whole.write_text(named, encoding="utf-8")
    repository, _ = origin()
    texts, entries = {}, {entry.name: entry for entry in syllabus.load()}
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        notebook = stamp(nbformat.read(path, as_version=4), name_of(path))
        if path.parent.name == "notebooks" and path.stem in entries:
            syllabus.with_points(notebook, entries[path.stem])
        texts[path] = nbformat.writes(notebook) + "\n"
    readme = ROOT / "README.md"
    texts[readme] = with_badges(readme.read_text(encoding="utf-8"))
    for path, text in texts.items():
        with written_whole(path) as whole:
            whole.write_text(text, encoding="utf-8")
    print(
        f"written for {repository}; push the tag {origin()[1]} too"
        if repository
        else "no badges: git's origin is not on GitHub, and pyproject.toml names no owner"
    )


def with_badges(text) -> str:
    """The README's table with a badge at the end of the line of each assignment, or with none."""
    here = origin()
    text = re.sub(rf" *{BADGE.pattern}", "", text)
    if not here[0]:
        return text
    return re.sub(
        r"^(\| \[\w+\]\(notebooks/(\w+\.ipynb)\).*?) *\|$",
        lambda found: f"{found[1]} {badge(found[2], *here)} |",
        text,
        flags=re.MULTILINE,
    )


if __name__ == "__main__":  # as the bootstrap cell does in Colab
    install_missing()
