"""Figures of pictures, maps and estimates. Every function returns (figure, axes) and leaves showing
it to the caller. Each figure carries a text for those who do not see it, ``figure.alt``."""

import io
import re
import textwrap
import warnings
from collections.abc import Mapping
from functools import partial
from numbers import Real

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import LogLocator, NullLocator

from helpers.attribution.gradients import reduce_channels
from helpers.checks import choose
from helpers.evaluate import at_least_float32
from helpers.measures.statistics import Comparison, Estimate, SeedEstimate

# 33 colours, an odd number so that 0 has its own: steps that the eye hardly sees make a stored
# figure a third smaller.
SIGNED, UNSIGNED = plt.get_cmap("RdBu_r", 33), plt.get_cmap("inferno", 33)
# Okabe and Ito's, colour-blind safe
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SCALES = ("map", "row", "figure")
FEWEST, MOST = 8, 60  # words of an alt text
READ_ALOUD = 4  # titles with decimals, or kinds of them; of more the ends are enough
COLOURS_SAY = {
    "signed": "red raises the logit, blue lowers it, white is zero",
    "unsigned": "bright is large, dark is zero",
}


def describe(figure, alt):
    """Give a figure an alt text: a notebook shows it where the picture cannot be seen, and a page
    made of the notebook reads it aloud.

    Args:
        alt: what the figure compares, in eight words or more; kept as ``figure.alt``.

    Raises:
        TypeError, ValueError: no text, or one of fewer words.
    """
    if not isinstance(alt, str):
        raise TypeError(f"the alt text must be a text, found {type(alt).__name__}")
    alt = " ".join(alt.split())
    if len(alt.split()) < FEWEST:
        raise ValueError(
            f"the alt text must say what the figure compares, in {FEWEST} words or more; "
            f"found {alt!r}"
        )
    figure.alt = alt
    figure._repr_mimebundle_ = partial(_bundle, figure)  # IPython asks for it first


def _bundle(figure, include=None, exclude=None):
    """A figure as a notebook stores it: (data by MIME type, metadata). Decimals that were written
    over its panels, after it was described too, are read aloud with it."""
    over = [plain(ax.get_title()) for ax in figure.axes]
    over = [title for title in over if re.search(r"\d\.\d", title) and title not in figure.alt]
    alt = figure.alt + (f" Over the panels: {_read_aloud(over)}." if over else "")
    data, metadata = {"text/plain": alt}, {"image/png": {"alt": alt}}
    if not _drawn_by_ipython(figure):
        data["image/png"] = _png(figure)
    return data, metadata


def _read_aloud(titles):
    """Titles with decimals as they stand; of many the smallest and the largest of their last
    numbers, of each kind of title or, where there are many kinds, of all."""
    if len(titles) <= READ_ALOUD:
        return ", ".join(titles)
    kinds = {}
    for title in titles:
        last = list(re.finditer(r"[-−]?\d+\.\d+", title))[-1]
        kinds.setdefault(title[: last.start()].rstrip(": "), []).append(last[0])
    if len(kinds) > READ_ALOUD:
        kinds = {f"{len(titles)} numbers,": [n for each in kinds.values() for n in each]}
    said = []
    for kind, numbers in kinds.items():
        numbers.sort(key=lambda text: float(text.replace("−", "-")))
        ends = dict.fromkeys([numbers[0], numbers[-1]])
        said.append(f"{kind} {' to '.join(ends)}".strip())
    return ", ".join(said)


def _drawn_by_ipython(figure):
    """Whether IPython has a printer of its own for figures as PNG, the inline backend's: it is
    called in any case, and its picture is the one that is shown."""
    try:
        from IPython import get_ipython

        get_ipython().display_formatter.formatters["image/png"].lookup(figure)
    except (ImportError, AttributeError, KeyError):
        return False
    return True


def _png(figure):
    """The bytes that the inline backend would show."""
    try:
        from IPython.core.pylabtools import print_figure
        from matplotlib_inline.config import InlineBackend
    except ImportError:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=figure.dpi, bbox_inches="tight")
        return buffer.getvalue()
    return print_figure(figure, **InlineBackend.instance().print_figure_kwargs)


def plain(text):
    """A title as it is read: one line, LaTeX without its signs."""
    return " ".join(str(text).translate({ord(sign): None for sign in "$\\{}"}).split())


def named(names, most=14):
    """Names in a row, as many as fit into so many words: "a, b and 3 more"."""
    names = [name for name in dict.fromkeys(map(plain, names)) if name]
    kept, words = [], 0
    for name in names:
        words += len(name.split())
        if kept and words > most:
            break
        kept.append(textwrap.shorten(name, 80, placeholder="…"))
    if rest := len(names) - len(kept):
        return f"{', '.join(kept)} and {rest} more"
    return " and ".join([*([", ".join(kept[:-1])] if kept[1:] else []), *kept[-1:]])


def alt_of(*sentences):
    """An alt text of sentences, the empty ones left out, cut off where it would be too long."""
    words = " ".join(f"{s[0].upper()}{s[1:]}." for s in sentences if s).split()
    return " ".join(words) if len(words) <= MOST else f"{' '.join(words[:MOST])}…"


def plot_maps(
    pixels,
    maps,
    *,
    how="signed",
    scale="map",
    percentile=99.0,
    mask=None,
    titles=None,
    cell=None,
    alt=None,
):
    """A grid: a row for each picture, the picture first, then a column for each map.

    Args:
        pixels: (N, C, H, W) in [0, 1], C 1 or 3; what lies outside is cut off, with a warning.
        maps: {column title: (N, C, H, W)}, or (N, 1, H, W), (N, H, W), of one picture (H, W).
            Like the pixels tensors or arrays of any precision, on any device.
        how: "signed" (red raises the logit, blue lowers it, white is zero) or "unsigned" (bright is
            large).
        scale: the maps that share a colour scale: those of "map" alone, of a "row", or of the
            "figure". It ends at the ``percentile``-th percentile of the absolute values; what lies
            beyond is shown in the end colour. Display only.
        mask: (N, 1, H, W) bool, outlined in black and white on every panel.
        titles: N texts, one over each picture; titles that are wider than a panel are broken
            between words.
        cell: width of a panel in inches; None for 1.7, or less where the figure would be wider than
            11 inches.
        alt: the alt text, see ``describe``; None for one that names pictures, columns and colours.

    Returns:
        (figure, axes), axes of shape (N, 1 + number of maps).

    Raises:
        TypeError, ValueError: an unknown name; pixels, maps, mask or titles of another shape or
            number than said; pixels or maps that hold NaN or infinite values.
    """
    choose(scale, SCALES, "scale")
    pixels = _checked_pixels(pixels)
    if not isinstance(maps, Mapping):
        raise TypeError(f"maps must be {{column title: maps}}, found {type(maps).__name__}")
    shown = {
        str(title): _fitting(values, how, f"the maps {str(title)!r}", pixels)
        for title, values in maps.items()
    }
    if mask is not None:
        mask = _tensor(mask)
        if mask.shape != (len(pixels), 1, *pixels.shape[2:]):
            raise ValueError(
                f"the mask must be {(len(pixels), 1, *pixels.shape[2:])}, found {tuple(mask.shape)}"
            )
    if titles is not None and len(titles) != len(pixels):
        raise ValueError(f"titles must be {len(pixels)}, one a picture, found {len(titles)}")
    rows, columns = len(pixels), 1 + len(shown)
    height, width = pixels.shape[-2:]
    cell = min(1.7, (11 - 0.95) / columns) if cell is None else cell
    over_maps = {title: _broken(title, cell) for title in shown}
    over_pictures = (
        [_broken(title, cell) for title in titles]
        if titles is not None
        else ["input", *[""] * (rows - 1)]
    )
    lines = [1 + over_pictures[row].count("\n") if over_pictures[row] else 0 for row in range(rows)]
    lines[0] = max([lines[0], *(1 + title.count("\n") for title in over_maps.values())])
    size = (
        cell * columns + 0.95,
        sum(cell * height / width + (0.12 + 0.155 * n if n else 0.04) for n in lines),
    )
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", figsize=size)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    limits = color_limits(np.stack(list(shown.values()), 1), scale, percentile) if shown else None
    for row in range(rows):
        show_pixels(axes[row, 0], pixels[row])
        axes[row, 0].set_title(over_pictures[row], fontsize=9)
        for column, (title, values) in enumerate(shown.items(), start=1):
            show_map(axes[row, column], values[row], limits[row, column - 1], how)
            if row == 0:
                axes[row, column].set_title(over_maps[title], fontsize=9)
        if mask is not None:
            for ax in axes[row]:
                outline(ax, mask[row])
    if shown:
        of = {"map": "its own", "row": "its row's", "figure": "the figure's"}[scale]
        norm = Normalize(-1 if how == "signed" else 0, 1)
        colours = ScalarMappable(norm, SIGNED if how == "signed" else UNSIGNED)
        bar = figure.colorbar(
            colours, ax=axes, shrink=min(1, 1.6 / rows), aspect=16, pad=0.1 / columns
        )
        meaning = "attribution, signed" if how == "signed" else "attribution, its size"
        bar.set_label(f"{meaning}\n1 = {of} {percentile:g}th percentile", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    if alt is None:
        pictures = "one picture" if rows == 1 else f"{rows} pictures, one a row"
        which = f": {named(titles)}" if titles is not None and any(titles) else ""
        alt = (
            alt_of(
                f"{pictures}{which}",
                f"beside the input its maps, by column: {named(shown, 20)}",
                COLOURS_SAY[how],
            )
            if shown
            else alt_of(f"{pictures}{which}", "Shown as the network gets them, without maps")
        )
    describe(figure, alt)
    return figure, axes


def _broken(title, inches):
    """A title with line breaks where it would be wider than that at 9 points."""
    return "\n".join(
        textwrap.fill(line, max(8, int(inches / 0.077)), break_long_words=False)
        for line in title.split("\n")
    )


def _tensor(values):
    """A tensor as it is, but detached and on the CPU; an array, read-only ones too, as a tensor."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu()
    return torch.from_numpy(np.array(values, order="C"))


def _finite(values, what):
    """A tensor or array in float32 at least, all of it finite."""
    values = _tensor(values)
    values = values.to(at_least_float32(values.dtype))
    if bad := int((~values.isfinite()).sum()):
        raise ValueError(f"{what}: {bad} of {values.numel()} values are NaN or infinite")
    return values


def _checked_pixels(pixels):
    kind = _tensor(pixels).dtype
    pixels = _finite(pixels, "pixels")
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise ValueError(
            f"pixels must be (N, C, H, W) with C 1 or 3, found {tuple(pixels.shape)}: of one "
            "picture, pixels[None]"
        )
    if not kind.is_floating_point:
        raise TypeError(f"pixels must be floating point, found {kind}: for bytes, pixels / 255")
    low, high = float(pixels.min()), float(pixels.max())
    if low < -1e-3 or high > 1 + 1e-3:
        warnings.warn(
            f"pixels lie in [{low:.3g}, {high:.3g}] and are cut off at 0 and 1 in the figure: if "
            "they are normalised, plot pixels * std + mean",
            stacklevel=3,
        )
    return pixels


def _fitting(maps, how, what, pixels):
    """The maps, one value a pixel, (N, H, W) float32 or float64; an error unless they fit the
    pictures."""
    maps = _finite(maps, what)
    shape, rows, sides = tuple(maps.shape), len(pixels), pixels.shape[2:]
    if maps.ndim == 2 and rows == 1:
        maps = maps[None]
    if maps.ndim == 3:
        maps = maps[:, None]
    if maps.ndim != 4 or len(maps) != rows or maps.shape[2:] != sides:
        raise ValueError(
            f"{what} must fit the pictures, (N, C, H, W) or (N, H, W) with N, H, W = "
            f"{rows}, {sides[0]}, {sides[1]}; found {shape}"
        )
    return reduced(maps, how)


def reduced(maps, how) -> np.ndarray:
    """``reduce_channels`` of maps of any precision, wherever they are: (N, H, W), float32 at
    least."""
    return reduce_channels(_tensor(maps).to(at_least_float32(maps.dtype)), how).numpy()


def color_limits(values, scale="map", percentile=99.0) -> np.ndarray:
    """The end of the colour scale for each map of (rows, columns, H, W), (rows, columns): 1 where
    all values are 0. NaN or infinite ones are an error: matplotlib would leave them blank."""
    if not np.isfinite(values).all():
        raise ValueError("the maps hold NaN or infinite values")
    axis = {"map": (2, 3), "row": (1, 2, 3), "figure": (0, 1, 2, 3)}[scale]
    limits = np.broadcast_to(
        np.percentile(np.abs(values), percentile, axis=axis, keepdims=True),
        (*values.shape[:2], 1, 1),
    )[..., 0, 0]
    largest = np.broadcast_to(
        np.abs(values).max(axis=axis, keepdims=True), (*values.shape[:2], 1, 1)
    )[..., 0, 0]
    # so few pixels stand out that the percentile misses them
    limits = np.where(limits > 0, limits, largest)
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
    """Pixels (C, H, W), a tensor or array, as matplotlib shows them: (H, W, 3), cut off at 0 and 1,
    or (H, W) where C is 1."""
    pixels = _finite(pixels, "the picture")
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ValueError(
            f"a picture must be (C, H, W) with C 1 or 3, found {tuple(pixels.shape)}: pixels[0] of "
            "a batch, pixels[None] of a grey one"
        )
    picture = pixels.clamp(0, 1).permute(1, 2, 0).numpy()
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def color_scale(limit, how="signed") -> dict:
    """cmap, vmin and vmax of a map whose colours end at ``limit``."""
    return (
        {"cmap": SIGNED, "vmin": -limit, "vmax": limit}
        if how == "signed"
        else {"cmap": UNSIGNED, "vmin": 0, "vmax": limit}
    )


def outline(ax, mask):
    """Draw the edge of a mask (1, H, W) so that it shows on any ground; nothing for an empty or
    full one."""
    inside = _tensor(mask).numpy().reshape(mask.shape[-2:])
    if inside.any() and not inside.all():
        line = ax.contour(
            np.pad(inside, 1).astype(float),
            levels=[0.5],
            colors="black",
            linewidths=0.9,
            extent=(-1, inside.shape[1], -1, inside.shape[0]),
        )
        line.set_path_effects([patheffects.withStroke(linewidth=1.8, foreground="white")])
        ax.set_xlim(-0.5, inside.shape[1] - 0.5)
        ax.set_ylim(inside.shape[0] - 0.5, -0.5)


def plot_settings(
    results,
    *,
    xlabel="",
    ylabel="",
    references=None,
    span=None,
    log="",
    width=3.4,
    height=2.7,
    alt=None,
):
    """A measure against a setting: a panel for each measure, a line for each series (a network,
    say).

    Numeric settings make an axis of numbers, with the 95 % interval as a band; others stand side by
    side in their order, with bars. The estimate of each training seed is a thin line, or a small
    ring.

    Args:
        results: {panel title: {series: {setting: Estimate or SeedEstimate}}}.
        xlabel, ylabel: with the unit; a text, or {panel title: text}.
        references: {panel title: {label: number, Estimate or SeedEstimate}}: dashed lines, labelled
            at the right edge.
        span: {label: (low, high)}, a range of settings to be shaded.
        log: the axes with a logarithmic scale: "", "x", "y" or "xy".
        width, height: of a panel's axes, in inches, roughly.
        alt: the alt text, see ``describe``; None for one that names measures, settings and series.

    Returns:
        (figure, axes), axes (number of panels,).

    Raises:
        ValueError: nothing to draw. TypeError: something that is no estimate.
    """
    names = list(dict.fromkeys(series for panel in results.values() for series in panel))
    if not names:
        raise ValueError("results must hold at least one panel with one series, found none")
    references, room = references or {}, 1.3 if references else 0
    figure, axes = _panels(len(results), width + room, height + 0.3, most=2 if references else 3)
    for ax, (title, panel) in zip(axes, results.items(), strict=True):
        settings = list(dict.fromkeys(setting for series in panel.values() for setting in series))
        numeric = len(settings) > 1 and all(
            isinstance(s, Real) and not isinstance(s, bool) for s in settings
        )
        for series, by_setting in panel.items():
            number = names.index(series)
            style = {
                "color": COLORS[number % len(COLORS)],
                "marker": MARKERS[number % len(MARKERS)],
                "label": series,
            }
            if numeric:
                _draw_line(ax, sorted(by_setting.items()), style)
            else:
                offset = 0.5 * ((number + 0.5) / len(names) - 0.5)
                _draw_bars(
                    ax,
                    [(settings.index(s) + offset, value) for s, value in by_setting.items()],
                    style,
                )
        if not numeric:
            ax.set_xticks(
                range(len(settings)), [str(setting).replace("_", " ") for setting in settings]
            )
            ax.set_xlim(-0.6, len(settings) - 0.4)
            if sum(len(str(setting)) + 2 for setting in settings) > 14 * width:
                plt.setp(ax.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")
        for label, (low, high) in (span or {}).items():
            ax.axvspan(low, high, color="0.88", zorder=0, linewidth=0, label=label)
        for label, value in references.get(title, {}).items():
            level = value if isinstance(value, Real) else _parts(value)[0].mean
            ax.axhline(level, color="0.35", linewidth=0.9, linestyle="--", zorder=1)
            leader = {
                "arrowstyle": "-",
                "color": "0.5",
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            }
            ax.annotate(
                label,
                (1, level),
                (12, 0),
                ax.get_yaxis_transform(),
                "offset points",
                va="center",
                fontsize=8,
                color="0.25",
                annotation_clip=False,
                arrowprops=leader,
            )
        scales = {"x": (ax.set_xscale, ax.xaxis), "y": (ax.set_yscale, ax.yaxis)}
        for set_scale, axis in (scales[which] for which in log if which == "y" or numeric):
            set_scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        _finish(ax, title, xlabel, ylabel)
    _add_legend(figure, axes)
    if references:
        # fixes the layout, which the room for the labels was a part of
        figure.draw_without_rendering()
        for ax in axes:
            _spread(ax)
    if alt is None:
        tried = list(
            dict.fromkeys(s for panel in results.values() for by in panel.values() for s in by)
        )
        lines = list(dict.fromkeys(name for by in references.values() for name in by))
        alt = alt_of(
            f"{_measures(results, ylabel)} against {named(_texts(xlabel)) or 'the setting'}: "
            f"{named(tried, 8)}",
            f"a colour for each of {named(names, 12)}" if len(names) > 1 else named(names, 12),
            f"dashed lines: {named(lines, 8)}" if lines else "",
            "means with 95 % intervals",
        )
    describe(figure, alt)
    return figure, axes


def plot_forest(results, *, xlabel="", reference=0.0, width=3.4, alt=None):
    """Horizontal intervals, one line for each label: methods on a measure, or differences.

    Args:
        results: {label: Estimate, SeedEstimate or Comparison}, or {panel title: such a dict}, whose
            panels share the labels.
        xlabel: with the unit; a text, or {panel title: text}.
        reference: where to draw a vertical line: no difference, chance; None for no line.
        width: of a panel's axes in inches, roughly.
        alt: the alt text, see ``describe``; None for one that names measures and labels.

    Returns:
        (figure, axes), axes (number of panels,). The dot is the mean, the bar its 95 % interval, a
        ring each training seed.
    """
    panels = (
        results if all(isinstance(value, dict) for value in results.values()) else {"": results}
    )
    labels = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    if not labels:
        raise ValueError("results must hold at least one estimate, found none")
    figure, axes = _panels(
        len(panels), width, 0.28 * len(labels) + 0.85, most=len(panels), sharey=True
    )
    figure.set_figwidth(figure.get_figwidth() + 0.075 * max(map(len, labels)))
    for ax, (title, panel) in zip(axes, panels.items(), strict=True):
        if reference is not None:
            ax.axvline(reference, color="0.35", linewidth=0.9, linestyle="--", zorder=1)
        style = {"color": COLORS[0], "marker": "o", "label": None}
        _draw_bars(
            ax, [(labels.index(label), value) for label, value in panel.items()], style, flip=True
        )
        _finish(ax, title, xlabel, "")
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", color="0.92", linewidth=0.8)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    _add_legend(figure, axes)
    if alt is None:
        alt = alt_of(
            f"{_measures(panels, xlabel)}, a line for each of {named(labels, 24)}",
            "a dot is a mean, its bar the 95 % interval",
            "" if reference is None else f"the dashed line is {reference:g}",
        )
    describe(figure, alt)
    return figure, axes


def _texts(label):
    """The texts of an axis label, one or one a panel."""
    return list(label.values()) if isinstance(label, dict) else [label]


def _measures(panels, label):
    """What the panels of a chart show: their titles, or else what their axis says."""
    return named(panels) or named(_texts(label)) or "estimates"


def _panels(n, width, height, most, **options):
    rows = -(-n // most)
    columns = -(-n // rows)
    figure, axes = plt.subplots(
        rows,
        columns,
        squeeze=False,
        layout="constrained",
        **options,
        figsize=(columns * (width + 0.4) + 0.2, rows * height + 0.35),
    )
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, axes.flatten()[:n]


def _parts(value):
    """(the estimate over all, those of the training seeds)."""
    value = value.estimate if isinstance(value, Comparison) else value
    if isinstance(value, SeedEstimate):
        return value
    if not isinstance(value, Estimate):
        raise TypeError(
            "expected an Estimate or a SeedEstimate, from helpers.measures.statistics, "
            f"found {value!r}"
        )
    return value, ()


def _draw_line(ax, points, style):
    x, parts = [x for x, _ in points], [_parts(value) for _, value in points]
    overall = [part[0] for part in parts]
    ax.plot(x, [one.mean for one in overall], **style, linewidth=1.6, markersize=4, zorder=4)
    ax.fill_between(
        x,
        [one.low for one in overall],
        [one.high for one in overall],
        color=style["color"],
        alpha=0.22,
        linewidth=0,
    )
    for seeds in zip(*(part[1] for part in parts), strict=True):
        ax.plot(
            x, [one.mean for one in seeds], color=style["color"], linewidth=0.7, alpha=0.7, zorder=3
        )
        ax.plot([], [], color="0.5", linewidth=0.7, label="a training seed")


def _draw_bars(ax, points, style, flip=False):
    for number, (place, value) in enumerate(points):
        overall, seeds = _parts(value)
        at = (lambda level: ([level], [place])) if flip else (lambda level: ([place], [level]))  # noqa: B023
        ends = [[overall.mean - overall.low], [overall.high - overall.mean]]
        label = style["label"] if number == 0 else None
        ax.errorbar(
            *at(overall.mean),
            **{"xerr" if flip else "yerr": ends},
            **{**style, "label": label},
            linewidth=1.6,
            linestyle="none",
            markersize=4.5,
            zorder=3,
        )
        ring = {
            "marker": "o",
            "linestyle": "none",
            "markersize": 5.5,
            "markerfacecolor": "none",
            "markeredgewidth": 0.7,
        }
        for one in seeds:
            ax.plot(*at(one.mean), **ring, markeredgecolor=style["color"], alpha=0.8, zorder=4)
            ax.plot([], [], **ring, markeredgecolor="0.5", label="a training seed")


def _finish(ax, title, xlabel, ylabel):
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(xlabel.get(title, "") if isinstance(xlabel, dict) else xlabel, fontsize=9)
    ax.set_ylabel(ylabel.get(title, "") if isinstance(ylabel, dict) else ylabel, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _add_legend(figure, axes):
    """One legend over all panels, each entry once."""
    entries = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    # last
    entries |= {label: entries.pop(label) for label in ("a training seed",) if label in entries}
    fit = figure.get_figwidth() / (0.6 + 0.07 * max(map(len, entries), default=1))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper left",
        ncols=max(1, min(len(entries), int(fit))),
        fontsize=8,
        frameon=False,
        alignment="left",
        title="means over pictures, 95 % intervals",
        title_fontsize=8,
    )


def _spread(ax):
    """Move labels at the right edge apart, so that none overlaps another."""
    from scipy.optimize import isotonic_regression  # here, since it takes a while to import

    labels = sorted((text for text in ax.texts), key=lambda text: text.xy[1])
    if not labels:
        return
    points = 72 / ax.figure.dpi
    places = np.array([ax.transData.transform((0, text.xy[1]))[1] * points for text in labels])
    order = 1.25 * labels[0].get_fontsize() * np.arange(len(labels))
    # the least moves that leave a line's height between neighbours
    moved = isotonic_regression(places - order).x + order
    for text, place, new in zip(labels, places, moved, strict=True):
        text.set_position((12, new - place))
