"""Every slider of every notebook, moved with the keyboard in a real browser."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from page import open_and_run
from sliders import SCREENSHOTS, carries, cut, few, has_sliders, name_of, with_sliders

SLIDERS = with_sliders()
FEW = few(SLIDERS)
FEWER = {"N_LIVE": 3, "FRACTIONS": [0.5]}  # of what one panel hides, in `make test`
BADGE = '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"/>'


def together(paths):
    """One notebook of all the cells that the sliders of several need, for one kernel and page."""
    first, *others = map(cut, paths)
    cells = [*first.cells, *(cell for other in others for cell in other.cells)]
    for cell in cells:
        given = [name for name in FEWER if f"\n{name} = " in cell.source]
        cell.source += "".join(f"\n{name} = {FEWER[name]}" for name in given)
    first.cells = [new_code_cell(cell.source, outputs=cell.outputs) for cell in cells]
    return first


def move_everything(lab, chromium, notebooks):
    """Each notebook of {name: notebook} in a page of its own; what went wrong, by name."""
    address, folder = lab
    wrong = {}
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
        page, errors = chromium.new_page(viewport={"width": 1300, "height": 1000}), []
        # The badge, the one thing that comes from elsewhere; whatever else did would be an error
        # where there is no network.
        page.route(
            "**/colab-badge.svg",
            lambda route: route.fulfill(content_type="image/svg+xml", body=BADGE),
        )
        page.on(
            "console",
            lambda message, errors=errors: message.type == "error" and errors.append(message.text),
        )
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        panels = open_and_run(page, address, f"{name}.ipynb")
        expected = sum(map(has_sliders, notebook.cells))
        assert len(panels) == expected, (
            f"{name}: {len(panels)} panels on the page, {expected} in the notebook"
        )
        for i, panel in enumerate(panels):
            errors += [f"no effect: {name}" for name in panel.without_effect()]
            panel.element.screenshot(path=SCREENSHOTS / f"{name}-{i}.png")
        errors += page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
        page.close()
        if errors:
            wrong[name] = errors
    return wrong


def test_every_control_works_in_a_browser(lab, chromium):
    """With the cells that the sliders need; nbval runs the others."""
    assert move_everything(lab, chromium, {"few": together(FEW)}) == {}


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1, 6))
def test_five_cold_starts_in_a_row(start, lab, chromium):
    """The whole notebooks the first time."""
    notebooks = {
        name_of(path): nbformat.read(path, as_version=4) if start == 1 else cut(path)
        for path in SLIDERS
    }
    assert move_everything(lab, chromium, notebooks) == {}


@pytest.mark.slow
def test_on_photographs_computing_is_visible_until_the_map_is_there(lab, chromium):
    address, folder = lab
    (path,) = (path for path in SLIDERS if name_of(path) == "00_start_here")
    notebook = cut(path)
    (given,) = (cell for cell in notebook.cells if cell.id == "parameters")
    given.source += '\nMODEL, IMAGES = "efficientnet_lite0", "photos"'
    nbformat.write(notebook, folder / "photographs.ipynb")
    page = chromium.new_page(viewport={"width": 1300, "height": 1000})
    (panel,) = open_and_run(page, address, "photographs.ipynb")
    assert "efficientnet" not in panel.status and panel.computing.count() == 0
    (noise,) = (control for control in panel.controls if control.name == "noise")
    before, said = panel.drawn(), panel.status
    noise.handle.focus()
    page.keyboard.press("ArrowRight")
    panel.computing.wait_for()
    page.wait_for_function(
        "label => getComputedStyle(label).opacity == 1", arg=panel.computing.element_handle()
    )
    panel.element.screenshot(path=SCREENSHOTS / "photographs-computing.png")
    assert said in panel.status and panel.drawn() == before
    panel.computing.wait_for(state="detached", timeout=600_000)
    assert panel.drawn() != before and carries(panel.status, noise.value)
    panel.element.screenshot(path=SCREENSHOTS / "photographs.png")
    page.close()
