"""Re-execution: every notebook in a process of its own, the failing one named with its cell,
nothing of the reader's own touched."""

import io
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

import helpers.course.run as commands
from helpers.course.run import OVERVIEW, ROOT, main, run, tidy

GOOD = (
    "import os, pathlib\nprint(SEED, MODEL, IMAGES, pathlib.Path.cwd().name, "
    "os.environ['OMP_NUM_THREADS'], os.environ.get('HELPERS_FRAMES'))",
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
def sites():
    """What the site was asked to be built from, one a command; building it is test_site's."""
    asked = []

    def build(out, results, *, note):
        asked.append((out, results, note))
        return Path(out) / "site" / "index.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helpers.course.site.build", build)
        yield asked


@pytest.fixture(scope="module")
def ran(tmp_path_factory, sites):
    """(folder, what came of the command, its executed copies): a good and a failing notebook, one
    whose kernel dies and one that is none."""
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
    return folder, ended, folder / "out" / "notebooks"


def printed(notebook, cell):
    return "".join(output.get("text", "") for output in notebook.cells[cell].outputs)


def test_a_failure_is_the_exit_code_and_names_notebook_and_cell(ran):
    status, said, _ = ran[1]
    assert status == 1
    lines = said.splitlines()
    bad = next(
        i for i, line in enumerate(lines) if line.startswith("FAILED") and line.endswith(" bad")
    )
    # The injected parameters are a cell of their own: parameters [1], injected [2], print [3], 1 /
    # 0 [4].
    assert lines[bad + 1].strip() == "cell [4]: ZeroDivisionError: division by zero"
    assert "1 of 4 notebooks ran to the end" in said


def test_a_kernel_that_dies_names_its_cell(ran):
    lines = ran[1][1].splitlines()
    dead = next(
        i for i, line in enumerate(lines) if line.startswith("FAILED") and line.endswith(" dead")
    )
    assert lines[dead + 1].strip().startswith("cell [4]: DeadKernelError")


def test_what_is_no_notebook_is_said_and_the_others_still_run(ran):
    lines = ran[1][1].splitlines()
    none = next(
        i for i, line in enumerate(lines) if line.startswith("FAILED") and line.endswith(" none")
    )
    assert "NotJSONError" in lines[none + 1]


def test_progress_is_shown(ran):
    assert re.search(r"notebooks: +100%", ran[1][2])


def test_the_site_is_built_from_what_ran_and_the_summary_says_where_it_is(ran, sites):
    folder, (_, said, _), copies = ran
    out, results, note = sites[0]
    assert out == folder / "out" and "MODEL = 'squeezenet1_1'" in note and "SEED = 7" in note
    assert [result["name"] for result in results] == [
        f"{name}.ipynb" for name in ("good", "bad", "dead", "none")
    ]
    assert [result["path"] for result in results[:2]] == [
        copies / "good.ipynb",
        copies / "bad.ipynb",
    ]
    assert results[0]["error"] is None and results[3]["path"] is None
    assert all(result["seconds"] > 0 for result in results)
    assert said.splitlines()[-1].endswith(f"open {folder / 'out' / 'site' / 'index.html'}")
    assert not any(file.name.startswith(".") for file in copies.iterdir())


def test_parameters_override_the_notebooks_own_and_a_path_is_made_absolute(ran):
    folder, _, out = ran
    notebook = nbformat.read(out / "good.ipynb", as_version=4)
    given = ["7", "squeezenet1_1", str(folder / "pictures"), "book"]
    assert printed(notebook, 3).split() == [*given, os.environ.get("OMP_NUM_THREADS", "1"), "1"]


def test_the_copy_of_a_failing_notebook_has_what_ran_and_the_error(ran):
    text = (ran[2] / "bad.ipynb").read_text(encoding="utf-8")
    assert "before" in text and "ZeroDivisionError" in text


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


@pytest.fixture
def asked(monkeypatch, sites):
    """What ``run`` was asked for, one a command; it runs nothing."""
    calls = []

    def fake(notebooks, out, parameters=None, **settings):
        calls.append((list(notebooks), parameters, settings))
        return [{"name": n.name, "path": None, "seconds": 0, "error": "no"} for n in notebooks]

    monkeypatch.setattr(commands, "run", fake)
    return calls


@pytest.mark.parametrize(
    ("given", "value"),
    [("scenes", "scenes"), ("nowhere/at/all", "nowhere/at/all"), ("here", None), ("", "unset")],
)
def test_images_that_are_a_path_are_made_absolute_and_names_are_left(
    monkeypatch, tmp_path, given, value, asked
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    command(save(tmp_path / "a.ipynb", "A"), "--images", given)
    ((_, parameters, _),) = asked
    assert parameters.get("IMAGES", "unset") == (value or str(tmp_path / "here"))


def test_a_copy_of_an_earlier_run_is_not_taken_for_a_notebook_that_did_not_run(tmp_path):
    (tmp_path / "out").mkdir()
    stale = nbformat.writes(new_notebook(cells=[new_markdown_cell("# Stale")]))
    (tmp_path / "out" / "a.ipynb").write_text(stale)
    (tmp_path / "a.ipynb").write_text("no notebook")
    (result,) = run([tmp_path / "a.ipynb"], tmp_path / "out")
    assert result["error"] and result["path"] is None
    assert not (tmp_path / "out" / "a.ipynb").exists()


def test_results_come_in_the_order_given_and_frames_only_where_asked(tmp_path):
    slow, fast = "import time; time.sleep(2)", "import os; print(os.environ.get('HELPERS_FRAMES'))"
    paths = [save(tmp_path / "slow.ipynb", "S", slow), save(tmp_path / "fast.ipynb", "F", fast)]
    results = run(paths, tmp_path / "out")
    assert [result["name"] for result in results] == ["slow.ipynb", "fast.ipynb"]
    assert printed(nbformat.read(results[1]["path"], as_version=4), 2) == "None\n"


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


@pytest.mark.parametrize(("arguments", "pattern"), [([], "*.ipynb"), (["--all"], "**/*.ipynb")])
def test_the_default_is_every_assignment_and_all_the_evidence_too(asked, arguments, pattern):
    command(*arguments)
    ((notebooks, _, settings),) = asked
    assert sorted(notebooks) == sorted((ROOT / "notebooks").glob(pattern)) and notebooks
    assert settings == {"frames": True}


def test_in_place_leaves_frames_to_the_evidence(asked):
    command("--in-place")
    assert asked[0][2] == {}, "as it is committed, which run() takes for granted"


def test_the_readme_s_picture_has_a_scene_beside_photographs_for_each_strength(
    tmp_path, monkeypatch
):
    seen = []

    def quick(model, pixels, target, *, noise, n_samples):
        seen.append((tuple(pixels.shape), noise))
        return pixels

    monkeypatch.setattr("helpers.attribution.smoothgrad.smoothgrad", quick)
    commands.write_overview(tmp_path / "overview.png")
    assert seen == [((3, 3, 224, 224), noise) for noise in (0.0, 0.02, 0.05, 0.15, 0.3)]
    made, committed = Image.open(tmp_path / "overview.png"), Image.open(OVERVIEW)
    assert made.size == committed.size and OVERVIEW.stat().st_size < 400_000
