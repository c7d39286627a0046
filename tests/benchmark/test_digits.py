"""Training the network of digits: seeded, fast, and written with a card that fits."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

import helpers.benchmark.digits
from helpers.benchmark.digits import accuracy, train_digits
from helpers.benchmark.models import load_card, load_model
from helpers.benchmark.training import main


def test_two_epochs_are_seeded_and_teach_it():
    first, second = train_digits(0, epochs=2), train_digits(0, epochs=2)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert accuracy(first)["value"] > 0.5  # 0.1 by chance


def test_the_command_writes_the_weights_and_their_card(tmp_path, monkeypatch, capsys):
    model = load_model("digits", device="cpu")
    monkeypatch.setattr(helpers.benchmark.digits, "train_digits", lambda seed: model)
    main(["digits", "--seed", "3", "--out", str(tmp_path)])
    card = json.loads((tmp_path / "digits-3.json").read_text())
    assert json.loads(capsys.readouterr().out) == card
    weights = tmp_path / "digits-3.safetensors"
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    stored = load_file(weights)
    assert all(torch.equal(stored[key], value) for key, value in model.state_dict().items())
    shipped = load_card("digits")
    assert card["accuracy"]["value"] == pytest.approx(shipped["accuracy"]["value"], abs=2 / 500)
    assert card["command"] == shipped["command"].replace("--seed 0", "--seed 3")
