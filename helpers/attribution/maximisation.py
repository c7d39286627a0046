"""Activation maximisation: the picture that a network answers most strongly to, by gradient ascent
on the picture itself, on its frequencies, or in the code of a generator."""

import operator
from functools import partial

import torch
from torch import nn
from torchvision.transforms.functional import gaussian_blur
from tqdm.auto import tqdm

from helpers.attribution.gradients import in_own_dtype
from helpers.attribution.targets import explained_in, resolve_target
from helpers.checks import at_least_one, choose
from helpers.evaluate import ask, evaluation, noisy_points
from helpers.noise import noise_field

PARAMETRISATIONS = ("pixels", "fourier")


def maximise(
    model,
    target,
    *,
    n=1,
    size=None,
    parametrisation="pixels",
    n_steps=128,
    step_size=0.02,
    total_variation=0.0,
    norm=0.0,
    blur=0.0,
    jitter=0,
    prior=0.0,
    candidates=1,
    seed=0,
    device=None,
    progress=False,
):
    """n pictures that the network answers more and more strongly to, each from a start of its own
    (Erhan et al. 2009; Simonyan et al. 2014, arXiv:1312.6034, eq. 1).

    Each step adds ``step_size`` times the gradient of

        logit − total_variation · TV(x) − norm · mean (2x − 1)² − prior · ½ mean z²

    divided by its own root mean square over the picture, so a step is as long at the start, where
    gradients are small, as at the end.

    Args:
        model: a module or callable from (N, C, H, W) in [0, 1].
        target: as for ``saliency``: a class, or a callable from the output to one number a row;
            not None, since the start is of no class.
        n: how many. The i-th start depends on ``seed``, i and ``candidates`` alone.
        size: (C, H, W) of a picture; by default that of the network's own pictures. A generator
            has its own.
        parametrisation: what the ascent moves. ``"pixels"``: the pixels, kept in [0, 1], from grey
            with a little noise. ``"fourier"``: the picture's frequencies, weighted by 1 / frequency
            as in natural pictures, and a sigmoid behind them (Olah et al. 2017,
            doi:10.23915/distill.00007). Or a generator, a module from codes (n, D) to pixels with
            ``code_size`` D: its code z, from standard normal numbers (Nguyen et al. 2016,
            arXiv:1605.09304).
        n_steps: one number, or several: {n_steps: pictures} from one ascent.
        step_size: in units of what moves: pixels (0 … 1), frequencies or code.
        total_variation: weight of the mean absolute difference of neighbouring pixels (Mahendran
            and Vedaldi 2015, arXiv:1412.0035).
        norm: weight of the mean square distance from grey, 1 at black and white.
        blur: σ, in pixels, of a Gaussian blur after each step (Yosinski et al. 2015,
            arXiv:1506.06579); for ``"pixels"``.
        jitter: before each step the picture is moved by up to so many pixels, and back after it
            (Mordvintsev et al. 2015).
        prior: weight of ½ mean z², a normal code's negative logarithmic density; for a generator.
        candidates: how many starts are drawn for each picture; the ascent begins at the one with
            the largest logit. A generator that chooses one of ten shapes has no slope from one to
            another: there the start decides which.

    Returns:
        (n, C, H, W) in [0, 1], on ``device`` (default: the model's); or a dict of such.

    Raises:
        TypeError, ValueError: an argument that makes no sense; a logit or gradient that is not
            finite; a picture that the logit does not depend on.
    """
    several = not isinstance(n_steps, int)
    steps = [_at_least(each, 0, "n_steps") for each in (n_steps if several else [n_steps])]
    if target is None:
        raise TypeError("target must say what is to rise, a class or a callable, found None")
    if not steps:
        raise ValueError("n_steps is empty: give at least one number")
    jitter = _at_least(jitter, 0, "jitter")
    weights = dict(total_variation=total_variation, norm=norm, blur=blur, prior=prior)
    for name, value in [*weights.items(), ("step_size", step_size)]:
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a number from 0 up, found {value!r}")
    found, about = {}, dict(n=n, size=size, candidates=candidates, seed=seed, device=device)
    moved, draw, aims = _begun(model, target, parametrisation, weights, **about)
    with evaluation(model), evaluation(parametrisation), noisy_points():
        rng = torch.Generator().manual_seed(int(seed))
        for step in tqdm(range(max(steps) + 1), disable=not progress, leave=False):
            if step in steps:
                found[step] = draw(moved).detach()
            if step == max(steps):
                break
            moved = moved.detach().requires_grad_()
            pixels = draw(moved)
            by = tuple(torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist())
            score = explained_in(ask(model, pixels.roll(by, (2, 3))), aims, len(pixels))
            score = score - total_variation * _variation(pixels)
            score = score - norm * (2 * pixels - 1).square().mean((1, 2, 3))
            if prior:
                score = score - prior * moved.square().mean(1) / 2
            (gradient,) = torch.autograd.grad(score.sum(), moved, allow_unused=True)
            moved = _stepped(moved, gradient, step_size, parametrisation, blur)
    found = {step: in_own_dtype(found[step], torch.float32) for step in steps}
    return found if several else found[steps[0]]


def starts(model, target, *, parametrisation="pixels", n=1, size=None, candidates=1, seed=0):
    """(what an ascent moves, the function from it to pixels in [0, 1]), as ``maximise`` with these
    arguments begins."""
    weights = dict.fromkeys(("blur", "prior"))
    about = dict(n=n, size=size, candidates=candidates, seed=seed, device=None)
    moved, draw, _ = _begun(model, target, parametrisation, weights, **about)
    return moved, draw


def _begun(model, target, parametrisation, weights, *, n, size, candidates, seed, device):
    """(what moves (n, ...), the function from it to pixels, what rises)"""
    n, candidates = at_least_one(n, "n"), at_least_one(candidates, "candidates")
    first = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    device = device or ("cpu" if first is None else first.device)
    moved, draw = _parametrised(model, parametrisation, n * candidates, size, seed, weights)
    moved = moved.to(device)
    with evaluation(model), evaluation(parametrisation), noisy_points(), torch.no_grad():
        aims = resolve_target(model, draw(moved[:n]), target)
        if candidates > 1:
            rows = torch.arange(n).repeat_interleave(candidates).split(100)
            scores = [
                explained_in(ask(model, draw(part)), aims[which], len(part))
                for part, which in zip(moved.split(100), rows, strict=True)
            ]
            best = torch.cat(scores).reshape(n, candidates).argmax(1)
            moved = moved.unflatten(0, (n, candidates))[torch.arange(n), best]
    return moved, draw, aims


def _at_least(value, low, name) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, found {value!r}") from None
    if isinstance(value, bool) or number < low:
        raise ValueError(f"{name} must be a whole number from {low} up, found {value!r}")
    return number


def _parametrised(model, parametrisation, n, size, seed, weights):
    """(what moves (n, ...), the function from it to pixels)"""
    if isinstance(parametrisation, nn.Module):
        if weights["blur"]:
            raise ValueError("blur smooths pixels, and here a code moves: leave it at 0")
        codes = [noise_field((parametrisation.code_size,), seed, i) for i in range(n)]
        return _stack(codes), parametrisation
    choose(parametrisation, PARAMETRISATIONS, "parametrisation")
    if weights["prior"]:
        raise ValueError(
            "prior weighs a generator's code: give the generator as parametrisation, "
            "load_generator('scenes')"
        )
    if size is None:
        if not hasattr(model, "input_size"):
            raise ValueError("size is needed, (C, H, W): only a Classifier has its own")
        size = (len(model.mean), model.input_size, model.input_size)
    start = _stack([noise_field(tuple(size), seed, i) for i in range(n)])
    if parametrisation == "pixels":
        return (0.5 + 0.15 * start).clamp(0, 1), lambda pixels: pixels
    if weights["blur"]:
        raise ValueError("blur smooths pixels, and here frequencies move: leave it at 0")
    spectrum = torch.view_as_real(torch.fft.rfft2(start, norm="ortho"))
    return 0.5 * spectrum, partial(_from_frequencies, size=tuple(size[1:]))


def _from_frequencies(spectrum, size):
    """Pixels in [0, 1] of weighted frequencies (n, C, H, W // 2 + 1, 2)."""
    rows = torch.fft.fftfreq(size[0], device=spectrum.device)[:, None]
    frequency = torch.hypot(rows, torch.fft.rfftfreq(size[1], device=spectrum.device))
    scale = 1 / frequency.clamp(min=1 / max(size))
    scale = scale / scale.square().mean().sqrt()
    weighted = torch.view_as_complex(spectrum.contiguous()) * scale
    return torch.fft.irfft2(weighted, s=size, norm="ortho").sigmoid()


def _stepped(moved, gradient, step_size, parametrisation, blur):
    if gradient is None:
        raise ValueError("the logit does not depend on the picture through autograd")
    if not gradient.isfinite().all():
        raise ValueError(
            "the logit, or its gradient, is NaN or infinite: a smaller step_size, or weights that "
            "are finite"
        )
    length = gradient.flatten(1).square().mean(1).sqrt().clamp(min=1e-12)
    moved = moved.detach() + step_size * gradient / length.reshape(-1, *[1] * (moved.ndim - 1))
    if parametrisation != "pixels":
        return moved
    if blur:
        reach = min(int(3 * blur + 1), min(moved.shape[2:]) - 1)
        moved = gaussian_blur(moved, 2 * reach + 1, blur)
    return moved.clamp(0, 1)


def _variation(pixels):
    """The mean absolute difference of neighbours, down and across: (n,)."""
    down = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean((1, 2, 3))
    return down + (pixels[..., 1:] - pixels[..., :-1]).abs().mean((1, 2, 3))


def _stack(fields):
    return torch.stack([torch.from_numpy(field) for field in fields]).float()
