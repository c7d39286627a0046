"""One dimension, where the eye sees all: the small drawings that come before a method's formula.

Each returns a figure with its alt text and takes no picture and no network.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter1d

from helpers.display.plotting import COLORS, describe

_X = np.linspace(0, 1, 1001)


def _jagged(x):
    """A slow wave under many small kinks, as a ReLU network along a line is."""
    rng, slow = np.random.default_rng(4), 0.5 * np.sin(2.6 * x) + 0.2 * x
    kinks, slopes = rng.random(40), rng.normal(0, 0.5, 40)
    return slow + sum(
        s * np.maximum(x - k, 0) - s * (1 - k) * x for k, s in zip(kinks, slopes, strict=True)
    )


def plot_averaged_derivative(sigmas=(0.0, 0.02, 0.05, 0.2)):
    """A jagged function of one number, and its derivative averaged over normal noise of each σ (in
    units of the axis, which runs from 0 to 1)."""
    values, step = _jagged(_X), _X[1] - _X[0]
    derivative = np.gradient(values, step)
    figure, axes = plt.subplots(
        2,
        len(sigmas),
        figsize=(2.5 * len(sigmas), 3.6),
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for (above, below), sigma in zip(axes.T, sigmas, strict=True):

        def smooth(y, sigma=sigma):
            return gaussian_filter1d(y, sigma / step, mode="nearest") if sigma else y

        for ax, y in ((above, values), (below, derivative)):
            ax.plot(_X, y, color="0.75", linewidth=0.9)
            ax.plot(_X, smooth(y), color=COLORS[0], linewidth=1.5)
            ax.spines[["top", "right"]].set_visible(False)
            ax.set(xticks=[0, 1], yticks=[])
        above.set_title(f"σ = {sigma:.0%}" if sigma else "no noise", fontsize=10)
        below.axhline(0, color="0.5", linewidth=0.6)
    axes[0, 0].set_ylabel("f, blurred", fontsize=9)
    axes[1, 0].set_ylabel("its derivative", fontsize=9)
    describe(
        figure,
        "A jagged function of one number above, its derivative below, for noise of "
        + ", ".join(f"{sigma:.0%}" for sigma in sigmas)
        + ". Without noise the derivative jumps at every kink; more noise leaves only slow changes.",
    )
    return figure
