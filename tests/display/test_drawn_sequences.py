"""Coloured words, coloured curves and bars: what is drawn where, and the text that says so."""

import matplotlib.pyplot as plt
import pytest
import torch

from helpers import logits_of
from helpers.benchmark.sequences import load_sequence_model, sequences
from helpers.display.sequences import plot_bars, plot_path, plot_signals, plot_words


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_words_are_written_in_each_row_and_those_that_decide_are_framed():
    scores = {"one": torch.tensor([[1.0, -2, 0]]), "two": torch.zeros(1, 3)}
    mask = torch.tensor([[True, False, True]])
    figure, (ax,) = plot_words([["a", "b", "c"]], scores, mask, titles=["said"])
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"] * 2
    assert len(ax.patches) == 2 and ax.get_title(loc="left") == "said"
    drawn = ax.images[0].get_array()
    assert drawn.min() == -1 and drawn[0, 0] == 0.5  # a row by its own largest
    assert "one and two" in figure.alt and "framed" in figure.alt.lower()


def test_a_curve_stands_on_the_colours_of_its_map():
    x, maps = torch.randn(2, 1, 9), {"one": torch.randn(2, 1, 9), "two": torch.zeros(2, 1, 9)}
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[:, 2:5] = True
    figure, axes = plot_signals(x, maps, mask)
    assert axes.shape == (2, 2) and axes[1, 0].get_xlabel() == "sample"
    curve, bar = axes[1, 1].lines
    assert torch.allclose(torch.tensor(curve.get_ydata()), x[1, 0])
    assert list(bar.get_xdata()) == [2, 4]
    ground = torch.tensor(axes[0, 0].images[0].get_array()[0])
    assert torch.allclose(ground, maps["one"][0, 0])
    assert "one and two" in figure.alt


def test_frames_of_a_path_end_at_the_signal_with_its_logit():
    model, x = load_sequence_model("signals"), sequences("signals", 1).inputs
    figure, axes = plot_path(model, x, {"zero": 0 * x, "low": 0 * x - 2}, alphas=(0, 1))
    assert axes.shape == (2, 2)
    assert axes[0, 1].get_title() == axes[1, 1].get_title()
    assert f"logit {float(logits_of(model, x).max()):.1f}" in axes[0, 1].get_title()
    assert "zero and low" in figure.alt


def test_bars_keep_the_largest_of_any_panel():
    scores = {"one": torch.tensor([3.0, 0.1, -1]), "two": torch.tensor([0.0, 0.1, -4])}
    figure, axes = plot_bars(("a", "b", "c"), scores, most=2, values=[1, 2, 3.14159])
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels == ["a = 1", "c = 3.14"]
    assert [bar.get_width() for bar in axes[1].patches] == [0, -4]
    assert "one and two" in figure.alt
