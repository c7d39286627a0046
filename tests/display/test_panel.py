"""The panel under the sliders: it draws once a move, shows an error and raises it; uploads stay in
their folder."""

import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import ipywidgets as widgets
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.benchmark.images import load_images
from helpers.display.frames import CAPTION, GAP, split
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


# --- frames


def _bars(number, wide=False):
    """Two axes side by side; the left one is the same whatever the number."""
    figure, axes = plt.subplots(1, 2, figsize=(3, 1))
    plt.close(figure)
    axes[0].set_title("still")
    axes[1].set_title(f"moving {number}", backgroundcolor="yellow")
    axes[1].bar(0, number)
    return figure, f"a picture: why? · number {number}"


def _with_frames(draw=_bars, values=(1, 3, 5), **more):
    number = widgets.IntSlider(1, min=0, max=5, description="the number")
    return Panel(draw, strip={"number": values}, number=number, **more)


@pytest.mark.parametrize(
    ("strip", "message"),
    [
        ({"numbers": [1, 2, 3]}, "one of the controls, number; found numbers"),
        ({"number": [1, 2]}, "three to five values of number, found 2"),
        ({"number": range(6)}, "three to five values of number, found 6"),
        ({"number": [1, 2, 6]}, "number cannot be 6"),
        ({}, "must name one of the controls"),
    ],
)
def test_a_strip_is_three_to_five_values_of_one_control(strip, message):
    with pytest.raises(ValueError, match=message):
        Panel(_bars, strip=strip, number=widgets.IntSlider(1, min=0, max=5))


def test_a_strip_of_a_list_holds_what_the_list_offers():
    with pytest.raises(ValueError, match="number cannot be 'c'"):
        Panel(_bars, strip={"number": "abc"}, number=widgets.Dropdown(options=["a", "b"]))


def test_frames_are_drawn_when_asked_for_and_once_a_setting():
    calls = []

    def draw(number, other):
        calls.append((number, other))
        return _bars(number)

    panel = _with_frames(draw, other=widgets.Checkbox(False))
    assert calls == [(1, False)]
    for _ in range(2):
        panel._repr_mimebundle_()
        assert calls == [(1, False), (1, False), (3, False), (5, False)]
    panel.controls["other"].value = True
    panel._repr_mimebundle_()
    assert calls[4:] == [(1, True), (1, True), (3, True), (5, True)]
    assert panel.controls["number"].value == 1 and panel.status.value.endswith("number 1")


def test_what_all_frames_share_is_shown_once():
    frames, _ = _with_frames().frames()
    assert [cell.title for cell in frames[0].cells] == ["still", "moving 1"]
    still, places = split(frames)
    assert [cell.title for cell in still] == ["still"] and places == [1]
    assert split(frames[:1]) == ([], [0, 1])  # nothing moves: nothing is left out


def test_frames_of_several_rows_are_not_cut():
    def draw(number):
        figure, axes = plt.subplots(2, 2, figsize=(2, 2))
        plt.close(figure)
        axes[0, 1].set_title(str(number))
        return figure, ""

    frames, _ = _with_frames(draw).frames()
    assert all(len(frame.cells) == 1 for frame in frames) and split(frames) == ([], [0])


def test_a_strip_is_a_small_picture_with_white_ground_and_words():
    data, metadata = _with_frames(alt="the number as a bar beside what stays")._repr_mimebundle_()
    picture = Image.open(io.BytesIO(data["image/png"])).convert("RGB")
    cell = 135  # half of three inches
    assert picture.width == pytest.approx(4 * cell + 3 * GAP, abs=8)
    assert picture.height == 90 + CAPTION and picture.getpixel((1, 1)) == (255, 255, 255)
    assert metadata["image/png"]["alt"] == (
        "A panel with sliders: the number 1, 3 and 5. The number as a bar beside what stays."
    )
    assert data["text/plain"].endswith("Run the notebook to move the sliders: number.")


def test_rows_are_wrapped_and_the_file_kept_small():
    noise = np.random.default_rng(0)

    def draw(number):
        figure = plt.figure(figsize=(10, 4))
        plt.close(figure)
        figure.add_axes((0, 0, 1, 1)).imshow(noise.random((180, 450, 3)), aspect="auto")
        return figure, ""

    panel = _with_frames(draw, values=range(5))
    png = panel._repr_mimebundle_()[0]["image/png"]
    picture = Image.open(io.BytesIO(png))
    assert picture.width <= 1100 and picture.height > 300 and len(png) <= 250_000


def test_a_frame_that_cannot_be_drawn_is_named_and_the_panel_is_shown():
    panel = _with_frames(_breakable, values=(1, 3, 5))
    data, _ = panel._repr_mimebundle_()
    assert (
        "Not drawn: the number 3, ZeroDivisionError: <b>three & no more</b>." in data["text/plain"]
    )
    assert "application/vnd.jupyter.widget-view+json" in data and "image/png" in data
    assert "#b00020" not in panel.status.value


def test_a_panel_without_a_strip_is_one_frame(monkeypatch):
    monkeypatch.setenv("HELPERS_FRAMES", "1")
    panel = Panel(_bars, number=widgets.IntSlider(2, min=0, max=5))
    data, metadata = panel._repr_mimebundle_()
    assert "number 2" in metadata["image/png"]["alt"]
    assert "<input" not in data["text/html"] and data["text/html"].count("<img") == 2


class _Page(HTMLParser):
    """The elements of a page: [(tag, attributes)]."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_the_slider_without_a_kernel_asks_for_nothing_from_elsewhere(monkeypatch):
    panel = _with_frames()
    panel.controls["number"].value = 3
    assert "text/html" not in panel._repr_mimebundle_()[0]
    monkeypatch.setenv("HELPERS_FRAMES", "1")
    page = panel._repr_mimebundle_()[0]["text/html"]
    assert len(page) <= 300_000 and "http" not in page and "<script" not in page
    elements = _Page(page)
    (given,) = elements.all("input")
    assert (given["type"], given["min"], given["max"], given["value"]) == ("range", "0", "2", "1")
    assert given["aria-valuetext"] == "3" and "<output>3</output>" in page
    assert len(given["oninput"]) < 500
    figures = elements.all("figure")
    assert [figure["data-value"] for figure in figures] == ["1", "3", "5"]
    assert [figure.get("style") for figure in figures] == ["display:none", None, "display:none"]
    alts = [image["alt"] for image in elements.all("img")]
    assert alts == ["for every value of the number: still; a picture: why?"] + [
        f"the number {n}: moving {n}; a picture: why?" for n in (1, 3, 5)
    ]
    assert all(image["src"].startswith("data:image/png;base64,") for image in elements.all("img"))


# --- saving


def test_a_panel_without_a_map_saves_its_picture(tmp_path):
    panel = _with_frames()
    (path,) = panel.save(tmp_path / "new")
    assert path == tmp_path / "new" / "number-1.png" and path.read_bytes() == panel.image.value


def test_the_button_saves_here_and_says_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel = _with_frames()
    panel.button.click()
    assert [path.name for path in tmp_path.iterdir()] == ["number-1.png"]
    assert panel.status.value == (f"a picture: why? · number 1<br>Saved number-1.png in {tmp_path}")
    panel.controls["number"].value = 2
    assert panel.status.value == "a picture: why? · number 2"


def test_what_cannot_be_saved_is_said_in_red(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel = _with_frames(_breakable)
    (tmp_path / "number-1.png").mkdir()
    with pytest.raises(OSError):
        panel._save_and_say(panel.button)
    assert "#b00020" in panel.status.value
    with pytest.raises(ZeroDivisionError):
        panel.controls["number"].value = 3
    with pytest.raises(ValueError, match="nothing to save"):
        panel.save(tmp_path)


def test_a_name_of_any_kind_makes_a_file_name(tmp_path):
    name = "../a <very> long: näme/" + 90 * "x"
    controls = {
        "picture": widgets.Dropdown(options=[(f"0: {name}", 0)]),
        "share": widgets.FloatSlider(0.05, min=0, max=1, step=0.05),
        "steps": widgets.SelectionSlider(options=(5, 7)),
        "clip": widgets.Checkbox(True),
        "over": widgets.Checkbox(False),
    }
    (path,) = Panel(lambda **_: (_figure(), ""), **controls).save(tmp_path)
    assert path.parent == tmp_path
    assert re.fullmatch(r"a-very-long-näme-x+_share-0.05_steps-5_clip", path.stem)


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
