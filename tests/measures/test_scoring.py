"""What a map scores, on maps and networks small enough to know."""

from dataclasses import replace

import pytest
import torch
from by_hand import randn
from torch import nn

from helpers.benchmark.images import ImageSet
from helpers.measures.controls import oracle
from helpers.measures.quality import dilate, pixel_auc, relevance_mass, total_variation
from helpers.measures.scoring import score

ALWAYS = {
    "total variation",
    "lowest hidden, mean",
    "lowest hidden, blur",
    "highest hidden, mean",
    "highest hidden, blur",
}
ON_PARTS = {
    f"{measure}{margin}{other}"
    for measure in ("mass", "auc")
    for margin in ("", " +2")
    for other in ("", " other")
}


class AllOfIt(nn.Module):
    """Class 0 while at least 3.5 of the 4 that the white square sums up to are left; it names the
    shape."""

    part = "shape"

    def forward(self, pixels):
        left = pixels[:, 0, 4:6, 4:6].sum((1, 2))
        return torch.stack([left, torch.full_like(left, 3.5)], 1)


@pytest.fixture
def images():
    """Two black pictures, 10 × 10, with a white square of 2 × 2, the shape; the letter is a black
    bar of 5 pixels."""
    pixels = torch.zeros(2, 1, 10, 10, dtype=torch.float64)
    shape, letter = (
        torch.zeros(2, 1, 10, 10, dtype=torch.bool),
        torch.zeros(2, 1, 10, 10, dtype=torch.bool),
    )
    shape[..., 4:6, 4:6], letter[..., 0, :5] = True, True
    pixels[shape] = 1
    return ImageSet(pixels, ("a", "b"), masks={"shape": shape, "letter": letter})


@pytest.fixture
def target():
    return torch.zeros(2, dtype=torch.int64)


def both(found):
    """{measure: value} of two pictures that must score the same."""
    assert all(values.shape == (2,) for values in found.values())
    assert all(values[0] == values[1] for values in found.values())
    return {
        measure: pytest.approx(float(values[0]), abs=1e-12) for measure, values in found.items()
    }


def test_the_oracle(images, target):
    found = both(
        score(AllOfIt(), images, target, oracle(images.masks["shape"])(None, images.pixels))
    )
    assert found.keys() == ALWAYS | ON_PARTS
    assert (found["mass"], found["auc"], found["mass other"]) == (1, 1, 0)
    # Every letter pixel is 0, as are 91 of the 95 others, ties counted half; the shape's 4 are
    # larger.
    assert found["auc other"] == 91 / 2 / 95
    # Dilated by a disc of 2: rows 4 and 5 reach two further columns on both sides, the next row a
    # column less, …
    grown = int(dilate(images.masks["shape"][:1], 2).sum())
    assert grown == 2 * 6 + 2 * 4 + 2 * 2 and found["mass +2"] == 1
    assert found["auc +2"] == (4 + (grown - 4) / 2) / grown
    # At most 95 of 96 other pixels are hidden as the lowest; of the highest, 2 already are of the
    # square.
    assert found["lowest hidden, mean"] == found["lowest hidden, blur"] == 1
    assert found["highest hidden, mean"] == found["highest hidden, blur"] == 0


def test_a_constant_map_scores_what_knows_nothing(images, target):
    found = both(score(AllOfIt(), images, target, torch.ones_like(images.pixels)))
    assert (found["total variation"], found["mass"], found["mass other"]) == (0, 0.04, 0.05)
    assert found["mass +2"] == 0.24 and found["auc"] == found["auc other"] == found["auc +2"] == 0.5


def test_a_map_of_the_other_part(images, target):
    found = both(
        score(AllOfIt(), images, target, oracle(images.masks["letter"])(None, images.pixels))
    )
    assert (found["mass"], found["mass other"], found["auc other"]) == (0, 1, 1)
    assert found["mass +2 other"] == 1 and found["auc"] == 91 / 2 / 96


def test_just_outside_counts_within_the_margin_alone(images, target):
    maps = torch.zeros_like(images.pixels)
    maps[..., 4, 2] = -1  # two to the left of the square, and negative: mass counts sizes
    found = both(score(AllOfIt(), images, target, maps))
    assert found["mass"] == 0 and found["mass +2"] == 1
    maps = maps.roll(-1, dims=-1)
    assert both(score(AllOfIt(), images, target, maps))["mass +2"] == 0


def test_hiding_counts_the_fractions_at_which_the_label_stays(images, target):
    maps = torch.linspace(0, 0.5, 100, dtype=torch.float64).reshape(1, 1, 10, 10).repeat(2, 1, 1, 1)
    # five pixels of no use come first,
    maps[:, 0, 7, :5] = torch.arange(10, 15, dtype=torch.float64)
    maps[:, 0, 4:6, 4:6] = -1  # then the square
    found = both(score(AllOfIt(), images, target, maps))
    # 50, 80, 90 and 95 hidden: the last leaves only the five. 2, 5, 10 and 20 hidden: the last two
    # take the square.
    assert found["lowest hidden, mean"] == found["lowest hidden, blur"] == 3 / 4
    assert found["highest hidden, mean"] == found["highest hidden, blur"] == 2 / 4


def test_the_target_is_the_one_asked_about(images, target):
    found = both(
        score(AllOfIt(), images, target + 1, oracle(images.masks["shape"])(None, images.pixels))
    )
    assert found["lowest hidden, mean"] == 0 and found["highest hidden, mean"] == 1


@pytest.mark.parametrize(
    ("part", "other"), [("letter", "shape"), ("patch", "shape"), ("shape", "letter")]
)
def test_own_and_other_part(images, target, part, other):
    images = replace(
        images, masks=images.masks | {"patch": torch.roll(images.masks["letter"], 9, -2)}
    )
    model, maps = AllOfIt(), randn(2, 1, 10, 10)
    model.part = part
    found = score(model, images, target, maps)
    for suffix, mask in (("", images.masks[part]), (" other", images.masks[other])):
        for margin, region in (("", mask), (" +2", dilate(mask, 2))):
            assert found[f"mass{margin}{suffix}"].equal(relevance_mass(maps, region))
            assert found[f"auc{margin}{suffix}"].equal(pixel_auc(maps, region))
    assert found["total variation"].equal(total_variation(maps))


def test_without_masks_or_a_part(images, target):
    maps = randn(2, 1, 10, 10)
    assert score(AllOfIt(), replace(images, masks={}), target, maps).keys() == ALWAYS
    assert score(lambda pixels: AllOfIt()(pixels), images, target, maps).keys() == ALWAYS
    photos = AllOfIt()
    photos.part = "class"
    assert score(photos, images, target, maps).keys() == ALWAYS


def test_a_single_picture_scores_as_in_company(tiny_classifier, pictures):
    shape, letter = (
        torch.zeros(3, 1, 8, 8, dtype=torch.bool),
        torch.zeros(3, 1, 8, 8, dtype=torch.bool),
    )
    shape[..., 2:4, 2:4], letter[..., 6, 5:7] = True, True
    images = ImageSet(pictures, ("a", "b", "c"), masks={"shape": shape, "letter": letter})
    target, maps = tiny_classifier(pictures).argmax(1), randn(3, 3, 8, 8)
    together = score(tiny_classifier, images, target, maps)
    for i in range(3):
        alone = score(tiny_classifier, images[i], target[[i]], maps[[i]])
        assert alone.keys() == together.keys() == ALWAYS | ON_PARTS
        for measure, values in alone.items():
            assert values.allclose(together[measure][[i]], rtol=1e-12), measure
