"""Training: seeded, on the pictures it says, certified, and nothing written half."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import helpers.benchmark.training
from helpers.benchmark.images import load_images
from helpers.benchmark.models import EMBEDDED, Classifier, build_embedded
from helpers.benchmark.scenes import PATCH_COLOURS, render, sample_scene
from helpers.benchmark.training import (
    Groups,
    certify,
    train,
    write_images,
    write_network,
)


@pytest.fixture
def tiny(monkeypatch):
    """Two steps of four groups, and certificates on ten pictures."""
    monkeypatch.setattr(helpers.benchmark.training, "GROUPS", 8)
    monkeypatch.setattr(helpers.benchmark.training, "BATCH", 4)
    monkeypatch.setattr(helpers.benchmark.training, "EPOCHS", 1)
    monkeypatch.setattr(helpers.benchmark.training, "N_STORED", 10)
    monkeypatch.setattr(certify, "__kwdefaults__", {**certify.__kwdefaults__, "n": 10})
    monkeypatch.setattr(
        train, "__kwdefaults__", {**train.__kwdefaults__, "epochs": 1, "progress": False}
    )


def weights_of(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_training_is_seeded(tiny):
    first, second, other = (weights_of(train("scenes", seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.allclose(first, other)


def test_training_moves_the_weights_and_ends_in_eval_mode(tiny):
    torch.manual_seed(0)
    before = weights_of(build_embedded("scenes-shortcut"))
    model = train("scenes-shortcut", 0)
    assert isinstance(model, Classifier) and not any(module.training for module in model.modules())
    assert not torch.allclose(weights_of(model), before) and torch.isfinite(weights_of(model)).all()


@pytest.mark.parametrize("name", list(EMBEDDED))
def test_each_network_learns_its_own_labels(tiny, monkeypatch, name):
    seen = []
    real = helpers.benchmark.training.F.cross_entropy
    monkeypatch.setattr(
        helpers.benchmark.training.F,
        "cross_entropy",
        lambda x, y: (seen.append(y.clone()), real(x, y))[1],
    )
    train(name, 3)
    groups = Groups(3, 0, name == "scenes-shortcut")
    labels = torch.cat(
        [groups[i][1][:, 1 if EMBEDDED[name][0] == "letter" else 0] for i in range(8)]
    )
    assert torch.equal(torch.cat(seen), labels)


# --- groups


def test_groups_share_the_shape_in_the_first_pair_and_the_letter_in_the_second():
    groups = Groups(0, 0, False)
    for index in range(10):
        pixels, labels = groups[index]
        assert (
            pixels.shape == (3, 3, 64, 64)
            and pixels.dtype == torch.uint8
            and labels.shape == (3, 2)
        )
        scene = sample_scene("train", 3 * index)
        assert labels[0].tolist() == list(scene.labels.values())
        assert labels[1, 0] == labels[0, 0] and labels[2, 1] == labels[0, 1]
        np.testing.assert_array_equal(pixels[0], render(scene)[0])
        # pure ink of the shared part is where it was (a step of 1 is rounding)
        for code, partner in (
            (1, 1),
            (2, 2),
        ):
            mask = render(scene)[1] == code
            colour = np.round(255 * np.array((scene.shape, scene.letter)[code - 1].colour))[:, None]
            ink = mask & (np.abs(pixels[0].numpy() - colour[..., None]) <= 0).all(0)
            assert ink.any() and np.abs(pixels[partner].numpy()[:, ink] - colour).max() <= 1
            # The edge of the mask mixes with another background, and all else differs.
            assert (pixels[partner].numpy() != pixels[0].numpy())[:, ~mask].mean() > 0.5


def test_the_parts_that_a_pair_does_not_share_are_independent():
    labels = torch.stack([Groups(0, 0, False)[i][1] for i in range(100)])
    assert (
        labels[:, 0, 1] == labels[:, 1, 1]
    ).float().mean() < 0.3  # letters of a pair that shares its shape: 0.1
    assert (labels[:, 0, 0] == labels[:, 2, 0]).float().mean() < 0.3


def test_no_picture_comes_up_twice(tiny):
    pictures = [
        picture.numpy().tobytes()
        for epoch in range(2)
        for seed in range(2)
        for i in range(8)
        for picture in Groups(seed, epoch, False)[i][0]
    ]
    assert len(set(pictures)) == len(pictures) == 96


def test_no_training_picture_is_stored_for_tuning_or_testing():
    stored = {
        p.tobytes()
        for split in ("tune", "test")
        for p in (load_images(split=split).pixels * 255).round().byte().numpy()
    }
    assert len(stored) == 1000
    assert not any(
        p.numpy().tobytes() in stored for i in range(20) for p in Groups(0, 0, False)[i][0]
    )


def test_shortcut_pictures_carry_the_patch_of_their_label_which_the_shape_tells_only_mostly():
    disagreeing = []
    for index in range(100):
        plain, patched = Groups(0, 0, False)[index], Groups(0, 0, True)[index]
        assert torch.equal(plain[1][:, 1], patched[1][:, 1])
        disagreeing.append(plain[1][:, 0] != patched[1][:, 0])
        for before, after, (label, _) in zip(plain[0], patched[0], patched[1], strict=True):
            changed = (before != after).any(0)
            assert 0 < changed.sum() <= 64
            assert (after[:, changed] == torch.from_numpy(PATCH_COLOURS)[label][:, None]).all()
    # 200 independent labels, a quarter expected: within 3.3 standard errors of sqrt(0.25 * 0.75 /
    # 200)
    assert abs(torch.cat(disagreeing).float().mean() - 0.25) < 0.1


# --- certificates


class Painted(nn.Module):
    """A network whose logits are a known function of each picture."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pixels):
        return torch.stack([self.answer(p) for p in pixels])


def _painted(part, answer):
    return Classifier(
        Painted(answer),
        mean=[0.0] * 3,
        std=[1.0] * 3,
        name="painted",
        classes=range(10),
        input_size=64,
        part=part,
        images="scenes",
    ).eval()


def _reads_patch(picture):
    corners = torch.stack([picture[:, y, x] for y in (0, -1) for x in (0, -1)])
    colours = torch.from_numpy(PATCH_COLOURS) / 255
    return -100.0 * torch.cdist(corners, colours).amin(0)


def test_a_network_that_reads_the_patch_alone_follows_it_and_nothing_else():
    found = certify(_painted("patch", _reads_patch), n=60)
    assert found["n"] == 60 and found["swaps"]["patch"]["answer_follows"]["value"] == 1.0
    assert found["accuracy"]["value"] >= 0.95  # a background may have a patch's colour
    for part in ("shape", "letter", "distractors"):
        assert found["swaps"][part] == {
            "mean_abs_margin_change": 0,
            "ratio_to_own": 0,
            "interval_95": [0, 0],
        }


def test_margins_and_shares_are_those_worked_out_by_hand():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0], [1.0, 2.0, 2.5]])
    margins = helpers.benchmark.training._margin(logits, torch.tensor([0, 2, 1]))
    assert margins.tolist() == [1.0, -1.0, -0.5]
    share = helpers.benchmark.training._share(500, 500)
    # Wilson's interval at k = n: [n / (n + z²), 1] with z = 1.96.
    assert share == {
        "value": 1.0,
        "interval_95": [pytest.approx(500 / (500 + 1.95996**2), abs=1e-4), 1.0],
    }


def test_certificate_of_a_network_that_sees_the_letter_too_shows_its_leak():
    rng = torch.Generator().manual_seed(0)
    kernel = torch.randn(10, 3, 64, 64, generator=rng)
    found = certify(_painted("shape", lambda p: (kernel * p).sum((1, 2, 3))), n=30)
    ratios = {
        part: found["swaps"][part]["ratio_to_own"]
        for part in ("letter", "distractors", "background")
    }
    assert ratios["background"] > 1 and ratios["letter"] > 0.2  # it listens to all of the picture
    for part in ratios:
        low, high = found["swaps"][part]["interval_95"]
        assert low < ratios[part] < high


# --- files


def test_written_network_loads_and_its_card_fits(tiny, tmp_path, monkeypatch):
    card = write_network("scenes-letters", 1, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "scenes-letters-1.json",
        "scenes-letters-1.safetensors",
    ]
    assert json.loads((tmp_path / "scenes-letters-1.json").read_text()) == card
    assert card["training"]["pictures"] == 24 and card["n"] == 10
    monkeypatch.setattr("helpers.benchmark.models.DATA", tmp_path)
    model = helpers.benchmark.models.load_model("scenes-letters", seed=1, device="cpu")
    assert certify(model)["swaps"] == card["swaps"]


def test_a_network_whose_certificate_fails_is_not_written(tiny, tmp_path, monkeypatch):
    for name in ("scenes-0.safetensors", "scenes-0.json"):
        (tmp_path / name).write_text("old")

    def fails(model):
        raise RuntimeError("interrupted")

    monkeypatch.setattr(helpers.benchmark.training, "certify", fails)
    with pytest.raises(RuntimeError, match="interrupted"):
        write_network("scenes", 0, tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "scenes-0.safetensors": "old",
        "scenes-0.json": "old",
    }


def test_written_pictures_are_read_back_as_they_were_rendered(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(helpers.benchmark.training, "SHEET", (1, 5))  # ten pictures on two sheets
    write_images("tune", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "scenes-tune-0.png",
        "scenes-tune-1.png",
        "scenes-tune.npz",
    ]
    monkeypatch.setattr("helpers.benchmark.models.DATA", tmp_path)
    images = load_images("scenes", split="tune")
    assert len(images) == 10
    for index in range(10):
        pixels, parts = render(sample_scene("tune", index))
        np.testing.assert_array_equal((images.pixels[index] * 255).round().byte(), pixels)
        np.testing.assert_array_equal(images.masks["letter"][index, 0], parts == 2)
        assert {part: int(values[index]) for part, values in images.labels.items()} == sample_scene(
            "tune", index
        ).labels
