"""The measures on cases worked out by hand, in the definition's own words, and where they are not defined."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.gradients import saliency
from helpers.integrated_gradients import integrated_gradients
from helpers.quality import (
    correlation,
    curve_area,
    deletion,
    dilate,
    hide,
    hiding_curves,
    infidelity,
    insertion,
    max_sensitivity,
    pair_contrast,
    pixel_auc,
    rank_correlation,
    relevance_mass,
    retained_accuracy,
    ssim,
)
from helpers.smoothgrad import smoothgrad


def grid(*rows):
    """One single-channel map (1, 1, H, W)."""
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def inside(*rows):
    return grid(*rows).bool()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Brightness(nn.Module):
    """Logits (Σ weights ⊙ x, threshold): class 0 while enough of the weighted brightness is left."""

    def __init__(self, weights, threshold):
        super().__init__()
        self.register_buffer("weights", weights)
        self.threshold = threshold

    def forward(self, pixels):
        score = (pixels * self.weights).flatten(1).sum(1)
        return torch.stack([score, torch.full_like(score, self.threshold)], 1)


@pytest.fixture
def brightness():
    """A linear model of 2 × 2 one-channel pictures with gradient (4, 3; 2, 1), and a white picture: logits 10 against 5.5."""
    weights = grid([4, 3], [2, 1])[0]
    return Brightness(weights, 5.5), torch.ones(1, 1, 2, 2, dtype=torch.float64), weights[None]


class TestRelevanceMass:
    def test_by_hand(self):
        maps = torch.tensor([[[[1.0, -2.0], [0.0, 1.0]], [[1.0, 0.0], [-3.0, 0.0]]]])  # sizes 2 2 / 3 1, of 8
        assert relevance_mass(maps, inside([1, 0], [0, 1])).tolist() == [3 / 8]

    def test_area_of_a_constant_map_and_ends(self):
        maps = torch.ones(3, 3, 2, 2)
        masks = torch.cat([inside([1, 0], [0, 0]), inside([0, 0], [0, 0]), inside([1, 1], [1, 1])])
        assert relevance_mass(maps, masks).tolist() == [0.25, 0, 1]

    def test_zero_map_is_nan_alone(self):
        maps = torch.cat([grid([0, 0]), grid([1, 3])])
        values = relevance_mass(maps, torch.tensor([True, False]).expand(2, 1, 1, 2))
        assert math.isnan(values[0]) and values[1] == 0.25


class TestPixelAuc:
    def test_by_hand(self):
        # On the mask 4 and −1, off it 2 and 0: pairs 4>2, 4>0, 1<2, 1>0.
        assert pixel_auc(grid([4, 2], [-1, 0]), inside([1, 0], [1, 0])).tolist() == [0.75]

    def test_channels_add_up_unsigned(self):
        maps = torch.tensor([[[[1.0, 1.5]], [[-1.0, 0.0]]]])  # signed sums 0 and 1.5, unsigned 2 and 1.5
        assert pixel_auc(maps, inside([1, 0])).tolist() == [1.0]

    def test_against_all_pairs_with_ties(self):
        maps = torch.round(randn(5, 2, 6, 7))
        masks = randn(5, 1, 6, 7, seed=1) > 0.3
        for value, size, mask in zip(pixel_auc(maps, masks), maps.abs().sum(1), masks[:, 0], strict=True):
            on, off = size[mask][:, None], size[~mask][None]
            assert value == pytest.approx(float(((on > off).double() + 0.5 * (on == off)).mean()), abs=1e-12)

    def test_degenerate(self):
        masks = torch.cat([inside([0, 0], [0, 0]), inside([1, 1], [1, 1]), inside([1, 0], [0, 0])])
        values = pixel_auc(torch.zeros(3, 3, 2, 2), masks)
        assert values[:2].isnan().all() and values[2] == 0.5


def test_pair_contrast_by_hand_and_zero_for_maps_that_ignore_the_network():
    shape, letter = inside([1, 0, 0, 0]), inside([0, 1, 0, 0])
    first, second = grid([6, 2, 1, 1]), grid([1, 7, 1, 1])
    assert pair_contrast(first, second, shape, letter).item() == pytest.approx((0.6 - 0.1 + 0.7 - 0.2) / 2)
    assert pair_contrast(first, first, shape, letter).item() == 0
    assert pair_contrast(first, second, shape, letter, measure=pixel_auc).item() == pytest.approx(
        (1 - 1 / 3 + 1 - 2 / 3) / 2)  # fmt: skip


class TestDilate:
    def test_disc_by_hand(self):
        point = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
        point[0, 0, 3, 3] = True
        assert dilate(point, 1)[0, 0, 2:5, 2:5].int().tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
        assert [int(dilate(point, d).sum()) for d in (0, 1, 1.5, 2, 3)] == [1, 5, 9, 13, 29]  # lattice points in a disc
        assert dilate(point, 0).equal(point) and dilate(point, 2).dtype == torch.bool

    def test_edges_and_ends(self):
        corner = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
        assert not dilate(corner, 2).any()
        assert dilate(~corner, 2).all()
        corner[0, 0, 0, 0] = True
        assert dilate(corner, 1)[0, 0].int().tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]

    @pytest.mark.parametrize("pixels", [-1, math.nan, math.inf])
    def test_bad_reach(self, pixels):
        with pytest.raises(ValueError, match="at least 0"):
            dilate(inside([1, 0]), pixels)

    def test_bad_mask(self):
        with pytest.raises(ValueError, match="bool"):
            dilate(torch.ones(1, 1, 2, 2), 1)


@pytest.mark.parametrize("measure", [relevance_mass, pixel_auc])
@pytest.mark.parametrize(
    ("maps", "mask", "message"),
    [
        (torch.ones(1, 3, 2, 2), torch.ones(1, 1, 2, 2), "bool"),
        (torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2, dtype=torch.bool), "shape"),
        (torch.ones(2, 3, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool), "shape"),
        (torch.full((1, 1, 1, 2), math.nan), torch.ones(1, 1, 1, 2, dtype=torch.bool), "NaN"),
        (torch.full((1, 1, 1, 2), math.inf), torch.ones(1, 1, 1, 2, dtype=torch.bool), "infinite"),
        (torch.ones(2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool), "N, C, H, W"),
    ],
)
def test_senseless_batches_are_refused(measure, maps, mask, message):
    with pytest.raises(ValueError, match=message):
        measure(maps, mask)


class TestHide:
    def test_by_hand(self):
        pixels = torch.rand(1, 3, 2, 2, dtype=torch.float64)
        maps = grid([-4, 1], [3, 2])
        lowest = hide(pixels, maps, 0.5, fill="black", order="lowest")
        assert lowest.equal(pixels * grid([1, 0], [1, 0]))
        highest = hide(pixels, maps, 0.25, fill="white", order="highest")
        assert highest.equal(torch.where(inside([1, 0], [0, 0]), 1, pixels))
        assert hide(pixels, maps, 0, order="highest").equal(pixels)
        assert hide(pixels, maps, 1, fill="mean").allclose(pixels.mean((2, 3), keepdim=True).expand_as(pixels))

    @pytest.mark.parametrize("fill", ["mean", "blur", "noise", "black", "white", torch.full((3, 8, 8), 0.25).double()])
    def test_each_fill_replaces_the_named_pixels_alone(self, pictures, fill):
        maps = randn(3, 3, 8, 8)
        hidden = hide(pictures, maps, 0.25, fill=fill, order="highest")
        changed = (hidden != pictures).any(1)
        size = maps.abs().sum(1)
        assert (changed.flatten(1).sum(1) == 16).all()
        assert all(size[i][changed[i]].min() > size[i][~changed[i]].max() for i in range(3))
        assert (hidden >= 0).all() and (hidden <= 1).all()

    def test_ties_fall_by_chance_and_by_seed(self):
        pixels = torch.ones(1, 1, 20, 20)
        gone = [hide(pixels, torch.zeros(1, 1, 20, 20), 0.5, fill="black", seed=seed) == 0 for seed in (0, 0, 1)]
        assert gone[0].equal(gone[1]) and not gone[0].equal(gone[2])
        assert 60 < int(gone[0][..., :10].sum()) < 140 and 60 < int(gone[0][..., :10, :].sum()) < 140  # nowhere in particular

    def test_company_does_not_matter(self, pictures):
        maps = torch.zeros_like(pictures)
        together = hide(pictures, maps, 0.4, fill="noise", seed=[5, 6, 7])
        for i in range(3):
            assert hide(pictures[i : i + 1], maps[i : i + 1], 0.4, fill="noise", seed=5 + i).equal(together[i : i + 1])

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
    def test_bad_share(self, pictures, fraction):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            hide(pictures, pictures, fraction)

    def test_bad_arguments(self, pictures):
        with pytest.raises(ValueError, match="lowest"):
            hide(pictures, pictures, 0.5, order="low")
        with pytest.raises(ValueError, match="black"):
            hide(pictures, pictures, 0.5, fill="blak")
        with pytest.raises(ValueError, match="fit the pictures"):
            hide(pictures, pictures[:2], 0.5)


class TestHidingCurves:
    def test_by_hand(self, brightness):
        model, pixels, weights = brightness
        shares = (0, 0.25, 0.5, 0.75, 1)
        # Score left: lowest first 10, 9, 7, 4, 0; highest first 10, 6, 3, 1, 0; class 0 while it exceeds 5.5.
        curves = hiding_curves(model, pixels, weights, shares, order="lowest", fill="black")
        assert curves.retained.tolist() == [[True, True, True, False, False]]
        expected = [1 / (1 + math.exp(5.5 - score)) for score in (10, 9, 7, 4, 0)]
        assert curves.probability[0].tolist() == pytest.approx(expected)
        assert retained_accuracy(model, pixels, weights, shares, order="highest", fill="black").tolist() == [
            [True, True, False, False, False]
        ]

    def test_deletion_and_insertion_by_hand(self, brightness):
        model, pixels, weights = brightness
        shares = (0, 0.25, 0.5, 0.75, 1)

        def area(scores):
            p = [1 / (1 + math.exp(5.5 - score)) for score in scores]
            return (p[0] / 2 + p[1] + p[2] + p[3] + p[4] / 2) / 4

        settings = {"fractions": shares, "fill": "black"}
        assert deletion(model, pixels, weights, **settings).item() == pytest.approx(area((10, 6, 3, 1, 0)))
        # Put back 4, 3, 2, 1 into black.
        assert insertion(model, pixels, weights, **settings).item() == pytest.approx(area((0, 4, 7, 9, 10)))
        assert insertion(model, pixels, 1 / weights, **settings).item() == pytest.approx(area((0, 1, 3, 6, 10)))

    def test_target(self, brightness):
        model, pixels, weights = brightness
        curves = hiding_curves(model, pixels, weights, (0, 1), fill="black", target=1)
        assert curves.retained.tolist() == [[False, True]]

    def test_one_pass_a_fraction(self, brightness, watch):
        model, pixels, weights = brightness
        watched = watch(model)
        hiding_curves(watched, pixels.expand(5, -1, -1, -1), weights.expand(5, -1, -1, -1), (0.1, 0.2, 0.3), target=0)
        assert sum(map(len, watched.calls)) == 15

    def test_pictures_do_not_mix(self, conv_net, pictures):
        maps, shares = randn(3, 3, 8, 8), (0.2, 0.6)
        together = hiding_curves(conv_net, pictures, maps, shares, fill="blur").probability
        alone = [hiding_curves(conv_net, pictures[[i]], maps[[i]], shares, fill="blur").probability for i in range(3)]
        assert together.allclose(torch.cat(alone)) and not together[0].allclose(together[1])

    def test_no_fractions(self, brightness):
        with pytest.raises(ValueError, match="at least one"):
            hiding_curves(*brightness, ())

    def test_leaves_the_model_alone(self, mixed_mode_net, pictures, snapshot):
        before = snapshot(mixed_mode_net)
        hiding_curves(mixed_mode_net, pictures, pictures, (0.5,))
        assert snapshot(mixed_mode_net) == before


class TestCurveArea:
    def test_by_hand(self):
        # Trapezia 0.25 × 0.5 + 0.75 × 1 over the width 1; half the width changes nothing but the scale.
        assert curve_area((0, 0.25, 1), torch.tensor([[0.0, 1.0, 1.0]])).tolist() == [0.875]
        assert curve_area((0, 0.125, 0.5), torch.tensor([[0.0, 1.0, 1.0]])).tolist() == [0.875]
        assert curve_area((0, 1), torch.tensor([[True, False]])).tolist() == [0.5]

    @pytest.mark.parametrize("fractions", [(0,), (0, 0), (1, 0), (0, 0.5, 1)])
    def test_refused(self, fractions):
        with pytest.raises(ValueError, match="increasing"):
            curve_area(fractions, torch.ones(1, min(2, len(fractions))))


class TestInfidelity:
    def test_zero_for_the_gradient_of_a_linear_model(self, brightness):
        model, pixels, weights = brightness
        assert infidelity(model, pixels, weights, normalize=False).item() == pytest.approx(0, abs=1e-20)
        assert infidelity(model, pixels, 7 * weights).item() == pytest.approx(0, abs=1e-12)  # the scale is fitted
        # Off by the factor 2: E[(2 I·w − I·w)²] = σ² ‖w‖² = 0.01 × 30.
        assert infidelity(model, pixels, 2 * weights, normalize=False, noise=0.1, n_samples=1000).item() == pytest.approx(
            0.3, rel=0.15)  # fmt: skip

    def test_zero_map_is_the_worst(self, brightness):
        model, pixels, weights = brightness
        zero = infidelity(model, pixels, torch.zeros_like(weights), noise=0.1, n_samples=1000).item()
        assert zero == pytest.approx(0.3, rel=0.15)
        # Orthogonal to the gradient: no factor helps.
        assert infidelity(model, pixels, grid([3, -4], [1, -2]), noise=0.1, n_samples=1000).item() == pytest.approx(
            zero, rel=0.01
        )

    def test_maps_with_the_multiplier(self, brightness):
        model, pixels, _ = brightness
        pixels = pixels * grid([0.2, 0.9], [0.5, 0.0])
        maps = integrated_gradients(model, pixels, 0, baseline="black")
        assert infidelity(model, pixels, maps, 0, normalize=False).item() > 0.01
        # Divided by x it is the gradient again, except at the black pixel (weight 1), which it cannot know.
        value = infidelity(model, pixels, maps, 0, baseline="black", normalize=False, noise=0.1, n_samples=1000).item()
        assert value == pytest.approx(0.01, rel=0.15)

    @pytest.mark.parametrize("normalize", [False, True])
    def test_captum_agrees(self, conv_net, pictures, normalize):
        from captum.metrics import infidelity as of_captum

        maps, target = saliency(conv_net, pictures, 2), torch.full((3,), 2)
        seen = []

        def perturb(points):
            seen.append(len(points))
            noise = 0.2 * randn(*points.shape, seed=len(seen))
            return noise, points - noise

        theirs = of_captum(conv_net, perturb, pictures, maps, target=target, n_perturb_samples=800, normalize=normalize,
                           max_examples_per_batch=800)  # fmt: skip
        ours = infidelity(conv_net, pictures, maps, 2, noise=0.2, n_samples=800, normalize=normalize, seed=3)
        assert ours.tolist() == pytest.approx(theirs.tolist(), rel=0.2)  # other draws

    def test_definition(self, conv_net, pictures):
        """Against the sum written out, on the fields it drew."""
        maps, logits = saliency(conv_net, pictures, 1), lambda x: conv_net(x)[:, 1].detach()
        fields = [np.random.default_rng(np.random.SeedSequence([4, i, 3])).standard_normal((3, 8, 8)) for i in range(6)]
        noise = 0.3 * torch.from_numpy(np.stack(fields))
        for k in range(3):
            foretold = (noise * maps[k]).flatten(1).sum(1)
            true = logits(pictures[[k]]) - logits(pictures[k] - noise)
            plain = infidelity(conv_net, pictures, maps, 1, noise=0.3, n_samples=6, normalize=False, seed=4)[k]
            assert plain == pytest.approx(((foretold - true) ** 2).mean().item())
            fitted = ((foretold @ true) / (foretold @ foretold) * foretold - true).square().mean().item()
            assert infidelity(conv_net, pictures, maps, 1, noise=0.3, n_samples=6, seed=4)[k] == pytest.approx(fitted)

    def test_company_and_seeds(self, conv_net, pictures):
        maps = saliency(conv_net, pictures)
        together = infidelity(conv_net, pictures, maps, n_samples=4, seed=[5, 6, 7])
        for i in range(3):
            alone = infidelity(conv_net, pictures[[i]], maps[[i]], n_samples=4, seed=5 + i)
            assert alone.item() == pytest.approx(together[i].item())
        assert not infidelity(conv_net, pictures, maps, n_samples=4, seed=8).allclose(together)

    def test_evaluates_the_clean_pictures_once_and_each_field_once(self, conv_net, pictures, watch):
        watched = watch(conv_net)
        infidelity(watched, pictures, pictures, 0, n_samples=4)
        assert sum(map(len, watched.calls)) == 3 * (1 + 4)

    def test_refused(self, conv_net, pictures):
        with pytest.raises(ValueError, match="shape of the pixels"):
            infidelity(conv_net, pictures, pictures[:, :1])
        with pytest.raises(ValueError, match="noise"):
            infidelity(conv_net, pictures, pictures, noise=0)
        with pytest.raises(ValueError, match="n_samples"):
            infidelity(conv_net, pictures, pictures, n_samples=0)


class TestMaxSensitivity:
    def test_linear_model_and_a_map_with_a_known_norm(self, brightness):
        model, pixels, _ = brightness
        assert max_sensitivity(model, pixels).item() == 0

        def twice(model, pixels, target=None):
            return 2 * pixels

        values = max_sensitivity(model, pixels, attribution=twice, radius=0.01, n_samples=200)
        # ‖2δ‖ / ‖2x‖ = ‖δ‖ / 2, at most 0.01 in 4 dimensions.
        assert 0.007 < values.item() <= 0.01

    def test_definition(self, conv_net, pictures):
        draws = [np.random.default_rng(np.random.SeedSequence([2, i, 4])).uniform(-0.1, 0.1, (3, 8, 8)) for i in range(5)]
        plain = saliency(conv_net, pictures, 1)
        moved = torch.stack([saliency(conv_net, pictures + torch.from_numpy(draw), 1) for draw in draws])
        expected = (moved - plain).flatten(2).norm(dim=2).amax(0) / plain.flatten(1).norm(dim=1)
        found = max_sensitivity(conv_net, pictures, 1, radius=0.1, n_samples=5, seed=2)
        assert found.tolist() == pytest.approx(expected.tolist()) and (found > 0).all()

    def test_classifier_beyond_its_range_and_target_fixed(self, tiny_classifier, pictures):
        white = torch.ones_like(pictures)
        targets = []

        def attribution(model, pixels, target):
            targets.append(target.tolist())
            return smoothgrad(model, pixels, target, n_samples=2)

        assert torch.isfinite(max_sensitivity(tiny_classifier, white, attribution=attribution, radius=0.5, n_samples=3)).all()
        assert len(targets) == 4 and all(classes == targets[0] for classes in targets)
        with pytest.raises(ValueError, match=r"\[0, 1\]"):  # the user's own pixels are still held to it
            max_sensitivity(tiny_classifier, 2 * white)

    def test_zero_map_is_nan(self, conv_net, pictures):
        def some_zero(model, pixels, target=None):
            return pixels * torch.tensor([0.0, 1.0, 1.0])[:, None, None, None]

        values = max_sensitivity(conv_net, pictures, attribution=some_zero)
        assert math.isnan(values[0]) and (values[1:] > 0).all()

    def test_company_and_seeds(self, conv_net, pictures):
        together = max_sensitivity(conv_net, pictures, n_samples=3, seed=[5, 6, 7])
        for i in range(3):
            alone = max_sensitivity(conv_net, pictures[[i]], n_samples=3, seed=5 + i).item()
            assert alone == pytest.approx(together[i].item())

    def test_refused(self, conv_net, pictures):
        with pytest.raises(ValueError, match="radius"):
            max_sensitivity(conv_net, pictures, radius=0)
        with pytest.raises(ValueError, match="NaN"):
            max_sensitivity(conv_net, pictures, attribution=lambda model, x, target: x / 0)

    def test_leaves_the_model_and_the_random_state_alone(self, mixed_mode_net, pictures, snapshot):
        before, torch_state, numpy_state = snapshot(mixed_mode_net), torch.get_rng_state(), np.random.get_state()[1].copy()
        max_sensitivity(mixed_mode_net, pictures)
        infidelity(mixed_mode_net, pictures, pictures, n_samples=2)
        hide(pictures, pictures, 0.5, fill="noise")
        assert snapshot(mixed_mode_net) == before
        assert torch.get_rng_state().equal(torch_state) and (np.random.get_state()[1] == numpy_state).all()


class TestSimilarity:
    def test_pearson_by_hand(self):
        first, second = grid([1, 2], [3, 4]), grid([1, 3], [2, 4])
        assert correlation(first, second).item() == pytest.approx(0.8)  # deviations −3 −1 1 3 and −3 1 −1 3, halved: 4 / 5
        assert correlation(first, -5 * first + 2).item() == pytest.approx(-1)
        assert correlation(first - 2.5, -(first - 2.5), "unsigned").item() == pytest.approx(1)

    def test_spearman_by_hand(self):
        first, second = grid([1, 2, 3, 4]), grid([1, 100, 10, 1000])
        assert rank_correlation(first, second).item() == pytest.approx(0.8)  # 1 − 6 × 2 / (4 × 15)
        assert rank_correlation(first, -second).item() == pytest.approx(-0.8)
        assert rank_correlation(first, -second, "unsigned").item() == pytest.approx(0.8)
        # Ties share their rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
        assert rank_correlation(grid([1, 2, 2, 3]), first).item() == pytest.approx(4.5 / math.sqrt(4.5 * 5))

    def test_against_scipy(self):
        from scipy.stats import pearsonr, spearmanr

        first, second = randn(4, 3, 6, 5), randn(4, 3, 6, 5, seed=1)
        for how, values in (("signed", lambda m: m.sum(0)), ("unsigned", lambda m: m.abs().sum(0))):
            for i in range(4):
                x, y = values(first[i]).flatten(), values(second[i]).flatten()
                assert correlation(first, second, how)[i] == pytest.approx(pearsonr(x, y)[0])
                assert rank_correlation(first, second, how)[i] == pytest.approx(spearmanr(x, y)[0])

    @pytest.mark.parametrize("measure", [correlation, rank_correlation])
    def test_constant_maps_are_nan_alone(self, measure):
        first = torch.cat([torch.full((1, 1, 2, 2), 0.1), torch.zeros(1, 1, 2, 2), torch.rand(1, 1, 2, 2)])
        values = measure(first, torch.rand(3, 1, 2, 2))
        assert values.isnan().tolist() == [True, True, False]

    def test_scale_does_not_matter(self):
        first, second = randn(2, 1, 12, 12), randn(2, 1, 12, 12, seed=1)
        for measure in (correlation, rank_correlation, ssim):
            assert measure(1e-200 * first, 1e200 * second).tolist() == pytest.approx(measure(first, second).tolist())

    def test_ssim_by_hand(self):
        # Both constant after scaling, 1 and −1: no variance, so (2 × 1 × −1 + c) / (1 + 1 + c), c = (0.01 × 2)².
        one = torch.ones(1, 1, 12, 12, dtype=torch.float64)
        assert ssim(one, -3 * one, "signed").item() == pytest.approx((-2 + 4e-4) / (2 + 4e-4))
        assert ssim(one, -3 * one, "unsigned").item() == pytest.approx(1)

    def test_ssim_ends(self):
        maps = randn(2, 3, 16, 16)
        assert ssim(maps, 4 * maps).tolist() == pytest.approx([1, 1])
        assert (ssim(maps, randn(2, 3, 16, 16, seed=1)) < 0.9).all()
        assert ssim(torch.zeros_like(maps), maps).isnan().all()
        with pytest.raises(ValueError, match="11"):
            ssim(maps[..., :10], maps[..., :10])

    @pytest.mark.parametrize("measure", [correlation, rank_correlation, ssim])
    def test_refused(self, measure):
        maps = randn(2, 3, 12, 12)
        assert measure(maps, maps.sum(1, keepdim=True)).tolist() != [] and measure(maps, maps).dtype == maps.dtype
        with pytest.raises(ValueError, match="same pictures"):
            measure(maps, maps[:1])
        with pytest.raises(ValueError, match="NaN"):
            measure(maps, maps / 0)
        with pytest.raises(ValueError, match="unsigned"):
            measure(maps, maps, "unsgined")
