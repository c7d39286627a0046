"""The study of guided backprop, each value had another way."""

import pytest
import torch

from helpers.attribution.gradients import saliency
from helpers.attribution.relatives import grad_cam, guided_backprop, guided_grad_cam
from helpers.attribution.smoothgrad import smoothgrad
from helpers.benchmark.images import load_images, on_ground
from helpers.benchmark.models import load_model
from helpers.benchmark.mosaics import make_mosaics
from helpers.evaluate import logits_of
from helpers.measures.quality import correlation, rank_correlation, relevance_mass
from helpers.studies.guided import GUIDED, METHODS, MOSAICS, guided

SEEDS = [4, 7]


@pytest.fixture(scope="module")
def scenes():
    model, images = load_model("scenes", device="cpu"), load_images("scenes", 2)
    target = images.labels["shape"]
    return model, images, target, guided(model, images, target, SEEDS, n=2, grounds=True, far=True)


def test_two_classes_of_one_picture(scenes):
    model, images, target, found = scenes
    order = logits_of(model, images.pixels).argsort(1, descending=True)
    assert order[:, 0].equal(target) and tuple(found) == METHODS
    own = {aim: guided_backprop(model, images.pixels, order[:, aim]) for aim in (0, 1, 5)}
    for measure, aim, how in (
        ("alike", 1, "signed"),
        ("alike, sizes", 1, "unsigned"),
        ("alike, far", 5, "signed"),
    ):
        expected = rank_correlation(own[0], own[aim], how)
        assert found[GUIDED][measure].allclose(expected, atol=1e-5), measure
    product = guided_grad_cam(model, images.pixels, target)
    mass = relevance_mass(product, images.masks["shape"])
    assert found["guided Grad-CAM"]["mass"].allclose(mass, rtol=1e-4)


def test_the_plain_ground_and_how_far_smoothing_moves_a_map(scenes):
    model, images, target, found = scenes
    plain, mask = on_ground(images, 0).pixels, images.masks["shape"]
    how = dict(noise=0.15, n_samples=2, seed=SEEDS)
    for name, method in {"SmoothGrad 15 %": saliency, f"{GUIDED}, 15 %": guided_backprop}.items():
        for suffix, pixels in {"": images.pixels, " plain": plain}.items():
            smooth = smoothgrad(model, pixels, target, attribution=method, **how)
            share = relevance_mass(smooth, mask)
            assert found[name][f"mass{suffix}"].allclose(share, rtol=1e-4)
            moved = 1 - correlation(smooth, method(model, pixels, target))
            assert found[name][f"moved{suffix}"].allclose(moved, atol=1e-4)
    assert "moved" not in found["gradient"] and "right plain" in found["gradient"]


def test_on_a_mosaic_the_other_class_is_that_of_another_cell():
    model = load_model("scenes", device="cpu")
    images = make_mosaics(model, load_images("scenes", 60), 2, gap=0)
    target = images.labels["class"]
    found = guided(model, images, target, SEEDS, methods=MOSAICS)
    maps = [grad_cam(model, images.pixels, images.labels[name]) for name in ("class", "other")]
    cell, other = (
        [relevance_mass(each, images.masks[name]) for each in maps] for name in ("cell", "other")
    )
    expected = (cell[0] - cell[1] + other[1] - other[0]) / 2
    assert found["Grad-CAM"]["contrast"].allclose(expected, atol=1e-5)
    assert tuple(found) == MOSAICS


def test_a_map_of_zeros_is_like_no_other():
    class Silent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = torch.nn.Conv2d(3, 3, 3), torch.nn.ReLU()

        def forward(self, pixels):  # nothing speaks for the class 1, at any place
            means = self.relu(self.conv(pixels)).mean((2, 3))
            return torch.stack([means.sum(1), -means.sum(1), -2 * means.sum(1)], 1)

    torch.manual_seed(0)
    model, images = Silent().eval(), load_images("scenes", 2)
    images.masks.clear()
    found = guided(model, images, torch.tensor([0, 0]), SEEDS, methods=MOSAICS)
    assert (found["Grad-CAM"]["alike"] == 0).all() and "mass" not in found["Grad-CAM"]
