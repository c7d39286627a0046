"""Figures: every shape of input draws without a warning, zero is white, scales are shared as said, display changes no map."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from helpers.gradients import REDUCTIONS, reduce_channels
from helpers.plotting import SCALES, color_limits, outline, plot_maps, show_map, show_pixels

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
    figure, axes = _drawn(*plot_maps(_pixels(n), {"a": _maps(n), "b": _maps(n, seed=2)}, how=how, scale=scale))
    assert isinstance(figure, plt.Figure) and axes.shape == (n, 3)
    assert [ax.get_title() for ax in axes[0]] == ["input", "a", "b"]
    assert all(len(ax.images) == 1 for ax in axes.flat)
    assert len(figure.axes) == 3 * n + 1  # and the colour bar


@pytest.mark.parametrize("value", [0.0, -1.0, 1e30])
@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize("scale", SCALES)
def test_constant_maps_draw_without_a_warning(value, how, scale):
    _drawn(*plot_maps(_pixels(), {"constant": torch.full((2, 3, 8, 8), value)}, how=how, scale=scale))


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
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [[2.5, 1.5], [5.5, 4.5]], atol=0.02)
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


@pytest.mark.parametrize(("options", "message"), [({"how": "sign"}, "reduction 'sign'; did you mean 'signed'"),
                                                  ({"scale": "rows"}, "scale 'rows'; did you mean 'row'")])  # fmt: skip
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
    red, blue = image.cmap(image.norm(image.get_clim()[1])), image.cmap(image.norm(image.get_clim()[0]))
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0]


def test_unsigned_maps_begin_at_zero_which_is_dark():
    _, axes = plot_maps(_pixels(), {"a": _maps()}, how="unsigned")
    assert (_limits(axes)[..., 0] == 0).all() and (_limits(axes)[..., 1] > 0).all()
    image = axes[0, 1].images[0]
    assert sum(image.cmap(image.norm(0.0))[:3]) < 0.1


def test_scales_are_shared_as_said():
    maps = {"a": _maps() * torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1), "b": 100 * _maps(seed=2)}
    ends = {scale: _limits(plot_maps(_pixels(), maps, scale=scale, percentile=100)[1])[..., 1] for scale in SCALES}
    largest = np.array([[reduce_channels(m)[i].abs().max() for m in maps.values()] for i in range(2)])
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
        np.testing.assert_array_equal(image.get_array(), reduce_channels(before, how)[0])  # no value is clipped
        shown.append(image.get_clim()[1])
    assert torch.equal(maps, before) and shown[0] < shown[1] < shown[2]


def test_maps_with_gradients_and_pixels_with_gradients_draw():
    _drawn(*plot_maps(_pixels().requires_grad_(), {"a": _maps().requires_grad_()}))


def test_pixels_outside_the_range_are_clamped_for_display():
    _, ax = plt.subplots()
    assert show_pixels(ax, 4 * _pixels(1)[0] - 2).get_array().max() == 1


def test_plotting_neither_shows_nor_closes_the_figure():
    figure, _ = plot_maps(_pixels(), {"a": _maps()})
    assert plt.fignum_exists(figure.number)
