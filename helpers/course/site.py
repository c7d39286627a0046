"""The site: the notebooks as they ran, the evidence with its committed outputs and the pages of
docs/, built by Sphinx, myst-nb and sphinx-book-theme; its first page is the course. Nothing on it
is fetched from elsewhere.
"""

import base64
import hashlib
import html
import importlib.util
import io
import os
import re
import shutil
import sys
from itertools import islice
from pathlib import Path

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

from helpers.course.colab import BADGE, ROOT, origin
from helpers.course.syllabus import load
from helpers.files import written_whole

_HEAD = """\
# Gradient explanations, measured

Each notebook asks one question about SmoothGrad, Integrated Gradients or one of their relatives.
You see it, write one function, use it on a real photograph, and answer with a number. Most answers
have an evidence page: hundreds of pictures, several networks, intervals, and checks that fail if a
claim stops being true.
"""
_THUMBNAIL = (480, 360)  # pixels, at most; shown at half the size, so that it is sharp on a phone


def build(
    out, executed=(), *, notebooks=ROOT / "notebooks", docs=ROOT / "docs", note="", warnings=None
) -> Path:
    """Build the site.

    Args:
        out: a folder; the sources are assembled in ``out/source``, the site is ``out/site``. Both
            are written anew.
        executed: results of ``run``; their pages take the place of the committed ones.
        notebooks: the folder of the assignments, ``course.toml`` and ``evidence/``. What is not
            there is left out.
        docs: a folder of further pages in Markdown.
        note: a line for the first page, e.g. which parameters were chosen.
        warnings: a stream for Sphinx's warnings; default: stderr.

    Returns:
        the first page.

    Raises:
        RuntimeError: Sphinx could not build it.
    """
    out, notebooks, docs = Path(out), Path(notebooks), Path(docs)
    source, site = out / "source", out / "site"
    for folder in (source, site, out / "doctrees"):
        shutil.rmtree(folder, ignore_errors=True)
    (source / "notebooks" / "evidence").mkdir(parents=True)
    if docs.is_dir():
        shutil.copytree(docs, source / "docs")
        for page in (source / "docs").glob("*.md"):
            page.write_text(_links(page.read_text(encoding="utf-8"), "docs"), encoding="utf-8")
    (source / "_static").mkdir()
    shutil.copy(_mathjax(), source / "_static" / "mathjax.js")

    pages = {p.relative_to(notebooks).as_posix(): p for p in sorted(notebooks.rglob("*.ipynb"))}
    pages |= {result["name"]: result["path"] for result in executed}
    errors = {result["name"]: result["error"] for result in executed}
    read, alt = {}, {}
    for name, path in pages.items():
        if path is None:
            continue
        read[name] = nbformat.read(path, as_version=4)
        alt |= _described(read[name])
        (source / "notebooks" / name).parent.mkdir(parents=True, exist_ok=True)
        folder = (Path("notebooks") / name).parent
        nbformat.write(_for_the_site(read[name], folder), source / "notebooks" / name)
    text = _course(_entries(notebooks), read, errors, note, source)
    (source / "index.md").write_text(text, encoding="utf-8")

    app = Sphinx(
        source,
        None,
        site,
        out / "doctrees",
        "html",
        confoverrides=_settings(),
        status=None,
        warning=warnings or sys.stderr,
        parallel=min(os.cpu_count() or 1, 4) if len(read) > 4 else 1,
    )
    app.connect("doctree-read", lambda _, tree: _say_what_is_seen(tree, alt))
    app.build()
    if app.statuscode:
        raise RuntimeError(f"the site could not be built: Sphinx ended with {app.statuscode}")
    return site / "index.html"


def _settings():
    repository, revision = origin()
    known = {
        "repository_url": repository,
        "repository_branch": revision,
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }
    return {
        "project": "Gradient explanations",
        "author": "",
        "html_title": "Gradient explanations",
        "extensions": ["myst_nb"],
        "exclude_patterns": ["**/.*"],
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "nb_output_stderr": "show",
        "nb_code_prompt_show": "Show the code",
        "nb_code_prompt_hide": "Hide the code",
        "myst_enable_extensions": ["dollarmath", "amsmath", "colon_fence"],
        "myst_heading_anchors": 3,
        # A notebook is to be read as it is in Jupyter, where headings may begin at any level, and
        # where no language is known to be wrong.
        "suppress_warnings": ["myst.header", "misc.highlighting_failure", "mystnb.mime_priority"],
        "mathjax_path": "mathjax.js",
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {
            "home_page_in_toc": True,
            "show_toc_level": 2,
            "use_fullscreen_button": False,
            "navbar_persistent": [],  # the column on the left has the search
            "footer_content_items": [],
            **(known if repository else {}),
        },
        "html_static_path": ["_static", "docs/_static"],
        "html_css_files": ["course.css"],
        "html_sourcelink_suffix": "",
        "html_show_copyright": False,
        "html_show_sphinx": False,
    }


def _mathjax():
    """MathJax in one file, from a package that brings it: formulas need no network."""
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    return package / "static" / "mathjax" / "tex-svg.js"


def _pictures(notebook):
    """(bytes of a PNG, its alt text or ""), in the order of the page."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                yield base64.b64decode("".join(output.data["image/png"])), alt


def _described(notebook):
    """{name that myst-nb gives a picture's file: its alt text}."""
    return {hashlib.sha256(png).hexdigest(): alt for png, alt in _pictures(notebook) if alt}


def _say_what_is_seen(tree, alt):
    """myst-nb leaves out the alt text that a picture's output carries."""
    for picture in tree.findall(nodes.image):
        stem = Path(picture["uri"]).stem
        if stem in alt:
            picture["alt"] = alt[stem]


def _for_the_site(notebook, folder):
    """Without the badge, which is a picture from elsewhere: the site has a button. One language for
    every cell's colours."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _links(BADGE.sub("", cell.source), folder)
    notebook.metadata.setdefault("language_info", {})["pygments_lexer"] = "ipython3"
    return notebook


def _links(text, folder):
    """Links from a page in ``folder`` of the repository to files that are no pages lead to the
    repository, or are their words alone where it has no address."""
    repository, revision = origin()

    def lead(found):
        words, target = found[1], found[2]
        path = (ROOT / folder / target).resolve()
        page = path.suffix == ".ipynb" or path.parent == ROOT / "docs"
        if page or not path.exists() or not path.is_relative_to(ROOT):
            return found[0]
        inside = path.relative_to(ROOT).as_posix()
        return f"[{words}]({repository}/blob/{revision}/{inside})" if repository else words

    return re.sub(r"(?<!!)\[([^]\n]+)\]\((?!\w+:)([^)#\s]+)\)", lead, text)


def _entries(notebooks):
    file = notebooks / "course.toml"
    return load(file) if file.is_file() else ()


def _title(notebook, otherwise):
    lines = (line for cell in notebook.cells for line in cell.source.splitlines())
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), otherwise)


def answer(notebook) -> str:
    """The finding in a line, which an evidence page says in its first cell; "" where it does
    not."""
    found = re.search(r"^\*\*In one line:\*\* +(.+)", notebook.cells[0].source, re.MULTILINE)
    return found[1].strip() if found else ""


def _course(entries, read, errors, note, source):
    """The first page: the notebooks by group, and the site's contents."""
    paragraphs, contents, listed = [_HEAD], {}, set()
    if note:
        paragraphs.append(f"*{note}*")
    if entries:
        paragraphs.append(
            f"{len(entries)} notebooks, {sum(e.points for e in entries):g} points, about "
            f"{sum(e.minutes for e in entries) / 60:.0f} hours in all."
        )
    for entry in entries:
        file = f"{entry.name}.ipynb"
        if file in read:
            if entry.group not in contents:
                paragraphs.append(f"## {entry.group}")
            contents.setdefault(entry.group, []).append(f"notebooks/{file}")
            listed.add(file)
            paragraphs += _card(entry, read, errors.get(file), source)
    others = [f"notebooks/{file}" for file in read if file not in listed]
    contents["Evidence"] = [page for page in others if page.startswith("notebooks/evidence/")]
    contents["Further notebooks"] = [page for page in others if page not in contents["Evidence"]]
    behind = {f"evidence/{file}" for file in listed}
    if alone := [file for file in read if file.startswith("evidence/") and file not in behind]:
        said = [(f"[{_title(read[file], file)}](notebooks/{file})", read[file]) for file in alone]
        lines = [": ".join(filter(None, (link, answer(page)))) for link, page in said]
        paragraphs += ["## Evidence across notebooks", "\n".join(f"- {line}" for line in lines)]
    docs = [f"docs/{path.name}" for path in sorted((source / "docs").glob("*.md"))]
    if docs:
        paragraphs += ["## To read", "\n".join(f"- []({page})" for page in docs)]
    contents["To read"] = docs
    for title, pages in contents.items():
        if pages:
            documents = "\n".join(page.rsplit(".", 1)[0] for page in pages)
            paragraphs.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{documents}\n```")
    return "\n\n".join(paragraphs) + "\n"


def _card(entry, read, error, source):
    """A notebook on the first page, in MyST: question, thumbnail, size, links, the answer folded;
    its paragraphs."""
    file = f"{entry.name}.ipynb"
    notebook, evidence = read[file], read.get(f"evidence/{file}")
    points = f"{entry.points:g} points" if entry.points else "no points"
    links = [
        f"[Read it](notebooks/{file})",
        f'<a href="_sources/notebooks/{file}" download>Notebook file</a>',
    ]
    paragraphs = ["::::{container} notebook"]
    # the second: the first of most shows the same photograph
    for png, alt in list(islice(_pictures(notebook), 2))[-1:]:
        name = f"{entry.name}.thumbnail.png"
        with Image.open(io.BytesIO(png)) as image, written_whole(source / name) as whole:
            image = image.convert("RGB")
            image.thumbnail(_THUMBNAIL)
            image.quantize(128).save(whole, "PNG", optimize=True)  # half the weight
        alt = alt or f"A figure of the notebook that asks: {entry.question}"
        paragraphs.append(f"![{re.sub(r'([][])', '', alt)}]({name})")
    paragraphs += [
        f"### {html.escape(entry.question, quote=False)}",
        f"[{_title(notebook, entry.name)}](notebooks/{file})",
        f"{entry.minutes} minutes · {points}",
    ]
    if evidence:
        links.append(f"[Evidence](notebooks/evidence/{file})")
    paragraphs.append(" · ".join(links))
    if evidence and answer(evidence):
        folded = "<details><summary>The answer in a line</summary>"
        paragraphs += [folded, answer(evidence), "</details>"]
    if error:
        paragraphs.append(f"**It did not run to the end:** `{error.splitlines()[0]}`")
    return [*paragraphs, "::::"]
