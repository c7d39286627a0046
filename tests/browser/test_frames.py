"""A panel on a page without a kernel: the slider over its frames, moved in a real browser."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pytest

from helpers.display.panel import Panel

VALUES = (0.0, 0.05, 0.3)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>frames</title>
<meta name="viewport" content="width=device-width"><style>body {{ margin: 8px }}
@media (prefers-color-scheme: dark) {{ body {{ background: #121212; color: #ddd }} }}</style>
{}</html>"""


def panel():
    def draw(noise):
        figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.4))
        plt.close(figure)
        for ax, title in zip(axes, ("input", "gradient", f"noise {noise:g}"), strict=True):
            ax.set_title(title)
        return figure, f"a picture: why? · noise {100 * noise:g} %"

    noise = widgets.FloatSlider(0, min=0, max=1, readout_format=".0%", description="noise")
    return Panel(draw, strip={"noise": VALUES}, noise=noise)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page with two panels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELPERS_FRAMES", "1")
        page = panel()._repr_mimebundle_()[0]["text/html"]
    path = tmp_path_factory.mktemp("frames") / "page.html"
    path.write_text(PAGE.format(page + page), encoding="utf-8")
    return path.as_uri()


class Frames:
    """One panel on the page."""

    def __init__(self, page, number):
        self.box = page.locator(".frames").nth(number)
        self.slider = self.box.get_by_role("slider", name="noise")

    def shown(self):
        """(value beside the slider, value read aloud, number of the frame, status, pictures)."""
        figures = self.box.locator("figure")
        (frame,) = (
            i for i in range(figures.count()) if figures.nth(i).locator("img").first.is_visible()
        )
        return (
            self.box.locator("output").inner_text(),
            self.slider.get_attribute("aria-valuetext"),
            frame,
            self.box.locator("p").inner_text(),
            sum(image.is_visible() for image in self.box.locator("img").all()),
        )


def expected(number):
    value = ("0 %", "5 %", "30 %")[number]
    return value, value, number, f"a picture: why? · noise {value}", 3


@pytest.fixture
def opened(chromium, file):
    """Opens the page in a window; what it asked for from elsewhere, and its errors, are none."""
    contexts, wrong = [], []

    def page(**window):
        contexts.append(chromium.new_context(**window))
        one = contexts[-1].new_page()
        one.on("request", lambda request: request.url.startswith("http") and wrong.append(request))
        one.on("pageerror", lambda error: wrong.append(error))
        one.goto(file)
        return one

    yield page
    for context in contexts:
        context.close()
    assert wrong == []


def test_the_keyboard_moves_one_panel_and_not_the_other(opened):
    page = opened()
    first, second = Frames(page, 0), Frames(page, 1)
    assert first.shown() == second.shown() == expected(0)
    page.keyboard.press("Tab")
    for key, number in [("ArrowRight", 1), ("End", 2), ("ArrowLeft", 1), ("Home", 0)]:
        page.keyboard.press(key)
        assert first.shown() == expected(number) and second.shown() == expected(0)
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert first.shown() == expected(0) and second.shown() == expected(2)


def test_the_mouse_moves_it(opened):
    page = opened(viewport={"width": 1150, "height": 800})
    frames = Frames(page, 1)
    box = frames.slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=3)
    assert frames.shown() == expected(1)
    page.mouse.move(box["x"] + box["width"] - 4, middle, steps=3)
    page.mouse.up()
    assert frames.shown() == expected(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_finger_moves_it_on_a_phone_where_it_fits(opened, scheme):
    phone = {"viewport": {"width": 390, "height": 800}, "color_scheme": scheme}
    page = opened(**phone, has_touch=True, is_mobile=True)
    frames = Frames(page, 0)
    box = frames.slider.bounding_box()
    assert box["height"] >= 44  # of a fingertip
    page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    assert frames.shown() == expected(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # two of three pictures side by side, all of them white on a page of any colour
    boxes = [one.bounding_box() for one in frames.box.locator("img:visible").all()]
    assert len({round(box["y"] + box["height"]) for box in boxes}) == 2
    assert (
        frames.box.locator("img").first.evaluate("image => getComputedStyle(image).backgroundColor")
        == "rgb(255, 255, 255)"
    )


def test_without_scripts_all_frames_are_shown_under_their_values(opened):
    page = opened(java_script_enabled=False)
    box = page.locator(".frames").first
    assert not box.locator("input").is_visible() and not box.locator("p").is_visible()
    assert [one.is_visible() for one in box.locator("img").all()] == [True] * 5
    assert box.locator("figcaption").all_inner_texts() == ["noise 0 %", "noise 5 %", "noise 30 %"]
