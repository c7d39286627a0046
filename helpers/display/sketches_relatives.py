"""One dimension, for the notebooks on the gradient's relatives; as ``sketches``."""

import matplotlib.pyplot as plt
import numpy as np

from helpers.display.plotting import COLORS, describe


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
