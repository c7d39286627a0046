"""Opening a notebook in Colab: the cell it begins with, its badge, and what Colab lacks.

python -m helpers colab    # writes both anew into every notebook and the README, after
                           # pyproject.toml has changed

The repository's address and version stand in pyproject.toml and nowhere else; the revision fetched
is the version's tag. In Colab this module is imported before anything is installed, so it needs the
standard library only.
"""

import importlib
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Colab's own, and running already: never installed
KEPT = (
    "torch",
    "torchvision",
    "jupyter",
    "ipykernel",
)
_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"
_BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*/([\w.-]+\.ipynb)\)")
_BOOTSTRAP = """\
import subprocess
import sys
from pathlib import Path

folders = [Path.cwd(), *Path.cwd().parents]
root = next((folder for folder in folders if (folder / "helpers").is_dir()), None)
try:
    import google.colab  # noqa: F401
except ImportError:  # on a machine of your own
    assert root, (
        "Open this notebook from a checkout of its repository: "
        "it needs the helpers/ and data/ beside it."
    )
    # so that `import helpers` works without an installation
    sys.path.insert(0, str(root))
else:  # in Colab: fetch the repository, then install what Colab lacks
    root = root or Path.cwd() / "{folder}"
    if not root.exists():
        clone = "git -c advice.detachedHead=false clone --quiet --depth=1"
        repository = "{repository}"
        fetched = ["--branch={revision}", repository, str(root)]
        subprocess.run([*clone.split(), *fetched], check=True)
    sys.path.insert(0, str(root))
    from helpers.course.colab import install_missing

    install_missing()"""


def origin() -> tuple[str, str]:
    """(the repository's address, the tag of this version), from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    repository, version = (
        re.search(rf'^{key} = "(.+)"', text, re.MULTILINE)[1] for key in ("Repository", "version")
    )
    return repository.rstrip("/"), f"v{version}"


def bootstrap(repository, revision) -> str:
    """The source of the cell that every notebook begins with. It does nothing in a checkout but
    find it."""
    return _BOOTSTRAP.format(
        repository=repository, revision=revision, folder=repository.rsplit("/", 1)[1]
    )


def badge(name, repository, revision) -> str:
    """The Markdown link that opens ``notebooks/name`` in Colab, which takes notebooks from GitHub
    by their path there."""
    host, _, path = repository.partition("github.com/")
    if host != "https://":
        raise ValueError(
            f"Colab opens repositories at https://github.com/OWNER/NAME, found {repository!r}"
        )
    return (
        "[![Open in "
        f"Colab]({_IMAGE})](https://colab.research.google.com/github/{path}/blob/{revision}/notebooks/{name})"
    )


def stamp(notebook, name, repository=None, revision=None):
    """Put the bootstrap cell's source and the badge under the title into a notebook, in place of
    those there; return it.

    Args:
        notebook: parsed JSON or an nbformat node; one without a cell tagged ``bootstrap`` is left
            alone.
        name: its path in notebooks/.
        repository, revision: where Colab shall fetch from; default: ``origin()``.
    """
    here = (repository, revision) if repository and revision else origin()
    cells = [cell for cell in notebook["cells"] if "bootstrap" in cell["metadata"].get("tags", [])]
    for cell in cells:
        cell["source"] = bootstrap(*here)
    first = notebook["cells"][0] if cells else {"source": ""}
    title, _, rest = _BADGE.sub("", "".join(first["source"])).partition("\n")
    if title.startswith("# "):
        first["source"] = f"{title}\n\n{badge(name, *here)}\n\n{rest.lstrip()}".rstrip()
    return notebook


def name_of(path) -> str:
    """A notebook's path in notebooks/, which is its name in Colab; elsewhere its file's name."""
    path, home = path.resolve(), ROOT / "notebooks"
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else path.name


def install_missing() -> list[str]:
    """Install what the notebooks import and is not there, moving nothing that is; the requirements
    that were installed."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    needed, *_ = text.split("\n\n")  # its first paragraph; the others are for running and testing
    missing = [
        line
        for line in _requirements(needed)
        if not _version(_name(line)) and _name(line) not in KEPT
    ]
    if missing:
        with tempfile.NamedTemporaryFile(
            "w", suffix=".txt"
        ) as pins:  # pip refuses rather than move one of these
            there = {name: _version(name) for name in (*map(_name, _requirements(text)), *KEPT)}
            pins.writelines(f"{name}=={version}\n" for name, version in there.items() if version)
            pins.flush()
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "-c", pins.name, *missing],
                check=True,
            )
        importlib.invalidate_caches()
    return missing


def _requirements(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _name(requirement):
    return re.match(r"[\w-]+", requirement)[0]


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main(arguments=None):
    import argparse

    import nbformat

    from helpers.files import written_whole

    argparse.ArgumentParser(
        prog="python -m helpers colab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    readme = ROOT / "README.md"
    texts = {
        readme: _BADGE.sub(
            lambda found: badge(found[1], *origin()), readme.read_text(encoding="utf-8")
        )
    }
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        notebook = stamp(nbformat.read(path, as_version=4), name_of(path))
        texts[path] = nbformat.writes(notebook) + "\n"
    for path, text in texts.items():
        with written_whole(path) as whole:
            whole.write_text(text, encoding="utf-8")
