"""A stranger's notebook file, read in a process of its own: what it is made of may cost seconds and
gigabytes to take apart, and what comes back is small.

Needs the standard library alone, so that it starts at once.
"""

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass, field

MOST_BYTES = 128 * 2**20  # of a notebook file; its outputs, which nobody needs here, are most of it
MOST_MEMORY, MOST_SECONDS = 1536 * 2**20, 20  # of the process that reads it
MOST_SOURCE = 4 * 2**20  # characters of all that it hands on: sources, and pictures pasted in words
MOST_CELLS = 5000
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
"""What an <img> shows, and runs nothing of."""
FILMS = ("video/mp4", "video/webm")


class BadNotebook(ValueError):
    """A submission that cannot be read as a notebook, and why."""


@dataclass
class Notebook:
    """``edition``: {"version", "parts"} of the release that it was made from, as far as it says."""

    cells: list["Cell"]
    edition: dict


@dataclass
class Cell:
    """A cell as it was handed in.

    names: what the source may know it by, the likeliest first. attachments: name → data URL.
    """

    kind: str
    source: str
    names: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attachments: dict[str, str] = field(default_factory=dict)


def read_notebook(path) -> Notebook:
    """A notebook of version 3 or 4, or BadNotebook."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_LINK)
    except OSError as error:
        raise BadNotebook(f"not a plain file ({error.strerror})") from None
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise BadNotebook("not a plain file")
    with open(handle, "rb") as file:
        if about.st_size > MOST_BYTES:
            raise BadNotebook(
                f"{about.st_size / 2**20:.0f} MiB: more than {MOST_BYTES / 2**20:.0f}"
            )
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", __file__],
                stdin=file,
                capture_output=True,
                timeout=60 * MOST_SECONDS,
            )
            told = json.loads(done.stdout)
        except (ValueError, subprocess.TimeoutExpired):
            raise BadNotebook(
                f"reading it takes more than {MOST_SECONDS} s or {MOST_MEMORY / 2**30:g} GiB"
            ) from None
    if "problem" in told:
        raise BadNotebook(told["problem"])
    return Notebook([Cell(**cell) for cell in told["cells"]], told["edition"])


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _notebook(raw):
    """What ``Notebook`` holds, of a notebook's bytes."""
    notebook = json.loads(raw.decode(json.detect_encoding(raw), "replace"))
    metadata = notebook.get("metadata")
    edition = metadata.get("course") if isinstance(metadata, dict) else None
    edition = edition if isinstance(edition, dict) and len(json.dumps(edition)) < 5000 else {}
    return {"cells": _cells(notebook), "edition": edition}


def _cells(notebook):
    """What ``Cell`` holds, of each of its cells."""
    cells = notebook.get("cells")
    if cells is None:
        cells = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    if len(cells) > MOST_CELLS:
        raise ValueError(f"{len(cells)} cells, of at most {MOST_CELLS}")
    found = [_cell(cell) for cell in cells]
    size = sum(len(cell["source"]) + sum(map(len, cell["attachments"].values())) for cell in found)
    if size > MOST_SOURCE:
        raise ValueError(f"{size} characters in its cells, of at most {MOST_SOURCE}")
    return found


def _cell(cell):
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    nbgrader = metadata.get("nbgrader")
    names = [
        nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None,
        cell.get("id"),
        metadata.get("id"),  # where Colab keeps it
    ]
    source = cell.get("source", cell.get("input", ""))
    source = "".join(source) if isinstance(source, list) else str(source)
    tags, pasted = metadata.get("tags"), cell.get("attachments")
    return {
        "kind": str(cell["cell_type"]).replace("heading", "markdown"),
        "source": _text("\n".join(source.replace("\r\n", "\n").split("\r"))),
        "names": [_text(name)[:200] for name in names if name and isinstance(name, str)],
        "tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
        "attachments": {
            _text(str(name)): f"data:{kind};base64,{''.join(data)}"
            for name, forms in (pasted.items() if isinstance(pasted, dict) else ())
            for kind, data in forms.items()
            if kind in PICTURES
        },
    }


def _text(text):
    """Without the halves of characters that no file can hold."""
    return text.encode("utf-8", "replace").decode()


def main():
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    try:
        told = _notebook(sys.stdin.buffer.read(MOST_BYTES + 1))
    except MemoryError:
        return
    except Exception as error:  # whatever it holds
        told = {"problem": f"not a Jupyter notebook ({type(error).__name__}: {str(error)[:200]})"}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
