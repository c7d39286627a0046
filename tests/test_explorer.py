"""Sliders, driven from Python: every control redraws, nothing is computed twice, an error is seen."""

import io
import json
from datetime import datetime, timezone

import ipywidgets as widgets
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.explorer import explore_maps
from helpers.panel import Panel, upload_pictures
from helpers.images import ImageSet, load_images
from helpers.models import Classifier

NAMES = ("first <picture>", "second")
METHODS = ("gradient", "SmoothGrad", "Integrated Gradients")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def model():
    """A small smooth network, so that every setting changes its maps; it counts the rows that it sees."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Softplus(), nn.Flatten(),
                            nn.Linear(400, 3))  # fmt: skip
    classifier = Classifier(network, mean=[0.5] * 3, std=[0.1] * 3, name="tiny", classes=("a & b", "c", "d"), input_size=12,
                            part="shape", images="scenes").eval()  # fmt: skip
    classifier.rows = 0

    def count(module, args):
        classifier.rows += len(args[0])

    classifier.register_forward_pre_hook(count)
    return classifier


@pytest.fixture
def images():
    mask = torch.zeros(2, 1, 12, 12, dtype=torch.bool)
    mask[:, :, 3:7, 4:9] = True
    pixels = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels, NAMES, {"shape": torch.tensor([0, 1])}, {"shape": mask})


@pytest.fixture
def panel(model, images):
    return explore_maps(model, images)


def controls_of(panel):
    return [(name, value) for name, control in panel.controls.items()
            for value in (control.options if hasattr(control, "options") else (control.min, control.max))]  # fmt: skip


# --- explore_maps


def test_the_first_figure_is_a_png_as_wide_as_it_is_shown(panel):
    picture = Image.open(io.BytesIO(bytes(panel.image.value)))
    assert picture.format == "PNG" and picture.width == pytest.approx(int(panel.image.width), abs=1)


def test_every_end_of_every_control_draws_in_every_method(panel):
    for method in METHODS:
        panel.controls["method"].value = method
        for name, value in controls_of(panel):
            if name != "method":
                panel.controls[name].value = value
                assert bytes(panel.image.value).startswith(b"\x89PNG") and "Error" not in panel.status.value


@pytest.mark.parametrize("name", ["picture", "method", "noise", "samples", "show", "percentile"])
def test_moving_a_control_changes_the_figure_and_moving_it_back_restores_it(panel, name):
    control = panel.controls[name]
    start, before = control.value, panel.image.value
    other = next(v for n, v in reversed(controls_of(panel)) if n == name and v != start)
    control.value = other
    assert panel.image.value != before
    control.value = start
    assert panel.image.value == before


def test_steps_change_the_figure_of_integrated_gradients_and_of_nothing_else(panel):
    panel.controls["method"].value = "Integrated Gradients"
    before = panel.image.value
    panel.controls["steps"].value = 5
    assert panel.image.value != before and "5 steps" in panel.status.value
    for method in ("gradient", "SmoothGrad"):
        panel.controls["method"].value = method
        before = panel.image.value
        panel.controls["steps"].value = 200 if panel.controls["steps"].value == 5 else 5
        assert panel.image.value == before and "steps" not in panel.status.value


def test_the_status_carries_the_values(panel):
    assert "SmoothGrad, noise 0.15, 50 samples" in panel.status.value and "99th percentile" in panel.status.value
    panel.controls["noise"].value = 0.3
    panel.controls["samples"].value = 7
    panel.controls["percentile"].value = 95.5
    panel.controls["show"].value = "unsigned"
    assert "noise 0.30, 7 samples" in panel.status.value
    assert "unsigned" in panel.status.value and "95.5th percentile" in panel.status.value
    panel.controls["method"].value = "gradient"
    assert "gradient" in panel.status.value and "samples" not in panel.status.value


def test_the_status_names_the_class_that_is_explained(model, images):
    assert "why “a &amp; b”?" in explore_maps(model, images, target=0).status.value
    assert "why “d”?" in explore_maps(model, images, target=2).status.value
    with torch.no_grad():
        predicted = model.classes[int(model(images.pixels)[0].argmax())].replace("&", "&amp;")
    assert f"why “{predicted}”?" in explore_maps(model, images).status.value


def test_samples_and_display_evaluate_nothing_new(panel, model):
    panel.controls["noise"].value = 0.25
    before = model.rows
    for name, values in (("samples", (1, 2, 30, 50)), ("show", ("unsigned", "signed")), ("percentile", (90, 100)),
                         ("steps", (5, 200))):  # fmt: skip
        for value in values:
            panel.controls[name].value = value
    assert model.rows == before
    panel.controls["noise"].value = 0.15  # back where it was
    assert model.rows == before
    panel.controls["noise"].value = 0.35
    assert model.rows == before + 50


def test_a_setting_seen_before_evaluates_nothing_new(panel, model):
    for method in METHODS:
        panel.controls["method"].value = method
    before = model.rows
    for method in METHODS:
        panel.controls["method"].value = method
    assert model.rows == before


def test_samples_are_those_of_smoothgrad(panel, model, images, monkeypatch):
    from helpers import explorer
    from helpers.smoothgrad import smoothgrad

    seen = []
    real = explorer.show_map
    monkeypatch.setattr(explorer, "show_map", lambda ax, values, *rest: (seen.append(values), real(ax, values, *rest))[1])
    panel.controls["samples"].value = 5
    expected = smoothgrad(model, images.pixels[:1], n_samples=5).sum(1)[0]
    torch.testing.assert_close(torch.from_numpy(seen[0]), expected, rtol=1e-4, atol=1e-5)


def test_scenes_are_drawn_with_the_mask_of_the_part_that_the_network_names(images, model, monkeypatch):
    from helpers import explorer

    drawn = []
    monkeypatch.setattr(explorer, "outline", lambda ax, mask: drawn.append(mask))
    panel = explore_maps(model, images)
    panel.controls["picture"].value = panel.controls["picture"].options[1]
    assert len(drawn) == 6 and all(torch.equal(mask, images.masks["shape"][1]) for mask in drawn[3:])


def test_pictures_without_names_twice_over_and_models_without_classes_work(images):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(432, 4))
    panel = explore_maps(plain, ImageSet(images.pixels, ("same", "same")))
    assert "class " in panel.status.value
    before = panel.image.value
    panel.controls["picture"].value = panel.controls["picture"].options[1]
    assert panel.image.value != before


def test_no_figure_is_left_to_be_shown_twice(panel):
    assert plt.get_fignums() == []


# --- Panel


def _figure():
    figure = plt.figure(figsize=(1, 1))
    plt.close(figure)
    return figure


def _breakable(number):
    if number == 3:
        raise ZeroDivisionError("<b>three & no more</b>")
    return _figure(), f"number <{number}>"


def test_an_error_is_shown_escaped_and_raised_and_the_next_good_redraw_clears_it():
    panel = Panel(_breakable, number=widgets.IntSlider(1, min=0, max=5))
    picture = panel.image.value
    with pytest.raises(ZeroDivisionError, match="three"):
        panel.controls["number"].value = 3
    assert "ZeroDivisionError: &lt;b&gt;three &amp; no more&lt;/b&gt;" in panel.status.value and "#b00020" in panel.status.value
    assert panel.image.value == picture
    panel.controls["number"].value = 4
    assert panel.status.value == "number &lt;4&gt;"


def test_an_error_in_the_drawing_itself_is_shown_too():
    def draw(text):
        figure = _figure()
        figure.suptitle(text)
        return figure, "fine"

    panel = Panel(draw, text=widgets.Dropdown(options=["good", r"$\nosuchcommand$"]))
    with pytest.raises(ValueError, match="nosuchcommand"):
        panel.controls["text"].index = 1
    assert "nosuchcommand" in panel.status.value
    panel.controls["text"].index = 0
    assert panel.status.value == "fine"


def test_an_error_in_the_first_drawing_is_raised():
    with pytest.raises(ZeroDivisionError):
        Panel(_breakable, number=widgets.IntSlider(3, min=0, max=5))


def test_sliders_redraw_when_let_go_and_drawing_happens_once_a_move():
    calls = []
    panel = Panel(lambda number: (calls.append(number), (_figure(), ""))[1], number=widgets.IntSlider(1, min=0, max=5))
    assert panel.controls["number"].continuous_update is False
    panel.controls["number"].value = 2
    panel.controls["number"].value = 2
    assert calls == [1, 2]


def test_a_page_without_a_kernel_shows_one_plain_line(panel):
    shown = panel._repr_mimebundle_()["text/plain"]
    assert shown == repr(panel) and "\n" not in shown and "…" not in shown
    assert "sliders: picture, method, noise" in shown
    assert not any(noise in shown for noise in ("children", "Box(", "IntSlider", "b'", "layout"))


# --- uploads


def _png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def _seven(files):
    """The value of ipywidgets 7."""
    return {name: {"metadata": {"name": name, "size": len(content)}, "content": content} for name, content in files.items()}


def _eight(files):
    """The value of ipywidgets 8."""
    return tuple({"name": name, "size": len(content), "content": memoryview(content)} for name, content in files.items())


def _upload(box, value):
    button = box.children[0]
    button.notify_change({"name": "value", "old": None, "new": value, "owner": button, "type": "change"})


@pytest.mark.parametrize("value", [_seven, _eight])
def test_uploaded_pictures_lie_in_the_folder_and_load(tmp_path, value):
    box = upload_pictures(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    _upload(box, value({"red.png": _png("red"), "blue.png": _png("blue")}))
    images = load_images(tmp_path / "mine", size=16)
    assert images.names == ("blue", "red") and images.pixels[1, 0].min() == 1
    assert "2 pictures added" in box.children[1].value and str(tmp_path / "mine") in box.children[1].value
    _upload(box, value({"red.png": _png("lime")}))  # again: the newer one
    assert load_images(tmp_path / "mine", size=16).pixels[1, 1].min() == 1


def test_the_installed_button_takes_such_a_value(tmp_path):
    if int(widgets.__version__.split(".")[0]) < 8:
        pytest.skip("ipywidgets 8 is not installed")
    box = upload_pictures(tmp_path)
    box.children[0].value = [{"name": "a.png", "type": "image/png", "size": 3, "last_modified": datetime.now(timezone.utc),
                              "content": memoryview(_png("red"))}]  # fmt: skip
    assert (tmp_path / "a.png").read_bytes() == _png("red")


@pytest.mark.parametrize("name", ["../escaped.png", "/escaped.png", "deep/er/escaped.png"])
def test_an_upload_stays_in_its_folder(tmp_path, name):
    _upload(upload_pictures(tmp_path / "mine"), _eight({name: _png("red")}))
    assert [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.png")] == ["mine/escaped.png"]


def test_an_upload_that_cannot_be_stored_says_so(tmp_path):
    (tmp_path / "mine").write_text("a file in the way")
    box = upload_pictures(tmp_path / "mine")
    with pytest.raises(FileExistsError):
        _upload(box, _eight({"a.png": _png("red")}))
    assert "FileExistsError" in box.children[1].value


def test_panels_state_holds_no_more_than_controls_picture_and_status(panel):
    assert set(panel.controls) == {"picture", "method", "noise", "samples", "steps", "show", "percentile"}
    assert json.dumps([control.value for control in panel.controls.values()])  # plain values that a page can send
