"""One dimension, where the eye sees all, for the pages on the gradient's relatives.

Each returns a figure with its alt text and takes no picture and no network.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from helpers.attribution.relatives import deconvnet_rule, guided_rule
from helpers.display.plotting import COLORS, color_scale, describe


def plot_capped_line(percentiles=(100, 95, 80), *, seen=0.1):
    """A map of 24 pixels, one of them an outlier, and the colours of the same values when the
    scale ends at each percentile of their sizes; over each, how many pixels reach ``seen`` of
    it."""
    rng, n = np.random.default_rng(12), 24
    values = 0.7 * rng.standard_normal(n)
    values[[6, 15]] = 12, -3.5
    figure, axes = plt.subplots(
        2,
        len(percentiles),
        figsize=(3.2 * len(percentiles), 2.7),
        height_ratios=(4, 1),
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for (above, below), percentile in zip(axes.T, percentiles, strict=True):
        end = np.percentile(np.abs(values), percentile)
        above.bar(range(n), values, color=[COLORS[int(v > 0)] for v in values])
        for sign in (-1, 1):
            above.axhline(sign * end, color="0.4", linestyle="--", linewidth=0.9)
        coloured = int((np.abs(values) >= seen * end).sum())
        what = "the largest" if percentile == 100 else f"the {percentile}th percentile"
        above.set_title(f"ends at {what}:\n{coloured} of {n} pixels coloured", fontsize=10)
        below.imshow(values[None], aspect="auto", **color_scale(end))
        for ax in (above, below):
            ax.set(xticks=[], yticks=[])
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("the map's numbers", fontsize=9)
    axes[1, 0].set_ylabel("drawn", fontsize=9)
    describe(
        figure,
        "The same 24 numbers of a map as bars, one far larger than the rest, and the colours that "
        "they get, by column for a scale that ends at the percentiles "
        f"{', '.join(map(str, percentiles))}; dashed: the end of the scale.",
    )
    return figure


def plot_black_pixel(slope=-2.0):
    """A logit that falls as one pixel gets brighter, asked at black: the gradient there, and what
    is left of it when it is multiplied by the pixel, from black and from white."""
    x = np.linspace(0, 1, 2)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.5, 2.5), width_ratios=(1, 1.25), layout="constrained"
    )
    left.plot(x, 3 + slope * x, color=COLORS[0], linewidth=1.8)
    left.plot(0, 3, "o", color="black", markersize=6, clip_on=False)
    left.annotate(
        "our pixel: black",
        (0, 3),
        (0.25, 3.02),
        va="center",
        arrowprops={"arrowstyle": "-", "color": "0.5"},
    )
    left.set(xticks=[0, 1], yticks=[], xlim=(-0.06, 1.06))
    left.set_xticklabels(["black, x = 0", "white, x = 1"])
    left.set_ylabel("logit", fontsize=9)
    bars = {
        "gradient g": slope,
        "from black\n(x − 0) g": 0.0,
        "from white\n(x − 1) g": -slope,
    }
    for place, value in enumerate(bars.values()):
        right.bar(place, value, width=0.6, color=COLORS[int(value > 0)])
        said = f"{value:+g}".replace("-", "−") if value else "0"
        at = value + (0.18 if value >= 0 else -0.18)
        right.text(place, at, said, ha="center", va="bottom" if value >= 0 else "top")
    right.axhline(0, color="0.4", linewidth=0.9)
    right.set(xticks=range(len(bars)), yticks=[], ylim=(-1.5 * abs(slope), 1.5 * abs(slope)))
    right.set_xticklabels(bars)
    right.set_ylabel("the pixel's value\nin the map", fontsize=9)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    describe(
        figure,
        "Left, a logit that falls as one pixel goes from black to white; the pixel is black. "
        f"Right, its value in three maps: gradient {slope:g}, times the input from black 0, from "
        f"white {-slope:+g}.",
    )
    return figure


def plot_relu_rules():
    """What goes on backwards from one ReLU by three rules: for a gradient of +2 and of −2, where
    the ReLU was open (its output 3) and where it was closed (0)."""
    rules = {
        "gradient": lambda gradient, activation: gradient * (activation > 0),
        "deconvnet": deconvnet_rule,
        "guided backprop": guided_rule,
    }
    gradient, activation = torch.tensor([[2.0], [-2.0]]), torch.tensor([[3.0, 0.0]])
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.5), layout="constrained", sharey=True)
    for ax, (name, rule) in zip(axes, rules.items(), strict=True):
        passed = rule(gradient.expand(2, 2), activation.expand(2, 2))
        for row in range(2):
            for column in range(2):
                value = float(passed[row, column])
                color = {2.0: COLORS[1], -2.0: COLORS[0]}.get(value, "0.92")
                place = (column, 1 - row)
                ax.add_patch(plt.Rectangle(place, 1, 1, color=color, ec="white", lw=3))
                ax.text(
                    place[0] + 0.5,
                    place[1] + 0.5,
                    f"{value:+g}".replace("-", "−") if value else "0",
                    ha="center",
                    va="center",
                    fontsize=15,
                    color="white" if value else "0.35",
                )
        ax.set(xlim=(0, 2), ylim=(0, 2), title=name)
        ax.set_xticks([0.5, 1.5], ["open: output 3", "closed: output 0"])
        ax.set_yticks([1.5, 0.5], ["+2 arrives", "−2 arrives"])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[1].set_xlabel("the ReLU on the way forward", fontsize=9)
    axes[0].set_ylabel("on the way back", fontsize=9)
    describe(
        figure,
        "What goes on backwards from one ReLU, three tables of two by two: the gradient's rule "
        "lets both signs through an open ReLU, the deconvnet's what is positive, open or closed, "
        "guided backprop what is positive through an open one.",
    )
    return figure


def plot_climbs(starts=(-2.6, 0.2, 2.6), *, n_steps=60, step_size=0.1, prior=1.0):
    """A score of one number climbed from several starts: without a prior, and with one, which takes
    ``prior`` times ½ x² away and so holds the climb near the data (grey)."""
    x = np.linspace(-4, 4.5, 801)

    def score(x):
        return 1.1 * np.exp(-((x + 1.2) ** 2) / 0.5) + np.exp(-((x - 0.9) ** 2) / 0.4) + 0.22 * x

    figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharex=True, layout="constrained")
    titles = {0.0: "the logit alone", prior: "logit − prior"}
    for ax, (weight, title) in zip(axes, titles.items(), strict=True):

        def height(x, weight=weight):
            return score(x) - 0.25 * weight * x**2 / 2

        ax.axvspan(-2, 2, color="0.9", linewidth=0, label="where the data are")
        ax.plot(x, height(x), color="0.45", linewidth=1.4)
        for number, start in enumerate(starts):
            at = start
            for _ in range(n_steps):
                slope = (height(at + 1e-4) - height(at - 1e-4)) / 2e-4
                at = np.clip(at + step_size * np.clip(slope / 0.2, -1, 1), x[0], x[-1])
            how = {"color": COLORS[0], "zorder": 4}
            ax.plot(start, height(start), "o", fillstyle="none", markersize=7, **how)
            ax.plot(at, height(at), "o", markersize=7, **how)
            if number == 0:
                ax.plot([], [], "o", fillstyle="none", color=COLORS[0], label="a start")
                ax.plot([], [], "o", color=COLORS[0], label="where its climb ends")
            ax.annotate(
                "",
                (at, height(at)),
                (start, height(start)),
                arrowprops={"arrowstyle": "->", "color": COLORS[0], "linestyle": ":"},
            )
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("a picture of one number", fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("what is climbed", fontsize=9)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    describe(
        figure,
        f"A hilly score of one number, climbed from {len(starts)} starts: left the logit alone, "
        "right with a prior taken away; the range of the data in grey.",
    )
    return figure
