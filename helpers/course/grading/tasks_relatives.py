"""The tasks of the notebooks on the gradient's relatives."""

import torch
from torch.nn import functional as F

from helpers.attribution.maximisation import _variation
from helpers.attribution.relatives import guided_rule
from helpers.attribution.smoothgrad import smoothgrad
from helpers.course.grading.tasks import MODEL, Task, gradients, same, task
from helpers.course.grading.tasks_smoothgrad import NOISE


def _read(maps, how):
    if how == "absolute":
        return maps.abs().sum(1, keepdim=True)
    signed = maps.sum(1, keepdim=True)
    return signed.clamp(min=0) if how == "positive" else signed


def _capped(values, percentile):
    return (values / _end(values.abs(), percentile)).clamp(-1, 1)


def _end(values, percentile):
    """(N, 1, 1, 1): the percentile of each picture's values, above 0."""
    ends = values.flatten(1).quantile(percentile / 100, dim=1)
    return ends.clamp(min=1e-12)[:, None, None, None]


@task("relatives_3_display", 5, (), _read)
def my_reading(given, call):
    maps = torch.from_numpy(given.rng(31).standard_normal((3, 3, 7, 6)) + 0.2)
    signed = maps.sum(1, keepdim=True)
    each = {
        "signed": {
            "the mean over channels, not the sum": maps.mean(1, keepdim=True),
            "the sum of the channels' sizes": maps.abs().sum(1, keepdim=True),
        },
        "positive": {
            "the sum of the channels' positive parts: add up the channels first": (
                maps.clamp(min=0).sum(1, keepdim=True)
            ),
            "the signed sum: what is negative must become 0": signed,
            "the positive part of the mean over channels": maps.mean(1, keepdim=True).clamp(min=0),
            "the size of the sum: what is negative must become 0": signed.abs(),
        },
        "absolute": {
            "the size of the sum: in a sum the channels cancel, so take the sizes first": (
                signed.abs()
            ),
            "the mean of the sizes, not their sum": maps.abs().mean(1, keepdim=True),
            "the largest size of a channel, not the sum over channels": (
                maps.abs().amax(1, keepdim=True)
            ),
            "the root of the sum of squares": maps.square().sum(1, keepdim=True).sqrt(),
            "the signed sum": signed,
        },
    }
    for points, (how, mistakes) in zip((1, 2, 2), each.items(), strict=True):
        problem = same(call(maps, how), _read(maps, how), mistakes)
        yield points, f"{how}: one number a pixel, (N, 1, H, W)", problem


@task("relatives_3_display", 5, (), _capped)
def my_capped(given, call):
    values = torch.from_numpy(given.rng(32).standard_t(3, (3, 1, 20, 18)) + 0.4)
    values = values * torch.tensor([0.1, 1, 7])[:, None, None, None]
    sizes, largest = values.abs(), values.abs().amax((1, 2, 3), keepdim=True)
    for points, percentile in ((3, 95), (1, 80)):
        end = _end(sizes, percentile)
        whole = sizes.flatten().quantile(percentile / 100)
        mistakes = {
            "the percentile of the signed values: take the sizes first": (
                (values / _end(values, percentile)).clamp(-1, 1)
            ),
            "one percentile for all pictures: each has its own": (values / whole).clamp(-1, 1),
            "divided by the largest value": values / largest,
            "not clamped: what lies beyond the percentile must become 1 or −1": values / end,
            "with the outliers set to 0: they must become 1 or −1": torch.where(
                sizes > end, 0, values / end
            ),
            "clamped, but not divided by the percentile": values.clamp(-end, end),
            "the sizes: the sign is lost": (sizes / end).clamp(max=1),
            "with nothing below 0: the sign is lost": (values / end).clamp(0, 1),
        }
        problem = same(call(values, percentile), _capped(values, percentile), mistakes)
        yield points, f"ends at the {percentile}th percentile of each picture's sizes", problem
    still = torch.cat([torch.zeros_like(values[:1]), values[1:]])
    problem = same(call(still, 90), _capped(still, 90))
    yield 1, "a map of zeros stays one", problem


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


@task("relatives_1_guided_backprop", 8, (), guided_rule)
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


@task("relatives_1_guided_backprop", 6, (), _smoothed)
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


def _enlarge(coarse, size, **how):
    return F.interpolate(coarse, tuple(size), **{"mode": "bilinear"} | how)


def _weigh(maps, weights):
    return (weights[:, :, None, None] * maps).sum(1, keepdim=True)


def _cam(maps, weights, size):
    return _enlarge(_weigh(maps, weights), size)


def _grad_cam(maps, gradients, size):
    return _enlarge(_weigh(maps, gradients.mean((2, 3))).relu(), size)


def _layer(given, word, n=3, channels=6, places=(3, 5)):
    """What a layer with ReLUs returned, and the logit's gradient there, which differs from place
    to place."""
    rng = given.rng(21, word)
    maps = torch.from_numpy(rng.standard_normal((n, channels, *places))).float().relu()
    bias = torch.from_numpy(rng.standard_normal((n, channels, 1, 1)))
    noise = torch.from_numpy(rng.standard_normal((n, channels, *places)))
    return maps, (bias + noise).float()


@task("relatives_2_cam", 6, (), _cam)
def my_cam(given, call):
    maps, gradients = _layer(given, 1)
    weights, size = gradients.mean((2, 3)), (13, 20)
    coarse = _weigh(maps.double(), weights.double())
    mistakes = {
        "the positive part: CAM keeps its sign": _enlarge(coarse, size).relu(),
        "the positive part, taken before enlarging: CAM keeps its sign": _enlarge(
            coarse.relu(), size
        ),
        "the mean over channels, not the sum": _enlarge(coarse / maps.shape[1], size),
        "the sum of the maps without the weights": _enlarge(maps.sum(1, keepdim=True), size),
        "with the weights' sizes, without their signs": _enlarge(_weigh(maps, weights.abs()), size),
        "with softmaxed weights: CAM takes them as they are": _enlarge(
            _weigh(maps, weights.softmax(1)), size
        ),
        "with the weights of the first picture for all": _enlarge(
            _weigh(maps, weights[:1].expand_as(weights)), size
        ),
        "enlarged with align_corners=True, which moves the places": _enlarge(
            coarse, size, align_corners=True
        ),
        "enlarged by the nearest place, not bilinearly": _enlarge(coarse, size, mode="nearest"),
        "enlarged bicubically, not bilinearly": _enlarge(coarse, size, mode="bicubic"),
        "divided by the number of places": _enlarge(coarse / maps[0, 0].numel(), size),
    }
    answer = call(maps, weights, size)
    yield (
        5,
        "the weighted sum of the channels, with its sign, enlarged bilinearly",
        same(answer, _enlarge(coarse, size), mistakes),
    )
    still = call(maps, weights, (3, 5))
    yield 1, "enlarged to its own size it stays as it is", same(still, coarse)


@task("relatives_2_cam", 6, (), _grad_cam)
def my_grad_cam(given, call):
    maps, gradients = _layer(given, 2)
    size, places = (13, 20), maps[0, 0].numel()
    weights = gradients.double().mean((2, 3))
    coarse = _weigh(maps.double(), weights)
    each = (gradients * maps).sum(1, keepdim=True)
    mistakes = {
        "without the ReLU": _enlarge(coarse, size),
        "with the ReLU after enlarging: it comes before": _enlarge(coarse, size).relu(),
        "with the absolute value, where the ReLU belongs": _enlarge(coarse.abs(), size),
        "gradient × maps place by place: the gradient is not averaged over places": _enlarge(
            each.relu(), size
        ),
        "gradient × maps place by place, without the ReLU": _enlarge(each, size),
        "weighted by the mean of |gradient|": _enlarge(
            _weigh(maps, gradients.abs().mean((2, 3))).relu(), size
        ),
        "weighted by the positive gradients alone": _enlarge(
            _weigh(maps, gradients.relu().mean((2, 3))).relu(), size
        ),
        "weighted by the sum over places, not their mean": _enlarge(places * coarse.relu(), size),
        "the mean over channels, not the sum": _enlarge(coarse.relu() / maps.shape[1], size),
        "weighted by the mean over all pictures": _enlarge(
            _weigh(maps, weights.mean(0, keepdim=True).expand_as(weights)).relu(), size
        ),
        "enlarged with align_corners=True, which moves the places": _enlarge(
            coarse.relu(), size, align_corners=True
        ),
        "enlarged by the nearest place, not bilinearly": _enlarge(
            coarse.relu(), size, mode="nearest"
        ),
    }
    answer = call(maps, gradients, size)
    yield (
        4,
        "the channels weighted by their mean gradient, summed, rectified, enlarged bilinearly",
        same(answer, _enlarge(coarse.relu(), size), mistakes),
    )
    still = call(maps, gradients, (3, 5))
    yield 1, "enlarged to its own size it stays as it is", same(still, coarse.relu(), mistakes)
    against = call(maps, -gradients, size)
    expected = _enlarge((-coarse).relu(), size)
    yield 1, "with all gradients turned round, what spoke against", same(against, expected)


def _varied(pixels):
    down, across = pixels.diff(dim=2).abs(), pixels.diff(dim=3).abs()
    return down.mean((1, 2, 3)) + across.mean((1, 2, 3))


@task("relatives_4_activation_maximisation", 4, (), _varied)
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


@task("relatives_4_activation_maximisation", 8, (), _climbed)
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


TASKS: tuple[Task, ...] = (
    my_reading,
    my_capped,
    my_relu_rule,
    my_smoothed,
    my_cam,
    my_grad_cam,
    my_total_variation,
    my_ascent,
)
