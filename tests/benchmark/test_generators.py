"""The generators of pictures: what they draw is what their code says, and networks name it."""

import json

import pytest
import torch

from helpers.benchmark import generators
from helpers.benchmark.generators import (
    GENERATORS,
    load_generator,
    named,
    nearest,
    sample_codes,
    training_pictures,
)
from helpers.benchmark.models import DATA
from helpers.benchmark.training import main

every = pytest.mark.parametrize("name", list(GENERATORS))


def card(name):
    return json.loads((DATA / f"{name}-generator-0.json").read_text(encoding="utf-8"))


@every
def test_most_samples_are_named_by_networks_of_three_training_seeds(name):
    generator, about = load_generator(name, device="cpu"), card(name)
    found = named(generator, about["samples"])
    assert about["samples"] == 200 and float(found["all"].float().mean()) >= 0.8
    assert about["named_by_three"] == pytest.approx(float(found["all"].float().mean()), abs=0.015)
    assert float(found["as chosen"].float().mean()) >= 0.75


@every
def test_samples_are_no_copies(name):
    # Ten samples are about as far from their nearest training picture as training pictures are
    # from theirs.
    about = card(name)
    assert len(about["nearest_training_picture"]) == 10
    assert min(about["nearest_training_picture"]) > 0.3 * about["training_pictures_between_them"]


@every
def test_pictures_and_codes(name):
    generator = load_generator(name, device="cpu")
    codes = sample_codes(generator, 3, seed=5)
    pictures = generator(codes)
    size = {"scenes": (3, 64, 64), "digits": (1, 32, 32)}[name]
    assert pictures.shape == (3, *size) and pictures.min() >= 0 and pictures.max() <= 1
    assert sample_codes(generator, 2, seed=5).equal(codes[:2])
    assert generator(codes[1:2]).allclose(pictures[1:2], atol=1e-5)
    assert not any(p.requires_grad for p in generator.parameters())


def test_a_scenes_code_moves_what_it_says():
    generator = load_generator("scenes", device="cpu")
    code = sample_codes(generator, 1)
    other = code.clone()
    other[:, :10] = 0
    other[:, (int(code[0, :10].argmax()) + 1) % 10] = 3  # another shape
    pictures = generator(torch.cat([code, other]))
    moved = (pictures[0] - pictures[1]).abs().sum(0) > 0.05
    rows, columns = moved.nonzero().T
    assert 4 < rows.max() - rows.min() < 30 and 4 < columns.max() - columns.min() < 30
    # all ten shapes and letters can be drawn apart
    assert len({generator(sample_codes(generator, 60))[i].sum().item() for i in range(60)}) == 60


def test_shape_and_letter_do_not_meet():
    generator = load_generator("scenes", device="cpu")
    placed = []
    draw = generator.draw
    generator.draw = lambda ground, choices, *where: (
        placed.append(where),
        draw(ground, choices, *where),
    )[1]
    generator(sample_codes(generator, 300))
    centres, radii = placed[0][:2]
    apart = (centres[:, 0] - centres[:, 1]).norm(dim=1)
    assert (apart > radii.sum(1)).all()
    assert (centres.abs().amax(2) + radii < 32).all()


def test_the_nearest_of_several():
    among = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    numbers, distances = nearest(among[[3, 1]] + 0.1, among)
    assert numbers.tolist() == [3, 1] and distances.allclose(torch.tensor(0.1), atol=1e-3)


def test_an_epoch_is_seeded_and_teaches_it():
    pictures = tuple(each[:256] for each in training_pictures("digits"))
    first, second = (
        generators.train_generator("digits", pictures=pictures, epochs=20) for _ in range(2)
    )
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    error = [
        float((generator(torch.zeros(1, 18)) - pictures[0].mean(0)).square().mean())
        for generator in (first, GENERATORS["digits"]())
    ]
    assert error[0] < error[1]


def test_the_command_writes_the_weights_and_their_card(tmp_path, monkeypatch, capsys):
    generator = load_generator("digits", device="cpu")
    monkeypatch.setattr(generators, "train_generator", lambda name, pictures: generator)
    main(["digits-generator", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "digits-generator-0.json").read_text())
    assert json.loads(capsys.readouterr().out) == written
    shipped = card("digits")
    assert written["sha256"] == shipped["sha256"] and written["command"] == shipped["command"]
    assert written["named_by_three"] == pytest.approx(shipped["named_by_three"], abs=0.015)


def test_another_name_is_an_error():
    with pytest.raises(ValueError, match="scenes"):
        load_generator("faces")
