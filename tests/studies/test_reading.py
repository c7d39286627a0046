"""One map in several readings: each value had another way."""

import numpy as np
import pytest
import torch

from helpers.attribution.gradients import saliency
from helpers.benchmark.images import load_images
from helpers.benchmark.models import load_model
from helpers.measures.mosaics import cell_shares
from helpers.measures.quality import pixel_auc, relevance_mass
from helpers.studies.reading import READINGS, readings, small_mosaics


@pytest.fixture(scope="module")
def digits():
    model = load_model("digits", device="cpu")
    images = small_mosaics(model, 3)
    target = images.labels["class"]
    return model, images, target, readings(model, images, target, [1, 2, 3], n=2)


@pytest.fixture(scope="module")
def scenes():
    model = load_model("scenes-letters", device="cpu")
    images = load_images("scenes", 2)
    target = images.labels["letter"]
    return model, images, target, readings(model, images, target, [5, 6], n=2)


def test_readings_of_one_pixel_by_hand():
    maps = torch.tensor([2.0, -1.0, -3.0])[None, :, None, None]
    found = {how: float(read(maps)) for how, read in READINGS.items()}
    assert found == {"positive": 0, "negative": 2, "both signs": 2, "absolute": 6}


def test_the_part_that_the_network_reads_is_the_truth_of_scenes(scenes):
    model, images, target, found = scenes
    gradient, mask = saliency(model, images.pixels, target), images.masks["letter"]
    assert found["gradient, absolute"]["mass"].allclose(relevance_mass(gradient, mask))
    both = gradient.sum(1, keepdim=True)
    assert found["gradient, both signs"]["auc"].allclose(pixel_auc(both, mask))
    product = gradient * images.pixels
    assert found["gradient × input, absolute"]["mass"].allclose(relevance_mass(product, mask))
    assert not any("contrast" in row for row in found.values())


def test_the_cell_is_the_truth_of_mosaics(digits):
    model, images, target, found = digits
    gradient = saliency(model, images.pixels, target)
    shares = cell_shares(gradient, images.masks["cell"])
    assert found["gradient, positive"]["mass"].allclose(shares["positive"])
    assert found["gradient, absolute"]["mass"].allclose(shares["absolute"])


def test_what_ignores_the_class_has_no_contrast(digits):
    *_, found = digits
    for name in ("random", "random × input"):
        for how in READINGS:
            assert found[f"{name}, {how}"]["contrast"].abs().max() == 0
    assert found["gradient, positive"]["contrast"].abs().min() > 0


def test_a_cap_changes_what_is_seen_and_not_the_order(digits):
    model, images, target, found = digits
    sizes = saliency(model, images.pixels, target).abs()
    rows = [found[f"gradient, absolute, cap {p}"] for p in (100, 99, 95, 90)]
    assert rows[0]["mass"].allclose(found["gradient, absolute"]["mass"])
    seen = torch.stack([row["seen"] for row in rows])
    assert (seen.diff(dim=0) > 0).all()
    end = np.percentile(sizes.flatten(1).numpy(), 99, axis=1)
    np.testing.assert_allclose(rows[1]["log10 end"], np.log10(end), rtol=1e-4)
    by_hand = (sizes.flatten(1).numpy() >= 0.1 * end[:, None]).mean(1)
    np.testing.assert_allclose(rows[1]["seen"], by_hand, atol=1e-6)


def test_times_the_input_a_random_map_is_like_the_picture(digits):
    *_, found = digits
    like = {name: found[f"{name}, absolute"]["like the picture"] for name in ("random", "gradient")}
    product = found["random × input, absolute"]["like the picture"]
    assert like["random"].abs().max() < 0.1 < like["gradient"].min() < product.min()
