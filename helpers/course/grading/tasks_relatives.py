"""The tasks of the notebooks on the gradient's relatives."""

import torch
from torch.nn import functional as F

from helpers.attribution.maximisation import _variation
from helpers.attribution.relatives import guided_rule
from helpers.course.grading.tasks import MODEL, gradients, same, task, tasks_in
from helpers.course.grading.tasks_smoothgrad import NOISE, on_fields


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
    maps = given.normal(31, 3, 3, 7, 6) + 0.2
    signed, sizes = maps.sum(1, keepdim=True), maps.abs().sum(1, keepdim=True)
    mean = maps.mean(1, keepdim=True)
    each = {
        "signed": {
            "the mean over channels, not the sum": mean,
            "the sum of the channels' sizes": sizes,
        },
        "positive": {
            "the sum of the channels' positive parts: add up the channels first": (
                maps.clamp(min=0).sum(1, keepdim=True)
            ),
            "the signed sum: what is negative must become 0": signed,
            "the positive part of the mean over channels": mean.clamp(min=0),
            "the size of the sum: what is negative must become 0": signed.abs(),
        },
        "absolute": {
            "the size of the sum: in a sum the channels cancel, so take the sizes first": (
                signed.abs()
            ),
            "the mean of the sizes, not their sum": sizes / maps.shape[1],
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
    """SmoothGrad of what the attribution says, which takes no target."""
    none = torch.zeros(len(pixels), dtype=torch.long)

    def said(model, points, target):
        return attribution(points).detach()

    return on_fields(attribution, pixels, none, fields, float(noise), attribution=said)


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
    problem = same(call(gradient, activation), back * was_open, mistakes)
    yield 6, "what is positive goes on, where the ReLU was open", problem
    flat, at = gradient[:, 0, :4].flatten(1), activation[:, 0, :4].flatten(1)
    problem = same(call(flat, at), flat.clamp(min=0) * (at > 0))
    yield 2, "of any shape, as after a linear layer", problem


@task("relatives_1_guided_backprop", 6, (), _smoothed)
def my_smoothed(given, call):
    """The attribution that it is given is the network: its logits are a function of the pictures
    like any other."""
    pixels, fields = given.pixels, given.fields(5)

    def each(points):
        return given.logits(points.flatten(0, -4)).unflatten(0, points.shape[:-3])

    copies = pixels + NOISE * fields[:, None]
    said = each(copies)
    mistakes = {
        "the sum over the fields, not the mean": said.sum(0),
        "the mean of the absolute values": said.abs().mean(0),
        "the attribution without noise": each(pixels),
        "of one noisy copy alone": said[-1],
        "the attribution of the mean of the noisy copies": each(copies.mean(0)),
        "with noise of standard deviation 1": each(pixels + fields[:, None]).mean(0),
        "with the noisy copies clipped to [0, 1]": each(copies.clamp(0, 1)).mean(0),
    }
    problem = same(call(MODEL, pixels, fields, NOISE), said.mean(0), mistakes)
    yield 4, "the mean of what the attribution says of pixels + noise × field", problem
    fewer = call(MODEL, pixels, fields[:2], 2 * NOISE)
    expected = each(pixels + 2 * NOISE * fields[:2, None]).mean(0)
    yield 2, "another number of fields, another noise", same(fewer, expected)


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
    shapes = (n, channels, *places), (n, channels, 1, 1), (n, channels, *places)
    maps, bias, noise = (torch.from_numpy(rng.standard_normal(shape)) for shape in shapes)
    return maps.float().relu(), (bias + noise).float()


def _enlarged_otherwise(coarse, size):
    """Known mistakes: the same map, enlarged in other ways."""
    return {
        "enlarged with align_corners=True, which moves the places": _enlarge(
            coarse, size, align_corners=True
        ),
        "enlarged by the nearest place, not bilinearly": _enlarge(coarse, size, mode="nearest"),
        "enlarged bicubically, not bilinearly": _enlarge(coarse, size, mode="bicubic"),
    }


@task("relatives_2_cam", 6, (), _cam)
def my_cam(given, call):
    maps, gradients = _layer(given, 1)
    weights, size = gradients.mean((2, 3)), (13, 20)
    coarse = _weigh(maps.double(), weights.double())
    small = {
        "the positive part, taken before enlarging: CAM keeps its sign": coarse.relu(),
        "the mean over channels, not the sum": coarse / maps.shape[1],
        "the sum of the maps without the weights": maps.sum(1, keepdim=True),
        "with the weights' sizes, without their signs": _weigh(maps, weights.abs()),
        "with softmaxed weights: CAM takes them as they are": _weigh(maps, weights.softmax(1)),
        "with the weights of the first picture for all": _weigh(maps, weights[:1]),
        "divided by the number of places": coarse / maps[0, 0].numel(),
    }
    mistakes = {name: _enlarge(each, size) for name, each in small.items()}
    mistakes |= _enlarged_otherwise(coarse, size)
    mistakes["the positive part: CAM keeps its sign"] = _enlarge(coarse, size).relu()
    problem = same(call(maps, weights, size), _enlarge(coarse, size), mistakes)
    yield 5, "the weighted sum of the channels, with its sign, enlarged bilinearly", problem
    still = call(maps, weights, (3, 5))
    yield 1, "enlarged to its own size it stays as it is", same(still, coarse)


@task("relatives_2_cam", 6, (), _grad_cam)
def my_grad_cam(given, call):
    maps, gradients = _layer(given, 2)
    size, places = (13, 20), maps[0, 0].numel()
    weights = gradients.double().mean((2, 3))
    coarse = _weigh(maps.double(), weights)
    each = (gradients * maps).sum(1, keepdim=True)
    small = {
        "without the ReLU": coarse,
        "with the absolute value, where the ReLU belongs": coarse.abs(),
        "gradient × maps place by place: the gradient is not averaged over places": each.relu(),
        "gradient × maps place by place, without the ReLU": each,
        "weighted by the mean of |gradient|": _weigh(maps, gradients.abs().mean((2, 3))).relu(),
        "weighted by the positive gradients alone": (
            _weigh(maps, gradients.relu().mean((2, 3))).relu()
        ),
        "weighted by the sum over places, not their mean": places * coarse.relu(),
        "the mean over channels, not the sum": coarse.relu() / maps.shape[1],
        "weighted by the mean over all pictures": (
            _weigh(maps, weights.mean(0, keepdim=True)).relu()
        ),
    }
    mistakes = {name: _enlarge(each, size) for name, each in small.items()}
    mistakes |= _enlarged_otherwise(coarse.relu(), size)
    after = "with the ReLU after enlarging: it comes before"
    mistakes[after] = _enlarge(coarse, size).relu()
    problem = same(call(maps, gradients, size), _enlarge(coarse.relu(), size), mistakes)
    text = "the channels weighted by their mean gradient, summed, rectified, enlarged bilinearly"
    yield 4, text, problem
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
    pixels = given.pixels.double()
    down, across = pixels.diff(dim=2), pixels.diff(dim=3)
    expected = _variation(pixels)

    def mean(*differences):
        return sum(each.mean((1, 2, 3)) for each in differences)

    mistakes = {
        "the mean of squares, not of absolute values": mean(down.square(), across.square()),
        "the sum of the differences, not their mean": (
            down.abs().sum((1, 2, 3)) + across.abs().sum((1, 2, 3))
        ),
        "down only: the differences across are missing": mean(down.abs()),
        "across only: the differences down are missing": mean(across.abs()),
        "the last row compared with the first: a wrap-around": mean(
            *((pixels - pixels.roll(1, dim)).abs() for dim in (2, 3))
        ),
        "of signed differences, which cancel": mean(down, across),
        "one number for all pictures": expected.mean().expand(len(pixels)),
        "half of it: the mean of both directions, where their sum belongs": expected / 2,
    }
    problem = same(call(given.pixels), expected, mistakes)
    yield 3, "the mean absolute difference, down plus across", problem
    grey = given.large_pictures(2)[:, :1, :40]
    yield 1, "grey pictures, wider than high", same(call(grey), _variation(grey.double()))


def _climbed(
    model, start, target, n_steps, step_size, low=0.0, high=1.0, *, step=None, clamp="each"
):
    """Plain ascent; ``step``, from a gradient and its root mean squares, and ``clamp`` make the
    wrong ones that a check knows."""
    moved = start
    for _ in range(n_steps):
        points = moved.detach().requires_grad_()
        score = model(points).gather(1, target[:, None])
        (gradient,) = torch.autograd.grad(score.sum(), points)
        size = gradient.square().flatten(1).mean(1).sqrt().clamp(min=1e-12)
        size = size.reshape(-1, *[1] * (gradient.ndim - 1))
        moved = points.detach() + step_size * (step(gradient, size) if step else gradient / size)
        moved = moved.clamp(low, high) if clamp == "each" else moved
    return moved.clamp(low, high) if clamp == "end" else moved


@task("relatives_4_activation_maximisation", 8, (), _climbed)
def my_ascent(given, call):
    start, target, several, one = given.pixels, given.target, (3, 0.15), (1, 0.03)
    logits = given.network

    def climbed(*settings, model=logits, **mistake):
        return _climbed(model, start.double(), target, *settings, **mistake)

    def probabilities(points):
        return logits(points).softmax(1)

    def in_a_step(settings):
        root = len(start[0].flatten()) ** 0.5
        steps = {
            "a descent: the step goes against the gradient": lambda slope, size: -slope / size,
            "without the division by the root mean square": lambda slope, size: slope,
            "divided by one root mean square for all pictures, not by each picture's": (
                lambda slope, size: slope / size.square().mean().sqrt()
            ),
            "divided by the norm, not by the root mean square": (
                lambda slope, size: slope / (root * size)
            ),
            "the gradient's sign, not the gradient over its root mean square": (
                lambda slope, size: slope.sign()
            ),
        }
        mistakes = {name: climbed(*settings, step=step) for name, step in steps.items()}
        text = "of the probability, not of the logit"
        return mistakes | {text: climbed(*settings, model=probabilities)}

    def in_several():
        first = climbed(1, 1, clamp="never") - start
        return in_a_step(several) | {
            "never clamped to the limits": climbed(*several, clamp="never"),
            "clamped at the end only, not after each step": climbed(*several, clamp="end"),
            "with the first gradient at every step": climbed(
                *several, step=lambda slope, size: first
            ),
            "one step too few": climbed(2, 0.15),
            "one step too many": climbed(4, 0.15),
        }

    problem = same(call(MODEL, start, target, *one), climbed(*one), lambda: in_a_step(one))
    text = "one step: the gradient of the logit over its root mean square in each picture"
    yield 2, text, problem
    answer = call(MODEL, start, target, *several)
    text = "several steps, each from where the last one ended, clamped to [0, 1] after each"
    yield 3, text, same(answer, climbed(*several), in_several)
    asked = {len(start): "is the gradient taken once, and not at every step?"}
    problem = gradients(answer, several[0] * len(start), asked)
    yield 1, "asks for one gradient a step and picture", problem
    narrow = call(MODEL, start, target, 2, 0.05, 0.3, 0.6)
    fixed = {"clamped to [0, 1], whatever low and high are": climbed(2, 0.05)}
    problem = same(narrow, climbed(2, 0.05, 0.3, 0.6), fixed)
    yield 1, "other limits: clamped to [low, high]", problem
    yield 1, "no step gives the start", same(call(MODEL, start, target, 0, 0.1), start)


TASKS = tasks_in(globals())
