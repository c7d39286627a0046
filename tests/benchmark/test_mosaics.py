"""Mosaics: what they say is where they say, and the certificate sees a network that looks
elsewhere."""

from functools import partial

import pytest
import torch
from torch import nn

from helpers.benchmark.classifier import Classifier
from helpers.benchmark.images import ImageSet, load_images
from helpers.benchmark.models import load_model
from helpers.benchmark.mosaics import GAP, certify_mosaics, make_mosaics
from helpers.measures.mosaics import cell_shares, grid_contrast
from helpers.measures.quality import pair_contrast, relevance_mass

CLASSES, SIZE = 12, 4
make_mosaics, certify_mosaics = (partial(f, gap=0) for f in (make_mosaics, certify_mosaics))


class Bag(nn.Module):
    """Reads each 4 × 4 patch by itself (its colours are the class's own code) and averages; a
    share ``leak`` of every logit comes from the squared brightness of the whole picture."""

    def __init__(self, codes, leak):
        super().__init__()
        self.codes, self.leak = nn.Parameter(codes), leak

    def forward(self, pixels):
        patches = nn.functional.unfold(pixels, SIZE, stride=SIZE)
        similar = torch.einsum("kd,ndp->nkp", self.codes, patches - 0.5)
        return 20 * similar.mean(2) + self.leak * pixels.var((1, 2, 3), keepdim=True)[:, :, 0, 0]


def world(leak=0.0, copies=6):
    """(a Classifier, its pictures): a class is a pattern, a picture a scaled copy of it."""
    codes = torch.linalg.qr(torch.randn(3 * SIZE**2, CLASSES, dtype=torch.float64))[0].T
    model = Classifier(
        Bag(codes, leak),
        mean=[0.0] * 3,
        std=[1.0] * 3,
        name="bag",
        classes=[f"class {i}" for i in range(CLASSES)],
        input_size=SIZE,
        part="class",
        images="",
    ).double()
    labels = torch.arange(CLASSES).repeat(copies)
    scale = 0.6 + 0.3 * torch.rand(len(labels), 1, dtype=torch.float64)
    pixels = 0.5 + (scale * codes[labels]).reshape(-1, 3, SIZE, SIZE)
    names = tuple(f"{label} {i}" for i, label in enumerate(labels.tolist()))
    return model.eval(), ImageSet(
        pixels, names, {"class": labels}, {}, {"class": tuple(model.classes)}
    )


@pytest.mark.parametrize(("k", "gap"), [(2, 0), (2, 4), (3, 0)])
def test_a_mosaic_is_what_it_says(k, gap):
    model, images = world()
    mosaics = make_mosaics(model, images, 2 * k**2, k=k, gap=gap, neutral=1.0)
    side = k * SIZE + (k - 1) * gap
    assert mosaics.pixels.shape == (2 * k**2, 3, side, side)
    cells = mosaics.masks["cell"]
    assert cells.flatten(1).sum(1).tolist() == [SIZE**2] * len(mosaics)
    assert cells.sum(0).unique().tolist() == ([0, 2] if gap else [2])  # positions are balanced
    assert not (cells & mosaics.masks["other"]).any()
    with torch.no_grad():
        assert torch.equal(model(mosaics.pixels).argmax(1), mosaics.labels["class"])
    for i, names in enumerate(mosaics.names):
        pictures = [images.names.index(name) for name in names.split(" + ")]
        classes = images.labels["class"][pictures].tolist()
        assert len(set(classes)) == k**2
        for part, label in (("cell", "class"), ("other", "other")):
            inside = mosaics.pixels[i][mosaics.masks[part][i].expand(3, -1, -1)].reshape(3, -1)
            picture = pictures[classes.index(int(mosaics.labels[label][i]))]
            assert torch.equal(inside, images.pixels[picture].flatten(1))


def test_mosaics_follow_from_the_seed_and_few_are_the_first_of_more():
    model, images = world()
    three, four, other = (
        make_mosaics(model, images, n, seed=seed, neutral=1.0)
        for n, seed in ((3, 5), (4, 5), (3, 6))
    )
    assert three.names == four.names[:3] != other.names
    assert torch.equal(three.pixels, four.pixels[:3])


def test_cells_of_another_size_are_resized_pictures():
    model, images = world()
    images = ImageSet(
        images.pixels.repeat_interleave(2, 2).repeat_interleave(2, 3),
        images.names,
        images.labels,
        {},
        images.classes,
    )
    assert make_mosaics(model, images, 2, cell=SIZE, neutral=1.0).pixels.shape[-1] == 2 * SIZE


def test_the_certificate_is_the_change_of_the_logit():
    """Orthogonal patterns: another cell says nothing of the target, so the ratio is 0; with a leak
    it is not, and the truth is not certified."""
    model, images = world()
    clean = certify_mosaics(model, images, 8, neutral=1.0)
    assert clean["ratio_to_own"] < 1e-9 and clean["certified"]
    # The answer is the strongest of four pictures, of 0.6 + 0.3 × 4/5 on average, one cell of four.
    assert clean["own"] == pytest.approx(20 * 0.84 / 4, rel=0.1)
    model.network.leak = 3000.0
    leaky = certify_mosaics(model, images, 8, neutral=1.0)
    low, high = leaky["interval_95"]
    assert low < leaky["ratio_to_own"] < high and leaky["ratio_to_own"] > 0.1
    assert leaky["other"] > 0 and not leaky["certified"]


def test_pair_contrast_on_a_grid_of_maps_that_follow_the_class():
    model, images = world()
    mosaics = make_mosaics(model, images, 4, neutral=1.0)
    first, second = (mosaics.masks[part].double() for part in ("cell", "other"))
    masks = mosaics.masks["cell"], mosaics.masks["other"]
    assert pair_contrast(first, second, *masks).tolist() == [1] * 4
    assert pair_contrast(first, first, *masks).tolist() == [0] * 4
    blind = torch.ones_like(mosaics.pixels)
    assert relevance_mass(blind, masks[0]).tolist() == [0.25] * 4  # chance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, "k must be at least 2"),
        ({"n": 0}, "n must be at least 1"),
        ({"k": 4}, "too few for 4 × 4 cells"),
        ({"confidence": 1.1}, "only 0 of 72 pictures are named rightly"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(options, message):
    model, images = world()
    with pytest.raises(ValueError, match=message):
        make_mosaics(model, images, **({"n": 2} | options))


def test_a_network_that_never_answers_with_a_cell_says_so():
    model, images = world()
    alone = model.network.forward

    def forward(pixels):
        logits = alone(pixels)
        if pixels.shape[-1] > SIZE:
            logits[:, -1] = 99
        return logits

    model.network.forward = forward
    some = images[images.labels["class"] < CLASSES - 1]
    with pytest.raises(ValueError, match="target's cell on 0 of 40 grids, and n=1"):
        make_mosaics(model, some, 1, neutral=1.0)


def test_mosaics_of_photographs_are_answered_with_the_class_of_the_cell(photos):
    model, images = load_model("efficientnet_lite0", device="cpu"), load_images(photos, 40)
    mosaics = make_mosaics(model, images, 2, cell=112, gap=None, confidence=0.3, neutral=1.0)
    side = 2 * 112 + round(GAP * 112)
    assert mosaics.pixels.shape == (2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(model(mosaics.pixels).argmax(1), mosaics.labels["class"])


def test_shares_of_a_cell_by_hand():
    maps = torch.tensor([[[[3.0, -1.0], [-2.0, 2.0]], [[-1.0, 3.0], [0.0, 0.0]]]])
    mask = torch.tensor([[[[True, False], [False, False]]]])
    shares = {kind: float(value) for kind, value in cell_shares(maps, mask).items()}
    # Summed over channels: 2, 2, −2, 2; sizes: 4, 4, 2, 2; squares: 10, 10, 4, 4.
    assert shares == pytest.approx({"positive": 2 / 6, "absolute": 4 / 12, "squared": 10 / 28})
    assert cell_shares(-maps.abs(), mask)["positive"].isnan().all()


def test_the_contrast_of_a_grid_by_hand():
    maps, masks = torch.zeros(4, 2, 1, 2, 2), torch.zeros(4, 2, 1, 2, 2, dtype=torch.bool)
    for i in range(4):
        masks[i, :, 0, i // 2, i % 2] = True
        maps[i, 0, 0, i // 2, i % 2] = -3.0  # all of it in its own cell, whatever its sign
        maps[i, 1, 0] = torch.tensor([[6.0, 2.0], [-1.0, 1.0]])  # the same for every class
    assert grid_contrast(maps, masks).tolist() == pytest.approx([1, 0], abs=1e-6)
    maps[0, 1, 0] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # own: 0.5 + 0.2 + 0.1 + 0.1; elsewhere: 4 − own, over 12 pairs
    assert grid_contrast(maps, masks)[1] == pytest.approx(0.9 / 4 - 3.1 / 12)


def test_the_contrast_of_two_cells_is_the_pair_contrast():
    maps = torch.randn(2, 5, 3, 4, 4)
    masks = torch.zeros(2, 5, 1, 4, 4, dtype=torch.bool)
    masks[0, ..., :2], masks[1, ..., 2:] = True, True
    torch.testing.assert_close(grid_contrast(maps, masks), pair_contrast(*maps, *masks))


def test_every_cell_of_a_mosaic_has_its_class():
    model, images = world()
    mosaics = make_mosaics(model, images, 8, k=2, neutral=1.0)
    cells = [f"cell {i}" for i in range(4)]
    stacked = torch.stack([mosaics.labels[name] for name in cells])
    for i in range(8):
        assert stacked[i % 4, i] == mosaics.labels["class"][i]
        assert mosaics.masks[cells[i % 4]][i].equal(mosaics.masks["cell"][i])
        named = [part.split()[0] for part in mosaics.names[i].split(" + ")]
        assert [int(name) for name in named] == stacked[:, i].tolist()
    assert sum(mosaics.masks[name].int() for name in cells).eq(1).all()
