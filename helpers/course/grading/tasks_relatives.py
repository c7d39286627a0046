"""The tasks of the notebooks on the gradient's relatives."""

import torch

from helpers.attribution.relatives import guided_rule
from helpers.attribution.smoothgrad import smoothgrad
from helpers.course.grading.tasks import MODEL, Task, of, same, task
from helpers.course.grading.tasks_smoothgrad import NOISE, SMOOTHGRAD

_RULES = of(
    "helpers.attribution.relatives", "guided_rule", "deconvnet_rule", "guided_backprop", "_under"
)


# --- relatives_1_guided_backprop


def _smoothed(attribution, pixels, fields, noise):
    given = iter(fields)
    return smoothgrad(
        attribution,
        pixels,
        torch.zeros(len(pixels), dtype=torch.long),
        attribution=lambda model, points, target: model(points).detach(),
        n_samples=len(fields),
        noise=float(noise),
        distribution=lambda shape, generator: next(given).cpu().numpy(),
    )


@task("relatives_1_guided_backprop", 8, _RULES, guided_rule)
def my_relu_rule(given, call):
    gradient, activation = given.fields(2, word=11), given.fields(2, word=12).relu()
    back, was_open = gradient.clamp(min=0), (activation > 0).float()
    mistakes = {
        "the gradient's own rule: what is negative on its way back must stop, too": (
            gradient * was_open
        ),
        "the deconvnet's rule: where the ReLU was closed (its output 0) nothing goes on": back,
        "the rule, and the activation multiplied in: it only says where the ReLU was open": (
            back * activation
        ),
        "gradient × activation": gradient * activation,
        "the size of the gradient: what is negative must stop, not change its sign": (
            gradient.abs() * was_open
        ),
        "the negative part, where the positive one goes on": gradient.clamp(max=0) * was_open,
        "only where something goes on (0 or 1), not what": (gradient > 0) * was_open,
        "the activation that goes on, not the gradient": (gradient > 0) * activation,
        "the gradient as it came": gradient,
    }
    answer = call(gradient, activation)
    yield (
        6,
        "what is positive goes on, where the ReLU was open",
        same(answer, back * was_open, mistakes),
    )
    flat, at = gradient[:, 0, :4].flatten(1), activation[:, 0, :4].flatten(1)
    yield (
        2,
        "of any shape, as after a linear layer",
        same(call(flat, at), flat.clamp(min=0) * (at > 0)),
    )


@task("relatives_1_guided_backprop", 6, SMOOTHGRAD, _smoothed)
def my_smoothed(given, call):
    """The attribution that it is given is the network: its logits are a function of the pictures
    like any other."""
    pixels, fields = given.pixels, given.fields(5)
    each = torch.stack([given.logits(pixels + NOISE * field) for field in fields])
    mistakes = {
        "the sum over the fields, not the mean": each.sum(0),
        "the mean of the absolute values": each.abs().mean(0),
        "the attribution without noise": lambda: given.logits(pixels),
        "of one noisy copy alone": each[-1],
        "the attribution of the mean of the noisy copies": lambda: given.logits(
            pixels + NOISE * fields.mean(0)
        ),
        "with noise of standard deviation 1": lambda: torch.stack(
            [given.logits(pixels + field) for field in fields]
        ).mean(0),
        "with the noisy copies clipped to [0, 1]": lambda: torch.stack(
            [given.logits((pixels + NOISE * field).clamp(0, 1)) for field in fields]
        ).mean(0),
    }
    answer = call(MODEL, pixels, fields, NOISE)
    yield (
        4,
        "the mean of what the attribution says of pixels + noise × field",
        same(answer, each.mean(0), mistakes),
    )
    fewer = call(MODEL, pixels, fields[:2], 2 * NOISE)
    expected = torch.stack([given.logits(pixels + 2 * NOISE * field) for field in fields[:2]])
    yield 2, "another number of fields, another noise", same(fewer, expected.mean(0))


TASKS: tuple[Task, ...] = (my_relu_rule, my_smoothed)
