"""The study of activation maximisation, small."""

import pytest
import torch

from helpers.benchmark.models import load_model
from helpers.studies.maximisation import SETTINGS, STARTS, classes_and_starts, maximisation

MEASURES = {
    *("itself", "logit", "transfer", "surely", "shuffled", "other recipe", "attention"),
    *("distance", "diversity"),
}


@pytest.fixture(scope="module")
def found():
    model = load_model("digits", device="cpu")
    images = classes_and_starts(model, 20)[[3, 12]]
    return maximisation(
        model, images, images.labels["class"], [10_003, 10_012], settings=("pixels", "generator")
    )


def test_ten_pictures_of_each_class_in_their_order():
    images = classes_and_starts(load_model("digits", device="cpu"), 20)
    assert images.labels["class"].tolist() == [0] * 10 + [1] * 10
    assert images.labels["start"].tolist() == [*range(10)] * 2
    assert images.names[13] == "1, 3"


def test_every_setting_has_every_measure_for_every_start(found):
    assert list(found) == ["test pictures", "start", "pixels", "generator, best of 40", "generator"]
    assert set(STARTS.values()) < set(SETTINGS)
    for values in found.values():
        assert set(values) == MEASURES and all(of.shape == (2,) for of in values.values())
    assert found["pixels"]["attention"].isnan().all()  # digits have no such network


def test_a_climb_ends_higher_than_it_began_and_noise_is_not_named(found):
    assert (found["pixels"]["logit"] > found["start"]["logit"] + 5).all()
    assert found["start"]["transfer"].sum() == 0
    assert found["test pictures"]["itself"].tolist() == [1, 1]
    assert (found["generator"]["distance"] < found["pixels"]["distance"]).all()


def test_a_start_is_judged_as_it_is_with_others(found):
    model = load_model("digits", device="cpu")
    images = classes_and_starts(model, 20)[[12]]
    alone = maximisation(model, images, images.labels["class"], [10_012], settings=("pixels",))
    for measure in ("logit", "diversity", "shuffled"):
        assert torch.allclose(
            alone["pixels"][measure], found["pixels"][measure][1:], atol=1e-3, rtol=1e-3
        )
