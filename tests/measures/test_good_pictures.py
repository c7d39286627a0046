"""The measures of activation maximisation, against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from helpers.benchmark.images import load_images
from helpers.benchmark.models import load_model
from helpers.measures.maximisation import (
    distance_from_data,
    diversity,
    features,
    judges,
    shuffled_blocks,
    transfer,
)


def test_judges_are_the_other_training_seeds():
    found = judges(load_model("scenes", seed=1, device="cpu"), seed=1)
    weights = [each.network[0][0].weight for each in found]
    for seed, weight in zip((0, 2), weights, strict=True):
        assert weight.equal(load_model("scenes", seed=seed, device="cpu").network[0][0].weight)
    assert judges(load_model("scenes-shortcut", device="cpu")) == []


def test_transfer_is_the_share_that_names_the_target():
    says = [lambda pixels, k=k: torch.eye(3)[[k] * len(pixels)] for k in (0, 1, 1)]
    found = transfer(says, torch.zeros(3, 1), torch.tensor([0, 1, 2]))
    assert found.tolist() == pytest.approx([1 / 3, 2 / 3, 0])


def test_features_are_what_the_last_linear_layer_reads():
    model, pixels = load_model("scenes", device="cpu"), load_images("scenes", 3).pixels
    found = features(model, pixels, batch_size=2)
    assert found.shape == (3, 128)
    assert model.network[-1](found).allclose(model(pixels), atol=1e-4)
    assert features(load_model("scenes-attention", device="cpu"), pixels).shape == (3, 96)
    with pytest.raises(ValueError, match="no linear layer"):
        features(nn.Flatten(), pixels)


def test_distance_is_in_units_of_the_data_s_own():
    data = torch.tensor([[0.0, 0], [2, 0], [6, 0]])  # nearest 2, 2 and 4 away
    found = distance_from_data(torch.tensor([[0.0, 4], [6, 0]]), data)
    assert found.tolist() == pytest.approx([4 / (8 / 3), 0])


def test_diversity_is_of_directions_in_units_of_the_data_s_own():
    data = torch.tensor([[1.0, 0], [0, 3]])  # √2 apart on the circle
    found = torch.tensor([[5.0, 0], [1, 0], [-1, 0]])  # 0 and 2
    half = 2**-0.5
    assert diversity(found, data).tolist() == pytest.approx([half, half, 2 * half])
    with pytest.raises(ValueError, match="two or more"):
        diversity(data[:1], data)


def test_shuffled_blocks_keep_their_insides():
    pixels = torch.arange(2 * 3 * 8 * 12.0).reshape(2, 3, 8, 12)
    found = shuffled_blocks(pixels, 4)
    assert found.shape == pixels.shape and not found.equal(pixels)

    def blocks(values):  # 2 × 3 pixels each
        return [
            tuple(values[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].flatten().tolist())
            for i in range(4)
            for j in range(4)
        ]

    for before, after in zip(pixels, found, strict=True):
        assert sorted(blocks(before)) == sorted(blocks(after)) and blocks(before) != blocks(after)
    assert found.equal(shuffled_blocks(pixels, 4)) and not found.equal(
        shuffled_blocks(pixels, 4, seed=1)
    )
    with pytest.raises(ValueError, match="do not fit"):
        shuffled_blocks(pixels, 5)
