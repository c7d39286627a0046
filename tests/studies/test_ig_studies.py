"""The measurements of the Integrated Gradients notebooks, on networks and sizes so small that every
number can be had another way."""

import copy
import inspect
import math
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import (
    integrated_gradients,
    make_baseline,
    path_gradient,
)
from helpers.attribution.relatives import grad_cam, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import Classifier, load_model
from helpers.benchmark.scenes import render, sample_scene, swap
from helpers.measures.controls import cascade, random_network, sobel
from helpers.measures.quality import relevance_mass, ssim
from helpers.measures.scoring import score
from helpers.studies import integrated_gradients as ig_studies
from helpers.studies.integrated_gradients import (
    COLOURS,
    POINTS,
    STUDIES,
    baselines,
    blindness,
    faithfulness,
    methods,
    quality,
    randomisation,
    repainted,
)

SEEDS = [11, 12, 13]
FILLS = ("mean", "blur", "noise")
TINY = {
    "baselines": {"n_steps": 2},
    "blindness": {"n_steps": 2},
    "quality": {"n_samples": 2},
    "faithfulness": {"n_samples": 2},
    "randomisation": {"n_samples": 2},
}
# without noise or path; with 2 samples or steps; from each of ten references
METHODS = 4 * 1 + 6 * 2 + 10 * 1
GRADIENTS = {  # for one picture, by the sizes above
    "baselines": 7 * 2
    + 20
    + 10,  # seven points, what it takes to find the adversarial one, ten references
    "blindness": 4 * 3 * 2,
    "quality": METHODS + 1 + 2,  # the random network's gradient and its Integrated Gradients
    "faithfulness": METHODS
    * (1 + 1 + 4),  # the map; again, and at four points nearby, for the sensitivity
    "randomisation": (1 + 1 + 2 + 2 + 1)
    * (1 + 3),  # of the trained network and of three that forgot
}


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Reading the scenes takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ig_studies, "load_images", cache(load_images))
        yield


@pytest.fixture(scope="module")
def scenes():
    """Three test scenes, in float64."""
    return in_double(load_images("scenes", 3))


def in_double(images):
    return replace(images, pixels=images.pixels.double())


def tiny_network(seed=9):  # of which no ReLU is dead
    """A ``Classifier`` of the embedded network's kind, with batch norm as if trained, for pictures
    of any size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 2), nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(6, 5),
        )
        network[0][1].running_mean.normal_(0, 0.2)
        network[0][1].running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(network[5].weight, 0.1, 2)  # each class has something that speaks for it
    return as_classifier(network)


def as_classifier(network, n_classes=5):
    return (
        Classifier(
            network,
            mean=[0.0] * 3,
            std=[1.0] * 3,
            name="tiny",
            classes="abcdefgh"[:n_classes],
            input_size=64,
            part="shape",
            images="scenes",
        )
        .double()
        .eval()
    )


@pytest.fixture(scope="module")
def network():
    return tiny_network()


TARGET = torch.tensor([0, 3, 1])


def linear(weights, bias, place):
    """f_k = w_k · colour + b_k, w (K, 3), of the colour at a place or of the mean of all."""
    network = nn.Sequential(nn.Conv2d(3, len(weights), 1), place, nn.Flatten()).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.as_tensor(weights)[:, :, None, None])
        network[0].bias.copy_(torch.as_tensor(bias))
    return network


def mean_colour(weights, bias):
    """A ``Classifier`` whose gradient is w_k / (H W), everywhere the same."""
    return as_classifier(linear(weights, bias, nn.AdaptiveAvgPool2d(1)), len(weights))


class At(nn.Module):
    """One place of a picture alone."""

    def __init__(self, row, column):
        super().__init__()
        self.row, self.column = row, column

    def forward(self, pixels):
        return pixels[:, :, self.row, self.column]


def counted(model):
    """The model and the points at which a gradient was asked for, a row each; copies of the model
    note theirs here, too."""
    model, points = copy.deepcopy(model), []

    def note(model, inputs):
        if torch.is_grad_enabled():
            points.extend(inputs[0].detach())

    model.register_forward_pre_hook(note)
    return model, points


def state_of(model):
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "state": {name: value.tolist() for name, value in model.state_dict().items()},
        "needed": {name: value.requires_grad for name, value in model.named_parameters()},
        "grad": {
            name: None if value.grad is None else value.grad.tolist()
            for name, value in model.named_parameters()
        },
        "hooks": {
            name: [
                len(module._forward_hooks),
                len(module._forward_pre_hooks),
                len(module._backward_hooks),
                len(module._backward_pre_hooks),
            ]
            for name, module in model.named_modules()
        },
    }


def assert_same(found, expected, **tolerance):
    """One setting has these measures, and maybe others."""
    for measure, values in expected.items():
        values = values.double()
        torch.testing.assert_close(
            found[measure].double(),
            values,
            equal_nan=True,
            msg=lambda text, m=measure: f"{m}: {text}",
            **tolerance,
        )


# --- every study
# -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(network, scenes):
    """name → what the study found for the three scenes and the network in training mode, how many
    gradients that took, and the network's state before and after."""

    @cache
    def measure(name):
        model, points = counted(network)
        model.train().network[1][0].eval()
        model.network[0][0].weight.requires_grad_(False)
        model.network[5].weight.grad = torch.ones_like(model.network[5].weight)
        before = state_of(model)
        found = STUDIES[name][0](model, scenes, TARGET, SEEDS, **TINY[name])
        return found, len(points), (before, state_of(model))

    return measure


@pytest.mark.parametrize("name", STUDIES)
def test_gradients_are_counted_and_every_map_scored(name, together):
    found, n_gradients, _ = together(name)
    assert n_gradients == 3 * GRADIENTS[name]
    always = {
        "randomisation": {"rank signed", "rank unsigned", "ssim"},
        "faithfulness": {
            "mass",
            "infidelity",
            *(f"{way}, {fill}" for way in ("deletion", "insertion") for fill in FILLS),
        },
    }.get(
        name,
        {
            f"{measure}{suffix}"
            for measure in ("mass", "auc", "mass +2", "auc +2")
            for suffix in ("", " other")
        },
    )
    for setting, row in found.items():
        assert isinstance(setting, str) and always <= row.keys()
        assert all(values.shape == (3,) for values in row.values())
        # whose map can come to nothing
        if name != "randomisation" or not setting.startswith(("guided backprop", "Grad-CAM")):
            assert all(torch.isfinite(values).all() for values in row.values())


@pytest.mark.parametrize("name", STUDIES)
def test_company_and_training_mode_do_not_matter(name, network, scenes, together):
    found, _, (before, after) = together(name)
    assert before["modes"]["network"] and after == before
    # in eval mode
    alone = STUDIES[name][0](network, scenes[1], TARGET[[1]], SEEDS[1:2], **TINY[name])
    assert list(alone) == list(found)
    for setting, row in found.items():
        assert alone[setting].keys() == row.keys()
        assert_same(
            alone[setting],
            {measure: values[[1]] for measure, values in row.items()},
            rtol=1e-5,
            atol=1e-7,
        )


@pytest.mark.parametrize("name", ["baselines", "quality", "randomisation"])  # faithfulness: below
def test_without_masks_and_with_a_network_of_ones_own(name, network, conv_net, pictures):
    # of the blocks of a Classifier's network, in pictures as large as the window of ssim
    if name == "randomisation":
        conv_net, pictures = network, torch.rand(3, 3, 14, 14, dtype=torch.float64)
    found = STUDIES[name][0](
        conv_net, ImageSet(pictures, ("a", "b", "c")), TARGET, SEEDS, **TINY[name]
    )
    assert found and "oracle" not in found
    assert not any(measure.startswith(("mass", "auc")) for row in found.values() for measure in row)
    assert all(values.shape == (3,) for row in found.values() for values in row.values())


def test_the_shipped_sizes():
    assert all(split == "test" and 40 <= n <= 300 for _, n, split in STUDIES.values())
    sizes = {
        name: list(inspect.signature(function).parameters.values())[-1]
        for name, (function, _, _) in STUDIES.items()
    }
    assert {name: (size.name, size.default) for name, size in sizes.items()} == {
        "baselines": ("n_steps", 16),
        "blindness": ("n_steps", 16),
        "quality": ("n_samples", 16),
        "faithfulness": ("n_samples", 16),
        "randomisation": ("n_samples", 15),
    }


# --- baselines
# -----------------------------------------------------------------------------------------------


class TestBaselines:
    def test_settings_and_maps(self, network, scenes, together):
        found, *_ = together("baselines")
        assert list(found) == [
            setting for name in POINTS for setting in (name, f"{name}, gradient", f"{name}, factor")
        ] + ["samples"]
        own = {"rise", "gap", "start", "entropy"}
        for name in POINTS:
            maps = integrated_gradients(
                network, scenes.pixels, TARGET, baseline=name, n_steps=2, seed=SEEDS
            )
            expected = score(network, scenes, TARGET, maps, fills=FILLS)
            assert found[name].keys() == expected.keys() | own
            assert_same(found[name], expected)
            # Its two factors, which multiply to it; nothing is hidden by them, and no path belongs
            # to them.
            factor = scenes.pixels - make_baseline(name, network, scenes.pixels, TARGET, seed=SEEDS)
            gradient = path_gradient(
                network, scenes.pixels, TARGET, baseline=name, n_steps=2, seed=SEEDS
            )
            assert maps.allclose(factor * gradient, atol=1e-12)
            for part, values in (("factor", factor), ("gradient", gradient)):
                assert_same(
                    found[f"{name}, {part}"], score(network, scenes, TARGET, values, fills=())
                )
                assert all(
                    measure.startswith(("mass", "auc")) for measure in found[f"{name}, {part}"]
                )

    def test_the_factor_knows_nothing_of_the_network(self, scenes, together):
        found, *_ = together("baselines")
        again = baselines(tiny_network(seed=3), scenes[0], TARGET[:1], SEEDS[:1], n_steps=1)
        for name in POINTS:
            same = found[f"{name}, factor"]["mass"][0].allclose(again[f"{name}, factor"]["mass"])
            assert same == (name != "adversarial")  # which asks the network where to start
            assert not found[f"{name}, gradient"]["mass"][0].allclose(
                again[f"{name}, gradient"]["mass"]
            )

    def test_of_a_linear_network(self, scenes):
        # softmax at black is (½, ¼, ⅛, ⅛): an entropy of 1.75 bits.
        weights, bias = (
            torch.tensor([[1.0, 2, 3], [-1, 4, 0], [0, 0, 2], [3, -2, 1]]),
            torch.tensor([0.5, 0.25, 0.125, 0.125]).log(),
        )
        found = baselines(mean_colour(weights, bias), scenes, TARGET, SEEDS, n_steps=1)
        weight = weights[TARGET].double()
        colour = scenes.pixels.mean((2, 3))
        tuning = load_images("scenes", 10, split="tune").pixels.double().mean((2, 3))  # (10, 3)
        expected = {
            "black": (weight * colour).sum(1),
            "white": (weight * (colour - 1)).sum(1),
            "mean": torch.zeros(3),
            "samples": (weight * (colour - tuning.mean(0))).sum(1),
        }
        for name, rise in expected.items():
            rise = rise.double()
            start = (weight * colour).sum(1) + bias[TARGET].double() - rise
            assert_same(found[name], {"rise": rise, "start": start}, atol=1e-6, rtol=1e-6)
        for name in (*POINTS, "samples"):
            assert found[name]["gap"].abs().max() < 1e-6  # one step is enough, from anywhere
        assert found["black"]["entropy"].tolist() == pytest.approx([1.75] * 3, abs=1e-6)
        # of several, the mean of their entropies
        log2 = (tuning @ weights.double().T + bias).log_softmax(1) / math.log(2)
        assert found["samples"]["entropy"].tolist() == pytest.approx(
            [float(-(log2.exp2() * log2).sum(1).mean())] * 3
        )
        area = scenes.masks["shape"].double().mean((1, 2, 3))
        for (
            name
        ) in POINTS:  # the gradient is the same everywhere, so its share on the mask is the mask's
            assert_same(found[f"{name}, gradient"], {"mass": area})
        # Expected gradients: the weights times the distance from the mean reference.
        references = load_images("scenes", 10, split="tune").pixels.double()
        maps = weight[:, :, None, None] * (scenes.pixels - references.mean(0))
        assert_same(found["samples"], {"mass": relevance_mass(maps, scenes.masks["shape"])})

    def test_the_gap_of_a_curved_network(self):
        # f = the mean of x³, from black to 1: n midpoints find 1 − 1 / (4 n²) of it. From white
        # there is no way to go.
        def model(pixels):
            cubes = (pixels**3).flatten(1).mean(1)
            return torch.stack([cubes, 0 * cubes - 1], 1)  # rows of sum 1 would be probabilities

        ones = ImageSet(torch.ones(1, 3, 4, 4, dtype=torch.float64), ("ones",))
        for n in (1, 2, 5):
            found = baselines(model, ones, torch.tensor([0]), [0], n_steps=n)
            assert found["black"]["gap"].item() == pytest.approx(1 / (4 * n**2))
            assert (
                found["black"]["rise"].item() == pytest.approx(1)
                and found["black"]["start"].item() == 0
            )
            assert found["white"]["gap"].item() == found["white"]["rise"].item() == 0

    def test_a_gap_without_a_rise_is_a_share_of_a_hundredth(self):
        # f = x³ − x is 0 at both ends; the one midpoint has the gradient ¾ − 1.
        def model(pixels):
            values = pixels.flatten(1).mean(1)
            return torch.stack([values**3 - values, 0 * values], 1)

        ones = ImageSet(torch.ones(1, 3, 4, 4, dtype=torch.float64), ("ones",))
        assert baselines(model, ones, torch.tensor([0]), [0], n_steps=1)["black"][
            "gap"
        ].item() == pytest.approx(25)


class TestReferences:
    def test_of_scenes_they_are_of_the_other_split(self, scenes):
        references = ig_studies._references(scenes)
        assert references.equal(load_images("scenes", 10, split="tune").pixels.double())
        explained = {picture.numpy().tobytes() for picture in load_images("scenes").pixels}
        assert not any(picture.float().numpy().tobytes() in explained for picture in references)

    def test_of_shortcut_scenes_they_have_a_patch_too(self):
        images = load_images("scenes-shortcut", 2)
        assert ig_studies._references(images).equal(
            load_images("scenes-shortcut", 10, split="tune").pixels
        )

    def test_of_other_pictures_they_are_ten_at_most_of_these(self):
        for n in (1, 3, 12):
            pixels = torch.rand(n, 3, 4, 4)
            references = ig_studies._references(ImageSet(pixels, tuple(map(str, range(n)))))
            assert references.shape == (min(n, 10), 3, 4, 4)
            assert all((picture == pixels).flatten(1).all(1).any() for picture in references)


# --- blindness
# -----------------------------------------------------------------------------------------------


class TestRepainted:
    @pytest.mark.parametrize("part", ["shape", "letter"])
    def test_in_its_own_colour_it_is_the_same_scene(self, scenes, part):
        for i, name in enumerate(scenes.names):
            scene = sample_scene("test", int(name.split()[1]))
            assert (
                repainted(scenes[i], part, getattr(scene, part).colour)
                .pixels.float()
                .equal(scenes.pixels[[i]].float())
            )

    @pytest.mark.parametrize("part", ["shape", "letter"])
    def test_only_the_part_changes(self, scenes, part):
        kept = scenes.pixels.clone()
        painted = repainted(scenes, part, (1.0, 0.0, 0.2))
        changed = (painted.pixels.float() != scenes.pixels.float()).any(1, keepdim=True)
        assert not (changed & ~scenes.masks[part]).any()
        assert changed.flatten(1).any(1).all() and scenes.pixels.equal(kept)
        assert (
            painted.names == scenes.names
            and painted.labels == scenes.labels
            and painted.masks == scenes.masks
        )
        assert painted.pixels.dtype == scenes.pixels.dtype
        colour = torch.tensor([1.0, 0.0, 0.2], dtype=torch.float64).reshape(3, 1, 1)
        flat = ((painted.pixels - colour).abs().amax(1, keepdim=True) < 1e-6) & scenes.masks[part]
        assert (
            flat.flatten(1).sum(1) > 0.4 * scenes.masks[part].flatten(1).sum(1)
        ).all()  # all but its soft edge


class TestBlindness:
    def test_settings_and_maps(self, network, scenes, together):
        found, *_ = together("blindness")
        settings = [
            f"{name} baseline, {colour} part"
            for colour in ("black", "white", "blue")
            for name in ("black", "white", "mean", "farthest")
        ]
        assert list(found) == settings
        for colour in COLOURS:
            painted = repainted(scenes, "shape", COLOURS[colour])
            for name in ("black", "farthest"):
                maps = integrated_gradients(
                    network, painted.pixels, TARGET, baseline=name, n_steps=2
                )
                assert_same(
                    found[f"{name} baseline, {colour} part"],
                    score(network, painted, TARGET, maps, fills=()),
                )
        assert all(
            measure.startswith(("mass", "auc")) or measure == "right"
            for row in found.values()
            for measure in row
        )

    @pytest.mark.parametrize("part", ["shape", "letter"])
    def test_of_a_linear_network_the_mass_is_the_share_of_the_distance_from_the_baseline(
        self, scenes, part
    ):
        model = mean_colour(torch.ones(5, 3), torch.zeros(5))
        model.part = part
        found = blindness(model, scenes, TARGET, SEEDS, n_steps=1)
        for colour, rgb in COLOURS.items():
            pixels = repainted(scenes, part, rgb).pixels
            for name, distance in {
                "black": pixels,
                "white": 1 - pixels,
                "mean": (pixels - pixels.mean((2, 3), keepdim=True)).abs(),
                "farthest": torch.maximum(pixels, 1 - pixels),
            }.items():
                share = (distance * scenes.masks[part]).flatten(1).sum(1) / distance.flatten(1).sum(
                    1
                )
                assert_same(found[f"{name} baseline, {colour} part"], {"mass": share})

    def test_a_baseline_does_not_see_a_part_of_its_own_colour(self, network, scenes):
        for colour in ("black", "white"):
            painted = repainted(scenes, "shape", COLOURS[colour])
            inside = (painted.pixels == COLOURS[colour][0]).all(1, keepdim=True) & scenes.masks[
                "shape"
            ]
            maps = integrated_gradients(network, painted.pixels, TARGET, baseline=colour, n_steps=2)
            assert inside.flatten(1).any(1).all() and not maps[inside.expand_as(maps)].any()
            other = integrated_gradients(
                network, painted.pixels, TARGET, baseline="farthest", n_steps=2
            )
            assert other[inside.expand_as(maps)].any()

    def test_right_is_the_answer_to_the_repainted_picture(self, scenes):
        # Class 1 where the mean red is above that of the scene with a white part less a little: so
        # white is 1, the others 0.
        scene = scenes[0]
        red = {
            colour: repainted(scene, "shape", rgb).pixels[:, 0].mean().item()
            for colour, rgb in COLOURS.items()
        }
        model = mean_colour([[0, 0, 0], [1, 0, 0]], [red["white"] - 1e-3, 0])
        for answer in (0, 1):
            found = blindness(model, scene, torch.tensor([answer]), SEEDS[:1], n_steps=1)
            for setting, row in found.items():
                assert (
                    row["right"].item() == (answer == 1)
                    if "white part" in setting
                    else row["right"].item() == (answer == 0)
                )

    def test_the_rest_of_the_scene_is_that_of_its_seed(self, scenes):
        scene = sample_scene("test", int(scenes.names[0].split()[1]))
        other = swap(scene, "shape", seed=0)
        blue = render(replace(scene, shape=replace(scene.shape, colour=COLOURS["blue"])))[0] / 255
        assert torch.from_numpy(blue).allclose(
            repainted(scenes[0], "shape", COLOURS["blue"]).pixels[0], atol=1e-7
        )
        # a swap keeps the colour: it is no repainting
        assert other.shape.colour == scene.shape.colour


# --- quality
# -----------------------------------------------------------------------------------------------


class TestQuality:
    def test_settings_and_maps(self, network, scenes, together):
        found, *_ = together("quality")
        assert list(found) == [
            *methods(),
            "random",
            "blurred random",
            "Sobel",
            "|x − mean|",
            "random network, gradient",
            "random network, IG",
            "oracle",
        ]
        tuning = load_images("scenes", 10, split="tune").pixels.double()
        smooth = partial(smoothgrad, n_samples=2, seed=SEEDS)
        for setting, attribution in {
            "gradient": saliency,
            "gradient × input": partial(integrated_gradients, n_steps=1, rule="right"),
            "guided backprop": guided_backprop,
            "Grad-CAM": grad_cam,
            "SmoothGrad, σ = 0.05": partial(smooth, noise=0.05),
            "SmoothGrad, σ = 0.15": partial(smooth, noise=0.15),
            "VarGrad": partial(smooth, noise=0.15, aggregate="variance"),
            "IG, black": partial(integrated_gradients, n_steps=2),
            "IG, mean": partial(integrated_gradients, n_steps=2, baseline="mean"),
            "IG, blur": partial(integrated_gradients, n_steps=2, baseline="blur"),
            "IG, samples": partial(
                integrated_gradients, n_steps=1, baseline="samples", references=tuning
            ),
            "Sobel": sobel,
            "random network, gradient": random_network(saliency),
            "random network, IG": random_network(partial(integrated_gradients, n_steps=2)),
        }.items():
            expected = score(
                network, scenes, TARGET, attribution(network, scenes.pixels, TARGET), fills=FILLS
            )
            assert found[setting].keys() == expected.keys()
            assert_same(found[setting], expected)

    def test_no_two_settings_are_the_same(self, together):
        found, *_ = together("quality")
        masses = torch.stack([row["mass"] for row in found.values()])
        assert len(masses.unique(dim=0)) == len(found)

    def test_the_oracle_is_the_best_there_is(self, together):
        found, *_ = together("quality")
        assert found["oracle"]["mass"].tolist() == found["oracle"]["auc"].tolist() == [1, 1, 1]
        assert found["oracle"]["mass other"].tolist() == [0, 0, 0]

    def test_the_controls_know_nothing_of_what_was_learnt(self, scenes, together):
        found, *_ = together("quality")
        # as built, but for the weights
        again = quality(tiny_network(seed=3), scenes[0], TARGET[:1], SEEDS[:1], n_samples=2)
        same = {
            setting
            for setting, row in found.items()
            if row["mass"][0].allclose(again[setting]["mass"])
        }
        assert same == {
            "random",
            "blurred random",
            "Sobel",
            "|x − mean|",
            "random network, gradient",
            "random network, IG",
            "oracle",
        }


# --- faithfulness
# -----------------------------------------------------------------------------------------------


ROW, COLUMN = 4, 7
WEIGHTS = [[3.0, -2, 1], [-1, 2, 2]]


@pytest.fixture(scope="module")
def one_place():
    """A network that reads one place of a picture alone, and is linear, so that guided backprop and
    Grad-CAM mean nothing; three pictures; ``faithfulness`` of both."""
    model = linear(WEIGHTS, [0.2, 0], At(ROW, COLUMN))  # no Classifier
    pixels = torch.rand(
        3, 3, 10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    images = ImageSet(pixels, ("a", "b", "c"))
    with pytest.warns(UserWarning) as warned:
        found = faithfulness(model, images, torch.tensor([0, 1, 0]), SEEDS, n_samples=2)
    refused = [str(each.message).partition(" is left out: ")[0] for each in warned]
    assert refused == ["guided backprop", "Grad-CAM"]
    assert list(found) == [name for name in [*methods(), "random", "Sobel"] if name not in refused]
    return model, pixels, found


LINEAR = ("gradient", "SmoothGrad, σ = 0.05", "SmoothGrad, σ = 0.15")


class TestFaithfulness:
    def test_settings_and_measures(self, together):
        found, *_ = together("faithfulness")
        assert list(found) == [*methods(), "random", "Sobel"]
        curves = {f"{way}, {fill}" for way in ("deletion", "insertion") for fill in FILLS}
        for setting, row in found.items():
            # which is of a method
            sensitivity = set() if setting in ("random", "Sobel") else {"max-sensitivity"}
            assert row.keys() == curves | {"infidelity", "mass"} | sensitivity

    @pytest.mark.parametrize("setting", [*LINEAR, "gradient × input", "IG, black", "IG, samples"])
    def test_deletion_and_insertion_of_the_only_place_that_counts(self, one_place, setting):
        # The network says p until that place is hidden, and q from then on. Of eleven fractions, a
        # tenth apart, deletion hides it from the second on, and insertion at the last one only:
        # areas of 0.05 p + 0.95 q and 0.95 p + 0.05 q.
        model, pixels, found = one_place
        target = torch.tensor([[0], [1], [0]])
        p = model(pixels).softmax(1).gather(1, target)[:, 0].detach()
        for fill in FILLS:
            q = (
                model(make_baseline(fill, model, pixels))
                .softmax(1)
                .gather(1, target)[:, 0]
                .detach()
            )
            expected = {
                f"deletion, {fill}": 0.05 * p + 0.95 * q,
                f"insertion, {fill}": 0.95 * p + 0.05 * q,
            }
            assert_same(found[setting], expected, rtol=1e-5, atol=1e-6)

    def test_infidelity_of_a_linear_network(self, one_place):
        # A map that is the gradient, or holds it times (x − x′), foretells what noise does; one
        # that is not, does not.
        *_, found = one_place
        for setting in (*LINEAR, "gradient × input", "IG, black", "IG, mean", "IG, blur"):
            assert found[setting]["infidelity"].max() < 1e-9
        for setting in ("random", "Sobel"):
            assert found[setting]["infidelity"].min() > 0.05

    def test_of_a_map_with_a_factor_the_gradient_is_judged(self, together):
        found, *_ = together("faithfulness")
        assert_same(
            found["gradient × input"],
            {"infidelity": found["gradient"]["infidelity"]},
            rtol=1e-5,
            atol=1e-9,
        )
        assert not found["gradient × input"]["mass"].allclose(found["gradient"]["mass"])

    def test_sensitivity_of_a_linear_network(self, one_place):
        # The gradient does not move. w ⊙ x at the one place moves by w ⊙ δ, each |δ| ≤ 0.02: by at
        # most 0.02 ‖w‖ / ‖w ⊙ x‖.
        _, pixels, found = one_place
        for setting in LINEAR:
            assert found[setting]["max-sensitivity"].max() < 1e-9
        weight = torch.tensor(WEIGHTS, dtype=torch.float64)[[0, 1, 0]]
        most = 0.02 * weight.norm(dim=1) / (weight * pixels[:, :, ROW, COLUMN]).norm(dim=1)
        for setting in ("gradient × input", "IG, black"):
            moved = found[setting]["max-sensitivity"]
            assert (moved <= most).all() and (moved > 0.2 * most).all()
        assert_same(
            found["IG, black"], {"max-sensitivity": found["gradient × input"]["max-sensitivity"]}
        )


# --- randomisation
# -----------------------------------------------------------------------------------------------


def spearman(first, second):
    return torch.tensor(
        [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    )


class TestRandomisation:
    LAYERS = ("network.5", "network.1", "network.0")

    def test_the_blocks_of_the_embedded_network_from_the_top(self):
        model = load_model("scenes", device="cpu")
        blocks = ig_studies._blocks(model)
        assert blocks == [f"network.{i}" for i in (10, 7, 5, 4, 2, 0)]
        *_, (_, forgot) = cascade(model, layers=blocks)
        kept = [
            name
            for name, value in forgot.named_parameters()
            if value.equal(model.get_parameter(name))
        ]
        assert not kept  # the six hold all it learnt

    def test_settings_and_measures(self, network, scenes, together):
        found, *_ = together("randomisation")
        names = ("gradient", "guided backprop", "SmoothGrad, σ = 0.15", "IG, black", "Grad-CAM")
        assert sorted(found) == sorted(f"{name}, {k} layers" for name in names for k in (1, 2, 3))
        stages = [forgot for _, forgot in cascade(network, layers=self.LAYERS)]
        for name, call in {
            "gradient": saliency,
            "SmoothGrad, σ = 0.15": partial(smoothgrad, n_samples=2, noise=0.15, seed=SEEDS),
            "IG, black": partial(integrated_gradients, n_steps=2),
        }.items():
            trained = call(network, scenes.pixels, TARGET)
            for k, forgot in enumerate(stages, start=1):
                maps = call(forgot, scenes.pixels, TARGET)
                signed, unsigned = (
                    spearman(f(maps), f(trained))
                    for f in (lambda a: a.sum(1), lambda a: a.abs().sum(1))
                )
                expected = {
                    "rank signed": signed,
                    "rank unsigned": unsigned,
                    "ssim": ssim(maps, trained),
                }
                assert found[f"{name}, {k} layers"].keys() == expected.keys()
                assert_same(found[f"{name}, {k} layers"], expected, rtol=1e-6, atol=1e-9)

    def test_the_last_network_is_the_random_one(self, network, scenes, together):
        found, *_ = together("randomisation")
        trained, maps = (
            call(network, scenes.pixels, TARGET) for call in (saliency, random_network(saliency))
        )
        assert_same(found["gradient, 3 layers"], {"ssim": ssim(maps, trained)})

    def test_a_layer_that_turns_against_its_class(self, scenes):
        # Drawn anew, the top layer is the trained one's negative: so is every gradient. Nothing
        # gets past the ReLU of guided backprop, nor past Grad-CAM's; a map of zeros is like
        # nothing: 0.
        class Against(nn.Linear):
            def reset_parameters(self):
                nn.init.constant_(self.weight, -1)
                nn.init.zeros_(self.bias)

        top = Against(6, 5)
        nn.init.ones_(top.weight)
        model = as_classifier(
            nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), top)
        )
        found = randomisation(model, scenes, TARGET, SEEDS, n_samples=2)
        for name in ("gradient", "SmoothGrad, σ = 0.15", "IG, black"):
            row = found[f"{name}, 1 layers"]
            assert_same(
                row,
                {
                    "rank signed": -torch.ones(3),
                    "rank unsigned": torch.ones(3),
                    "ssim": torch.ones(3),
                },
            )
        for name in ("guided backprop", "Grad-CAM"):
            assert not any(values.any() for values in found[f"{name}, 1 layers"].values())
