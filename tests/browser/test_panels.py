"""The notebooks' own sliders, driven from plain Python: every end of every control draws, says so,
and changes the picture."""

import html
import shutil
import sys

import matplotlib.pyplot as plt
import pytest
from sliders import carries, cut, few, has_sliders, kinds, name_of, with_sliders

from helpers.benchmark import images
from helpers.display.explorer import Panel

SLIDERS = with_sliders()
PHOTOS = ("photos", "photos/cat")
FEW = few(SLIDERS)


def _small_photographs(source, *args, load=images.load_images, **options):
    """In a tenth of the time."""
    return load(source, *args, **options | ({"size": 64} if str(source) in PHOTOS else {}))


def panels_of(path, monkeypatch):
    """The panels that a notebook's cells make when they are executed here."""
    panels, make = [], Panel.__init__
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(
        Panel,
        "__init__",
        lambda panel, *args, **controls: (make(panel, *args, **controls), panels.append(panel))[0],
    )
    monkeypatch.setattr(images, "load_images", _small_photographs)
    space = {"__name__": "__main__"}
    for cell in cut(path).cells:
        exec(compile(cell.source, f"cell {cell.id}", "exec"), space)
    plt.close("all")
    return panels


def choices(control):
    """(attribute, values): all that a control offers, or if that is much, both its ends and a step
    from where it is."""
    if hasattr(control, "options"):
        places = range(len(control.options))
        step = 1 if control.index < places[-1] else -1
        few = (places[0], places[-1], control.index + step)
        return "index", places if len(places) < 10 else few
    if hasattr(control, "min"):
        step = control.step if control.value + control.step <= control.max else -control.step
        return "value", (control.min, control.max, control.value + step)
    return "value", (True, False)


def label(control):
    return control.label if hasattr(control, "options") else control.value


def moved(panel, name):
    """Move a control to each of its values and back; whether the picture ever changed. The status
    must say where it is."""
    control, start = panel.controls[name], panel.image.value
    attribute, values = choices(control)
    home, changed = getattr(control, attribute), False
    for value in values:
        setattr(control, attribute, value)
        status = html.unescape(panel.status.value)
        assert bytes(panel.image.value).startswith(b"\x89PNG") and "#b00020" not in status, (
            name,
            value,
            status,
        )
        if panel.image.value != start:
            changed = True
            assert isinstance(control.value, bool) or carries(status, str(label(control))), (
                name,
                label(control),
                status,
            )
    setattr(control, attribute, home)
    assert panel.image.value == start, f"{name}: moved back, it is another picture"
    return changed


def without_effect(panel):
    """Controls that changed nothing, whatever the lists were set to (some controls serve one method
    only). A list of a single entry has nothing to change."""
    offering = [
        name
        for name, control in panel.controls.items()
        if len(getattr(control, "options", "..")) > 1
    ]
    idle = [name for name in offering if not moved(panel, name)]
    for control in panel.controls.values():
        if idle and hasattr(control, "options"):
            home = control.index
            for index in range(len(control.options)):
                control.index = index
                idle = [
                    name
                    for name in idle
                    if panel.controls[name] is control or not moved(panel, name)
                ]
                if not idle:
                    break
            control.index = home
    return idle


def is_slow(path):
    """The few that a browser moves anyway, where there is one; evidence, as when it is executed."""
    return path.parent.name == "evidence" or (path in FEW and shutil.which("chromium") is not None)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name_of(path), marks=[pytest.mark.slow] * is_slow(path))
        for path in SLIDERS
    ],
)
def test_every_control_of_every_panel_works(path, monkeypatch):
    monkeypatch.setattr("helpers.display.panel.DPI", 45)  # in two thirds of the time
    panels = panels_of(path, monkeypatch)
    assert panels, "its sliders are no Panel"
    assert {i: without_effect(panel) for i, panel in enumerate(panels)} == {
        i: [] for i in range(len(panels))
    }


def test_there_are_sliders():
    assert {"00_start_here", "smoothgrad_1_method"} <= {path.stem for path in SLIDERS}


def test_the_few_have_every_kind_of_panel():
    assert set().union(*map(kinds, FEW)) == set().union(*map(kinds, SLIDERS))


def test_cutting_keeps_what_sliders_need():
    for path in SLIDERS:
        first, *_, last = cut(path).cells
        assert "bootstrap" in first.metadata["tags"] and has_sliders(last)
