"""One dimension, where the eye sees all: the small drawings that come before a method's formula.

Each returns a figure with its alt text and takes no picture and no network.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from helpers.attribution.aggregates import AGGREGATES
from helpers.attribution.integrated_gradients import nodes_and_weights
from helpers.display.plotting import COLORS, describe
from helpers.noise import NORMAL_IQR

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
        "A function with small kinks above, its derivative below, for noise of "
        + ", ".join(f"{sigma:.0%}" for sigma in sigmas)
        + ". Without noise the derivative jumps at every kink; noise leaves only slow changes.",
    )
    return figure


def plot_mean_of_slopes(n=10, sigma=0.07, at=0.4, *, everywhere=200, seed=8):
    """How SmoothGrad's value at one point comes about: a jagged function and its slope there, the
    derivative at ``n`` points around it (``sigma`` apart), their mean, and the mean of
    ``everywhere`` such points at every x."""
    rng = np.random.default_rng(seed)
    edges = np.append(0, np.sort(rng.random(45)))
    levels = 1.3 * np.cos(5 * edges) + rng.normal(0, 0.8, len(edges))

    def derivative(x):
        return levels[np.searchsorted(edges, np.clip(x, 0, 1), side="right") - 1]

    values = np.cumsum(derivative(_X)) / len(_X)
    noise = sigma * rng.standard_normal(n)
    slope, slopes = derivative(at), derivative(at + noise)
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), sharex=True, layout="constrained")
    titles = (
        "f and its slope at x",
        f"f′ at {n} noisy points",
        "their mean",
        f"means of {everywhere}, at every x",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[0, at, 1], xticklabels=["0", "x", "1"], yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
    first, *others = axes
    first.plot(_X, values, color="0.5", linewidth=1.2)
    ends, middle = np.array([at - 0.15, at + 0.15]), np.interp(at, _X, values)
    first.plot(ends, middle + slope * (ends - at), color=COLORS[1], linewidth=1.8)
    first.plot([at], [middle], "o", color=COLORS[1], markersize=6)
    for ax in others:
        ax.plot(_X, derivative(_X), color="0.75", linewidth=0.9)
        ax.axhline(0, color="0.5", linewidth=0.6)
    first.set_ylabel("f", fontsize=9)
    others[0].set_ylabel("its slope, f′ (line: 0)", fontsize=9)
    for ax, shade in zip(others[:2], (0.8, 0.3), strict=True):
        look = {"markersize": 4.5, "alpha": shade, "markeredgecolor": "white"}
        ax.plot(at + noise, slopes, "o", color=COLORS[0], markeredgewidth=0.5, **look)
        ax.plot([at], [slope], "o", color=COLORS[1], markersize=6)
    others[1].vlines(at, slope, slopes.mean(), color="black", linewidth=0.8, linestyle=":")
    others[1].plot([at], [slopes.mean()], "D", color=COLORS[0], markersize=8)
    many = sigma * rng.standard_normal(everywhere)
    others[2].plot(_X, derivative(_X[:, None] + many).mean(1), color=COLORS[0], linewidth=1.5)
    others[2].plot([at], [derivative(at + many).mean()], "D", color=COLORS[0], markersize=8)
    describe(
        figure,
        f"A jagged function with its slope at x; its derivative with dots at {n} noisy points near "
        f"x; the mean of the dots; and means of {everywhere} at every x over the derivative in "
        "grey. A thin line is slope 0.",
    )
    return figure


def plot_mean_of_numbers(counts=(1, 3, 10, 50), *, n_means=200, seed=0):
    """``n_means`` means of n noisy numbers for each n of ``counts`` as dots about the mean of very
    many, and their spread against n, beside the law 1 / √n."""
    rng = np.random.default_rng(seed)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
    spreads = []
    for place, n in enumerate(counts):
        means = rng.standard_normal((n_means, n)).mean(1)
        spreads.append(means.std())
        aside = place + rng.uniform(-0.28, 0.28, n_means)
        left.plot(aside, means, "o", color=COLORS[0], markersize=2.5, alpha=0.5)
    left.axhline(0, color=COLORS[1], linewidth=1.2)
    left.annotate(
        "the mean of\nvery many",
        (1, 0),
        (4, 0),
        ("axes fraction", "data"),
        "offset points",
        va="center",
        fontsize=9,
        color=COLORS[1],
    )
    left.set_xticks(range(len(counts)), [f"n = {n}" for n in counts])
    left.set_yticks([])
    left.set_title(f"{n_means} means of n noisy numbers", fontsize=10)
    line = np.geomspace(counts[0], counts[-1], 50)
    right.plot(line, line**-0.5, color="0.6", linewidth=1.2, label="1 / √n")
    right.plot(counts, spreads, "o", color=COLORS[0], markersize=6, label="spread of the means")
    right.set(xscale="log", yscale="log")
    right.set_xticks(counts, map(str, counts))
    right.set_yticks([1, 0.5, 0.2, 0.1], ["1", "0.5", "0.2", "0.1"])
    right.minorticks_off()
    right.set_xlabel("n", fontsize=9)
    right.set_title("their spread (both axes logarithmic)", fontsize=10)
    right.legend(fontsize=9, frameon=False)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    describe(
        figure,
        f"Left, means of n noisy numbers as dots about the mean of very many, for n of "
        f"{', '.join(map(str, counts))}. Right, their spread against n, along the line 1 / √n.",
    )
    return figure


def plot_noise_sums(inputs=(1, 4, 64), *, n_draws=20_000, seed=0):
    """The noise of a sum of many inputs, (δ₁ + … + δ_d) / √d for each d of ``inputs``, by the kind
    of noise: histograms of ``n_draws`` sums over the normal density in grey. All have standard
    deviation 1 but Cauchy's, which has none: its middle half is as wide as the normal's."""
    rng, edges = np.random.default_rng(seed), np.arange(-4.125, 4.2, 0.25)
    kinds = {
        "normal": rng.standard_normal,
        "uniform": lambda shape: rng.uniform(-(3**0.5), 3**0.5, shape),
        "laplace": lambda shape: rng.laplace(scale=0.5**0.5, size=shape),
        "rademacher": lambda shape: rng.choice([-1.0, 1.0], shape),
        "cauchy": lambda shape: NORMAL_IQR / 2 * rng.standard_cauchy(shape),
    }
    figure, axes = plt.subplots(
        len(inputs),
        len(kinds),
        figsize=(2 * len(kinds), 1.35 * len(inputs) + 0.3),
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    fine = np.linspace(-4, 4, 201)
    normal = np.exp(-(fine**2) / 2) / np.sqrt(2 * np.pi)
    for row, d in zip(axes, inputs, strict=True):
        for ax, draw, color in zip(row, kinds.values(), COLORS, strict=False):
            sums = sum(draw(n_draws) for _ in range(d)) / np.sqrt(d)
            density = np.histogram(sums, edges)[0] / n_draws / np.diff(edges)
            ax.fill_between(fine, normal, color="0.85", linewidth=0)
            ax.stairs(density, edges, color=color, linewidth=1.5)
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.set(yticks=[], xticks=[-3, 0, 3], ylim=(0, None))
        row[0].set_ylabel("one input" if d == 1 else f"sum of {d}", fontsize=9)
    for ax, name in zip(axes[0], kinds, strict=True):
        ax.set_title(name, fontsize=10)
    figure.supxlabel("noise in units of σ (grey: the normal density)", fontsize=9)
    describe(
        figure,
        f"Histograms of noise, by column {', '.join(kinds)}; by row the scaled sum over "
        f"{', '.join(map(str, inputs))} inputs. The normal density lies behind each in grey.",
    )
    return figure


def plot_aggregated_pixels(n=20, *, seed=3):
    """``n`` gradients at each of four made-up pixels, and what each aggregate makes of them: a row
    of bars for each, in units of the row's largest."""
    rng = np.random.default_rng(seed)
    gradients = {
        "small, they agree": 1 + 0.3 * rng.standard_normal(n),
        "large, signs change": 2.5 * rng.standard_normal(n),
        "zero but for one": np.append(0.05 * rng.standard_normal(n - 1), 9.0),
        "noise alone": rng.standard_normal(n),
    }
    made = {
        name: [_aggregate(values, name) for values in gradients.values()] for name in AGGREGATES
    }
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(10, 4.6), height_ratios=(1.1, 1.5), sharex=True, layout="constrained"
    )
    for place, (title, values) in enumerate(gradients.items()):
        above.plot(place + np.linspace(0, 0.6, n), values, "o", color="0.35", markersize=3.5)
        above.text(place, 11, title, fontsize=10)
    above.axhline(0, color="0.6", linewidth=0.6)
    above.set_ylabel(f"{n} gradients", fontsize=9)
    below.set_ylabel("their aggregates", fontsize=9)
    for row, values in enumerate(made.values()):
        for place, value in enumerate(values):
            wide, color = abs(0.6 * value / max(map(abs, values))), "#b2182b"
            below.barh(row, wide, 0.62, place, color=color if value > 0 else "#2166ac")
            label = f"{value:.2g}".replace("-", "−")
            below.text(place + wide + 0.02, row, label, va="center", fontsize=8)
    below.set_yticks(range(len(made)), [name.replace("_", " ") for name in made], fontsize=9)
    below.invert_yaxis()
    below.set_xlabel("bars: as a share of the row's largest; blue: negative", fontsize=9)
    for ax in (above, below):
        ax.tick_params(axis="x", length=0, labelbottom=False)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
    below.set_xlim(-0.1, len(gradients) - 0.1)
    describe(
        figure,
        f"{n} gradients at four made-up pixels as dots: {'; '.join(gradients)}. Below, a row of "
        f"bars for each aggregate, {', '.join(made)}: what it makes of each pixel.".replace(
            "_", " "
        ),
    )
    return figure


def _aggregate(values, name):
    accumulator = AGGREGATES[name]()
    for value in values:
        accumulator.update(torch.tensor([value]))
    return float(accumulator.result())


def plot_saturation():
    """A function of one number that rises over a few kinks and then stays flat, and its derivative
    on the way from a baseline x′ = 0 to an input x = 1 on the flat part, with the area under it."""
    kinks, slopes = np.array([0, 0.15, 0.3, 0.42, 0.6, 1.1]), np.array([0.8, 3, 0.4, 2.1, 0])
    levels = np.append(0, np.cumsum(slopes * np.diff(kinks)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained")
    left.plot(kinks, levels, color=COLORS[0], linewidth=1.8)
    left.plot([0.78, 1.22], [levels[-1]] * 2, color=COLORS[1], linestyle="--", linewidth=1.2)
    left.plot([0, 1], levels[[0, -1]], "o", color="black", markersize=5)
    left.annotate("", (1.04, 0), (1.04, levels[-1]), arrowprops={"arrowstyle": "<->"})
    left.text(1.06, levels[-1] / 2, "f(x) − f(x′)", fontsize=9, va="center")
    left.text(0.8, levels[-1] + 0.05, "slope at x: 0", color=COLORS[1], fontsize=9)
    left.set_title("f", fontsize=10)
    left.set_ylim(-0.08, 1.22 * levels[-1])
    right.stairs(slopes, kinks, color=COLORS[0], linewidth=1.8, baseline=None)
    right.stairs(slopes[:-1], kinks[:-1], fill=True, color=COLORS[0], alpha=0.22)
    right.plot([0, 1], [slopes[0], 0], "o", color="black", markersize=5)
    right.text(0.62, 0.8, f"area: {levels[-1]:.2f} = f(x) − f(x′)", fontsize=9)
    right.set_title("its derivative", fontsize=10)
    for ax in (left, right):
        ax.set_xticks([0, 1], ["baseline x′", "input x"])
        ax.set_xlim(-0.05, 1.3)
        ax.set_yticks([])
        ax.spines[["top", "right"]].set_visible(False)
    describe(
        figure,
        "Left, a function that rises over four kinks and is flat at the input: the slope there is "
        "0. Right, its derivative on the way from the baseline: the area under it is the rise.",
    )
    return figure


def plot_baseline_factor(baselines=("black", "white", "mean")):
    """A row of 60 pixels with a black object in its middle, a linear network that reads the object
    and, a little, all else, and the map (x − x′) w of each baseline, with the object's share of
    its size."""
    rng, n = np.random.default_rng(6), 60
    inside = (np.arange(n) >= 22) & (np.arange(n) < 38)
    x = np.where(inside, 0.0, 0.55 + 0.1 * rng.standard_normal(n))
    weights = np.where(inside, -1.0, 0.25) * (1 + 0.3 * rng.standard_normal(n))
    starts = {
        "black": np.zeros(n),
        "white": np.ones(n),
        "mean": np.full(n, x.mean()),
        "farthest": np.where(x > 0.5, 0.0, 1.0),
        "noise": rng.random(n),
    }
    figure, axes = plt.subplots(
        3,
        len(baselines),
        figsize=(3.3 * len(baselines), 4.2),
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    for (above, middle, below), name in zip(axes.T, baselines, strict=True):
        above.step(range(n), x, where="mid", color="black", linewidth=1.2, label="input x")
        above.step(
            range(n),
            starts[name],
            where="mid",
            color=COLORS[1],
            linestyle="--",
            label="baseline x′",
        )
        middle.bar(range(n), weights, width=1, color="0.6")
        values = (x - starts[name]) * weights
        below.bar(range(n), values, width=1, color=[COLORS[int(v > 0)] for v in values])
        share = np.abs(values[inside]).sum() / np.abs(values).sum()
        above.set_title(f"{name}: {share:.0%} on the object", fontsize=10)
        for ax in (above, middle, below):
            ax.axvspan(21.5, 37.5, color="0.92", zorder=0)
            ax.set(xticks=[], yticks=[])
            ax.spines[["top", "right"]].set_visible(False)
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    for ax, label in zip(axes[:, 0], ("pixel values", "gradient w", "(x − x′) w"), strict=True):
        ax.set_ylabel(label, fontsize=9)
    describe(
        figure,
        "A row of pixels with a black object, a gradient that is large on the object, and their "
        f"map, by column for the baselines {', '.join(baselines)}; over each the object's share.",
    )
    return figure


def plot_rules(
    n=5, rules=("left", "midpoint", "right", "trapezoid", "gauss_legendre"), *, n_others=200, seed=0
):
    """A derivative with jumps, as along the path through a ReLU network, and the pieces whose area
    each rule with ``n`` points takes for the area under it; over each by how much it misses here,
    and the mean size of its miss on ``n_others`` curves that jump elsewhere: one curve alone is
    luck."""
    rng, alpha = np.random.default_rng(seed), np.linspace(0, 1, 4001)
    others = [(np.sort(rng.random(len(_ENDS))), rng.permutation(_LEVELS)) for _ in range(n_others)]
    derivative = _jumping(alpha)
    figure, axes = plt.subplots(
        1, len(rules), figsize=(2.1 * len(rules), 2.6), sharey=True, layout="constrained"
    )
    for ax, rule in zip(axes, rules, strict=True):
        nodes, weights = nodes_and_weights(rule, n)

        def miss(*curve, nodes=nodes, weights=weights):
            return float(weights @ _jumping(nodes, *curve)) / _jumping(alpha, *curve).mean() - 1

        heights, edges = _jumping(nodes), np.append(0, np.cumsum(weights))
        if rule == "trapezoid":
            ax.fill_between(nodes, heights, color=COLORS[1], alpha=0.3, linewidth=0)
            ax.vlines(nodes, 0, heights, color=COLORS[1], linewidth=0.7)
        else:
            ax.stairs(heights, edges, fill=True, color=COLORS[1], alpha=0.3)
            ax.vlines(edges, 0, _beside(heights), color=COLORS[1], linewidth=0.7)
        ax.plot(alpha, derivative, color=COLORS[0], linewidth=1.5)
        ax.plot(nodes, heights, "o", color=COLORS[1], markersize=4)
        sign, here = "+" if miss() >= 0 else "−", abs(miss())
        usual = np.mean([abs(miss(*curve)) for curve in others])
        name = rule.replace("_", "–").title()
        ax.set_title(f"{name}\nhere {sign}{here:.0%}, elsewhere {usual:.0%}", fontsize=9)
        ax.set(xticks=[0, 1], yticks=[])
        ax.set_xlabel("α", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("derivative on the path", fontsize=9)
    describe(
        figure,
        f"A derivative with jumps, and the pieces that stand for its area with {n} points by "
        f"column: {', '.join(rules).replace('_', '–')}; over each, by how much it misses the area "
        f"here, and on average on {n_others} other curves.",
    )
    return figure


_ENDS = np.array([0.12, 0.27, 0.33, 0.56, 0.71, 0.83])
_LEVELS = np.array([0.5, 1.6, 3.1, 2.2, 2.9, 1.2, 0.7])


def _jumping(alpha, ends=_ENDS, levels=_LEVELS):
    """A derivative along a path: it jumps where a unit switches and drifts between."""
    return np.take(levels, np.searchsorted(ends, alpha, side="right")) - 0.3 * alpha


def _beside(heights):
    """The higher neighbour at each edge of a row of rectangles."""
    return np.maximum(np.append(heights, 0), np.append(0, heights))


def plot_hidden_line(fills=("mean", "black", "noise"), share=0.7):
    """A row of 60 pixels with a dark object, the size of a map there, and the row with the
    ``share`` of its pixels that are lowest in the map replaced by each fill."""
    rng, n = np.random.default_rng(11), 60
    inside = (np.arange(n) >= 24) & (np.arange(n) < 38)
    x = np.where(inside, 0.12, 0.6) + 0.06 * rng.standard_normal(n)
    size = np.abs(np.where(inside, 1, 0.25) * (1 + 0.35 * rng.standard_normal(n)))
    hidden = size.argsort().argsort() < round(share * n)
    values = {"mean": np.full(n, x.mean()), "black": np.zeros(n), "noise": rng.random(n)}
    figure, axes = plt.subplots(
        1, 1 + len(fills), figsize=(2.7 * (1 + len(fills)), 2.4), layout="constrained"
    )
    colours = [COLORS[0] if kept else "0.75" for kept in ~hidden]
    axes[0].bar(range(n), size, width=1, color=colours)
    axes[0].set_title(f"the map's size; grey: lowest {share:.0%}", fontsize=10)
    for ax, fill in zip(axes[1:], fills, strict=True):
        left = np.where(hidden, values[fill], x)
        ax.plot(x, color="0.6", linewidth=1, label="input")
        ax.step(range(n), left, where="mid", color="black", linewidth=1.4, label="shown")
        ax.plot(np.flatnonzero(hidden), left[hidden], ".", color=COLORS[1], label="hidden pixels")
        ax.set_title(f"fill: {fill}", fontsize=10)
        ax.set_ylim(-0.06, 1.06)
    for ax in axes:
        ax.axvspan(23.5, 37.5, color="0.93", zorder=0)
        ax.set(xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
    lines = axes[-1].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    describe(
        figure,
        f"A row of pixels with a dark object, and a map of it; then the row with its lowest "
        f"{share:.0%} hidden, by column for the fills {', '.join(fills)}.",
    )
    return figure


def plot_ranks():
    """Four maps of eight pixels as bars, with the rank of each over it, two of them equal; over the
    last three their rank correlation with the first."""
    maps = {
        "a map": [3, 1, 6, 2, 9, 4, 4, 12],
        "same order": [0.7, 0.3, 1.1, 0.5, 3.5, 0.8, 0.8, 12],
        "another order": [10, 8, 5, 2, 3, 4, 1, 9],
        "reversed": [10, 12, 7, 11, 4, 9, 9, 1],
    }
    ranks = {name: _mean_ranks(np.array(sizes)) for name, sizes in maps.items()}
    figure, axes = plt.subplots(1, len(maps), figsize=(10.5, 2.3), layout="constrained")
    for ax, (name, sizes) in zip(axes, maps.items(), strict=True):
        color = COLORS[0] if name == "a map" else COLORS[1]
        ax.bar(range(len(sizes)), sizes, color=color, alpha=0.75)
        for place, (size, rank) in enumerate(zip(sizes, ranks[name], strict=True)):
            ax.text(place, size + 0.02 * max(sizes), f"{rank:g}", ha="center", fontsize=9)
        rho = np.corrcoef(ranks["a map"], ranks[name])[0, 1]
        ax.set_title(
            name if name == "a map" else f"{name}: ρ = {rho:.1f}".replace("-", "−"), fontsize=10
        )
        ax.set(xticks=[], yticks=[], ylim=(0, 1.18 * max(sizes)))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlabel("eight pixels; over each its rank", fontsize=9)
    describe(
        figure,
        "Four maps of eight pixels as bars with the rank over each: the first, one of the same "
        "order, one of another, and the first reversed; over them the rank correlation.",
    )
    return figure


def _mean_ranks(values):
    """1 for the lowest; equal ones share the mean of their places."""
    below, same = (compare.outer(values, values).sum(0) for compare in (np.less, np.equal))
    return below + (same + 1) / 2
