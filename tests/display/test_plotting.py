"""Figures: all input draws without a warning, zero is white, scales are shared as said, display
changes no map, and what an estimate holds is what is drawn."""

import io
import pickle
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from helpers.attribution.gradients import REDUCTIONS, reduce_channels
from helpers.display.plotting import (
    COLORS,
    SCALES,
    color_limits,
    describe,
    outline,
    plot_forest,
    plot_maps,
    plot_settings,
    show_map,
    show_pixels,
)
from helpers.measures.statistics import Estimate, SeedEstimate, compare

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def _pixels(n=2, channels=3, size=8):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def _maps(n=2, channels=3, size=8, seed=1):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def _mask(kind, n=2, size=8):
    mask = torch.zeros(n, 1, size, size, dtype=torch.bool)
    if kind == "full":
        mask[:] = True
    elif kind == "part":
        mask[:, :, 2:5, 3:6] = True
    return mask


def _drawn(figure, axes):
    figure.canvas.draw()  # where matplotlib would warn
    return figure, axes


# --- the reduction


def test_signed_reduction_lets_channels_cancel_and_unsigned_does_not():
    maps = torch.tensor([[[[1.0]], [[-3.0]], [[1.5]]]])
    assert reduce_channels(maps, "signed").tolist() == [[[-0.5]]]
    assert reduce_channels(maps, "unsigned").tolist() == [[[5.5]]]
    assert reduce_channels(maps).tolist() == [[[-0.5]]]


# --- grids


@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("n", [1, 3])
def test_a_grid_has_a_row_a_picture_and_a_column_a_map(n, scale, how):
    figure, axes = _drawn(
        *plot_maps(_pixels(n), {"a": _maps(n), "b": _maps(n, seed=2)}, how=how, scale=scale)
    )
    assert isinstance(figure, plt.Figure) and axes.shape == (n, 3)
    assert [ax.get_title() for ax in axes[0]] == ["input", "a", "b"]
    assert all(len(ax.images) == 1 for ax in axes.flat)
    assert len(figure.axes) == 3 * n + 1  # and the colour bar


@pytest.mark.parametrize("value", [0.0, -1.0, 1e30])
@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize("scale", SCALES)
def test_constant_maps_draw_without_a_warning(value, how, scale):
    _drawn(
        *plot_maps(_pixels(), {"constant": torch.full((2, 3, 8, 8), value)}, how=how, scale=scale)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_pictures_and_maps_of_one_channel(channels):
    _, axes = _drawn(*plot_maps(_pixels(channels=channels), {"a": _maps(channels=1)}))
    shown = axes[0, 0].images[0]
    assert shown.get_array().shape == ((8, 8) if channels == 1 else (8, 8, 3))
    if channels == 1:
        assert shown.get_cmap().name == "gray" and shown.get_clim() == (0, 1)


@pytest.mark.parametrize(("kind", "lines"), [("empty", 0), ("full", 0), ("part", 1)])
def test_masks_are_outlined_where_there_is_an_edge(kind, lines):
    _, axes = _drawn(*plot_maps(_pixels(), {"a": _maps()}, mask=_mask(kind)))
    for ax in axes.flat:
        assert len(ax.collections) == lines
        assert ax.get_xlim() == (-0.5, 7.5) and ax.get_ylim() == (7.5, -0.5)


def test_an_outline_runs_around_the_mask():
    figure, ax = plt.subplots()
    show_map(ax, np.zeros((8, 8)), 1.0)
    outline(ax, _mask("part")[0])
    corners = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    # Rows 2 to 4 and columns 3 to 5: the line lies half a pixel outside their middles.
    np.testing.assert_allclose(
        [corners.min(0), corners.max(0)], [[2.5, 1.5], [5.5, 4.5]], atol=0.02
    )
    plt.close(figure)


def test_a_mask_at_the_edge_of_the_picture_is_closed():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :3, :3] = True
    _, axes = _drawn(*plot_maps(_pixels(1), {"a": _maps(1)}, mask=mask))
    (path,) = axes[0, 1].collections[0].get_paths()
    np.testing.assert_allclose(path.vertices[0], path.vertices[-1])


def test_titles_stand_over_the_pictures():
    _, axes = plot_maps(_pixels(), {"a": _maps()}, titles=["first", "second"])
    assert [ax.get_title() for ax in axes[:, 0]] == ["first", "second"]


def test_pictures_without_maps_draw_too():
    _, axes = _drawn(*plot_maps(_pixels(), {}))
    assert axes.shape == (2, 1)


def test_tall_and_wide_pictures_keep_their_proportions():
    for shape in ((8, 24), (24, 8)):
        _, axes = _drawn(*plot_maps(torch.rand(1, 3, *shape), {"a": torch.randn(1, 3, *shape)}))
        box = axes[0, 0].get_window_extent()
        assert box.height / box.width == pytest.approx(shape[0] / shape[1], rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "sign"}, "reduction 'sign'; did you mean 'signed'"),
        ({"scale": "rows"}, "scale 'rows'; did you mean 'row'"),
    ],
)
def test_unknown_names_list_the_nearest(options, message):
    with pytest.raises(ValueError, match=message):
        plot_maps(_pixels(), {"a": _maps()}, **options)


# --- colours


def _limits(axes):
    return np.array([[ax.images[0].get_clim() for ax in row] for row in axes[:, 1:]])


@pytest.mark.parametrize("scale", SCALES)
def test_signed_maps_are_centred_on_zero_which_is_white(scale):
    _, axes = plot_maps(_pixels(), {"a": _maps() + 3}, scale=scale)
    assert (_limits(axes)[..., 0] == -_limits(axes)[..., 1]).all()
    image = axes[0, 1].images[0]
    assert min(image.cmap(image.norm(0.0))[:3]) > 0.95
    red, blue = (
        image.cmap(image.norm(image.get_clim()[1])),
        image.cmap(image.norm(image.get_clim()[0])),
    )
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0]


def test_unsigned_maps_begin_at_zero_which_is_dark():
    _, axes = plot_maps(_pixels(), {"a": _maps()}, how="unsigned")
    assert (_limits(axes)[..., 0] == 0).all() and (_limits(axes)[..., 1] > 0).all()
    image = axes[0, 1].images[0]
    assert sum(image.cmap(image.norm(0.0))[:3]) < 0.1


def test_scales_are_shared_as_said():
    maps = {"a": _maps() * torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1), "b": 100 * _maps(seed=2)}
    ends = {
        scale: _limits(plot_maps(_pixels(), maps, scale=scale, percentile=100)[1])[..., 1]
        for scale in SCALES
    }
    largest = np.array(
        [[reduce_channels(m)[i].abs().max() for m in maps.values()] for i in range(2)]
    )
    np.testing.assert_allclose(ends["map"], largest)
    np.testing.assert_allclose(ends["row"], np.broadcast_to(largest.max(1, keepdims=True), (2, 2)))
    np.testing.assert_allclose(ends["figure"], np.full((2, 2), largest.max()))


def test_the_scale_ends_at_the_percentile_of_the_sizes():
    values = np.arange(-50, 51, dtype=float).reshape(1, 1, 1, 101)
    assert color_limits(values, percentile=100)[0, 0] == 50
    assert color_limits(values, percentile=90)[0, 0] == np.percentile(np.abs(values), 90) == 45


def test_a_few_bright_pixels_that_the_percentile_misses_still_set_the_scale():
    values = np.zeros((1, 1, 20, 20))
    values[..., 3, 3] = 7
    assert color_limits(values, percentile=99) == 7


def test_a_map_of_zeros_has_a_scale_of_one():
    assert color_limits(np.zeros((2, 3, 4, 4)), "row").tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("how", REDUCTIONS)
def test_the_percentile_is_for_display_only(how):
    maps = _maps()
    before = maps.clone()
    shown = []
    for percentile in (50, 99, 100):
        _, axes = plot_maps(_pixels(), {"a": maps}, how=how, percentile=percentile)
        image = axes[0, 1].images[0]
        # no value is clipped
        np.testing.assert_array_equal(image.get_array(), reduce_channels(before, how)[0])
        shown.append(image.get_clim()[1])
    assert torch.equal(maps, before) and shown[0] < shown[1] < shown[2]


def test_maps_with_gradients_and_pixels_with_gradients_draw():
    _drawn(*plot_maps(_pixels().requires_grad_(), {"a": _maps().requires_grad_()}))


def test_pixels_outside_the_range_are_clamped_for_display():
    _, ax = plt.subplots()
    assert show_pixels(ax, 4 * _pixels(1)[0] - 2).get_array().max() == 1


# --- what is handed in


def _drawn_arrays(pixels, maps, **options):
    _, axes = _drawn(*plot_maps(pixels, {"a": maps}, **options))
    return [np.asarray(ax.images[0].get_array()) for ax in axes.flat]


@pytest.mark.parametrize(
    "kind",
    [
        lambda values: values.numpy(),
        lambda values: np.broadcast_to(values.numpy()[::-1], values.shape)[::-1],  # read-only
        lambda values: values.double(),
        lambda values: values.half(),
        lambda values: values.bfloat16(),
        lambda values: values.clone().requires_grad_(),
    ],
    ids=["array", "view", "double", "half", "bfloat16", "gradients"],
)
def test_tensors_and_arrays_of_every_precision_draw_the_same(kind):
    pixels, maps = _pixels(), _maps()
    found = _drawn_arrays(kind(pixels), kind(maps), mask=np.ones((2, 1, 8, 8), bool))
    for one, other in zip(found, _drawn_arrays(pixels, maps), strict=True):
        assert one.dtype in (np.float32, np.float64)
        np.testing.assert_allclose(one, other, atol=0.05)


def test_half_maps_beyond_the_range_of_half_sums_are_drawn():
    maps = torch.full((1, 3, 8, 8), 6e4).half()
    assert _drawn_arrays(_pixels(1), maps)[1].max() == pytest.approx(1.8e5, rel=1e-3)


def test_maps_without_channels():
    pixels, maps = _pixels(), _maps(channels=1)
    right = _drawn_arrays(pixels, maps)
    for one, other in zip(_drawn_arrays(pixels, maps[:, 0]), right, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(_drawn_arrays(pixels[:1], maps[0, 0])[1], right[1])


def test_settings_as_titles():
    _, axes = plot_maps(_pixels(), {3: _maps(), 10: _maps()})  # a dict of smoothgrad's
    assert [ax.get_title() for ax in axes[0]] == ["input", "3", "10"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"maps": {"IG": _maps() / 0}}, ValueError, "the maps 'IG': 384 of 384 values are NaN"),
        ({"maps": {"IG": _maps().log()}}, ValueError, "NaN or infinite"),
        ({"maps": {"IG": _maps(1)}}, ValueError, r"'IG' must fit the .* found \(1, 3, 8, 8\)"),
        ({"maps": {"IG": _maps(size=7)}}, ValueError, r"2, 8, 8; found \(2, 3, 7, 7\)"),
        ({"maps": {"IG": _maps()[0, 0]}}, ValueError, r"must fit .* found \(8, 8\)"),
        ({"maps": _maps()}, TypeError, "maps must be {column title: maps}, found Tensor"),
        ({"pixels": _pixels() / 0}, ValueError, "pixels: 384 of 384"),
        ({"pixels": _pixels()[0]}, ValueError, r"\(N, C, H, W\) .* pixels\[None\]"),
        ({"pixels": _pixels(channels=2)}, ValueError, "C 1 or 3"),
        ({"pixels": (255 * _pixels()).byte()}, TypeError, "for bytes, pixels / 255"),
        ({"mask": _mask("part", 1)}, ValueError, "the mask must be"),
        ({"titles": ["one"]}, ValueError, "titles must be 2, one a picture, found 1"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(change, error, message):
    arguments = {"pixels": _pixels(), "maps": {"a": _maps()}} | change
    with pytest.raises(error, match=message) as caught:
        plot_maps(**arguments)
    assert "\n" not in str(caught.value) and not plt.get_fignums()


def test_limits_and_pictures_refuse_nan():
    with pytest.raises(ValueError, match="NaN"):
        color_limits(np.full((1, 1, 2, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        show_pixels(plt.gca(), _pixels()[0] / 0)
    with pytest.raises(ValueError, match=r"C, H, W"):
        show_pixels(plt.gca(), _pixels())


def test_normalised_pictures_are_said_to_be_cut_off():
    normalised = (_pixels() - 0.45) / 0.225
    with pytest.warns(UserWarning, match=r"pixels lie in \[-.*cut off .* pixels \* std") as said:
        plot_maps(normalised, {"a": _maps()})
    assert len(said) == 1 and said[0].filename == __file__


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e30])
def test_very_small_and_large_maps_look_like_others(size):
    def colours(maps):
        _, axes = _drawn(*plot_maps(_pixels(1), {"a": maps}))
        image = axes[0, 1].images[0]
        return image.to_rgba(image.get_array())

    maps = _maps(1)
    np.testing.assert_allclose(colours(size * maps.double()), colours(maps), atol=0.1)


def test_negative_and_zero_maps_look_as_they_should():
    _, axes = plot_maps(_pixels(), {"negative": -_maps().abs(), "zero": 0 * _maps()})
    negative, zero = (axes[0, i].images[0] for i in (1, 2))
    assert (negative.to_rgba(negative.get_array())[..., 2] > 0.3).all()  # blue, none red
    assert (zero.to_rgba(zero.get_array())[..., :3] > 0.95).all()


def test_plotting_neither_shows_nor_closes_the_figure():
    figure, _ = plot_maps(_pixels(), {"a": _maps()})
    assert plt.fignum_exists(figure.number)


def _texts(figure):
    return [
        text for text in figure.findobj(plt.Text) if text.get_visible() and text.get_text().strip()
    ]


def test_a_long_row_is_at_most_eleven_inches_wide_and_no_title_overlaps_another():
    titles = (
        "gradient",
        "σ = 0.05\nof the range",
        "trimmed_mean",
        "geometric_mean",
        "gauss_legendre 200 steps",
        "b",
        "c",
    )
    names = ["a triangle, margin 4.2", "short", "a ring taken for a disc"]
    figure, axes = _drawn(
        *plot_maps(_pixels(3), {title: _maps(3) for title in titles}, titles=names, scale="row")
    )
    assert figure.get_figwidth() <= 11 and axes.shape == (3, 8)
    boxes = [ax.title.get_window_extent() for ax in axes.flat if ax.get_title()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(figure.bbox.x0 <= box.x0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert "1 = its row's 99th percentile" in figure.axes[-1].get_ylabel()
    assert min(text.get_fontsize() for text in _texts(figure)) >= 8


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("how", REDUCTIONS)
def test_the_label_of_the_colours_fits_the_figure(rows, how):
    figure, _ = _drawn(*plot_maps(_pixels(rows), {"a": _maps(rows)}, how=how))
    label = figure.axes[-1].yaxis.label.get_window_extent()
    assert figure.bbox.y0 <= label.y0 and label.y1 <= figure.bbox.y1 and label.x1 <= figure.bbox.x1


# --- estimates


def _estimate(mean, half=0.05):
    return Estimate(mean, mean - half, mean + half, 60)


def _seeded(mean, half=0.05):
    return SeedEstimate(
        _estimate(mean, half), tuple(_estimate(mean + shift) for shift in (-0.02, 0.0, 0.02))
    )


def _curves(make=_seeded):
    return {
        "scenes": {0.2: make(0.5), 0.0: make(0.3), 0.1: make(0.4)},
        "scenes-letters": {0.0: make(0.6), 0.2: make(0.7)},
    }


def _lines(ax, color=None, solid=True):
    return [
        line
        for line in ax.lines
        if len(line.get_xdata()) > 1
        and (color is None or line.get_color() == color)
        and (line.get_linestyle() == "-") == solid
    ]


def test_numbers_make_an_axis_with_a_line_a_band_and_a_thin_line_for_each_seed():
    _, axes = _drawn(
        *plot_settings({"relevance mass": _curves()}, xlabel="noise σ", ylabel="share")
    )
    (ax,) = axes
    mean, *seeds = _lines(ax, COLORS[0])
    # in order
    assert list(mean.get_xdata()) == [0.0, 0.1, 0.2] and list(mean.get_ydata()) == [
        0.3,
        0.4,
        0.5,
    ]
    assert [list(line.get_ydata()) for line in seeds] == [
        pytest.approx([v + d for v in (0.3, 0.4, 0.5)]) for d in (-0.02, 0, 0.02)
    ]
    assert all(line.get_linewidth() < mean.get_linewidth() for line in seeds)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.25) and band[:, 1].max() == pytest.approx(0.55)
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (
        "relevance mass",
        "noise σ",
        "share",
    )


def test_names_stand_side_by_side_with_bars_and_rings():
    results = {
        "measure": {
            "scenes": {"mean": _seeded(0.5), "mean_abs": _seeded(0.6)},
            "other": {"mean_abs": _estimate(0.4)},
        }
    }
    figure, (ax,) = _drawn(*plot_settings(results))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["mean", "mean abs"]
    points = {
        (round(float(line.get_xdata()[0])), float(line.get_ydata()[0]))
        for line in ax.lines
        if len(line.get_xdata()) == 1
    }
    assert {(0, 0.5), (1, 0.6), (1, 0.4), (0, 0.48), (0, 0.52)} <= points
    (bar,) = ax.collections[0].get_segments()
    assert bar[:, 1] == pytest.approx([0.45, 0.55])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["scenes", "other", "a training seed"]


def test_estimates_without_seeds_draw_too():
    figure, (ax,) = _drawn(*plot_settings({"measure": _curves(_estimate)}))
    assert len(_lines(ax)) == 2 and "a training seed" not in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]


def test_a_single_setting_and_an_interval_of_no_width_draw():
    _drawn(*plot_settings({"measure": {"scenes": {0.15: _seeded(0.5, half=0.0)}}}))
    _drawn(*plot_forest({"one": _estimate(0.0, half=0.0)}))


def test_the_same_series_has_the_same_colour_in_every_panel_and_another_marker_than_the_others():
    second = {"scenes-letters": _curves()["scenes-letters"]}
    _, axes = plot_settings({"a": _curves(), "b": second})
    means = {
        line.get_label(): line
        for ax in axes
        for line in ax.lines
        if not line.get_label().startswith("_")
    }
    assert _lines(axes[1])[0].get_color() == COLORS[1]
    assert means["scenes"].get_marker() != means["scenes-letters"].get_marker()


@pytest.mark.parametrize(
    ("panels", "references", "columns"),
    [(1, False, 1), (3, False, 3), (4, False, 2), (5, False, 3), (3, True, 2)],
)
def test_panels_wrap_so_that_the_page_holds_them(panels, references, columns):
    results = {f"panel {i}": _curves() for i in range(panels)}
    figure, axes = _drawn(
        *plot_settings(results, references={"panel 0": {"chance": 0.5}} if references else None)
    )
    assert axes.shape == (panels,) and len(figure.axes) == panels
    assert (
        len({round(ax.get_position().x0, 2) for ax in axes}) == columns
        and figure.get_figwidth() <= 12
    )


def test_references_are_labelled_at_the_right_edge_without_overlap():
    controls = {
        "random": 0.21,
        "blurred random": 0.22,
        "Sobel": 0.215,
        "random weights": _estimate(0.22),
        "oracle": _seeded(0.95),
    }
    figure, (ax,) = _drawn(*plot_settings({"measure": _curves()}, references={"measure": controls}))
    # without the leader
    boxes = {text.get_text(): plt.Text.get_window_extent(text) for text in ax.texts}
    assert set(boxes) == set(controls)
    ordered = sorted(boxes.values(), key=lambda box: box.y0)
    assert not any(a.overlaps(b) for i, a in enumerate(ordered) for b in ordered[:i])
    assert all(box.x0 > ax.get_window_extent().x1 and box.x1 <= figure.bbox.x1 for box in ordered)
    assert boxes["random"].y0 < boxes["Sobel"].y0 < boxes["oracle"].y0
    levels = sorted(line.get_ydata()[0] for line in _lines(ax, solid=False))
    assert levels == pytest.approx([0.21, 0.215, 0.22, 0.22, 0.95])
    assert ax.get_ylim()[0] < 0.21 and ax.get_ylim()[1] > 0.95


def test_a_span_is_shaded_and_named():
    figure, (ax,) = _drawn(
        *plot_settings({"measure": _curves()}, span={"the paper's 10–20 %": (0.1, 0.2)})
    )
    assert "the paper's 10–20 %" in [text.get_text() for text in figure.legends[0].get_texts()]
    (patch,) = ax.patches
    assert patch.get_extents().x0 == pytest.approx(ax.transData.transform((0.1, 0))[0])


def test_logarithmic_axes_are_labelled_with_plain_numbers():
    counts = {n: _estimate(n**-0.5, 0.01) for n in (3, 5, 10, 20, 50)}
    _, (ax,) = _drawn(*plot_settings({"error": {"scenes": counts}}, log="xy"))
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert {"5", "10", "20", "50"} <= {text.get_text() for text in ax.get_xticklabels()}
    _, (ax,) = _drawn(
        *plot_settings({"error": {"scenes": {"a": _estimate(1.0), "b": _estimate(2.0)}}}, log="xy")
    )
    assert ax.get_xscale() == "linear"  # names have no logarithm


def test_a_forest_shows_every_estimate_beside_its_name():
    results = {"Integrated Gradients": _seeded(0.3), "SmoothGrad": _estimate(-0.1)}
    _, (ax,) = _drawn(*plot_forest(results, xlabel="difference of relevance mass"))
    assert [text.get_text() for text in ax.get_yticklabels()] == list(results)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    ends = [collection.get_segments()[0][:, 0].tolist() for collection in ax.collections]
    assert ends == [pytest.approx([0.25, 0.35]), pytest.approx([-0.15, -0.05])]
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in _lines(ax, solid=False))
    _, (ax,) = plot_forest(results, reference=None)
    assert not _lines(ax, solid=False)


def test_a_forest_of_several_panels_shares_its_names():
    results = {
        "mass": {"a": _estimate(0.3), "b": _estimate(0.4)},
        "AUC": {"b": _estimate(0.8), "c": _seeded(0.9)},
    }
    _, axes = _drawn(*plot_forest(results, xlabel={"mass": "share", "AUC": "AUC"}))
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["a", "b", "c"]
    assert [ax.get_xlabel() for ax in axes] == ["share", "AUC"] and len(axes[1].collections) == 2


def test_a_forest_takes_comparisons():
    family = compare({"a": np.random.default_rng(0).normal(0.3, 0.1, (3, 20))})
    _, (ax,) = _drawn(*plot_forest(family))
    assert ax.collections[0].get_segments()[0][:, 0] == pytest.approx(
        family["a"].estimate.overall[1:3]
    )


@pytest.mark.parametrize("draw", [plot_settings, plot_forest])
def test_nothing_to_draw_and_what_is_no_estimate_are_errors(draw):
    with pytest.raises(ValueError, match="at least one"):
        draw({})
    with pytest.raises(TypeError, match=r"expected an Estimate or a SeedEstimate.*found 0.5"):
        draw({"measure": {"scenes": {"a": 0.5, "b": 0.5}}} if draw is plot_settings else {"a": 0.5})


def test_no_text_of_a_chart_is_smaller_than_eight_points():
    figures = [
        plot_settings({"a": _curves()}, references={"a": {"chance": 0.5}})[0],
        plot_forest({"a": _seeded(0.1)})[0],
    ]
    for figure in figures:
        figure.canvas.draw()
        assert min(text.get_fontsize() for text in _texts(figure)) >= 8


def test_a_legend_that_is_wider_than_the_figure_breaks_into_lines():
    figure, _ = _drawn(
        *plot_settings(
            {
                "measure": {
                    f"a network with a long name {i}": {0: _seeded(0.1), 1: _seeded(0.2)}
                    for i in range(5)
                }
            }
        )
    )
    box = figure.legends[0].get_window_extent()
    assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


# --- alt texts


def _titles(n):
    return {f"a long title of column number {i}": _maps() for i in range(n)}


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (
            lambda **more: plot_maps(
                _pixels(), {"gradient": _maps(), "SmoothGrad\nσ = 0.1": _maps()}, **more
            ),
            "2 pictures, one a row. Beside the input its maps, by column: gradient and "
            "SmoothGrad σ = 0.1. Red raises the logit, blue lowers it, white is zero.",
        ),
        (
            lambda **more: plot_maps(
                _pixels(1), {r"$\sigma = 5$ %": _maps(1)}, how="unsigned", titles=["a cup"], **more
            ),
            "One picture: a cup. Beside the input its maps, by column: sigma = 5 %. Bright is "
            "large, dark is zero.",
        ),
        (
            lambda **more: plot_maps(_pixels(), {}, titles=["a cup", "a rocket"], **more),
            "2 pictures, one a row: a cup and a rocket. Shown as the network gets them, "
            "without maps.",
        ),
        (
            lambda **more: plot_settings(
                {"relevance mass": _curves()},
                xlabel="noise σ",
                references={"relevance mass": {"chance": 0.2}},
                **more,
            ),
            "Relevance mass against noise σ: 0.2, 0.0 and 0.1. A colour for each of scenes and "
            "scenes-letters. Dashed lines: chance. Means with 95 % intervals.",
        ),
        (
            lambda **more: plot_forest(
                {"SmoothGrad": _estimate(0.1), "gradient": _seeded(0.3)}, xlabel="AUC", **more
            ),
            "AUC, a line for each of SmoothGrad and gradient. A dot is a mean, its bar the 95 % "
            "interval. The dashed line is 0.",
        ),
    ],
)
def test_an_alt_text_says_what_is_compared_unless_another_is_given(draw, said):
    assert draw()[0].alt == said
    own = "Noise of one, five and thirty per cent on one picture"
    assert draw(alt=own)[0].alt == own


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_maps(_pixels(), _titles(9), titles=["a picture with a long name"] * 2),
        lambda: plot_maps(_pixels(1), {"a": _maps(1)}),
        lambda: plot_maps(_pixels(1), {}),
        lambda: plot_settings({"": {"": {0: _estimate(0.1)}}}),
        lambda: plot_settings(
            {f"panel number {i} of the figure": _curves() for i in range(9)},
            references={"panel number 0 of the figure": dict.fromkeys(map(str, range(20)), 0.1)},
        ),
        lambda: plot_forest({"a": _estimate(0.1)}, reference=None),
        lambda: plot_forest({f"an estimate of method {i}": _estimate(0.1) for i in range(30)}),
    ],
)
def test_an_alt_text_has_eight_to_sixty_words(draw):
    alt = draw()[0].alt
    assert 8 <= len(alt.split()) <= 60 and "…" not in alt, alt


def test_an_alt_text_too_short_to_say_something_is_an_error():
    figure = plt.figure()
    with pytest.raises(ValueError, match="in 8 words or more; found 'three maps'"):
        describe(figure, "three maps")
    with pytest.raises(TypeError, match="must be a text, found Figure"):
        describe(figure, figure)
    describe(figure, "one two three\n  four five six seven eight")
    assert figure.alt == "one two three four five six seven eight"


def test_without_ipython_a_figure_is_the_same_picture(monkeypatch):
    InteractiveShell.clear_instance()  # another test's, which would draw it itself
    figure, _ = plot_maps(_pixels(1), {"a": _maps(1)})
    figure.set_layout_engine("none")  # it moves a little at every drawing
    data, metadata = figure._repr_mimebundle_()
    assert metadata == {"image/png": {"alt": figure.alt}} and data["text/plain"] == figure.alt
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.core.pylabtools", None)
    bare = figure._repr_mimebundle_()[0]["image/png"]
    pictures = [np.asarray(Image.open(io.BytesIO(png))) for png in (data["image/png"], bare)]
    np.testing.assert_array_equal(*pictures)


def test_a_described_figure_can_be_stored_and_read_back():
    figure, _ = plot_maps(_pixels(1), {"a": _maps(1)})
    again = pickle.loads(pickle.dumps(figure))
    assert again.alt == figure.alt and again._repr_mimebundle_()[0]["text/plain"] == figure.alt


def test_a_notebook_stores_the_alt_text_beside_the_picture_of_the_inline_backend(tmp_path):
    draw = """import matplotlib.pyplot as plt, torch
from helpers.display.plotting import plot_maps
torch.manual_seed(0)
pixels, maps = torch.rand(1, 3, 8, 8), {"gradient": torch.randn(1, 3, 8, 8)}
figure, axes = plot_maps(pixels, maps)
"""
    ways = [
        draw,  # shown by the backend at the cell's end
        f"{draw}plt.show()",
        f"{draw}plt.close()\nfigure",
    ]
    alone = [way.replace("maps)\n", "maps)\ndel figure._repr_mimebundle_\n") for way in ways]
    notebook = new_notebook(cells=list(map(new_code_cell, ways + alone)))
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert len(outputs) == 6
    said = (
        "One picture. Beside the input its maps, by column: gradient. Red raises the logit, "
        "blue lowers it, white is zero."
    )
    for ours, other in zip(outputs[:3], outputs[3:], strict=True):
        assert ours.data["text/plain"] == said
        assert ours.metadata == {"image/png": {"alt": said}}
        assert ours.data["image/png"] == other.data["image/png"]
        assert other.data["text/plain"].startswith("<Figure") and not other.metadata
    assert "Text(" not in str(outputs)


def test_numbers_written_over_panels_are_read_with_the_alt_text():
    figure, axes = plt.subplots(1, 3)
    describe(figure, "Three panels that compare one thing with two others")
    axes[0].set_title("black:\n0.19")
    axes[1].set_title("no number")
    _, metadata = figure._repr_mimebundle_()
    assert metadata["image/png"]["alt"].endswith("two others Over the panels: black: 0.19.")
    plt.close(figure)


@pytest.mark.parametrize(
    ("titles", "said"),
    [
        (
            ["black: 0.19", "white: 0.62", "black: 0.07", "white: 0.62", "mean\n−0.1", "mean: 0.3"],
            "black 0.07 to 0.19, white 0.62, mean −0.1 to 0.3",
        ),
        ([f"α = {i / 8}\nlogit {i - 2.5}" for i in range(8)], "8 numbers, -2.5 to 4.5"),
        ([f"{i}.5" for i in range(5)], "0.5 to 4.5"),
    ],
)
def test_of_many_numbers_over_panels_the_ends_are_read(titles, said):
    figure, axes = plt.subplots(1, len(titles))
    describe(figure, "Panels that compare one thing with two or three others")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    assert figure._repr_mimebundle_()[0]["text/plain"].endswith(f" Over the panels: {said}.")
    plt.close(figure)
