"""Figures of pictures and maps. Every function returns (figure, axes) and leaves showing it to the caller."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from helpers.checks import choose
from helpers.gradients import reduce_channels

SIGNED, UNSIGNED = "RdBu_r", "inferno"
SCALES = ("map", "row", "figure")


def plot_maps(pixels, maps, *, how="signed", scale="map", percentile=99.0, mask=None, titles=None, cell=None):
    """A grid: a row for each picture, the picture first, then a column for each map.

    Args:
        pixels: (N, C, H, W) in [0, 1], C 1 or 3.
        maps: {column title: (N, C, H, W)}, or (N, 1, H, W).
        how: "signed" (red raises the logit, blue lowers it, white is zero) or "unsigned" (bright is large).
        scale: the maps that share a colour scale: those of "map" alone, of a "row", or of the "figure". It ends at the
            ``percentile``-th percentile of the absolute values; what lies beyond is shown in the end colour. Display only.
        mask: (N, 1, H, W) bool, outlined in black and white on every panel.
        titles: N texts, one over each picture; titles that are wider than a panel are broken between words.
        cell: width of a panel in inches; None for 1.7, or less where the figure would be wider than 11 inches.

    Returns:
        (figure, axes), axes of shape (N, 1 + number of maps).
    """
    choose(scale, SCALES, "scale")
    reduced = {title: reduce_channels(values.detach().cpu(), how).numpy() for title, values in maps.items()}
    rows, columns = len(pixels), 1 + len(reduced)
    height, width = pixels.shape[-2:]
    cell = min(1.7, (11 - 0.95) / columns) if cell is None else cell
    over_maps = {title: _broken(title, cell) for title in reduced}
    over_pictures = [_broken(title, cell) for title in titles] if titles is not None else ["input", *[""] * (rows - 1)]
    lines = [1 + over_pictures[row].count("\n") if over_pictures[row] else 0 for row in range(rows)]
    lines[0] = max([lines[0], *(1 + title.count("\n") for title in over_maps.values())])
    size = (cell * columns + 0.95, sum(cell * height / width + 0.04 + 0.16 * n for n in lines))
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", figsize=size)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    limits = color_limits(np.stack(list(reduced.values()), 1), scale, percentile) if reduced else None
    for row in range(rows):
        show_pixels(axes[row, 0], pixels[row])
        axes[row, 0].set_title(over_pictures[row], fontsize=9)
        for column, (title, values) in enumerate(reduced.items(), start=1):
            show_map(axes[row, column], values[row], limits[row, column - 1], how)
            if row == 0:
                axes[row, column].set_title(over_maps[title], fontsize=9)
        if mask is not None:
            for ax in axes[row]:
                outline(ax, mask[row])
    if reduced:
        of = {"map": "its own", "row": "its row's", "figure": "the figure's"}[scale]
        norm = Normalize(-1 if how == "signed" else 0, 1)
        colours = ScalarMappable(norm, SIGNED if how == "signed" else UNSIGNED)
        bar = figure.colorbar(colours, ax=axes, shrink=min(1, 1.6 / rows), aspect=16, pad=0.1 / columns)
        meaning = "attribution, signed" if how == "signed" else "attribution, its size"
        bar.set_label(f"{meaning}\n1 = {of} {percentile:g}th percentile", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure, axes


def _broken(title, inches):
    """A title with line breaks where it would be wider than that at 9 points."""
    return "\n".join(textwrap.fill(line, max(8, int(inches / 0.077)), break_long_words=False) for line in title.split("\n"))


def color_limits(values, scale="map", percentile=99.0) -> np.ndarray:
    """The end of the colour scale for each map of (rows, columns, H, W), (rows, columns): 1 where all values are 0."""
    axis = {"map": (2, 3), "row": (1, 2, 3), "figure": (0, 1, 2, 3)}[scale]
    limits = np.broadcast_to(np.percentile(np.abs(values), percentile, axis=axis, keepdims=True), (*values.shape[:2], 1, 1))[
        ..., 0, 0
    ]
    largest = np.broadcast_to(np.abs(values).max(axis=axis, keepdims=True), (*values.shape[:2], 1, 1))[..., 0, 0]
    limits = np.where(limits > 0, limits, largest)  # so few pixels stand out that the percentile misses them
    return np.where(limits > 0, limits, 1.0)


def show_pixels(ax, pixels):
    """Draw a picture (C, H, W) in [0, 1], grey where C is 1."""
    ax.set_axis_off()
    return ax.imshow(as_picture(pixels), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def show_map(ax, values, limit, how="signed"):
    """Draw a reduced map (H, W), its colour scale ending at ``limit``."""
    ax.set_axis_off()
    return ax.imshow(values, **color_scale(limit, how), interpolation="nearest")


def as_picture(pixels) -> np.ndarray:
    """Pixels (C, H, W) as matplotlib shows them: (H, W, 3) in [0, 1], or (H, W) where C is 1."""
    picture = pixels.detach().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def color_scale(limit, how="signed") -> dict:
    """cmap, vmin and vmax of a map whose colours end at ``limit``."""
    return {"cmap": SIGNED, "vmin": -limit, "vmax": limit} if how == "signed" else {"cmap": UNSIGNED, "vmin": 0, "vmax": limit}


def outline(ax, mask):
    """Draw the edge of a mask (1, H, W) so that it shows on any ground; nothing for an empty or full one."""
    inside = np.asarray(mask.cpu()).reshape(mask.shape[-2:])
    if inside.any() and not inside.all():
        line = ax.contour(np.pad(inside, 1).astype(float), levels=[0.5], colors="black", linewidths=0.9,
                          extent=(-1, inside.shape[1], -1, inside.shape[0]))  # fmt: skip
        line.set_path_effects([patheffects.withStroke(linewidth=1.8, foreground="white")])
        ax.set_xlim(-0.5, inside.shape[1] - 0.5)
        ax.set_ylim(inside.shape[0] - 0.5, -0.5)
