"""What every headline rests on, each value had another way, and the studies of photographs on
networks so small that every number can be."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.classifier import Classifier
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model, recipe_name
from helpers.measures.quality import correlation, pair_contrast, relevance_mass
from helpers.measures.statistics import Estimate, SeedEstimate
from helpers.studies import findings as module
from helpers.studies import photographs
from helpers.studies.headlines import PAIRED, headlines
from helpers.studies.smoothgrad import NOISE
from helpers.studies.store import Results

SMALL = dict(n=4, strengths=(0.05, 0.15), distributions=("uniform",), counts=(2, 3, 6))
SMALL |= dict(steps=(2, 8))
SEEDS = [5, 9]


@pytest.fixture(scope="module")
def scenes():
    model = load_model("scenes", device="cpu")
    images = load_images("scenes", 2)
    target = images.labels["shape"]
    return model, images, target, headlines(model, images, target, SEEDS, **SMALL)


def test_squares_are_compared_with_squares_and_sizes_with_sizes(scenes):
    model, images, target, found = scenes
    how = dict(n_samples=4, noise=NOISE, seed=SEEDS)
    mean_square, mean_abs, mean, variance = (
        smoothgrad(model, images.pixels, target, aggregate=name, **how)
        for name in ("mean_square", "mean_abs", "mean", "variance")
    )
    mask = images.masks["shape"]
    plain = saliency(model, images.pixels, target)
    expected = {
        ("gradient", "mass"): relevance_mass(plain, mask),
        ("gradient", "squares"): relevance_mass(plain.square(), mask),
        ("gradient", "mass other"): relevance_mass(plain, images.masks["letter"]),
        ("root mean square", "squares"): relevance_mass(mean_square, mask),
        ("root mean square", "mass"): relevance_mass(mean_square.sqrt(), mask),
        ("root variance", "squares"): relevance_mass(variance, mask),
        ("mean abs", "mass"): relevance_mass(mean_abs, mask),
        ("SmoothGrad 15 %", "mass"): relevance_mass(mean, mask),
    }
    debiased = mean.square() - variance / 4
    expected["SmoothGrad 15 %", "squares, debiased"] = (debiased * mask).sum((1, 2, 3)) / (
        debiased.sum((1, 2, 3))
    )
    for (setting, measure), values in expected.items():
        assert found[setting][measure].allclose(values, rtol=1e-4), (setting, measure)


def test_steps_counts_and_stability(scenes):
    model, images, target, found = scenes
    pixels, mask = images.pixels, images.masks["shape"]
    maps = integrated_gradients(model, pixels, target, n_steps=[2, 4, 8])
    few = (maps[2] - maps[8]).flatten(1).abs().sum(1) / maps[8].flatten(1).abs().sum(1)
    assert found["IG black, n = 2"]["error"].allclose(few, rtol=1e-4)
    assert found["IG black"]["mass"].allclose(relevance_mass(maps[4], mask), rtol=1e-4)
    assert "error" not in found["IG black, n = 8"] and "IG black, n = 4" not in found
    counted = smoothgrad(model, pixels, target, n_samples=[2, 3, 6], noise=NOISE, seed=SEEDS)
    halves = correlation(counted[3], 2 * counted[6] - counted[3])
    assert found["SmoothGrad 15 %, n = 6"]["stability"].allclose(halves, atol=1e-4)
    assert found["SmoothGrad 15 %, n = 2"]["mass"].allclose(
        relevance_mass(counted[2], mask), rtol=1e-4
    )


def test_a_method_that_does_not_apply_has_a_setting_without_values(scenes):
    model, images = load_model("scenes-attention", device="cpu"), load_images("scenes", 2)
    found = headlines(model, images, images.labels["shape"], SEEDS, **SMALL)
    assert found["guided backprop"] == found["Grad-CAM"] == {} != found["gradient"]
    other = headlines(
        load_model("scenes", device="cpu"), images, images.labels["shape"], SEEDS, **SMALL
    )
    assert list(found) == list(other)


class Halves(nn.Module):
    """Logit k is k + 1 times what is bright in the k-th quarter, rectified: its own cell alone."""

    def forward(self, pixels):
        h, w = pixels.shape[2] // 2, pixels.shape[3] // 2
        cells = [
            pixels[:, :, i * h : (i + 1) * h, j * w : (j + 1) * w] for i in (0, 1) for j in (0, 1)
        ]
        return torch.stack(
            [(k + 1) * cell.square().sum((1, 2, 3)) for k, cell in enumerate(cells)], 1
        )


def classifier(network):
    return Classifier(
        network,
        mean=[0.0] * 3,
        std=[1.0] * 3,
        name="tiny",
        classes="abcd",
        input_size=8,
        part="class",
        images="",
    ).eval()


@pytest.fixture
def quarters():
    """(model, two mosaics of 2 × 2, the targets): the truth of each class is its quarter."""
    pixels = 0.2 + 0.6 * torch.rand(2, 3, 8, 8)
    masks = {name: torch.zeros(2, 1, 8, 8, dtype=torch.bool) for name in ("cell", "other")}
    masks["cell"][:, :, :4, :4] = masks["other"][:, :, 4:, 4:] = True
    labels = {"class": torch.tensor([0, 0]), "other": torch.tensor([3, 3])}
    return classifier(Halves()), ImageSet(pixels, ("a", "b"), labels, masks), labels["class"]


def test_contrast_of_one_grid_explained_for_two_of_its_classes(quarters):
    model, images, target = quarters
    found = headlines(model, images, target, SEEDS, hidden=(), **SMALL)
    there = [name for name in PAIRED if "contrast" in found[name]]
    assert {"gradient", "SmoothGrad 5 %", "IG black", "IG blur"} <= set(there)
    assert found["gradient"]["contrast"].allclose(torch.ones(2))  # all of either map in its cell
    first, second = (
        integrated_gradients(model, images.pixels, images.labels[name], baseline="mean", n_steps=4)
        for name in ("class", "other")
    )
    by_hand = pair_contrast(first, second, images.masks["cell"], images.masks["other"])
    assert found["IG mean"]["contrast"].allclose(by_hand, rtol=1e-4)
    assert not any("hidden" in measure for row in found.values() for measure in row)


class TestFindings:
    def results(self, name, networks):
        rng = np.random.default_rng(len(networks))
        settings = ("gradient", "SmoothGrad 5 %", "IG mean")
        values = {"mass": rng.random((len(networks), 3, 3, 40))}
        values["mass"][0, :, 1] = values["mass"][0, :, 0] + 0.25
        return Results(name, networks, (0, 1, 2), settings, np.arange(40), 0, values)

    def test_each_is_a_difference_of_the_stored_values(self, monkeypatch):
        stored = {"headlines": self.results("headlines", ("scenes", "scenes-plain"))}
        stored["headlines"].values["mass"][1, :, 1, :5] = math.nan

        def load(name):
            if name not in stored:
                raise module.WeightsNotFoundError
            return stored[name]

        monkeypatch.setattr(module, "load_results", load)
        found = module.findings()
        assert list(found) == ["noise of 5 % against the gradient (mass)"]
        row = found["noise of 5 % against the gradient (mass)"]
        assert isinstance(row["scenes"], SeedEstimate)
        assert row["scenes"].overall == pytest.approx((0.25, 0.25, 0.25, 40))
        assert row["scenes-plain"].overall.n == 35  # a picture without a value is left out

    def test_mosaics_of_one_target_count_once(self):
        """The i-th mosaic's target lies in cell i mod 4."""
        names = ["a + x + x + x", "x + b + x + x", "x + x + a + x", "x + x + x + b"] * 5
        names += [
            f"{letter} + x + x + x" if i % 4 == 0 else f"x + {letter} + x + x"
            for i, letter in zip((20, 21), "cd", strict=True)
        ]
        values = np.zeros((1, 2, 2, 22))
        values[0, 0, 1] = [1.0, 2.0, 3.0, 6.0] * 5 + [10.0, math.nan]
        values[0, 1, 1] = values[0, 0, 1] + 1
        study = Results(
            "s", ("n",), (0, 1), ("p", "q"), np.arange(22), 0, {"mass": values}, {"n": tuple(names)}
        )
        assert study.targets().tolist() == ["a", "b"] * 10 + ["c", "d"]
        found = study.less("mass", "q", "p")  # a: 2, b: 4, c: 10; d has none
        assert found.overall.n == 3 and found.overall.mean == pytest.approx(16 / 3 + 0.5)
        assert [seed.mean for seed in found.seeds] == pytest.approx([16 / 3, 16 / 3 + 1])
        assert study.estimate("mass", "q").overall.mean == pytest.approx(16 / 3 + 0.5)
        single = Results(
            "s", ("n",), (0,), ("p",), np.arange(12), 0, {}, {"n": tuple("abcdefghijkl")}
        )
        assert single.targets() is None
        assert single.mean(np.arange(12.0)[None]).overall.n == 12

    @pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
    def test_agreement_is_the_rank_correlation_over_methods(self, monkeypatch, sign, expected):
        methods = ("gradient", "IG black", "IG mean", "IG blur", "random")
        means, noise = np.arange(1.0, 6), 0.01 * np.random.default_rng(0).random((2, 5, 30))
        noise[1, 4] += 9  # a control, which does not count
        values = [means[:, None] + noise[0], sign * means[:, None] + noise[1]]
        stored = {
            name: Results(
                name, ("scenes",), (0,), methods, np.arange(30), 0, {"mass": of[None, None]}
            )
            for name, of in zip(("headlines", "scenes_mosaics"), values, strict=True)
        }
        monkeypatch.setattr(module, "load_results", stored.__getitem__)
        assert module.agreement("scenes") == pytest.approx((expected, expected, expected, 4))

    def test_in_short_names_every_kind_of_network(self, monkeypatch):
        row = {
            name: SeedEstimate(Estimate(mean, mean - 0.01, mean + 0.01, 100), ())
            for name, mean in {
                "scenes": 0.1,
                "scenes-letters": -0.2,
                "scenes-plain": 0.3,
                "scenes-letters-noise": -0.4,
                "scenes-attention": 0.5,
                "scenes, mosaics": 0.6,
                "efficientnet_lite0, mosaics": 0.7,
                "squeezenet1_1, mosaics": -0.8,
            }.items()
        }
        monkeypatch.setattr(module, "findings", lambda: {"one (mass)": row, "two (mass)": {}})
        assert module.in_short("one") == (
            "one (mass): 0.100 and -0.200 on the benchmark's shapes and letters, -0.400 to 0.300 "
            "where networks were trained otherwise, 0.500 with attention; on mosaics of "
            "photographs 0.700 [0.690, 0.710] for EfficientNet-Lite0 and -0.800 [-0.810, -0.790] "
            "for SqueezeNet"
        )


class TestPhotographs:
    def test_scene_mosaics_are_the_same_for_every_training_seed(self, monkeypatch):
        few = load_images("scenes", 80)
        monkeypatch.setattr(photographs, "load_images", lambda source: few)
        first, second = (
            photographs.scene_mosaics(load_model("scenes", seed=seed, device="cpu"), 2)
            for seed in (0, 1)
        )
        assert torch.equal(first.pixels, second.pixels)
        assert first.masks["cell"].flatten(1).float().mean(1).tolist() == [0.25, 0.25]

    def test_folders_are_named_by_hand(self, monkeypatch, tmp_path):
        monkeypatch.delenv("HELPERS_PHOTOS", raising=False)
        with pytest.raises(FileNotFoundError, match="set HELPERS_PHOTOS"):
            photographs.folders()
        monkeypatch.setenv("HELPERS_PHOTOS", f"{tmp_path}:{tmp_path / 'none'}")
        with pytest.raises(FileNotFoundError, match="found '"):
            photographs.folders()
        monkeypatch.setenv("HELPERS_PHOTOS", f"{tmp_path}:{tmp_path}")
        assert photographs.folders() == [tmp_path, tmp_path]

    def test_blocks_come_from_the_output_backwards(self):
        network = nn.Sequential()
        network.add_module("stem", nn.Conv2d(3, 4, 3))
        network.add_module(
            "stages",
            nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1)), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        )
        network.add_module("head", nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 4)))
        assert photographs.blocks(classifier(network)) == [
            "network.head.1",
            "network.stages.2",
            "network.stages.0.0",
            "network.stem",
        ]

    def test_noise_is_counted(self, quarters):
        model, images, _ = quarters
        dimmed = images.pixels * torch.tensor([1.0, 0.0])[:, None, None, None]
        images, target = replace(images, pixels=dimmed), torch.tensor([3, 0])
        found = photographs.photos_noise(model, images, target, SEEDS, n_samples=8)
        assert list(found) == ["0.01", "0.02", "0.05", "0.1", "0.15", "0.3"]
        assert found["0.01"]["answer kept"][0] == 1
        # a black picture's answer is the noise's: the class of the largest factor
        assert found["0.3"]["answer kept"][1] == 0

    def test_steps_of_a_quadratic_by_hand(self, quarters):
        """f = Σ x²: the gradient is linear on the path, so midpoint and Gauss and Legendre are
        exact and the left rule of n steps is off by 1 / n of the whole."""
        model, images, target = quarters
        found = photographs.photos_steps(model, images, target, SEEDS, steps=(5, 20), n_dense=200)
        for n in (5, 20):
            assert (found[f"midpoint, {n}"]["gap"] < 1e-5).all()
            assert found[f"left, {n}"]["gap"].allclose(torch.full((2,), 1 / n), atol=1e-4)
            off = found[f"left, {n}"]["log10 error"]
            assert off.allclose(torch.full((2,), -math.log10(n)), atol=1e-3)
            assert (found[f"gauss_legendre, {n}"]["log10 error"] < -4).all()
        assert "log10 error" not in found["dense"]

    def test_a_gradient_without_noise_in_it_needs_one_copy(self):
        """f = w · x: every copy has the same gradient, so all numbers and laws give one map, whose
        variance is none."""
        model, pixels = (
            classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 4))),
            torch.rand(2, 3, 4, 4),
        )
        images = ImageSet(pixels, ("a", "b"))
        target = model(pixels).argmax(1)
        found = photographs.photos_samples(model, images, target, SEEDS, counts=(2, 4))
        same = {name for name, row in found.items() if (row["like"] > 0.999).all()}
        assert same == set(found) - {"root variance"} >= {"gradient", "n = 2", "n = 4", "laplace"}

    def test_a_grid_is_explained_for_the_class_of_each_cell(self):
        """Each class's logit reads its own quarter: all of the gradient lies there, and a map that
        no class moves has no contrast."""
        masks = torch.zeros(4, 2, 1, 8, 8, dtype=torch.bool)
        for i, (y, x) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
            masks[i, ..., y : y + 4, x : x + 4] = True
        cells = [f"cell {i}" for i in range(4)]
        labels = {name: torch.full((2,), i) for i, name in enumerate(cells)}
        pixels = 0.2 + 0.6 * torch.rand(2, 3, 8, 8)
        images = ImageSet(pixels, ("a", "b"), labels, dict(zip(cells, masks, strict=True)))
        network = nn.Sequential(nn.AvgPool2d(4), nn.ReLU(), nn.Conv2d(3, 1, 1), nn.Flatten())
        nn.init.ones_(network[2].weight)
        found = photographs.contrast(classifier(network), images, None, SEEDS, n=2)
        assert found["gradient"]["contrast"].allclose(torch.ones(2))
        assert found["Sobel"]["contrast"].allclose(torch.zeros(2), atol=1e-6)

    def test_hiding_and_randomisation_have_a_row_for_each_method(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(8, 4),
            )
        model, pixels = classifier(network), torch.rand(2, 3, 16, 16)
        images = ImageSet(pixels, ("a", "b"))
        target = model(pixels).argmax(1)
        hidden = photographs.photos_hiding(model, images, target, SEEDS)
        assert list(hidden) == list(photographs.METHODS)
        for row in hidden.values():
            assert list(row) == [
                f"{o} hidden, {f}" for o in ("lowest", "highest") for f in photographs.FILLS
            ]
        like = photographs.photos_randomisation(model, images, target, SEEDS)
        assert len(like) == 16
        after_one = like["guided backprop, one block"]["like"]
        # the last layer weights what guided backprop shows; the gradient's rectifiers do not change
        assert (after_one.abs() <= 1).all() and like["gradient, 100 %"]["like"].abs().max() < 0.9


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("scenes", "both"),
        ("scenes-letters-noise", "noise"),
        ("scenes-attention", "both"),
        ("efficientnet_lite0", ""),
    ],
)
def test_recipes(name, recipe):
    assert recipe_name(name) == recipe
