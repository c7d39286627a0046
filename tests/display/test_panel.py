"""The panel under the sliders: it draws once a move, shows an error and raises it; uploads stay in
their folder."""

import io
from datetime import UTC, datetime

import ipywidgets as widgets
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from helpers.benchmark.images import load_images
from helpers.display.panel import COMPUTING, Panel, upload_pictures


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
    assert (
        "ZeroDivisionError: &lt;b&gt;three &amp; no more&lt;/b&gt;" in panel.status.value
        and "#b00020" in panel.status.value
    )
    assert panel.image.value == picture
    panel.controls["number"].value = 4
    assert panel.status.value == "number &lt;4&gt;"


def test_computing_is_said_before_it_draws_and_not_after():
    events = []

    def draw(number):
        events.append("draw")
        if number == 3:
            raise KeyboardInterrupt
        return _figure(), f"number {number}"

    panel = Panel(draw, number=widgets.IntSlider(1, min=0, max=5))
    panel.status.observe(lambda change: events.append(change["new"]), names="value")
    events.clear()
    panel.controls["number"].value = 2
    assert events == [COMPUTING + "number 1", "draw", "number 2"]
    assert "computing" in COMPUTING
    with pytest.raises(KeyboardInterrupt):
        panel.controls["number"].value = 3
    assert "KeyboardInterrupt" in panel.status.value and "computing" not in panel.status.value


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
    panel = Panel(
        lambda number: (calls.append(number), (_figure(), ""))[1],
        number=widgets.IntSlider(1, min=0, max=5),
    )
    assert panel.controls["number"].continuous_update is False
    panel.controls["number"].value = 2
    panel.controls["number"].value = 2
    assert calls == [1, 2]


def test_a_control_that_moves_another_makes_one_drawing():
    calls, first, second = (
        [],
        widgets.IntSlider(1, min=0, max=5),
        widgets.IntSlider(1, min=0, max=5),
    )
    first.observe(lambda change: setattr(second, "value", change["new"]), names="value")
    Panel(
        lambda first, second: (calls.append((first, second)), (_figure(), ""))[1],
        first=first,
        second=second,
    )
    first.value = 4
    assert calls == [(1, 1), (4, 4)]


def test_an_error_is_tried_again_by_the_same_values():
    broken = [True]

    def draw(number):
        if broken[0] and number == 2:
            raise ZeroDivisionError
        return _figure(), "fine"

    panel = Panel(draw, number=widgets.IntSlider(1, min=0, max=5))
    with pytest.raises(ZeroDivisionError):
        panel.controls["number"].value = 2
    broken[0] = False
    panel.redraw()
    assert panel.status.value == "fine"


def test_many_controls_still_make_one_line_on_a_page_without_a_kernel():
    sliders = {f"a_control_with_a_long_name_{i}": widgets.IntSlider(1) for i in range(9)}
    shown = repr(Panel(lambda **_: (_figure(), ""), **sliders))
    assert shown == "[sliders; run the notebook to move them]"


# --- uploads


def _png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def _seven(files):
    """The value of ipywidgets 7."""
    return {
        name: {"metadata": {"name": name, "size": len(content)}, "content": content}
        for name, content in files.items()
    }


def _eight(files):
    """The value of ipywidgets 8."""
    return tuple(
        {"name": name, "size": len(content), "content": memoryview(content)}
        for name, content in files.items()
    )


def _upload(box, value):
    button = box.children[0]
    button.notify_change(
        {"name": "value", "old": None, "new": value, "owner": button, "type": "change"}
    )


@pytest.mark.parametrize("value", [_seven, _eight])
def test_uploaded_pictures_lie_in_the_folder_and_load(tmp_path, value):
    box = upload_pictures(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    _upload(box, value({"red.png": _png("red"), "blue.png": _png("blue")}))
    images = load_images(tmp_path / "mine", size=16)
    assert images.names == ("blue", "red") and images.pixels[1, 0].min() == 1
    assert (
        "2 pictures added" in box.children[1].value
        and str(tmp_path / "mine") in box.children[1].value
    )
    _upload(box, value({"red.png": _png("lime")}))  # again: the newer one
    assert load_images(tmp_path / "mine", size=16).pixels[1, 1].min() == 1


def test_the_installed_button_takes_such_a_value(tmp_path):
    if int(widgets.__version__.split(".")[0]) < 8:
        pytest.skip("ipywidgets 8 is not installed")
    box = upload_pictures(tmp_path)
    box.children[0].value = [
        {
            "name": "a.png",
            "type": "image/png",
            "size": 3,
            "last_modified": datetime.now(UTC),
            "content": memoryview(_png("red")),
        }
    ]
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
