"""The tasks of the notebooks on the gradient's relatives."""

import torch

from helpers.attribution.maximisation import _variation
from helpers.course.grading.tasks import MODEL, Task, gradients, of, same, task

_MAXIMISE = of("helpers.attribution.maximisation", "maximise", "_stepped", "_variation")


def _varied(pixels):
    down, across = pixels.diff(dim=2).abs(), pixels.diff(dim=3).abs()
    return down.mean((1, 2, 3)) + across.mean((1, 2, 3))


@task("relatives_4_activation_maximisation", 4, _MAXIMISE, _varied)
def my_total_variation(given, call):
    pixels = given.pixels
    down, across = pixels.double().diff(dim=2), pixels.double().diff(dim=3)
    expected = _variation(pixels.double())
    wrapped = [(pixels.double() - pixels.double().roll(1, d)).abs() for d in (2, 3)]

    def total(values):
        return values.flatten(1).sum(1)

    mistakes = {
        "the mean of squares, not of absolute values": (
            down.square().mean((1, 2, 3)) + across.square().mean((1, 2, 3))
        ),
        "the sum of the differences, not their mean": total(down.abs()) + total(across.abs()),
        "down only: the differences across are missing": down.abs().mean((1, 2, 3)),
        "across only: the differences down are missing": across.abs().mean((1, 2, 3)),
        "the last row compared with the first: a wrap-around": sum(
            each.mean((1, 2, 3)) for each in wrapped
        ),
        "of signed differences, which cancel": down.mean((1, 2, 3)) + across.mean((1, 2, 3)),
        "one number for all pictures": expected.mean().expand(len(pixels)),
        "half of it: the mean of both directions, where their sum belongs": expected / 2,
    }
    answer = call(pixels)
    yield 3, "the mean absolute difference, down plus across", same(answer, expected, mistakes)
    grey = given.large_pictures(2)[:, :1, :40]
    yield 1, "grey pictures, wider than high", same(call(grey), _variation(grey.double()))


def _climbed(model, start, target, n_steps, step_size, low=0.0, high=1.0, **mistake):
    """Plain ascent; ``mistake`` makes the wrong ones that a check knows."""
    mistake = {
        "sign": 1,
        "over": "picture",
        "of": "logit",
        "clamp": "each",
        "once": False,
    } | mistake
    moved, gradient = start, None
    for _ in range(n_steps):
        if gradient is None or not mistake["once"]:
            points = moved.detach().requires_grad_()
            logits = model(points)
            logits = logits.softmax(1) if mistake["of"] == "probability" else logits
            score = logits.gather(1, target[:, None])
            (gradient,) = torch.autograd.grad(score.sum(), points)
        size = gradient.flatten(1).square().mean(1).sqrt()
        if mistake["over"] == "batch":
            size = gradient.square().mean().sqrt().expand(len(size))
        if mistake["over"] == "norm":
            size = gradient.flatten(1).norm(dim=1)
        if mistake["over"] == "nothing":
            size = torch.ones_like(size)
        step = gradient / size.clamp(min=1e-12).reshape(-1, *[1] * (gradient.ndim - 1))
        step = gradient.sign() if mistake["over"] == "sign" else step
        moved = moved.detach() + mistake["sign"] * step_size * step
        moved = moved.clamp(low, high) if mistake["clamp"] == "each" else moved
    return moved.clamp(low, high) if mistake["clamp"] == "end" else moved


@task("relatives_4_activation_maximisation", 8, _MAXIMISE, _climbed)
def my_ascent(given, call):
    start, target = given.pixels, given.target

    def climbed(n_steps, step_size, *limits, **mistake):
        asked = given.network, start.double(), target, n_steps, step_size, *limits
        return lambda: _climbed(*asked, **mistake)

    several, one = (3, 0.15), (1, 0.03)
    steps = {
        "a descent: the step goes against the gradient": dict(sign=-1),
        "without the division by the root mean square": dict(over="nothing"),
        "divided by one root mean square for all pictures, not by each picture's": dict(
            over="batch"
        ),
        "divided by the norm, not by the root mean square": dict(over="norm"),
        "the gradient's sign, not the gradient over its root mean square": dict(over="sign"),
        "of the probability, not of the logit": dict(of="probability"),
    }
    paths = {
        "never clamped to the limits": dict(clamp="never"),
        "clamped at the end only, not after each step": dict(clamp="end"),
        "with the first gradient at every step": dict(once=True),
    }
    mistakes = {name: climbed(*one, **wrong) for name, wrong in steps.items()}
    text = "one step: the gradient of the logit over its root mean square in each picture"
    yield 2, text, same(call(MODEL, start, target, *one), climbed(*one)(), mistakes)
    mistakes = {name: climbed(*several, **wrong) for name, wrong in (steps | paths).items()}
    mistakes |= {
        "one step too few": climbed(2, 0.15),
        "one step too many": climbed(4, 0.15),
    }
    answer, n_steps = call(MODEL, start, target, *several), several[0]
    text = "several steps, each from where the last one ended, clamped to [0, 1] after each"
    yield 3, text, same(answer, climbed(*several)(), mistakes)
    asked = {len(start): "is the gradient taken once, and not at every step?"}
    yield (
        1,
        "asks for one gradient a step and picture",
        gradients(answer, n_steps * len(start), asked),
    )
    narrow = call(MODEL, start, target, 2, 0.05, 0.3, 0.6)
    fixed = {"clamped to [0, 1], whatever low and high are": climbed(2, 0.05)}
    text = "other limits: clamped to [low, high]"
    yield 1, text, same(narrow, climbed(2, 0.05, 0.3, 0.6)(), fixed)
    yield 1, "no step gives the start", same(call(MODEL, start, target, 0, 0.1), start)


TASKS: tuple[Task, ...] = (my_total_variation, my_ascent)
