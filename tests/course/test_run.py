"""Re-execution: pages for every notebook, the failing one named with its cell, nothing of the
reader's own touched."""

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from helpers.course import run as commands
from helpers.course.run import DATA, ROOT, main, run, tidy, to_html

GOOD = (
    "import pathlib\nprint(SEED, MODEL, IMAGES, pathlib.Path.cwd().name)",
    "import ipywidgets\nipywidgets.IntSlider(3, description='a slider')",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>bold</b>'))",
)
BAD = ("print('before')", "1 / 0", "print('never')")
DEAD = ("import os", "os._exit(3)")


def save(path, title, *sources):
    parameters = new_code_cell("MODEL = 'scenes'\nIMAGES = None\nSEED = 0")
    parameters.metadata["tags"] = ["parameters"]
    cells = [
        new_markdown_cell(f"# {title}\nwords, $x^2$"),
        parameters,
        *map(new_code_cell, sources),
    ]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def command(*arguments):
    """``python -m helpers run`` in this process, which has imported what it needs: (exit status,
    what it printed, and to stderr)."""
    said, progress = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(said),
        redirect_stderr(progress),
        pytest.raises(SystemExit) as ended,
    ):
        main([*map(str, arguments)])
    assert "Traceback" not in progress.getvalue(), progress.getvalue()
    return ended.value.code, said.getvalue(), progress.getvalue()


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, what came of the command, out): a good and a failing notebook, one whose kernel dies
    and one that is none."""
    folder = tmp_path_factory.mktemp("notebooks")
    notebooks = [
        save(folder / "book" / "good.ipynb", "A good one & more", *GOOD),
        save(folder / "book" / "bad.ipynb", "A bad one", *BAD),
        save(folder / "book" / "dead.ipynb", "A dead one", *DEAD),
    ]
    (folder / "book" / "none.ipynb").write_text("no notebook")
    sources = {path: path.read_bytes() for path in (folder / "book").iterdir()}
    (folder / "pictures").mkdir()
    ended = command(
        *notebooks,
        folder / "book" / "none.ipynb",
        "--out",
        folder / "out",
        "--model",
        "squeezenet1_1",
        "--images",
        (folder / "pictures"),
        "--seed",
        "7",
    )
    assert {path: path.read_bytes() for path in (folder / "book").iterdir()} == sources
    return folder, ended, folder / "out"


def printed(notebook, cell):
    return "".join(output.get("text", "") for output in notebook.cells[cell].outputs)


def test_a_failure_is_the_exit_code_and_names_notebook_and_cell(ran):
    status, said, _ = ran[1]
    assert status == 1
    lines = said.splitlines()
    bad = next(
        i for i, line in enumerate(lines) if line.startswith("FAILED") and line.endswith("bad")
    )
    # The injected parameters are a cell of their own: parameters [1], injected [2], print [3], 1 /
    # 0 [4].
    assert lines[bad + 1].strip() == "cell [4]: ZeroDivisionError: division by zero"
    assert "1 of 4 notebooks ran to the end" in said


def test_a_kernel_that_dies_names_its_cell(ran):
    lines = ran[1][1].splitlines()
    dead = next(
        i for i, line in enumerate(lines) if line.startswith("FAILED") and line.endswith("dead")
    )
    assert lines[dead + 1].strip().startswith("cell [4]: DeadKernelError")


def test_what_is_no_notebook_is_said_and_the_others_still_run(ran):
    lines = ran[1][1].splitlines()
    none = next(
        i for i, line in enumerate(lines) if line.startswith("FAILED") and line.endswith("none")
    )
    assert "NotJSONError" in lines[none + 1]


def test_progress_is_shown(ran):
    assert re.search(r"notebooks: +100%", ran[1][2])


def test_every_notebook_has_a_page_and_the_index_links_those_there_are(ran):
    out = ran[2]
    index = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', index)
    assert links == ["good.html", "bad.html", "dead.html"]
    assert all(
        (out / link).is_file() and (out / link).with_suffix(".ipynb").is_file() for link in links
    )
    assert "A good one &amp; more" in index and "ZeroDivisionError" in index and "none" in index
    assert "MODEL = &#x27;squeezenet1_1&#x27;" in index
    assert not any(file.name.startswith(".") for file in out.iterdir())


def test_parameters_override_the_notebooks_own_and_a_path_is_made_absolute(ran):
    folder, _, out = ran
    notebook = nbformat.read(out / "good.ipynb", as_version=4)
    assert printed(notebook, 3).split() == ["7", "squeezenet1_1", str(folder / "pictures"), "book"]


def test_the_failing_page_shows_what_ran_and_the_error(ran):
    page = (ran[2] / "bad.html").read_text(encoding="utf-8")
    assert "before" in page and "ZeroDivisionError" in page


def test_outputs_hold_nothing_that_only_a_live_kernel_shows(ran):
    text = (ran[2] / "good.ipynb").read_text(encoding="utf-8")
    assert "widget-view" not in text and "widget-state" not in text and "papermill" not in text
    notebook = nbformat.read(ran[2] / "good.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata and notebook.metadata.kernelspec.name == "python3"
    assert "IntSlider" in notebook.cells[4].outputs[0].data["text/plain"]
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3, 4, 5]
    assert notebook.cells[1].metadata.tags == ["parameters"]


def test_pages_need_no_network(ran):
    for name in ("good.html", "bad.html", "index.html"):
        page = (ran[2] / name).read_text(encoding="utf-8")
        assert not re.findall(
            r"""<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*["'](?:https?:)?//""", page
        ), name
        assert not re.findall(r"""@import[^;]*//|url\(["']?https?:""", page), name
    assert "<b>bold</b>" in (ran[2] / "good.html").read_text(encoding="utf-8")


def test_pages_have_the_notebooks_title(ran):
    assert "<title>A good one &amp; more</title>" in (ran[2] / "good.html").read_text(
        encoding="utf-8"
    )


@pytest.fixture(scope="module")
def in_place(tmp_path_factory):
    """(exit status, what it printed, sources before, folder) of an in-place run that fails in its
    second notebook."""
    folder = tmp_path_factory.mktemp("in_place")
    notebooks = [
        save(folder / "good.ipynb", "Good", "2 + 2"),
        save(folder / "bad.ipynb", "Bad", *BAD),
    ]
    before = {path.name: path.read_bytes() for path in notebooks}
    return *command("--in-place", *notebooks)[:2], before, folder


def test_in_place_touches_nothing_when_one_fails(in_place):
    status, said, before, folder = in_place
    assert status == 1 and "cell [3]: ZeroDivisionError" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_in_place_writes_the_outputs_back_and_nothing_else(in_place):
    *_, before, folder = in_place
    status, *_ = command("--in-place", folder / "good.ipynb")
    names = sorted(path.name for path in folder.iterdir())
    assert status == 0 and names == ["bad.ipynb", "good.ipynb"]
    old, new = (
        nbformat.reads(before["good.ipynb"].decode(), as_version=4),
        nbformat.read(folder / "good.ipynb", as_version=4),
    )
    assert [(c.cell_type, c.source, c.id) for c in new.cells] == [
        (c.cell_type, c.source, c.id) for c in old.cells
    ]
    assert new.cells[2].outputs[0].data["text/plain"] == "4" and "injected-parameters" not in str(
        new.cells
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.ipynb"], "no such notebook: nowhere.ipynb"),
        (["--in-place", "--model", "resnet50"], "leave the parameters out"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(monkeypatch, capsys, arguments, message):
    import helpers.course.run

    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    with pytest.raises(SystemExit) as caught:
        helpers.course.run.main()
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "value"),
    [("scenes", "scenes"), ("nowhere/at/all", "nowhere/at/all"), ("here", None), ("", "unset")],
)
def test_images_that_are_a_path_are_made_absolute_and_names_are_left(
    monkeypatch, tmp_path, given, value
):
    import helpers.course.run

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    seen = {}
    monkeypatch.setattr(
        helpers.course.run, "run", lambda notebooks, out, parameters: seen.update(parameters) or []
    )
    monkeypatch.setattr(
        sys, "argv", ["run", str(save(tmp_path / "a.ipynb", "A")), "--images", given]
    )
    with pytest.raises(SystemExit):
        helpers.course.run.main()
    assert seen.get("IMAGES", "unset") == (value or str(tmp_path / "here"))


def test_a_page_of_an_earlier_run_is_not_shown_for_a_notebook_that_did_not_run(tmp_path):
    (tmp_path / "out").mkdir()
    stale = nbformat.writes(new_notebook(cells=[new_markdown_cell("# Stale")]))
    (tmp_path / "out" / "a.ipynb").write_text(stale)
    (tmp_path / "a.ipynb").write_text("no notebook")
    (result,) = run([tmp_path / "a.ipynb"], tmp_path / "out")
    assert result["error"] and result["page"] is None and result["title"] == "a"
    assert "Stale" not in (tmp_path / "out" / "index.html").read_text()


def test_tidying_leaves_text_beside_a_widget():
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {
            "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
            "text/plain": "[sliders]",
        },
    }
    cell = new_code_cell(
        "x", outputs=[nbformat.from_dict(output)], metadata={"papermill": {}, "tags": ["keep"]}
    )
    notebook = tidy(new_notebook(cells=[cell], metadata={"widgets": {}, "papermill": {}}))
    assert notebook.cells[0].outputs[0].data == {"text/plain": "[sliders]"}
    assert notebook.cells[0].metadata == {"tags": ["keep"]} and set(notebook.metadata) == {
        "kernelspec",
        "language_info",
    }
    assert "[sliders]" in to_html(notebook, "title")


def test_tidying_joins_a_table_that_came_in_pieces():
    def stream(name, text):
        return nbformat.from_dict({"output_type": "stream", "name": name, "text": text})

    texts = {"a table\n": "stdout", "in pieces\n": "stdout", "careful\n": "stderr", "b": "stdout"}
    pieces = [stream(name, text) for text, name in texts.items()]
    notebook = tidy(new_notebook(cells=[new_code_cell("x", outputs=pieces)]))
    assert [output.text for output in notebook.cells[0].outputs] == [
        "a table\nin pieces\n",
        "careful\n",
        "b",
    ]


def test_the_default_is_every_notebook_of_the_project(monkeypatch, tmp_path):
    import helpers.course.run

    seen = []
    monkeypatch.setattr(
        helpers.course.run, "run", lambda notebooks, out, parameters: seen.extend(notebooks) or []
    )
    monkeypatch.setattr(sys, "argv", ["run", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        helpers.course.run.main()
    assert (
        caught.value.code == 0
        and seen == sorted((Path(ROOT) / "notebooks").glob("*.ipynb"))
        and seen
    )


def test_the_readme_s_picture_has_scenes_outlined_beside_photographs(tmp_path, monkeypatch):
    maps, outlined, (show, draw) = [], [], (commands.show_map, commands.outline)
    monkeypatch.setattr(
        commands, "show_map", lambda ax, *of: (maps.append((ax, of[0].shape)), show(ax, *of))
    )
    monkeypatch.setattr(commands, "outline", lambda ax, mask: (outlined.append(ax), draw(ax, mask)))
    for slow in ("smoothgrad", "integrated_gradients"):
        monkeypatch.setattr(commands, slow, commands.saliency)
    commands.write_overview(tmp_path / "overview.png")
    assert [sides for _, sides in maps] == [(64, 64)] * 6 + [(224, 224)] * 6
    assert outlined == [ax for ax, _ in maps[:6]]
    made, committed = Image.open(tmp_path / "overview.png"), Image.open(DATA / "overview.png")
    assert made.size == committed.size and (DATA / "overview.png").stat().st_size < 600_000
