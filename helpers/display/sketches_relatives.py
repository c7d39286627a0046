"""One-dimensional and tiny pictures of the gradient's relatives: no network."""

import matplotlib.pyplot as plt
import torch

from helpers.attribution.relatives import deconvnet_rule, guided_rule
from helpers.display.plotting import COLORS, describe


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
