"""The measurements of the SmoothGrad notebooks, on networks and sizes so small that every number
can be had another way."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from helpers.attribution.aggregates import AGGREGATES, GeometricMean
from helpers.attribution.gradients import saliency
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import ImageSet
from helpers.measures.controls import random_network, sobel
from helpers.measures.quality import correlation, relevance_mass
from helpers.measures.scoring import score
from helpers.noise import noise_field
from helpers.studies import smoothgrad as smoothgrad_studies
from helpers.studies.smoothgrad import (
    DISTRIBUTIONS,
    STUDIES,
    aggregation,
    controls,
    low_contrast,
    noise_distribution,
    noise_strength,
    sample_count,
    sample_error,
)

SEEDS = [11, 12, 13]
OTHER_SEEDS = [1_000_011, 1_000_012, 1_000_013]
TINY = {
    "controls": {"n_samples": 2},
    "noise_strength": {"n_samples": 4, "strengths": (0, 0.2), "clipped": (0.3,)},
    "noise_tuning": {"n_samples": 2, "strengths": (0.2,)},
    "low_contrast": {"n_samples": 2, "strengths": (0.2,)},
    "sample_count": {"counts": (1, 3)},
    "sample_error": {"counts": (2, 3), "pairs": (2,), "n_reference": 5},
    "noise_distribution": {"n_samples": 2},
    "aggregation": {"n_samples": 4},
}
# Gradients for one picture, by the sizes above.
GRADIENTS = {
    "controls": 1 + 1 + 2,  # the gradient, the random network's, its SmoothGrad
    "noise_strength": 1 + 4 + 4,  # strength 0 costs one
    "noise_tuning": 2,
    "low_contrast": 2,
    "sample_count": 1 + 3 + 3,  # the maps of 1 and 3 share theirs
    "sample_error": 5 + 3 + 2 * 2,
    "noise_distribution": 1 + 9 * 2,
    "aggregation": 1 + 4 + 4 + 4 // 2,  # all aggregates share theirs
}
STRENGTH_OWN = {"stability", "answer kept", "outside", "mass first half", "mass other half"}


@pytest.fixture
def images(pictures):
    """Three pictures of 8 × 8 with a shape and a letter."""
    masks = {
        "shape": torch.zeros(3, 1, 8, 8, dtype=torch.bool),
        "letter": torch.zeros(3, 1, 8, 8, dtype=torch.bool),
    }
    masks["shape"][..., 2:4, 2:4], masks["letter"][..., 6, 5:7] = True, True
    return ImageSet(pictures, ("a", "b", "c"), masks=masks)


@pytest.fixture
def target():
    return torch.tensor([0, 3, 1])


@pytest.fixture
def gradients(tiny_classifier):
    """The points at which a gradient was asked for, a row each; a network drawn anew from this one
    notes its own here, too."""
    points = []

    def note(model, inputs):
        if inputs[0].requires_grad:
            points.extend(inputs[0].detach())

    tiny_classifier.register_forward_pre_hook(note)
    return points


def noisy(pixels, seeds, noise, indices):
    """(n, N, C, H, W): the noisy copies, from the noise's definition."""
    return torch.stack(
        [
            pixels
            + noise
            * torch.from_numpy(
                np.stack([noise_field(tuple(pixels.shape[1:]), seed, i) for seed in seeds])
            )
            for i in indices
        ]
    )


def mean_gradient(model, points, target):
    # by hand, since copies leave [0, 1]
    inside = [(copy - model.mean) / model.std for copy in points]
    return torch.stack([saliency(model.network, copy, target) / model.std for copy in inside]).mean(
        0
    )


def assert_same(found, expected, **tolerance):
    """One setting's measures are those expected."""
    assert found.keys() == expected.keys()
    for measure, values in expected.items():
        values = values.double()
        torch.testing.assert_close(
            found[measure].double(), values, msg=lambda text, m=measure: f"{m}: {text}", **tolerance
        )


# --- every study
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_gradients_are_counted_and_every_map_scored(
    name, tiny_classifier, images, target, gradients
):
    found = STUDIES[name][0](tiny_classifier, images, target, SEEDS, **TINY[name])
    assert len(gradients) == 3 * GRADIENTS[name]
    if name == "sample_error":
        return
    always = score(tiny_classifier, images, target, images.pixels).keys()
    assert len(always) == 13
    for setting, row in found.items():
        assert isinstance(setting, str) and always <= row.keys()
        assert all(values.shape == (3,) and torch.isfinite(values).all() for values in row.values())


@pytest.mark.parametrize("name", STUDIES)
def test_company_does_not_matter(name, tiny_classifier, images, target):
    measure = partial(STUDIES[name][0], **TINY[name])
    together = measure(tiny_classifier, images, target, SEEDS)
    alone = measure(tiny_classifier, images[1], target[[1]], SEEDS[1:2])
    assert list(alone) == list(together)
    for setting, row in together.items():
        assert_same(
            alone[setting],
            {measure: values[[1]] for measure, values in row.items()},
            rtol=1e-5,
            atol=1e-7,
        )


@pytest.mark.parametrize("name", STUDIES)
def test_without_masks_and_with_a_network_of_ones_own(name, images, target, conv_net):
    found = STUDIES[name][0](
        conv_net, ImageSet(images.pixels, images.names), target, SEEDS, **TINY[name]
    )
    assert found and not any(
        measure.startswith(("mass", "auc")) for row in found.values() for measure in row
    )
    assert "oracle" not in found


@pytest.mark.parametrize("name", STUDIES)
def test_a_network_in_training_mode_is_evaluated_and_left_as_found(
    name, images, target, mixed_mode_net, conv_net, snapshot
):
    measure = partial(STUDIES[name][0], images=images, target=target, seeds=SEEDS, **TINY[name])
    before = snapshot(mixed_mode_net)
    found, expected = measure(mixed_mode_net), measure(conv_net)  # the same weights
    assert snapshot(mixed_mode_net) == before
    for setting, row in expected.items():
        assert_same(found[setting], row)


def test_the_pictures_asked_about():
    tune = [name for name, (_, _, split) in STUDIES.items() if split == "tune"]
    assert tune == ["noise_tuning"]  # what a setting is chosen on is not what it is tested on
    assert all(50 <= n <= 300 for _, n, _ in STUDIES.values())


def test_the_shipped_sizes():
    sizes = {
        name: inspect.signature(function).parameters for name, (function, _, _) in STUDIES.items()
    }
    assert {
        name: row["n_samples"].default for name, row in sizes.items() if "n_samples" in row
    } == {
        "controls": 25,
        "noise_strength": 50,
        "noise_tuning": 25,
        "noise_distribution": 16,
        "aggregation": 16,
    }
    assert sizes["noise_strength"]["strengths"].default == (
        0,
        0.01,
        0.02,
        0.05,
        0.1,
        0.15,
        0.2,
        0.3,
        0.4,
        0.5,
    )
    assert sizes["noise_tuning"]["clipped"].default == ()
    assert sizes["sample_error"]["counts"].default == tuple(range(3, 51))


# --- noise strength
# -----------------------------------------------------------------------------------------------


class TestNoiseStrength:
    def test_settings_and_maps(self, tiny_classifier, images, target):
        found = noise_strength(
            tiny_classifier,
            images,
            target,
            SEEDS,
            n_samples=4,
            strengths=(0, 0.05, 0.2),
            clipped=(0.3,),
        )
        assert list(found) == ["0", "0.05", "0.2", "0.3 clipped"]
        assert_same(
            found["0"],
            score(
                tiny_classifier, images, target, saliency(tiny_classifier, images.pixels, target)
            ),
        )
        for setting, clip in (("0.05", False), ("0.2", False), ("0.3 clipped", True)):
            maps = smoothgrad(
                tiny_classifier,
                images.pixels,
                target,
                n_samples=4,
                noise=float(setting.split()[0]),
                clip=clip,
                seed=SEEDS,
            )
            assert_same(
                {k: v for k, v in found[setting].items() if k not in STRENGTH_OWN},
                score(tiny_classifier, images, target, maps),
            )
            assert found[setting].keys() - found["0"].keys() == STRENGTH_OWN

    def test_strength_zero_is_one_gradient_at_the_picture_itself(
        self, tiny_classifier, images, target, gradients
    ):
        noise_strength(tiny_classifier, images, target, SEEDS, strengths=(0,), clipped=())
        assert torch.stack(gradients).equal(images.pixels)

    @pytest.mark.parametrize(("n", "half"), [(4, 2), (5, 2)])
    def test_halves(self, tiny_classifier, images, target, n, half):
        found = noise_strength(
            tiny_classifier, images, target, SEEDS, n_samples=n, strengths=(0.2,), clipped=()
        )["0.2"]
        first = mean_gradient(
            tiny_classifier, noisy(images.pixels, SEEDS, 0.2, range(half)), target
        )
        other = mean_gradient(
            tiny_classifier, noisy(images.pixels, SEEDS, 0.2, range(half, n)), target
        )
        assert found["stability"].allclose(correlation(first, other), atol=1e-6)
        assert found["mass first half"].allclose(
            relevance_mass(first, images.masks["shape"]), atol=1e-6
        )
        assert found["mass other half"].allclose(
            relevance_mass(other, images.masks["shape"]), atol=1e-6
        )
        # The first half is SmoothGrad of half the samples, and the two together are the whole.
        whole = (half * first + (n - half) * other) / n
        assert first.allclose(
            smoothgrad(
                tiny_classifier, images.pixels, target, n_samples=half, noise=0.2, seed=SEEDS
            )
        )
        assert found["mass"].allclose(relevance_mass(whole, images.masks["shape"]), atol=1e-6)

    @pytest.mark.parametrize("rows", [1, 2, 4, 1000])
    def test_answer_and_range_of_every_copy_whatever_the_chunk(
        self, tiny_classifier, images, target, monkeypatch, rows
    ):
        monkeypatch.setattr("helpers.attribution.gradients.default_batch_size", lambda pixels: rows)
        found = noise_strength(
            tiny_classifier, images, target, SEEDS, n_samples=6, strengths=(0.4,), clipped=(0.4,)
        )
        copies = noisy(images.pixels, SEEDS, 0.4, range(6))
        for setting, points in (("0.4", copies), ("0.4 clipped", copies.clamp(0, 1))):
            answers = torch.stack([tiny_classifier(point).argmax(1) for point in points])
            assert found[setting]["answer kept"].allclose((answers == target).float().mean(0))
            beyond = ((points < 0) | (points > 1)).flatten(2).double().mean((0, 2))
            assert found[setting]["outside"].double().allclose(beyond, atol=1e-6)

    def test_answer_kept_and_outside_in_closed_form(self):
        # Grey 0.52 answers 0 while the mean of 3 × 8 × 8 values stays above 0.5: with probability
        # Φ(0.02 √192 / 0.5) = 0.7103. A value leaves [0, 1] with probability Φ(−0.52 / 0.5) +
        # Φ(−0.48 / 0.5) = 0.1492 + 0.1685.
        def model(pixels):
            mean = pixels.flatten(1).mean(1)
            return torch.stack([mean, torch.full_like(mean, 0.5)], 1)

        grey = ImageSet(torch.full((8, 3, 8, 8), 0.52), tuple("abcdefgh"))
        found = noise_strength(
            model,
            grey,
            torch.zeros(8, dtype=torch.int64),
            range(8),
            n_samples=200,
            strengths=(0.5,),
            clipped=(0.5,),
        )
        kept, outside = (
            float(found["0.5"]["answer kept"].mean()),
            float(found["0.5"]["outside"].mean()),
        )
        assert abs(kept - 0.7103) < 4 * math.sqrt(0.71 * 0.29 / 1600)
        assert abs(outside - 0.3177) < 4 * math.sqrt(0.32 * 0.68 / (1600 * 192))
        assert not found["0.5 clipped"]["outside"].any()

    def test_low_contrast_is_the_same_study_of_faded_pictures(
        self, tiny_classifier, images, target, gradients
    ):
        kept = images.pixels.clone()
        found = low_contrast(
            tiny_classifier, images, target, SEEDS, n_samples=2, strengths=(0, 0.2)
        )
        assert torch.stack(gradients[:3]).allclose(
            0.25 + images.pixels / 2
        ) and images.pixels.equal(kept)
        faded = ImageSet(0.25 + images.pixels / 2, images.names, masks=images.masks)
        expected = noise_strength(
            tiny_classifier, faded, target, SEEDS, n_samples=2, strengths=(0, 0.2), clipped=()
        )
        assert list(found) == list(expected) == ["0", "0.2"]
        for setting, row in expected.items():
            assert_same(found[setting], row)
        gradients.clear()
        low_contrast(tiny_classifier, images[0], target[:1], SEEDS[:1])
        assert len(gradients) == 1 + 9 * 25  # unclipped alone


# --- sample count
# -----------------------------------------------------------------------------------------------


class TestSampleCount:
    def test_settings_maps_and_stability(self, tiny_classifier, images, target):
        found = sample_count(tiny_classifier, images, target, SEEDS, counts=(1, 3))
        assert list(found) == ["gradient", "1", "3"] and "stability" not in found["gradient"]
        for n in (1, 3):
            maps = mean_gradient(
                tiny_classifier, noisy(images.pixels, SEEDS, 0.15, range(n)), target
            )
            again = mean_gradient(
                tiny_classifier, noisy(images.pixels, OTHER_SEEDS, 0.15, range(n)), target
            )
            expected = score(tiny_classifier, images, target, maps) | {
                "stability": correlation(maps, again)
            }
            assert_same(found[str(n)], expected, rtol=1e-6, atol=1e-6)

    def test_the_gradient(self, tiny_classifier, images, target):
        found = sample_count(tiny_classifier, images, target, SEEDS, counts=(1,))
        assert_same(
            found["gradient"],
            score(
                tiny_classifier, images, target, saliency(tiny_classifier, images.pixels, target)
            ),
        )


def quadratic(pixels):
    """f = ½ Σ x²: the gradient at x + δ is x + δ, its variance σ² for each value."""
    return pixels.square().flatten(1).sum(1, keepdim=True) / 2


@pytest.fixture(scope="module")
def errors():
    """``sample_error`` of ``quadratic`` on 80 pictures of d = 192 values 0.3, σ = 0.15: the map of
    n samples is x + the mean of n fields, ‖x‖² = 0.09 d, and the total variance V = 0.0225 d: V /
    ‖x‖² = 1/4."""
    grey = ImageSet(torch.full((80, 3, 8, 8), 0.3, dtype=torch.float64), tuple(map(str, range(80))))
    return sample_error(
        quadratic,
        grey,
        torch.zeros(80, dtype=torch.int64),
        range(100, 180),
        counts=(1, 4, 20),
        pairs=(1, 10),
        n_reference=4,
    )


class TestSampleError:
    def test_settings(self, errors):
        assert list(errors) == ["1", "4", "20", "2 antithetic", "20 antithetic"]
        assert all(row.keys() == {"error", "reference error"} for row in errors.values())
        one = ImageSet(torch.ones(1, 1, 2, 2), ("a",))
        sizes = dict(counts=(1, 3), pairs=(), n_reference=2)
        assert len(sample_error(quadratic, one, torch.tensor([0]), [0], **sizes)) == 2

    @pytest.mark.parametrize("n", [1, 4, 20])
    def test_the_error_is_that_of_both_and_the_reference_error_its_share(self, errors, n):
        error, own = (
            float(errors[str(n)][measure].mean()) for measure in ("error", "reference error")
        )
        # A mean over 80 × 192 squares has a standard error of √(2 / 15360) = 1.1 %; were R's own
        # variance left in its squared norm, all would be 6 % too small, and with noise that R
        # shares, the error of 1 sample by two fifths.
        assert error == pytest.approx(0.25 * (1 / n + 1 / 4), rel=0.045)
        assert own == pytest.approx(0.25 / 4, rel=0.045)

    def test_antithetic_pairs_are_exact_so_only_the_reference_errs(self, errors):
        for setting in ("2 antithetic", "20 antithetic"):
            assert float(errors[setting]["error"].mean()) == pytest.approx(0.25 / 4, rel=0.045)
        assert errors["2 antithetic"]["error"].allclose(errors["20 antithetic"]["error"])

    def test_by_hand(self):
        pixels = torch.rand(2, 1, 3, 3, dtype=torch.float64)
        found = sample_error(
            quadratic,
            ImageSet(pixels, ("a", "b")),
            torch.tensor([0, 0]),
            [5, 6],
            counts=(2,),
            pairs=(1,),
            n_reference=3,
        )
        samples = noisy(pixels, [1_000_005, 1_000_006], 0.15, range(3))
        reference, own = samples.mean(0), samples.var(0).flatten(1).sum(1) / 3
        size = reference.flatten(1).square().sum(1) - own
        for setting, maps in (
            ("2", noisy(pixels, [5, 6], 0.15, range(2)).mean(0)),
            ("2 antithetic", pixels),
        ):
            assert found[setting]["error"].allclose(
                (maps - reference).flatten(1).square().sum(1) / size
            )
            assert found[setting]["reference error"].allclose(own / size)


# --- noise distribution, aggregation, controls
# ------------------------------------------------------------------------


class TestNoiseDistribution:
    def test_settings_maps_and_likeness(self, tiny_classifier, images, target):
        found = noise_distribution(tiny_classifier, images, target, SEEDS, n_samples=3)
        assert list(found) == [
            "gradient",
            "normal again",
            "normal",
            "uniform",
            "laplace",
            "rademacher",
            "uniform, IQR",
            "laplace, IQR",
            "cauchy, IQR",
            "sparse",
        ]
        settings = dict(n_samples=3, noise=0.15)
        normal = smoothgrad(tiny_classifier, images.pixels, target, seed=SEEDS, **settings)
        for label, more in {
            "normal": {"seed": SEEDS},
            "normal again": {"seed": OTHER_SEEDS},
            "rademacher": {"seed": SEEDS, "distribution": "rademacher"},
            "uniform, IQR": {"seed": SEEDS, "distribution": "uniform", "match": "iqr"},
            "cauchy, IQR": {"seed": SEEDS, "distribution": "cauchy", "match": "iqr"},
        }.items():
            maps = smoothgrad(tiny_classifier, images.pixels, target, **settings, **more)
            like = {} if label == "normal" else {"like normal": correlation(maps, normal)}
            assert_same(found[label], score(tiny_classifier, images, target, maps) | like)
        assert "like normal" not in found["gradient"]

    def test_sparse_noise_has_unit_standard_deviation_in_a_tenth_of_the_values(self):
        field = DISTRIBUTIONS["sparse"][0]((400, 400), np.random.default_rng(0))
        assert np.unique(field.round(6)).tolist() == [-3.162278, 0, 3.162278]
        assert field.std() == pytest.approx(1, abs=0.02) and abs(field.mean()) < 0.02
        assert (field != 0).mean() == pytest.approx(0.1, abs=0.004)


class TestAggregation:
    EPSILONS = ("1", "0.01", "0.0001")

    def test_settings(self, tiny_classifier, images, target):
        found = aggregation(tiny_classifier, images, target, SEEDS, n_samples=4)
        each = [*AGGREGATES, *(f"geometric_mean, ε = {epsilon}" for epsilon in self.EPSILONS)]
        assert list(found) == [
            "gradient",
            *each,
            *(f"{name}, random network" for name in AGGREGATES),
        ]
        assert all(("stability" in found[name]) == (name in each) for name in found)

    def test_maps(self, tiny_classifier, images, target):
        found = aggregation(tiny_classifier, images, target, SEEDS, n_samples=4)
        for name, aggregate in {
            **{name: name for name in AGGREGATES},
            "geometric_mean, ε = 0.01": GeometricMean(0.01),
        }.items():
            explain = partial(smoothgrad, noise=0.15, aggregate=aggregate)
            maps, again = (
                explain(tiny_classifier, images.pixels, target, n_samples=4, seed=seeds)
                for seeds in (SEEDS, OTHER_SEEDS)
            )
            expected = score(tiny_classifier, images, target, maps) | {
                "stability": correlation(maps, again)
            }
            assert_same(found[name], expected)
            if name in AGGREGATES:
                unlearnt = random_network(partial(explain, n_samples=2, seed=SEEDS))(
                    tiny_classifier, images.pixels, target
                )
                assert_same(
                    found[f"{name}, random network"],
                    score(tiny_classifier, images, target, unlearnt),
                )


def test_controls(tiny_classifier, images, target):
    found = controls(tiny_classifier, images, target, SEEDS, n_samples=2)
    assert list(found) == [
        "gradient",
        "random",
        "blurred random",
        "Sobel",
        "|x − mean|",
        "random network, gradient",
        "random network, SmoothGrad",
        "oracle",
    ]
    assert found["oracle"]["mass"].tolist() == found["oracle"]["auc"].tolist() == [1, 1, 1]
    for label, attribution in {
        "Sobel": sobel,
        "random network, gradient": random_network(saliency),
        "random network, SmoothGrad": random_network(
            partial(smoothgrad, n_samples=2, noise=0.15, seed=SEEDS)
        ),
    }.items():
        assert_same(
            found[label],
            score(
                tiny_classifier, images, target, attribution(tiny_classifier, images.pixels, target)
            ),
        )


def test_other_seeds_share_no_draw_with_any_study():
    # Picture i of training seed s has noise seed 10,000 (s + 1) + i.
    seeds = [10_000 * (s + 1) + i for s in range(3) for i in range(500)]
    assert len(set(seeds) | set(smoothgrad_studies._others(seeds))) == 2 * len(seeds)


def test_what_is_watched_is_what_the_network_saw():
    watched, seen = smoothgrad_studies.watched(nn.Identity())
    watched(torch.tensor([[0.0, 1.0], [1.5, -0.1], [0.5, -0.1]]))
    watched(torch.tensor([[0.2, 0.1]]))
    assert torch.cat(seen["answers"]).tolist() == [1, 0, 0, 0] and torch.cat(
        seen["outside"]
    ).tolist() == [0, 1, 0.5, 0]
