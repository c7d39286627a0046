"""What a network's last map looks like: its places as they are and enlarged, and how they come
about in one dimension."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from helpers.benchmark.images import ImageSet
from helpers.display.panel import Panel, PictureRow
from helpers.display.plotting import COLORS, describe, named


def explore_last_maps(images: ImageSet, coarse, *, mask=None, strip=None) -> Panel:
    """Maps of one picture by networks whose last map differs in size: the places as they are, and
    enlarged between them.

    coarse: {name: (N, 1, h, w)}, as with ``enlarge="none"``. mask: (N, 1, H, W) bool, outlined.
    strip: by default the first five names.
    """
    row = PictureRow(images, mask, n=3)

    def draw(picture, network):
        values = coarse[network][picture : picture + 1]
        row.picture(0, images.pixels[picture], "input")
        for place, (how, title) in enumerate(
            {"nearest": "its places as they are", "bilinear": "enlarged, bilinear"}.items(), 1
        ):
            fine = F.interpolate(values, images.pixels.shape[2:], mode=how)
            row.map(place, fine, title, show="unsigned", percentile=100)
        row.outline(picture)
        return row.figure, (
            f"{images.names[picture]} · last map {network} · bright is large, each map has its "
            "own colours"
        )

    names = [(f"{i}: {name}", i) for i, name in enumerate(images.names)]
    return Panel(
        draw,
        strip=strip or {"network": list(coarse)[:5]},
        alt=f"each frame shows the input and the map of a network whose last map has "
        f"{named(coarse)} places, as blocks and enlarged",
        picture=widgets.Dropdown(options=names, description="picture"),
        network=widgets.SelectionSlider(options=list(coarse), description="last map"),
    )


def plot_weighted_maps():
    """The last map of a row of 32 pixels with an object: three channels of four places, their
    weighted sum, and that sum enlarged by the nearest place and bilinearly."""
    channels = np.array([[0.2, 1.9, 1.4, 0.1], [0.7, 0.3, 0.2, 1.2], [0.5, 0.6, 0.9, 0.4]])
    weights = np.array([1.0, -1.0, 0.5])
    total = weights @ channels
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 2.7), layout="constrained")
    for channel, (values, weight) in enumerate(zip(channels, weights, strict=True)):
        at = np.arange(4) * 8 + 2 + 2 * channel
        label = f"w = {weight:g}".replace("-", "−")
        axes[0].bar(at, values, width=1.8, color=COLORS[channel], label=label)
    axes[0].set_title("three channels, four places", fontsize=10)
    axes[0].legend(fontsize=9, frameon=False, loc="upper center", handlelength=1, ncols=3)
    axes[1].bar(np.arange(4) * 8 + 4, total, width=7, color=COLORS[6], alpha=0.75)
    for place, value in enumerate(total):
        text = f"{value:.2f}".replace("-", "−")
        above = 0.06 if value >= 0 else -0.06
        side = "bottom" if value >= 0 else "top"
        axes[1].text(place * 8 + 4, value + above, text, ha="center", va=side, fontsize=9)
    axes[1].set_title("their weighted sum", fontsize=10)
    coarse = torch.from_numpy(total)[None, None]
    for how, color in (("nearest", COLORS[4]), ("linear", COLORS[3])):
        fine = F.interpolate(coarse, 32, mode=how)[0, 0].numpy()
        label = {"nearest": "nearest", "linear": "bilinear"}[how]
        style = {"drawstyle": "steps-mid"} if how == "nearest" else {}
        axes[2].plot(np.arange(32) + 0.5, fine, color=color, linewidth=2, label=label, **style)
    axes[2].set_title("enlarged to 32 pixels", fontsize=10)
    axes[2].legend(fontsize=9, frameon=False, loc="upper right")
    for ax in axes:
        ax.axvspan(10, 17, color="0.88", zorder=0, linewidth=0)
        ax.axhline(0, color="0.3", linewidth=0.8)
        ax.set(xlim=(0, 32), xticks=[0, 8, 16, 24, 32], ylim=(-1.35, 2.9))
        ax.set_xlabel("pixels; grey: the object", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    describe(
        figure,
        "A row of 32 pixels with an object in grey: three channels of its last map at four places, "
        "their weighted sum, which is negative at one end, and that sum enlarged by the nearest "
        "place and bilinearly.",
    )
    return figure
