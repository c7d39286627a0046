"""The measures that ask the network again, on cases worked out by hand and against captum."""

import copy
import math

import numpy as np
import pytest
import torch
from by_hand import grid, inside, randn
from torch import nn

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.evaluate import probabilities
from helpers.measures import faithfulness
from helpers.measures.faithfulness import (
    curve_area,
    deletion,
    hide,
    hiding_curves,
    infidelity,
    insertion,
    max_sensitivity,
    retained_accuracy,
)


class Brightness(nn.Module):
    """Logits (Σ weights ⊙ x, threshold): class 0 while enough of the weighted brightness is
    left."""

    def __init__(self, weights, threshold):
        super().__init__()
        self.register_buffer("weights", weights)
        self.threshold = threshold

    def forward(self, pixels):
        score = (pixels * self.weights).flatten(1).sum(1)
        return torch.stack([score, torch.full_like(score, self.threshold)], 1)


@pytest.fixture
def brightness():
    """A linear model of 2 × 2 one-channel pictures with gradient (4, 3; 2, 1), and a white picture:
    logits 10 against 5.5."""
    weights = grid([4, 3], [2, 1])[0]
    return Brightness(weights, 5.5), torch.ones(1, 1, 2, 2, dtype=torch.float64), weights[None]


class TestHide:
    def test_by_hand(self):
        pixels = torch.rand(1, 3, 2, 2, dtype=torch.float64)
        maps = grid([-4, 1], [3, 2])
        lowest = hide(pixels, maps, 0.5, fill="black", order="lowest")
        assert lowest.equal(pixels * grid([1, 0], [1, 0]))
        highest = hide(pixels, maps, 0.25, fill="white", order="highest")
        assert highest.equal(torch.where(inside([1, 0], [0, 0]), 1, pixels))
        assert hide(pixels, maps, 0, order="highest").equal(pixels)
        assert hide(pixels, maps, 1, fill="mean").allclose(
            pixels.mean((2, 3), keepdim=True).expand_as(pixels)
        )

    @pytest.mark.parametrize(
        "fill", ["mean", "blur", "noise", "black", "white", torch.full((3, 8, 8), 0.25).double()]
    )
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
        gone = [
            hide(pixels, torch.zeros(1, 1, 20, 20), 0.5, fill="black", seed=seed) == 0
            for seed in (0, 0, 1)
        ]
        assert gone[0].equal(gone[1]) and not gone[0].equal(gone[2])
        # nowhere in particular
        assert (
            60 < int(gone[0][..., :10].sum()) < 140 and 60 < int(gone[0][..., :10, :].sum()) < 140
        )

    def test_company_does_not_matter(self, pictures):
        maps = torch.zeros_like(pictures)
        together = hide(pictures, maps, 0.4, fill="noise", seed=[5, 6, 7])
        for i in range(3):
            assert hide(pictures[i : i + 1], maps[i : i + 1], 0.4, fill="noise", seed=5 + i).equal(
                together[i : i + 1]
            )

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


class TestImputed:
    @pytest.mark.parametrize("order", ["lowest", "highest"])
    @pytest.mark.parametrize("fraction", [0.2, 0.9])
    def test_each_hidden_pixel_is_the_mean_of_its_neighbours(self, monkeypatch, order, fraction):
        monkeypatch.setattr(faithfulness, "NOISE", 0)
        pixels, maps = (torch.rand(2, 3, 9, 7, dtype=torch.float64) for _ in range(2))
        found = hide(pixels, maps, fraction, order=order, fill="imputed")
        changed = (found != pixels).any(1)
        assert changed.sum() == 2 * round(fraction * 63)
        kernel = torch.tensor([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]], dtype=torch.float64)[None, None]
        weight = nn.functional.conv2d(torch.ones_like(pixels[:1, :1]), kernel, padding=1)
        around = nn.functional.conv2d(found.flatten(0, 1)[:, None], kernel, padding=1)
        mean = (around / weight).reshape(pixels.shape)
        assert found.movedim(1, -1)[changed].allclose(mean.movedim(1, -1)[changed], atol=1e-9)

    def test_little_noise_by_seed_and_all_hidden_is_the_mean_colour(self):
        pixels = 0.25 + torch.rand(1, 3, 8, 8) / 2
        found = hide(pixels, pixels, 1, fill="imputed")
        off = found - pixels.mean((2, 3), keepdim=True)
        assert 0.005 < off.std() < 0.015 and off.abs().max() < 0.05
        assert not found.equal(hide(pixels, pixels, 1, fill="imputed", seed=1))

    def test_a_plain_ground_stays_plain_where_others_leave_an_edge(self, brightness):
        pixels = torch.full((1, 3, 8, 8), 0.3)
        maps = torch.rand(1, 3, 8, 8)
        for fraction in (0.1, 0.95):
            found = hide(pixels, maps, fraction, fill="imputed")
            assert (found - 0.3).abs().max() < 0.05


class TestHidingCurves:
    def test_by_hand(self, brightness):
        model, pixels, weights = brightness
        shares = (0, 0.25, 0.5, 0.75, 1)
        # Score left: lowest first 10, 9, 7, 4, 0; highest first 10, 6, 3, 1, 0; class 0 while it
        # exceeds 5.5.
        curves = hiding_curves(model, pixels, weights, shares, order="lowest", fill="black")
        assert curves.retained.tolist() == [[True, True, True, False, False]]
        expected = [1 / (1 + math.exp(5.5 - score)) for score in (10, 9, 7, 4, 0)]
        assert curves.probability[0].tolist() == pytest.approx(expected)
        assert retained_accuracy(
            model, pixels, weights, shares, order="highest", fill="black"
        ).tolist() == [[True, True, False, False, False]]

    def test_deletion_and_insertion_by_hand(self, brightness):
        model, pixels, weights = brightness
        shares = (0, 0.25, 0.5, 0.75, 1)

        def area(scores):
            p = [1 / (1 + math.exp(5.5 - score)) for score in scores]
            return (p[0] / 2 + p[1] + p[2] + p[3] + p[4] / 2) / 4

        settings = {"fractions": shares, "fill": "black"}
        assert deletion(model, pixels, weights, **settings).item() == pytest.approx(
            area((10, 6, 3, 1, 0))
        )
        # Put back 4, 3, 2, 1 into black.
        assert insertion(model, pixels, weights, **settings).item() == pytest.approx(
            area((0, 4, 7, 9, 10))
        )
        assert insertion(model, pixels, 1 / weights, **settings).item() == pytest.approx(
            area((0, 1, 3, 6, 10))
        )

    def test_target(self, brightness):
        model, pixels, weights = brightness
        curves = hiding_curves(model, pixels, weights, (0, 1), fill="black", target=1)
        assert curves.retained.tolist() == [[False, True]]

    def test_one_pass_a_fraction(self, brightness, watch):
        model, pixels, weights = brightness
        watched = watch(model)
        hiding_curves(
            watched,
            pixels.expand(5, -1, -1, -1),
            weights.expand(5, -1, -1, -1),
            (0.1, 0.2, 0.3),
            target=0,
        )
        assert sum(map(len, watched.calls)) == 15

    def test_pictures_do_not_mix(self, conv_net, pictures):
        maps, shares = randn(3, 3, 8, 8), (0.2, 0.6)
        together = hiding_curves(conv_net, pictures, maps, shares, fill="blur").probability
        alone = [
            hiding_curves(conv_net, pictures[[i]], maps[[i]], shares, fill="blur").probability
            for i in range(3)
        ]
        assert together.allclose(torch.cat(alone)) and not together[0].allclose(together[1])

    def test_no_fractions(self, brightness):
        with pytest.raises(ValueError, match="at least one"):
            hiding_curves(*brightness, ())

    def test_leaves_the_model_alone(self, mixed_mode_net, pictures, snapshot):
        before = snapshot(mixed_mode_net)
        hiding_curves(mixed_mode_net, pictures, pictures, (0.5,))
        assert snapshot(mixed_mode_net) == before


class TestOneLogit:
    """A network with one logit z is the network with the logits (0, z)."""

    @pytest.fixture
    def one(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
        return model.double().eval()

    @pytest.mark.parametrize("measure", [deletion, insertion])
    def test_its_probability_is_the_sigmoid(self, one, pictures, measure):
        def two(x):
            return torch.cat([torch.zeros(len(x), 1).to(x), one(x)], 1)

        maps = saliency(one, pictures)
        found = measure(one, pictures, maps)
        assert found.tolist() == pytest.approx(measure(two, pictures, maps, target=1).tolist())
        assert found.min() < 0.9  # today's was 1, whatever the map

    def test_it_is_said_above_a_half(self, brightness):
        model, pixels, weights = brightness

        def one(x):
            return model(x)[:, :1] - model.threshold

        shares = (0, 0.25, 0.5, 0.75, 1)
        curves = hiding_curves(one, pixels, weights, shares, fill="black")
        both = hiding_curves(model, pixels, weights, shares, fill="black", target=0)
        assert curves.retained.tolist() == [[True, True, True, False, False]]
        assert curves.retained.equal(curves.probability > 0.5)
        assert curves.probability.allclose(both.probability)
        with pytest.raises(ValueError, match="class 1 is out of range"):
            retained_accuracy(one, pixels, weights, shares, target=1)


class TestProbabilities:
    def test_a_network_that_ends_in_softmax_is_refused(self, conv_net, pictures):
        ends_in_softmax = nn.Sequential(conv_net, nn.Softmax(1))
        for measure in (hiding_curves, deletion, insertion):
            with pytest.raises(ValueError, match="probabilities already"):
                measure(ends_in_softmax, pictures, pictures)
        # Which class is largest is the same with and without.
        settings = (pictures, pictures, (0.3, 0.9))
        assert retained_accuracy(ends_in_softmax, *settings).equal(
            retained_accuracy(conv_net, *settings)
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_told_in_every_precision(self, dtype):
        logits = 3 * randn(4, 1000).float()
        rows = logits.softmax(1)
        with pytest.raises(ValueError, match="probabilities already"):
            probabilities(rows.to(dtype))
        found = probabilities(logits.to(dtype))
        assert found.dtype == torch.float32 and found.allclose(rows, atol=1e-3, rtol=0.1)
        assert probabilities(rows.log()).allclose(rows)  # log-probabilities are logits

    def test_logits_that_some_rows_of_could_be_probabilities(self):
        logits = torch.tensor([[0.3, 0.7], [2.0, 0.0]])
        assert probabilities(logits).equal(logits.softmax(1))

    def test_nan(self, conv_net, pictures):
        with pytest.raises(ValueError, match="NaN"):
            hiding_curves(lambda x: conv_net(x) * math.nan, pictures, pictures)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_networks_are_measured_in_float32(conv_net, pictures, dtype):
    model, maps = copy.deepcopy(conv_net).to(dtype), saliency(conv_net, pictures)
    for measure in (deletion, insertion, infidelity):
        found = measure(model, pictures.to(dtype), maps.to(dtype), target=1)
        assert found.dtype == torch.float32
        assert found.tolist() == pytest.approx(
            measure(conv_net, pictures, maps, target=1).tolist(), rel=0.1
        )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_size_of_the_maps_does_not_matter(conv_net, pictures, scale):
    model, pictures = copy.deepcopy(conv_net).float(), pictures.float()
    maps = saliency(model, pictures, 1)
    for found, right in (
        (infidelity(model, pictures, scale * maps, 1), infidelity(model, pictures, maps, 1)),
        (
            max_sensitivity(
                model, pictures, 1, attribution=lambda *args: scale * saliency(*args), radius=0.2
            ),
            max_sensitivity(model, pictures, 1, radius=0.2),
        ),
    ):
        assert found.tolist() == pytest.approx(right.tolist(), rel=1e-4)


class TestCurveArea:
    def test_by_hand(self):
        # Trapezia 0.25 × 0.5 + 0.75 × 1 over the width 1; half the width changes nothing but the
        # scale.
        assert curve_area((0, 0.25, 1), torch.tensor([[0.0, 1.0, 1.0]])).tolist() == [0.875]
        assert curve_area((0, 0.125, 0.5), torch.tensor([[0.0, 1.0, 1.0]])).tolist() == [0.875]
        assert curve_area((0, 1), torch.tensor([[True, False]])).tolist() == [0.5]
        shares = tuple(i / 1000 for i in range(1001))  # bfloat16 cannot tell them apart
        assert curve_area(shares, torch.ones(1, 1001).bfloat16()).item() == pytest.approx(1)

    @pytest.mark.parametrize("fractions", [(0,), (0, 0), (1, 0), (0, 0.5, 1)])
    def test_refused(self, fractions):
        with pytest.raises(ValueError, match="increasing"):
            curve_area(fractions, torch.ones(1, min(2, len(fractions))))


class TestInfidelity:
    def test_zero_for_the_gradient_of_a_linear_model(self, brightness):
        model, pixels, weights = brightness
        assert infidelity(model, pixels, weights, normalize=False).item() == pytest.approx(
            0, abs=1e-20
        )
        # the scale is fitted
        assert infidelity(model, pixels, 7 * weights).item() == pytest.approx(0, abs=1e-12)
        # Off by the factor 2: E[(2 I·w − I·w)²] = σ² ‖w‖² = 0.01 × 30.
        assert infidelity(
            model, pixels, 2 * weights, normalize=False, noise=0.1, n_samples=1000
        ).item() == pytest.approx(0.3, rel=0.15)

    def test_zero_map_is_the_worst(self, brightness):
        model, pixels, weights = brightness
        zero = infidelity(
            model, pixels, torch.zeros_like(weights), noise=0.1, n_samples=1000
        ).item()
        assert zero == pytest.approx(0.3, rel=0.15)
        # Orthogonal to the gradient: no factor helps.
        assert infidelity(
            model, pixels, grid([3, -4], [1, -2]), noise=0.1, n_samples=1000
        ).item() == pytest.approx(zero, rel=0.01)

    def test_maps_with_the_multiplier(self, brightness):
        model, pixels, _ = brightness
        pixels = pixels * grid([0.2, 0.9], [0.5, 0.0])
        maps = integrated_gradients(model, pixels, 0, baseline="black")
        assert infidelity(model, pixels, maps, 0, normalize=False).item() > 0.01
        # Divided by x it is the gradient again, except at the black pixel (weight 1), which it
        # cannot know.
        value = infidelity(
            model, pixels, maps, 0, baseline="black", normalize=False, noise=0.1, n_samples=1000
        ).item()
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

        theirs = of_captum(
            conv_net,
            perturb,
            pictures,
            maps,
            target=target,
            n_perturb_samples=800,
            normalize=normalize,
            max_examples_per_batch=800,
        )
        ours = infidelity(
            conv_net, pictures, maps, 2, noise=0.2, n_samples=800, normalize=normalize, seed=3
        )
        assert ours.tolist() == pytest.approx(theirs.tolist(), rel=0.2)  # other draws

    def test_definition(self, conv_net, pictures):
        """Against the sum written out, on the fields it drew."""
        maps, logits = saliency(conv_net, pictures, 1), lambda x: conv_net(x)[:, 1].detach()
        fields = [
            np.random.default_rng(np.random.SeedSequence([4, i, 3])).standard_normal((3, 8, 8))
            for i in range(6)
        ]
        noise = 0.3 * torch.from_numpy(np.stack(fields))
        for k in range(3):
            foretold = (noise * maps[k]).flatten(1).sum(1)
            true = logits(pictures[[k]]) - logits(pictures[k] - noise)
            plain = infidelity(
                conv_net, pictures, maps, 1, noise=0.3, n_samples=6, normalize=False, seed=4
            )[k]
            assert plain == pytest.approx(((foretold - true) ** 2).mean().item())
            fitted = (
                ((foretold @ true) / (foretold @ foretold) * foretold - true).square().mean().item()
            )
            assert infidelity(conv_net, pictures, maps, 1, noise=0.3, n_samples=6, seed=4)[
                k
            ] == pytest.approx(fitted)

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
        draws = [
            np.random.default_rng(np.random.SeedSequence([2, i, 4])).uniform(-0.1, 0.1, (3, 8, 8))
            for i in range(5)
        ]
        plain = saliency(conv_net, pictures, 1)
        moved = torch.stack(
            [saliency(conv_net, pictures + torch.from_numpy(draw), 1) for draw in draws]
        )
        expected = (moved - plain).flatten(2).norm(dim=2).amax(0) / plain.flatten(1).norm(dim=1)
        found = max_sensitivity(conv_net, pictures, 1, radius=0.1, n_samples=5, seed=2)
        assert found.tolist() == pytest.approx(expected.tolist()) and (found > 0).all()

    def test_classifier_beyond_its_range_and_target_fixed(self, tiny_classifier, pictures):
        white = torch.ones_like(pictures)
        targets = []

        def attribution(model, pixels, target):
            targets.append(target.tolist())
            return smoothgrad(model, pixels, target, n_samples=2)

        assert torch.isfinite(
            max_sensitivity(
                tiny_classifier, white, attribution=attribution, radius=0.5, n_samples=3
            )
        ).all()
        assert len(targets) == 4 and all(classes == targets[0] for classes in targets)
        # the user's own pixels are still held to it
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
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
        before, torch_state, numpy_state = (
            snapshot(mixed_mode_net),
            torch.get_rng_state(),
            np.random.get_state()[1].copy(),
        )
        max_sensitivity(mixed_mode_net, pictures)
        infidelity(mixed_mode_net, pictures, pictures, n_samples=2)
        hide(pictures, pictures, 0.5, fill="noise")
        assert snapshot(mixed_mode_net) == before
        assert (
            torch.get_rng_state().equal(torch_state)
            and (np.random.get_state()[1] == numpy_state).all()
        )
