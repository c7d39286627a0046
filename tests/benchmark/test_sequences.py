"""Sentences and signals: what decides is known, and the shipped networks listen to it."""

import hashlib
import json

import pytest
import torch

from helpers import saliency
from helpers.benchmark import sequences as module
from helpers.benchmark.models import DATA
from helpers.benchmark.sequences import (
    DECIDE,
    LENGTH,
    SEQUENCES,
    certify_sequences,
    load_sequence_model,
    sequence_card,
    sequences,
    train_sequences,
    word_numbers,
    words,
)

BOTH = pytest.mark.parametrize("name", SEQUENCES)
CASES = [(name, part) for name, about in SEQUENCES.items() for part in about[3]]


@BOTH
def test_each_depends_on_its_seed_and_number_alone(name):
    few, more, other = (sequences(name, n, seed=s) for n, s in ((3, 5), (6, 5), (6, 6)))
    assert all(torch.equal(a, b[:3]) for a, b in zip(few, more, strict=True))
    assert not torch.equal(more.inputs, other.inputs)


def test_the_answer_is_what_is_said_of_the_film():
    data = sequences("sentences", 60)
    for tokens, label, mask in zip(*data, strict=True):
        said = words(tokens)
        noun, modifier, opinion = (said[i] for i in mask.nonzero()[:, 0])
        assert noun == "film" and said.count("film") == 1
        good = opinion in ("good", "great", "lovely", "superb")
        assert int(label) == (good != (modifier in ("not", "never")))
        assert torch.equal(word_numbers(" ".join(said))[0], tokens)


@pytest.mark.parametrize(("name", "part"), CASES)
def test_an_exchange_changes_its_part_alone(name, part):
    clean, swapped = sequences(name, 40), sequences(name, 40, part=part)
    changed = clean.inputs.reshape(40, -1) != swapped.inputs.reshape(40, -1)
    assert changed.any(1).all()
    decides = part in SEQUENCES[name][3][: DECIDE[name]]
    if decides and part != "noun":  # the two clauses' nouns change places, and their labels may not
        assert not (changed & ~clean.masks).any()
        assert (clean.labels != swapped.labels).all()
    elif not decides:
        assert torch.equal(clean.labels, swapped.labels)
        if part != "background":
            assert not (changed & clean.masks).any()


@pytest.mark.parametrize("seed", [0, 1])
@BOTH
def test_the_shipped_network_listens_to_what_decides_and_its_card_says_so(name, seed):
    card, model = sequence_card(name, seed=seed), load_sequence_model(name, seed=seed)
    assert card["parameters"] == sum(p.numel() for p in model.parameters()) < 50_000
    found = certify_sequences(name, model, n=100)
    assert found["accuracy"]["value"] >= 0.97 and card["accuracy"]["value"] >= 0.97
    moved = {True: [], False: []}
    for part, about in found["swaps"].items():
        assert about["right"]["value"] >= 0.97 and card["swaps"][part]["right"]["value"] >= 0.97
        moved[about["decides"]].append(about["change_of_margin"])
    assert min(moved[True]) > 5 * max(moved[False])


def test_a_word_that_says_nothing_leaves_the_answer_open():
    model = load_sequence_model("sentences")
    nothing = model.embed(torch.zeros(1, LENGTH, dtype=torch.long))
    assert (model(nothing).softmax(1) - 0.5).abs().max() < 0.05
    assert saliency(model, nothing).shape == nothing.shape


@BOTH
def test_training_is_seeded(name, monkeypatch):
    monkeypatch.setattr(module, "POOL", 200)
    one, two = (train_sequences(name, 3, steps=2) for _ in range(2))
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_written_can_be_read(tmp_path, monkeypatch):
    model = load_sequence_model("signals")
    monkeypatch.setattr(module, "train_sequences", lambda name, seed: model)
    card = module.write_sequences("signals", 3, tmp_path)
    assert json.loads((tmp_path / "signals-3.json").read_text()) == card
    weights = (tmp_path / "signals-3.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert weights == (DATA / "signals-0.safetensors").read_bytes()


def test_a_word_or_a_length_that_it_does_not_know():
    with pytest.raises(ValueError, match="word"):
        word_numbers("zebra " * LENGTH)
    with pytest.raises(ValueError, match="found 2"):
        word_numbers("the film")
