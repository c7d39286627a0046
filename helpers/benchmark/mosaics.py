"""Mosaics: k × k grids of pictures of different classes, so that any classifier has a truth: what
speaks for a class should lie in its cell (the grid pointing game, Böhle et al. 2021,
arXiv:2104.00032; Rao et al. 2022, arXiv:2205.10435).

Whether it does is a property of the network, so it is certified, as it is for scenes: the target's
logit must hardly move when another cell is swapped. On EfficientNet-Lite0 (40 grids of 2 × 2) it
moves by 0.16 of what swapping its own cell does; by 0.17 with cells of half the size; by 0.11 and
0.10 if the other cells are drawn from the half and the quarter of the pictures that say least about
the target; by 0.10 with a gap between cells; with gap and quarter, the default, by 0.06 [0.05,
0.07], and by 0.05 [0.03, 0.06] on SqueezeNet 1.1 (30 grids each).

Targets are drawn with replacement, from those that the network still names in a grid: of 100 grids
21 were different on SqueezeNet. Grids of one target are not independent of each other.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

from helpers.benchmark.images import ImageSet
from helpers.checks import at_least_one
from helpers.evaluate import evaluation

CONFIDENCE = 0.5  # each picture alone is named with at least this probability
NEUTRAL = 0.25  # share of the pictures, those that say least about the target's class
GAP = 3 / 7  # of a cell, between cells; 96 of 224 pixels
UNCERTIFIED = 0.10  # a swap ratio above it
TRIES = 40  # grids tried for each that is used
CHUNK = 8


class Layout(NamedTuple):
    """Which pictures lie where, by their number: ``pictures`` and, to swap in, ``spares``, both
    (n, k²), row by row; ``cell``, (n,), is the target's."""

    pictures: np.ndarray
    spares: np.ndarray
    cell: np.ndarray


def make_mosaics(
    model, images, n, *, k=2, cell=None, seed=0, gap=None, confidence=CONFIDENCE, neutral=NEUTRAL
) -> ImageSet:
    """n grids of k × k pictures of different classes, of (k × cell + (k − 1) × gap)² pixels.

    A picture is used only if the model names it rightly, alone and at the size of a cell, with at
    least ``confidence``; a grid only if the model's answer is the target, the class of one of its
    cells. The target's cell goes round all k² in turn. The other cells say little about the target:
    they are drawn from the share ``neutral`` of the pictures whose logit for it, alone, is nearest
    the median of all.

    Args:
        model: a ``Classifier``.
        images: with ``labels[model.part]``.
        cell: height and width of a cell in pixels; default: as the pictures are.
        gap: pixels of the pictures' mean colour between the cells, so that they hardly see each
            other; default: 3/7 of a cell. Chance is a cell's share of the area, 1/k² for gap=0.

    Returns:
        ``labels["class"]`` is the target and ``masks["cell"]`` its cell; ``labels["other"]`` and
        ``masks["other"]`` are those of the next cell, for ``pair_contrast``: the same grid
        explained for two of its classes; ``"cell 0"``, …, row by row, those of every cell, for
        ``grid_contrast``. ``names`` lists the cells'.

    Raises:
        ValueError: too few pictures are named with confidence, or the model hardly ever answers
            with the class of a cell.
    """
    settings = {"cell": cell, "seed": seed, "confidence": confidence, "neutral": neutral}
    layout, cells, labels, gap = _lay_out(model, images, n, k=k, gap=gap, **settings)
    size = cells.shape[-1]
    places = _places(k, size, gap)
    side = k * size + (k - 1) * gap
    next_cell = (layout.cell + 1) % k**2
    each = torch.zeros(k**2, 1, side, side, dtype=torch.bool)
    for mask, place in zip(each, places, strict=True):
        mask[(0, *place)] = True
    rows, every = np.arange(n), [f"cell {i}" for i in range(k**2)]
    labels = labels[layout.pictures]
    return ImageSet(
        _render(cells, layout.pictures, k, gap),
        tuple(" + ".join(images.names[i] for i in row) for row in layout.pictures),
        {
            "class": labels[rows, layout.cell],
            "other": labels[rows, next_cell],
            **dict(zip(every, labels.T, strict=True)),
        },
        {
            "cell": each[layout.cell],
            "other": each[next_cell],
            **{name: mask.expand(n, 1, side, side) for name, mask in zip(every, each, strict=True)},
        },
        dict.fromkeys(("class", "other", *every), images.classes[model.part]),
    )


def certify_mosaics(model, images, n, *, k=2, gap=None, **settings) -> dict:
    """How far the target's logit moves, mean |Δ|, when another cell's picture is swapped (each in
    turn), as a share of swapping its own: on the n grids of ``make_mosaics`` with the same
    settings. What is swapped in comes from where the other cells' pictures come from.

    Returns:
        {"own", "other": mean |Δ logit|, "ratio_to_own", "interval_95" (BCa bootstrap over targets),
        "n", "certified": the interval ends below 0.10}
    """
    layout, cells, labels, gap = _lay_out(model, images, n, k=k, gap=gap, **settings)
    own, other = np.empty(n), np.empty(n)
    for i, (row, spares, place) in enumerate(zip(*layout, strict=True)):
        grids = np.tile(row, (k**2 + 1, 1))
        grids[1:][np.eye(k**2, dtype=bool)] = spares
        logits = _logits(model, cells, grids, k, gap)[:, labels[row[place]]].double().numpy()
        moved = np.abs(logits[1:] - logits[0])
        own[i], other[i] = moved[place], np.delete(moved, place).mean()
    # grids of one target are not independent: they are drawn together
    target = np.unique(layout.pictures[np.arange(n), layout.cell], return_inverse=True)[1]
    interval = stats.bootstrap(
        (np.bincount(target, other), np.bincount(target, own)),
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        rng=0,
    ).confidence_interval
    return {
        "own": float(own.mean()),
        "other": float(other.mean()),
        "ratio_to_own": float(other.mean() / own.mean()),
        "interval_95": [float(interval.low), float(interval.high)],
        "n": n,
        "certified": bool(interval.high < UNCERTIFIED),
    }


def _lay_out(
    model, images, n, *, k, gap, cell=None, seed=0, confidence=CONFIDENCE, neutral=NEUTRAL
):
    """(Layout, the pictures as cells, their labels, the gap in pixels)"""
    n, k = at_least_one(n, "n"), at_least_one(k, "k")
    if k < 2:
        raise ValueError("a mosaic has at least 2 × 2 cells: k must be at least 2, found 1")
    cells, labels = _resized(images.pixels, cell), images.labels[model.part]
    gap = round(GAP * cells.shape[-1]) if gap is None else gap
    alone = _batched(model, cells)
    sure = alone.softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0] >= confidence
    pool = torch.where((alone.argmax(1) == labels) & sure)[0].numpy()
    rng = np.random.default_rng(seed)
    kept, tried = [], 0
    while len(kept) < n and tried < TRIES * n:
        tried += 1
        target, place = rng.choice(pool) if len(pool) else -1, len(kept) % k**2
        chosen = _others(alone, labels, pool, target, k, neutral, rng)
        if chosen is None:
            raise ValueError(
                f"only {len(pool)} of {len(labels)} pictures are named rightly with a probability "
                f"of at least {confidence}, too few for {k} × {k} cells of different classes: give "
                "more pictures, or lower confidence or raise neutral"
            )
        row = np.insert(chosen[0], place, target)
        if _logits(model, cells, row[None], k, gap).argmax(1)[0] == labels[target]:
            kept.append((row, chosen[1], place))
    if len(kept) < n:
        raise ValueError(
            f"the model answered with the class of the target's cell on {len(kept)} of {tried} "
            f"grids, and n={n} were asked for: take other pictures or larger cells"
        )
    return Layout(*(np.array(part) for part in zip(*kept, strict=True))), cells, labels, gap


def _others(alone, labels, pool, target, k, neutral, rng):
    """Numbers of k² − 1 pictures of different classes and of k² more to swap in, none of the
    target's class; None where there are too few."""
    if target < 0:
        return None
    rest = pool[(labels[pool] != labels[target]).numpy()]
    logits = alone[rest, labels[target]]
    nearest = (logits - logits.median()).abs().argsort().numpy()
    rest = rng.permutation(rest[nearest[: max(2 * k**2 - 1, round(neutral * len(rest)))]])
    _, first = np.unique(labels[rest].numpy(), return_index=True)
    others = rest[np.sort(first)[: k**2 - 1]]
    spares = rest[~np.isin(rest, others)][: k**2]
    return (others, spares) if len(others) == k**2 - 1 and len(spares) == k**2 else None


def _resized(pixels, cell):
    if cell is None or cell == pixels.shape[-1]:
        return pixels
    cell = at_least_one(cell, "cell")
    return torch.nn.functional.interpolate(
        pixels, (cell, cell), mode="bilinear", antialias=True
    ).clamp(0, 1)


def _places(k, size, gap):
    starts = [i * (size + gap) for i in range(k)]
    return [(slice(y, y + size), slice(x, x + size)) for y in starts for x in starts]


def _render(cells, rows, k, gap):
    size, channels = cells.shape[-1], cells.shape[1]
    side = k * size + (k - 1) * gap
    grids = cells.mean((0, 2, 3))[:, None, None].expand(len(rows), channels, side, side).clone()
    for i, row in enumerate(rows):
        for picture, place in zip(row, _places(k, size, gap), strict=True):
            grids[(i, slice(None), *place)] = cells[picture]
    return grids


def _logits(model, cells, rows, k, gap):
    return _batched(model, _render(cells, rows, k, gap))


def _batched(model, pixels):
    with evaluation(model), torch.no_grad():
        return torch.cat([model(part.to(model.device)).cpu() for part in pixels.split(CHUNK)])
