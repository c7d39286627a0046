"""Activation maximisation, against steps worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.attribution.maximisation import maximise, starts
from helpers.benchmark.models import load_model
from helpers.noise import noise_field

SIZE = (2, 4, 6)


class Weighted(nn.Module):
    """Logits (w · x, −w · x): the gradient is w wherever one stands."""

    def __init__(self, weight=None):
        super().__init__()
        given = torch.from_numpy(noise_field(SIZE, 5, 0)).float() if weight is None else weight
        self.weight = nn.Parameter(given)

    def forward(self, pixels):
        logit = (self.weight * pixels).sum((1, 2, 3))
        return torch.stack([logit, -logit], 1)


class Brightness(nn.Module):
    """A generator: the code's three numbers are the channels' brightness, moved from ½."""

    code_size = 2

    def forward(self, code):
        return (0.5 + 0.1 * code)[:, :, None, None].expand(-1, -1, *SIZE[1:])


def start(n=1, seed=0):
    fields = np.stack([noise_field(SIZE, seed, i) for i in range(n)])
    return (0.5 + 0.15 * torch.from_numpy(fields).float()).clamp(0, 1)


def root_mean_square(values):
    return values.square().mean().sqrt()


def test_a_step_is_the_gradient_over_its_root_mean_square():
    model = Weighted()
    step = 0.01 * model.weight.detach() / root_mean_square(model.weight.detach())
    found = maximise(model, 0, size=SIZE, n_steps=3, step_size=0.01)
    by_hand = start()
    for _ in range(3):
        by_hand = (by_hand + step).clamp(0, 1)
    assert found.allclose(by_hand, atol=1e-6)
    assert maximise(model, 1, size=SIZE, n_steps=1, step_size=0.01).allclose(
        (start() - step).clamp(0, 1), atol=1e-6
    )


def test_no_step_is_the_start_which_follows_from_seed_and_number():
    model = Weighted()
    found = maximise(model, 0, n=3, size=SIZE, n_steps=0, seed=4)
    assert found.allclose(start(3, seed=4))
    assert maximise(model, 0, n=1, size=SIZE, n_steps=0, seed=4).equal(found[:1])


@pytest.mark.parametrize("how", ["pixels", "fourier", Brightness()])
@pytest.mark.parametrize("candidates", [1, 5])
def test_starts_are_those_of_an_ascent(how, candidates):
    about = dict(n=3, size=SIZE, parametrisation=how, candidates=candidates, seed=4)
    moved, draw = starts(Weighted(), 0, **about)
    assert len(moved) == 3
    assert draw(moved).allclose(maximise(Weighted(), 0, n_steps=0, **about))


def test_of_several_candidates_the_best_is_climbed_from():
    model, target = Weighted(), torch.tensor([0, 1])
    drawn = maximise(model, 0, n=10, size=SIZE, n_steps=0)
    logits = model(drawn)
    best = [int(logits[:5, 0].argmax()), 5 + int(logits[5:, 1].argmax())]
    found = maximise(model, target, n=2, size=SIZE, n_steps=0, candidates=5)
    assert found.equal(drawn[best])
    assert maximise(model, 0, n=1, size=SIZE, n_steps=0, candidates=5).equal(found[:1])


def test_several_numbers_of_steps_come_from_one_ascent():
    model, calls = Weighted(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    found = maximise(model, 0, size=SIZE, n_steps=[5, 0, 2])
    assert list(found) == [5, 0, 2] and len(calls) == 5
    for steps, pixels in found.items():
        assert pixels.equal(maximise(model, 0, size=SIZE, n_steps=steps))


def test_total_variation_and_norm_are_what_they_say():
    # Where the logit has no say, a step follows the regulariser alone: of the norm, towards grey,
    # along −(2 x − 1); of the total variation, against the sign of what differs from both sides.
    flat = Weighted(torch.zeros(SIZE))
    away = 2 * start() - 1
    found = maximise(flat, 0, size=SIZE, n_steps=1, norm=3, step_size=0.01)
    assert found.allclose(start() - 0.01 * away / root_mean_square(away), atol=1e-6)
    pixels = start().double().requires_grad_()
    down, across = pixels.diff(dim=2), pixels.diff(dim=3)
    (slope,) = torch.autograd.grad(-down.abs().mean() - across.abs().mean(), pixels)
    found = maximise(flat, 0, size=SIZE, n_steps=1, total_variation=2, step_size=0.01)
    by_hand = start() + 0.01 * slope.float() / root_mean_square(slope.float())
    assert found.allclose(by_hand, atol=1e-6)


def test_a_prior_draws_the_code_to_zero():
    flat, code = Weighted(torch.zeros(SIZE)), torch.from_numpy(noise_field((2,), 0, 0)).float()
    found = maximise(
        flat, 0, parametrisation=Brightness(), n_steps=1, prior=1, step_size=0.1, seed=0
    )
    by_hand = code - 0.1 * code / root_mean_square(code)
    assert found.allclose(Brightness()(by_hand[None]), atol=1e-6)


def test_the_generators_code_moves_along_the_chain_rule():
    model = Weighted()
    slope = 0.1 * model.weight.detach().sum((1, 2))
    code = torch.from_numpy(noise_field((2,), 0, 0)).float()
    found = maximise(model, 0, parametrisation=Brightness(), n_steps=1, step_size=0.1)
    by_hand = code + 0.1 * slope / root_mean_square(slope)
    assert found.allclose(Brightness()(by_hand[None]), atol=1e-5)


def test_blur_smooths_and_jitter_is_seeded():
    model = Weighted()
    rough, smooth = (maximise(model, 0, size=SIZE, blur=blur) for blur in (0, 1.0))
    assert smooth.diff(dim=3).abs().mean() < 0.5 * rough.diff(dim=3).abs().mean()
    moved = [maximise(model, 0, size=SIZE, jitter=2, seed=seed) for seed in (1, 1, 2)]
    assert moved[0].equal(moved[1]) and not moved[0].allclose(moved[2])


@pytest.mark.parametrize("how", ["pixels", "fourier"])
def test_every_class_of_the_embedded_network_is_reached(how):
    model = load_model("scenes", device="cpu")
    wanted = torch.tensor([0, 4, 9])
    step = {"pixels": 0.02, "fourier": 0.1}[how]
    found = maximise(model, wanted, n=3, parametrisation=how, n_steps=32, step_size=step, jitter=2)
    assert found.shape == (3, 3, 64, 64) and found.min() >= 0 and found.max() <= 1
    assert model(found).softmax(1).gather(1, wanted[:, None]).min() > 0.99


def test_frequencies_of_one_over_f_make_smoother_starts():
    model = Weighted(torch.zeros(3, 32, 32))
    pixels, fourier = (
        maximise(model, 0, size=(3, 32, 32), parametrisation=how, n_steps=0)
        for how in ("pixels", "fourier")
    )
    rough = [x.diff(dim=3).std() / x.std() for x in (pixels, fourier)]
    assert rough[1] < 0.6 * rough[0]


def test_the_model_and_the_generator_are_left_as_they_were():
    model, generator = Weighted().train(), Brightness().train()
    maximise(model, 0, parametrisation=generator, n_steps=2)
    assert model.training and generator.training
    assert model.weight.grad is None and model.weight.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n_steps=-1), "n_steps"),
        (dict(n_steps=[]), "empty"),
        (dict(n=0), "n must"),
        (dict(candidates=0), "candidates must"),
        (dict(jitter=-1), "jitter"),
        (dict(step_size=float("nan")), "step_size"),
        (dict(total_variation=-1), "total_variation"),
        (dict(parametrisation="wavelets"), "pixels"),
        (dict(prior=1), "generator"),
        (dict(parametrisation="fourier", blur=1), "frequencies"),
        (dict(parametrisation=Brightness(), blur=1), "code"),
        (dict(size=None), "size"),
    ],
)
def test_what_makes_no_sense_is_an_error(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        maximise(Weighted(), 0, **{"size": SIZE, "n_steps": 1} | arguments)


def test_a_logit_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="finite"):
        maximise(Weighted(torch.full(SIZE, torch.inf)), 0, size=SIZE, n_steps=1)


def test_a_callable_rises_and_no_target_is_an_error():
    model, channel = Weighted(), (lambda logits: -logits[:, 0])
    found = maximise(model, channel, size=SIZE, n_steps=2)
    assert found.allclose(maximise(model, 1, size=SIZE, n_steps=2))
    with pytest.raises(TypeError, match="None"):
        maximise(model, None, size=SIZE, n_steps=2)
