"""Pixels hidden and layers forgotten, as seen: what is drawn is what the measures do."""

import matplotlib

matplotlib.use("Agg")

import pytest
import torch
from torch import nn

from helpers.benchmark.images import ImageSet
from helpers.display.judging import (
    explore_classes,
    explore_forgetting,
    explore_hiding,
    plot_hidden,
)


class Left(nn.Module):
    """Class 0 if the left half is brighter than 0.5, else class 1."""

    def forward(self, pixels):
        left = pixels[..., :4].mean((1, 2, 3))
        return torch.stack([1 + 2 * left, 2 - left], 1)


@pytest.fixture
def asked():
    """A network, two pictures whose left half is white, and a map that is large there."""
    pixels = torch.zeros(2, 3, 8, 8)
    pixels[..., :4] = 1
    network = Left()
    network.classes = ("bright", "dark")
    return network, ImageSet(pixels, ("a", "b")), pixels + 0.01 * torch.rand_like(pixels)


def test_the_panel_says_what_the_network_says_of_what_is_left(asked):
    network, images, good = asked
    panel = explore_hiding(network, images, {"good": good, "bad": 2 - good})
    panel.controls["fill"].value = "black"
    panel.controls["hidden"].value = 0.5
    # the left half is kept: logits 3 and 1, as of the whole picture; then it is hidden: 1 and 2
    assert "probability of “bright”: 88.1 %" in panel.status.value
    panel.controls["method"].value = "bad"
    assert "probability of “bright”: 26.9 %" in panel.status.value
    assert len(panel.frames()[0]) == 3


def test_best_pixels_kept_and_hidden_by_the_function_given(asked):
    network, images, good = asked
    calls = []

    def using(model, pixels, maps, target, fractions, fill):
        calls.append((maps[0, 0, 0, 0] > maps[0, 0, 0, 7], *fractions))
        return torch.tensor([1.0 if len(calls) % 2 else 0.0])

    target, fill = torch.zeros(2, dtype=int), torch.zeros_like(good)
    figure, axes = plot_hidden(
        network, images.pixels, {"good": good}, target, fill=fill, using=using, share=0.5
    )
    assert axes.shape == (2, 3) and "good" in figure.alt
    assert calls == [(True, 0.5), (False, 0.5)] * 2  # kept: the map; hidden: turned round
    assert axes[1, 1].get_title() == "✓ bright" and axes[1, 2].get_title() == "✗ dark"
    assert axes[0, 1].get_images()[0].get_array()[0, 0, 0] == 1  # the left half is kept


def test_a_panel_of_stages(asked):
    _, images, good = asked
    panel = explore_forgetting(images, {"gradient": [good, good, 2 - good], "other": [good] * 3})
    assert "0 of 2 layers" in panel.status.value
    before = panel.image.value
    panel.controls["layers"].value = 2
    assert "2 of 2 layers" in panel.status.value and panel.image.value != before
    assert [frame.value for frame in panel.frames()[0]] == ["0", "1", "2"]


def test_a_panel_of_classes(asked):
    _, images, good = asked
    maps = {name: {"gradient": values, "other": good} for name, values in
            (("cat", good), ("fish", 2 - good), ("none", good))}  # fmt: skip
    panel = explore_classes(images, maps)
    assert "explained for “cat”" in panel.status.value
    before = panel.image.value
    panel.controls["explained"].value = "fish"
    assert "explained for “fish”" in panel.status.value and panel.image.value != before
    assert [frame.value for frame in panel.frames()[0]] == ["cat", "fish", "none"]
