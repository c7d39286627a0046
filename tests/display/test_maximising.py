"""The panel of activation maximisation and the sketch beside it, driven from Python."""

import html

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from helpers.attribution.maximisation import maximise
from helpers.benchmark.classifier import Classifier
from helpers.display import panel as panels
from helpers.display.maximising import explore_maximisation, plot_pictures
from helpers.display.sketches_relatives import plot_climbs


class Waves(nn.Module):
    """A generator: eight numbers, each the strength of one picture."""

    code_size = 8

    def __init__(self):
        super().__init__()
        self.register_buffer("base", torch.rand(8, 3 * 12 * 12, generator=torch.manual_seed(1)))

    def forward(self, code):
        return (code @ (self.base - 0.5)).sigmoid().reshape(-1, 3, 12, 12)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(panels, "DPI", 45)
    yield
    plt.close("all")


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    about = dict(name="tiny", classes=("a & b", "c", "d"), input_size=12, part="x", images="scenes")
    return Classifier(network, mean=[0.5] * 3, std=[0.1] * 3, **about)


def test_every_control_redraws_and_the_status_says_so(model):
    panel = explore_maximisation(model, Waves(), other=model, steps=(0, 1, 3))
    assert list(panel.controls) == ["target", "start", "climb", "step", "regulariser", "prior"]
    for name, value, said in (
        ("target", 1, "“c”"),
        ("start", 3, "start 3"),
        ("step", 2.0, "steps of 2 times"),
        ("regulariser", "norm", "regulariser norm"),
        ("climb", "fourier", "fourier climbed"),
        ("climb", "generator", "generator climbed"),
        ("prior", 20.0, "prior 20"),
    ):
        before = panel.image.value
        panel.controls[name].value = value
        assert panel.image.value != before and said in html.unescape(panel.status.value), name
    panel.controls["regulariser"].value = "blur"
    assert "(not here)" in panel.status.value


def test_the_strip_shows_what_is_climbed_or_without_a_generator_the_step(model):
    panel = explore_maximisation(model, Waves(), steps=(0, 2))
    frames, wrong = panel.frames()
    assert [frame.value for frame in frames] == ["pixels", "fourier", "generator"] and not wrong
    frames, wrong = explore_maximisation(model, steps=(0, 2)).frames()
    assert [frame.value for frame in frames] == ["0.25", "1", "4"] and not wrong
    assert [cell.title.split()[:2] for cell in frames[0].cells] == [["step", "0"], ["step", "2"]]


def test_it_draws_what_maximise_finds(model, monkeypatch):
    drawn = []
    monkeypatch.setattr(panels.PictureRow, "picture", lambda *args: drawn.append(args[2]))
    explore_maximisation(model, steps=(0, 4))
    size = (3, 12, 12)
    found = maximise(model, 0, n_steps=[0, 4], size=size, step_size=0.02, seed=0)
    assert drawn[0].equal(found[0][0]) and drawn[1].equal(found[4][0])


def test_pictures_stand_in_labelled_rows():
    pixels = torch.rand(3, 1, 4, 4)
    figure, axes = plot_pictures({"one": pixels, "two": pixels[:2]}, titles={"two": ["x", "y"]})
    assert axes.shape == (2, 3) and [ax.get_title() for ax in axes[1]] == ["x", "y", ""]
    assert np.allclose(axes[0, 1].images[0].get_array(), pixels[1, 0]) and not axes[1, 2].images
    assert [line[0].texts[0].get_text() for line in axes] == ["one", "two"]
    assert "one and two" in figure.alt


def test_with_a_prior_no_climb_ends_outside_the_data():
    for ax, outside in zip(plot_climbs().axes, (True, False), strict=True):
        dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
        ends = [dot.get_xdata()[0] for dot in dots if dot.get_fillstyle() == "full"]
        assert len(ends) == 3 and any(abs(x) > 2 for x in ends) == outside
