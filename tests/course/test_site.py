"""The site: a small one built from notebooks that are written here, offline, every figure in words,
its first page the course."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers.course.run import ROOT
from helpers.course.site import build

ALT = "Three maps of one cat, side by side, with more noise from left to right"
COURSE = """
seed = 0
[[notebook]]
name = "first"
group = "Start"
question = "What does a <network> look at?"
minutes = 20
parts = {}
[[notebook]]
name = "second"
group = "SmoothGrad"
question = "How much noise?"
minutes = 70
parts = { my_study = 10, figure = 4.5 }
[[notebook]]
name = "not_written_yet"
group = "Later"
question = "What else?"
minutes = 30
parts = { words = 5 }
"""
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/a/b/blob/v1/notebooks/first.ipynb)"


def png(color, size=(600, 200)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def figure(color, alt=ALT, **more):
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return new_output("display_data", {"image/png": png(color), **more}, metadata=metadata)


def written(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(folder of notebooks, site, Sphinx's warnings): two assignments, one of which failed, an
    evidence page each for one of them and for all, a page of docs."""
    folder = tmp_path_factory.mktemp("toy")
    home, docs = folder / "notebooks", folder / "docs"
    hidden = new_code_cell("machinery = 1", metadata={"tags": ["hide-input"]})
    frames = figure("red", **{"text/html": "<input type='range' id='moves'>"})
    written(
        home / "first.ipynb",
        new_markdown_cell(f"# The first\n\n{BADGE}\n\nWords, $x^2$, [more](second.ipynb)."),
        hidden,
        # two figures of one cell keep each its own words
        new_code_cell("draw()", outputs=[figure("blue"), figure("green", f"Again: {ALT}")]),
        new_code_cell("panel()", outputs=[frames]),
        new_markdown_cell(r"$$\begin{aligned} a &= \hat b \\ c &= \mathcal N \end{aligned}$$"),
        new_markdown_cell("<details><summary>Hint</summary>\n\n**bold**\n\n</details>"),
    )
    written(home / "second.ipynb", new_markdown_cell("# The second, committed"))
    written(
        home / "evidence" / "second.ipynb",
        new_markdown_cell(
            "# Measured\n\nHow much?\n\n**In one line:** At $\\sigma$ = 2 % it is *best*.\n\n"
            "[Back](../second.ipynb), [code](../../helpers/files.py)"
        ),
    )
    written(home / "evidence" / "all.ipynb", new_markdown_cell("# All findings"))
    (home / "course.toml").write_text(COURSE)
    shutil.copytree(ROOT / "docs" / "_static", docs / "_static")
    (docs / "speed.md").write_text("# How fast\n\n[First](../notebooks/first.ipynb)\n")
    ran = written(
        folder / "ran" / "second.ipynb",
        new_markdown_cell("# The second, executed"),
        new_code_cell("1 / 0", outputs=[figure("black")]),
    )
    result = {
        "name": "second.ipynb",
        "path": ran,
        "seconds": 1.0,
        "error": "cell [1]: ZeroDivisionError: division by zero",
    }
    warnings = io.StringIO()
    first = build(
        folder / "build",
        [result],
        notebooks=home,
        docs=docs,
        note="Executed with SEED = 7.",
        warnings=warnings,
    )
    return folder, first, warnings.getvalue()


class Page(HTMLParser):
    """What a page fetches, shows and leads to."""

    def __init__(self, path):
        super().__init__()
        self.path, self.text = path, path.read_text(encoding="utf-8")
        self.fetched, self.alt, self.links = [], [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "link" and given.get("rel") not in ("canonical", "search", "index", "next"):
            self.fetched.append(given.get("href", ""))
        elif "src" in given:
            self.fetched.append(given["src"])
        if tag == "img":
            self.alt.append(given.get("alt", ""))


def pages(site):
    return [Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def fetched_from_elsewhere(page):
    styled = re.findall(r"""@import[^;]*//[^;]*|url\(["']?(?:https?:)?//[^)]*""", page.text)
    return [url for url in page.fetched if re.match(r"(https?:)?//", url)] + styled


def broken_links(page):
    inside = [link.partition("#")[0] for link in page.links]
    inside = [link for link in inside if link and not re.match(r"\w+:", link)]
    return [link for link in inside if not (page.path.parent / link).exists()]


def in_few_words(page):
    return [alt for alt in page.alt if len(alt.split()) < 8]


def test_it_is_built_without_a_warning(toy):
    assert toy[2] == ""


@pytest.mark.parametrize("problem", [fetched_from_elsewhere, broken_links, in_few_words])
def test_no_page_has_a_problem(toy, problem):
    found = {page.path.name: problem(page) for page in pages(toy[1].parent)}
    assert len(found) >= 6 and not any(found.values()), found


def test_styles_and_scripts_fetch_nothing_from_elsewhere(toy):
    for path in toy[1].parent.rglob("*.css"):
        urls = re.findall(r"url\(([^)]*)\)|@import ([^;]*);", path.read_text(encoding="utf-8"))
        assert not [url for pair in urls for url in pair if "//" in url and "data:" not in url]


def test_each_figure_has_its_own_words(toy):
    page = Page(toy[1].parent / "notebooks" / "first.html")
    assert page.alt == [ALT, f"Again: {ALT}"]
    assert "id='moves'" in page.text, "what moves without a kernel comes before the picture of it"


def test_formulas_details_and_folded_machinery(toy):
    text = (toy[1].parent / "notebooks" / "first.html").read_text(encoding="utf-8")
    assert "mathjax.js" in text and r"\begin{aligned}" in text
    assert "<strong>bold</strong>" in text and "colab" not in text.lower()
    folded = text.index('<details class="admonition hide above-input">')
    assert folded < text.index("machinery") < text.index("</details>", folded)


def test_the_first_page_is_the_course(toy):
    text = toy[1].read_text(encoding="utf-8")
    said = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text))
    order = ["What does a &lt;network&gt; look at?", "20 minutes · no points", "How much noise?"]
    order += ["The second, executed", "70 minutes · 14.5 points", "The answer in a line", "best"]
    order += ["ZeroDivisionError", "All findings", "How fast"]
    places = [said.index(words, said.index("Executed with SEED = 7.")) for words in order]
    assert places == sorted(places)
    assert "3 notebooks, 19.5 points, about 2 hours" in said
    assert "What else?" not in said and "committed" not in said
    links = Page(toy[1]).links
    for link in (
        "notebooks/first.html",
        "notebooks/second.html",
        "_sources/notebooks/second.ipynb",
        "notebooks/evidence/second.html",
    ):
        assert link in links, link
    assert "_sources/notebooks/first.ipynb" in links
    (thumbnail,) = toy[1].parent.glob("_images/first.thumbnail.png")
    assert Image.open(thumbnail).size == (480, 160)


def test_a_link_to_a_file_that_is_no_page_is_words_where_the_repository_has_no_address(toy):
    page = Page(toy[1].parent / "notebooks" / "evidence" / "second.html")
    assert "code" in page.text and not any("files.py" in link for link in page.links)


def test_a_site_of_nothing_is_a_page(tmp_path):
    (tmp_path / "notebooks").mkdir()
    first = build(tmp_path, notebooks=tmp_path / "notebooks", docs=tmp_path / "none")
    assert "Gradient explanations" in first.read_text(encoding="utf-8")


def test_in_a_browser_without_a_network_it_fits_a_phone_and_formulas_are_set(toy, chromium):
    problems, site = [], toy[1].parent
    context = chromium.new_context(viewport={"width": 390, "height": 800}, offline=True)
    page = context.new_page()
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    for name in ("index", "notebooks/first", "notebooks/evidence/second"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    page.goto((site / "notebooks" / "first.html").as_uri())
    wide = "[...document.querySelectorAll('div.cell_output img')].map(image => image.clientWidth)"
    assert page.evaluate(wide) == [600, 600], "a figure's labels are not made smaller"
    page.wait_for_selector("mjx-container svg", timeout=60_000)
    assert not problems
    # Beside each hit the search shows some words of its page, which only a server hands out.
    page.goto((site / "search.html").as_uri() + "?q=machinery")
    page.wait_for_selector("ul.search a[href*='first.html']", timeout=60_000)
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("problem", [fetched_from_elsewhere, broken_links, in_few_words])
def test_the_real_site_has_no_problem(real, problem):
    found = {page.path.name: problem(page) for page in pages(real[0])}
    assert not any(found.values()), found


@pytest.mark.slow
def test_the_real_site_is_built_without_a_warning_and_no_page_is_heavy(real):
    site, warnings = real
    assert warnings == ""
    for page in pages(site):
        pictures = [page.path.parent / url for url in page.fetched if "_images/" in url]
        weight = len(page.text.encode()) + sum(path.stat().st_size for path in set(pictures))
        assert weight < 1_500_000, (page.path.name, weight)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """(the site from what is committed, Sphinx's warnings)."""
    warnings = io.StringIO()
    first = build(Path(tmp_path_factory.mktemp("real")), warnings=warnings)
    return first.parent, warnings.getvalue()
