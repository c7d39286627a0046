"""Attributions of what is no picture: coloured words, a coloured curve, bars. Each returns
(figure, axes), with an alt text."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle

from helpers.attribution.gradients import saliency
from helpers.display.plotting import COLORS, alt_of, color_scale, describe, named
from helpers.evaluate import logits_of


def plot_words(sentences, scores, masks=None, *, titles=()):
    """Sentences as coloured words, a row a method; the words that decide are framed.

    Args:
        sentences: N lists of T words.
        scores: {method: (N, T)}; each row of words has its own scale.
        masks: (N, T) bool.
        titles: N texts, over the sentences.
    """
    n, length = len(sentences), len(sentences[0])
    figure, axes = plt.subplots(
        n,
        1,
        figsize=(0.74 * length, n * (0.45 + 0.3 * len(scores))),
        layout="constrained",
        squeeze=False,
    )
    axes = axes[:, 0]
    for i, (ax, words) in enumerate(zip(axes, sentences, strict=True)):
        rows = np.stack([np.asarray(each[i], float) for each in scores.values()])
        rows = rows / np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12)
        ax.imshow(rows, aspect="auto", **color_scale(1.0))
        for (row, column), value in np.ndenumerate(rows):
            dark = "white" if abs(value) > 0.7 else "black"
            ax.text(column, row, words[column], ha="center", va="center", fontsize=9, color=dark)
        for column in np.flatnonzero(masks[i]) if masks is not None else ():
            frame = (column - 0.48, -0.47), 0.96, len(rows) - 0.06
            ax.add_patch(Rectangle(*frame, fill=False, linewidth=1.6))
        ax.set_yticks(range(len(rows)), list(scores), fontsize=9)
        ax.set(xticks=[])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(titles[i] if len(titles) else "", fontsize=10, loc="left")
    number = "a sentence" if n == 1 else f"{n} sentences"
    alt = alt_of(
        f"{number} as coloured words, a row each: {named(scores)}",
        "red words raise the logit, blue ones lower it, white is zero",
        "framed: the words that decide" if masks is not None else "",
    )
    describe(figure, alt)
    return figure, axes


def plot_signals(signals, maps, masks=None, *, titles=None, unit="mV", ends=None, alt=None):
    """Signals as curves on a ground coloured by their attribution; a bar below marks the event.

    Args:
        signals: (N, 1, T), a row of panels each; or {column: (N, 1, T)}, other curves a column.
        maps: {column: (N, 1, T)}; each panel has its own scale.
        masks: (N, T) bool.
        titles: {column: N texts}; without, the columns' names over the first row.
        ends: (low, high) of the vertical axis.
    """
    curves = signals if isinstance(signals, dict) else dict.fromkeys(maps, signals)
    n = len(next(iter(maps.values())))
    values = torch.cat([each.flatten() for each in curves.values()])
    low, high = ends or (float(values.min()) - 0.5, float(values.max()) + 0.2)
    figure, axes = plt.subplots(
        n,
        len(maps),
        figsize=(2.5 * len(maps) + 0.6, 1.45 * n + 0.55),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for row, column in np.ndindex(axes.shape):
        ax, name = axes[row, column], list(maps)[column]
        values, curve = (np.asarray(each[name][row, 0]) for each in (maps, curves))
        scale = color_scale(max(float(np.abs(values).max()), 1e-12))
        extent = (-0.5, len(curve) - 0.5, low, high)
        ax.imshow(values[None], aspect="auto", extent=extent, interpolation="nearest", **scale)
        ax.plot(curve, color="black", linewidth=1.1)
        if masks is not None:
            there = np.flatnonzero(masks[row])
            ax.plot(there[[0, -1]], [low + 0.12] * 2, color="black", linewidth=4)
        ax.set_ylim(low, high)
        if titles or row == 0:
            ax.set_title(titles[name][row] if titles else name, fontsize=10)
        if row == n - 1:
            ax.set_xlabel("sample", fontsize=9)
        if column == 0:
            ax.set_ylabel(unit, fontsize=9)
    describe(
        figure,
        alt
        or alt_of(
            f"{'a signal' if n == 1 else f'{n} signals'}, by column: {named(maps)}",
            "the ground behind the curve is red where it raises the logit, blue where it lowers it",
            "a bar below marks the event" if masks is not None else "",
        ),
    )
    return figure, axes


def plot_path(model, signal, baselines, *, alphas=(0, 0.25, 0.5, 0.75, 1), unit="mV"):
    """Frames of the way from each baseline to one signal: the point, on a ground coloured by the
    gradient of the signal's class there; over it the class's logit.

    Args:
        signal: (1, 1, T).
        baselines: {name: (1, 1, T)}, a row each.
    """
    target = logits_of(model, signal).argmax(1).expand(len(baselines))
    start = torch.cat(list(baselines.values()))
    points = {f"{alpha:g}": torch.lerp(start, signal.expand_as(start), alpha) for alpha in alphas}
    maps = {name: saliency(model, point, target) for name, point in points.items()}
    titles = {}
    for name, point in points.items():
        logits = logits_of(model, point).gather(1, target[:, None])[:, 0]
        titles[name] = [f"$\\alpha$ = {name}: logit {logit:.1f}" for logit in logits]
    said = (
        f"Five frames of the way to a signal, a row from each baseline: {named(baselines)}. The "
        "ground is red where a higher value would raise the logit there, blue where it would lower "
        "it; over each frame stands the logit."
    )
    figure, axes = plot_signals(points, maps, titles=titles, unit=unit, alt=said)
    for ax, name in zip(axes[:, 0], baselines, strict=True):
        ax.set_ylabel(f"{name}\n{unit}", fontsize=9)
    return figure, axes


def plot_bars(columns, scores, *, most=8, xlabel="adds, in logits", values=None):
    """Attributions of a table's row as bars, the ``most`` columns that are largest anywhere.

    Args:
        columns: F names.
        scores: {panel: (F,)}.
        values: F numbers, what the row holds, written beside the names.
    """
    rows = {name: np.asarray(each, float) for name, each in scores.items()}
    largest = np.max([np.abs(each) for each in rows.values()], axis=0)
    kept = np.argsort(-largest)[:most][::-1]
    labels = [columns[i] + ("" if values is None else f" = {values[i]:.3g}") for i in kept]
    figure, axes = plt.subplots(
        1,
        len(rows),
        figsize=(2.3 * len(rows) + 2.2, 0.27 * len(kept) + 1.0),
        sharey=True,
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    axes = axes[0]
    for ax, (name, each) in zip(axes, rows.items(), strict=True):
        colours = [COLORS[int(value > 0)] for value in each[kept]]
        ax.barh(range(len(kept)), each[kept], color=colours)
        ax.axvline(0, color="0.3", linewidth=0.8)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel(xlabel, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(kept)), labels, fontsize=9)
    describe(
        figure,
        alt_of(
            f"bars of the {len(kept)} largest columns of a table's row, by panel: {named(rows)}",
            f"a bar is what the column {xlabel}, orange above zero, blue below",
        ),
    )
    return figure, axes
