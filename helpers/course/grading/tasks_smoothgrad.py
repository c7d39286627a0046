"""The tasks of the SmoothGrad notebooks."""

import numpy as np
import torch
from scipy import stats

from helpers.attribution.aggregates import AGGREGATES, make_accumulator
from helpers.attribution.gradients import saliency
from helpers.attribution.smoothgrad import smoothgrad
from helpers.course.grading.tasks import (
    MODEL,
    SALIENCY,
    Generator,
    gradients,
    keys,
    own_draws,
    repeats,
    same,
    task,
    wrong,
)
from helpers.noise import noise_field

_MY_GRADIENT = {
    "my_gradient": "from helpers.attribution.gradients import saliency as my_gradient",
}
NOISE = 0.12


def _on_fields(model, pixels, target, fields, noise, **several):
    """The helper's SmoothGrad on given fields, (n, C, H, W)."""
    given = iter(fields)
    several = {"n_samples": len(fields)} | several
    return smoothgrad(
        model,
        pixels,
        target,
        noise=noise,
        distribution=lambda shape, generator: next(given).cpu().numpy(),
        **several,
    )


def _strengths(model, pixels, target, strengths, fields):
    return torch.stack(
        [
            _on_fields(model, pixels, target, fields if s else fields[:1], float(s))
            for s in strengths
        ]
    )


def _counts(model, pixels, target, counts, fields, noise):
    return _on_fields(model, pixels, target, fields, noise, n_samples=list(counts))


def _aggregate(gradients, how):
    accumulator = make_accumulator(how, len(gradients))
    for gradient in gradients:
        accumulator.update(gradient)
    return accumulator.result()


def _draw(distribution, shape, generator):
    seed, index = (int(n) for n in generator.integers(2**32, size=2))
    return noise_field(shape, seed, index, distribution=distribution)


@task("smoothgrad_1_method", 4, (), saliency)
def my_gradient(given, call):
    answer = call(MODEL, given.pixels, given.target)
    expected = given.gradient(given.pixels, given.target)
    mistakes = {
        "its absolute value": expected.abs(),
        "the gradient of the predicted class, not of the target": lambda: given.gradient(
            given.pixels, given.predicted
        ),
        "the gradient of the target's probability, not of its logit": lambda: _probability(given),
        "divided by the number of pictures: the sum of their logits belongs here, not the mean": (
            expected / len(given.pixels)
        ),
        "the gradient of all logits, not of the target's": lambda: sum(
            given.gradient(given.pixels, torch.full_like(given.target, k))
            for k in range(len(given.facts["classes"]))
        ),
        "every target's logit of every picture, as `[:, target]` picks them; one a picture "
        "belongs here": lambda: sum(
            given.gradient(given.pixels, torch.full_like(given.target, k)) for k in given.target
        ),
        "the gradient times the picture": expected * given.pixels,
    }
    yield (
        2,
        "the gradient of the target's logit, signed, in the shape of the pixels",
        same(answer, expected, mistakes),
    )
    again = call(MODEL, given.pixels, given.target)
    yield (
        1,
        "a second call gives the same, and the pixels stay as they were",
        repeats(answer, again, expected),
    )
    yield 1, "asks the network for one gradient a picture", gradients(answer, len(given.pixels))


def _renamed(given, fields, noise):
    """With the class that the network says of each noisy copy, not of the clean picture."""
    points = [given.pixels + noise * field for field in fields]
    each = [given.gradient(point, given.logits(point).argmax(1)) for point in points]
    return torch.stack(each).mean(0)


def _clipped(given, fields, noise):
    points = [(given.pixels + noise * field).clamp(0, 1) for field in fields]
    return torch.stack([given.gradient(point, given.target) for point in points]).mean(0)


RENAMED = "with the class predicted for each noisy copy, not `target`"
CLIPPED = "with the noisy copies clipped to [0, 1]"


def _probability(given):
    points = given.pixels.double().requires_grad_()
    return torch.autograd.grad(
        given.network(points).softmax(1).gather(1, given.target[:, None]).sum(), points
    )[0]


@task("smoothgrad_1_method", 8, SALIENCY, _on_fields, _MY_GRADIENT)
def my_smoothgrad(given, call):
    pixels, target, fields = given.pixels, given.target, given.fields(6)
    answer = call(MODEL, pixels, target, fields, NOISE)
    each = torch.stack([given.gradient(pixels + NOISE * field, target) for field in fields])
    mistakes = {
        "the mean of the absolute gradients": each.abs().mean(0),
        "the mean of the squared gradients": each.square().mean(0),
        "the plain gradient": lambda: given.gradient(pixels, target),
        "the sum over the fields, not the mean": each.sum(0),
        "the gradient at the mean of the noisy copies": lambda: given.gradient(
            pixels + NOISE * fields.mean(0), target
        ),
        "with noise of standard deviation 1": lambda: given.mean_gradient(
            pixels, target, fields, 1.0
        ),
        CLIPPED: lambda: _clipped(given, fields, NOISE),
        "the map of the predicted class": lambda: given.mean_gradient(
            pixels, given.predicted, fields, NOISE
        ),
        RENAMED: lambda: _renamed(given, fields, NOISE),
        "a field of its own for each picture; each field belongs to all pictures": lambda: (
            given.gradient(pixels + NOISE * fields[: len(pixels)], target)
        ),
        "`+=` on the pixels: each copy has the noise of those before it too": lambda: (
            given.mean_gradient(pixels, target, fields.cumsum(0), NOISE)
        ),
    }
    problem = same(answer, each.mean(0), mistakes)
    if problem and "allowed" in problem:
        problem = own_draws(answer, call(MODEL, pixels, target, fields, NOISE)) or problem
    yield 4, "the mean of the signed gradients at pixels + noise × field", problem
    fewer = call(MODEL, pixels, target, fields[:2], 2 * NOISE)
    expected = given.mean_gradient(pixels, target, fields[:2], 2 * NOISE)
    mistakes = {"the sum over the fields, not the mean": 2 * expected}
    yield 2, "another number of fields, another noise", same(fewer, expected, mistakes)
    still = call(MODEL, pixels, target, fields[:2], 0.0)
    problem = same(still, given.gradient(pixels, target)) or still.changed
    yield 1, "noise 0 gives the plain gradient, and the pixels stay as they were", problem
    yield (
        1,
        "asks the network for one gradient for each field and picture",
        gradients(answer, len(fields) * len(pixels)),
    )


@task("smoothgrad_2_noise_strength", 10, SALIENCY, _strengths)
def my_noise_study(given, call):
    pixels, target, fields = given.pixels, given.target, given.fields(4)
    strengths = [0.0, 0.1, 0.25]
    answer = call(MODEL, pixels, target, strengths, fields)
    expected = torch.stack([given.mean_gradient(pixels, target, fields, s) for s in strengths])
    mistakes = {
        "the mean of absolute gradients": lambda: torch.stack(
            [_mean_abs(given, fields, s) for s in strengths]
        ),
        "the sums over the fields, not the means": lambda: torch.stack(
            [m * (len(fields) if s else 1) for s, m in zip(strengths, expected, strict=True)]
        ),
        "the sums over the fields, not the means, at σ = 0 too": expected * len(fields),
        RENAMED: lambda: torch.stack([_renamed(given, fields, s) for s in strengths]),
        RENAMED + " (but at σ = 0)": lambda: torch.stack(
            [expected[0], *(_renamed(given, fields, s) for s in strengths[1:])]
        ),
        CLIPPED: lambda: torch.stack([_clipped(given, fields, s) for s in strengths]),
    }
    problem = same(answer, expected, mistakes)
    if problem and "allowed" in problem:
        problem = own_draws(answer, call(MODEL, pixels, target, strengths, fields)) or problem
    yield 4, "a map (S, N, C, H, W): SmoothGrad for each strength on the same fields", problem
    if answer.kind != "array" or answer.problem:
        problem = same(answer, expected)
    else:
        problem = wrong(answer.arrays.get("", np.empty((1, 0)))[:1], expected[:1])
    yield 2, "strength 0 gives the plain gradient", problem
    other = call(MODEL, pixels, target, [0.3, 0.05], fields[:3])
    expected = torch.stack(
        [given.mean_gradient(pixels, target, fields[:3], s) for s in (0.3, 0.05)]
    )
    yield 2, "other strengths, in any order", same(other, expected) or other.changed
    yield (
        2,
        "strength 0 costs one gradient a picture",
        gradients(answer, (2 * len(fields) + 1) * len(pixels)),
    )


def _mean_abs(given, fields, noise):
    return (
        torch.stack(
            [given.gradient(given.pixels + noise * field, given.target) for field in fields]
        )
        .abs()
        .mean(0)
    )


@task("smoothgrad_3_sample_count", 10, SALIENCY, _counts)
def my_counts(given, call):
    pixels, target, fields = given.pixels, given.target, given.fields(9)
    counts = [5, 1, 8]
    answer = call(MODEL, pixels, target, counts, fields, NOISE)
    each = torch.stack([given.gradient(pixels + NOISE * field, target) for field in fields])
    for points, n in zip((3, 2, 3), counts, strict=True):
        total = each[:n].sum(0)
        mistakes = {
            "the sum over the fields, not the mean": total,
            "divided by the largest count, not by its own": total / max(counts),
            "the mean over all fields, not over the first n": each.mean(0),
            "the sum over more fields than n: `+=` changed the tensor after it was stored": (
                each[: max(counts)].sum(0) / n
            ),
            "a field too many: does the count begin at 0?": each[: n + 1].sum(0) / n,
            "the mean over the first n + 1 fields": each[: n + 1].mean(0),
            "the mean over the last n fields": each[-n:].mean(0),
            "the mean of the absolute gradients": each[:n].abs().mean(0),
        }
        found = answer.arrays.get(str(n))
        problem = (found is not None and wrong(found, total / n, mistakes)) or keys(answer, counts)
        yield points, f"{n}: the mean over the first {n} fields", problem
    again = {sum(counts) * len(pixels): "a pass of its own for each count?"}
    yield (
        2,
        "evaluates each field's gradient once, and none beyond the largest count",
        gradients(answer, max(counts) * len(pixels), again) or answer.changed,
    )


@task("smoothgrad_4_noise_distribution", 10, (), _draw)
def my_noise(given, call):
    shape = (3, 80, 80 + given.seed % 16)
    laws = {
        "normal": stats.norm(),
        "uniform": stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)),
        "laplace": stats.laplace(scale=np.sqrt(0.5)),
        "rademacher": None,
    }
    normal = {"normal noise": laws["normal"]}
    mistakes = {
        "uniform": normal
        | {
            "uniform on [−1, 1], whose standard deviation is 1/√3": stats.uniform(-1, 2),
            "uniform on [0, 1], whose mean is ½": stats.uniform(),
            "uniform from 0 to √12, whose mean is √3": stats.uniform(0, np.sqrt(12)),
            "uniform on [−√12, √12]: √12 is the whole width": stats.uniform(
                -np.sqrt(12), 2 * np.sqrt(12)
            ),
        },
        "laplace": normal
        | {
            "Laplace noise of scale 1, whose standard deviation is √2": stats.laplace(),
            "√2 times the scale 1, where 1/√2 of it belongs": stats.laplace(scale=np.sqrt(2)),
            "Laplace noise of scale ½, whose variance is 2 · ½²": stats.laplace(scale=0.5),
        },
        "rademacher": normal,
    }
    problems = {}
    for name, law in laws.items():
        first, again, other = (call(name, shape, Generator(given.seed + i)) for i in (1, 1, 2))
        problem = _not_drawn(first, law, shape, mistakes.get(name, {}))
        yield 2, f"{name}: its shape, mean 0, standard deviation 1", problem
        first, again, other = (
            answer.arrays.get("", np.empty(0)) for answer in (first, again, other)
        )
        if problem and (first.shape != shape or not np.isfinite(first).all()):
            problems[name] = problem
        elif not np.array_equal(first, again):
            problems[name] = "the same generator gave other numbers: the draws do not come from it"
        elif np.array_equal(first, other):
            problems[name] = (
                "another generator gave the same numbers: the draws do not come from it"
            )
    reasons = set(problems.values())
    if len(problems) < len(laws) or len(reasons) > 1:
        reasons = [f"{name}: {problem}" for name, problem in problems.items()]
    yield 2, "all draws come from the generator", "; ".join(reasons) or None


def _not_drawn(answer, law, shape, mistakes):
    if answer.problem:
        return answer.problem
    found = np.asarray(answer.arrays.get("", np.empty(0)), np.float64)
    if found.shape != shape:
        return f"shape {found.shape}, where {shape} was expected"
    if not np.isfinite(found).all():
        return "not all values are finite"
    if law is None and set(np.unique(found)) == {0.0, 1.0}:
        return "mean 0.5: this is 0 or 1, where −1 or 1 belongs"
    for what, other in mistakes.items():
        if _distance(found, other) < 0.03:
            return f"standard deviation {found.std():.3f}, mean {found.mean():.3f}: this is {what}"
    if abs(found.std() - 1) > 0.04:
        return f"standard deviation {found.std():.3f}"
    if abs(found.mean()) > 0.04:
        return f"mean {found.mean():.3f}"
    if law is None:
        return None if set(np.unique(found)) == {-1.0, 1.0} else "values other than -1 and 1"
    if len(np.unique(found)) < found.size / 2:
        return "values repeat"
    distance = _distance(found, law)
    # 1e-14 by chance
    return (
        None if distance < 0.03 else f"of another shape: Kolmogorov–Smirnov distance {distance:.3f}"
    )


def _distance(found, law):
    return stats.kstest(found.ravel(), law.cdf).statistic


@task("smoothgrad_5_aggregation", 10, (), _aggregate)
def my_aggregate(given, call):
    values = torch.from_numpy(given.rng(5).standard_normal((20, 2, 3, 6, 5)) + 0.3).float()
    values[3, 0, 0, 0, 0] = 0  # must not decide a geometric mean
    for points, how in zip((1, 1, 1, 2, 2, 2, 1), AGGREGATES, strict=True):
        problem = None
        for n in (20, 17, 5):  # n / 10 is whole; is not, and rounds up; is less than one
            answer = call(values[:n], how)
            problem = same(answer, _exact(values[:n], how), _mistaken(values[:n], how))
            problem = problem or answer.changed
            if problem and n < 20:
                problem = f"of {n} gradients: {problem}"
            if problem:
                break
        if how == "geometric_mean" and "NaN" in (problem or ""):
            problem += ": this is the logarithm of negative gradients; take their size first"
        if how == "trimmed_mean" and "NaN" in (problem or ""):
            problem += ": with k = 0, values[k:-k] is empty; values[k : n - k] is not"
        yield points, how, problem


def _exact(values, how):
    accumulator = AGGREGATES[how]()
    for value in values.double():
        accumulator.update(value)
    return accumulator.result()


def _mistaken(values, how):
    ordered, n = values.sort(0).values, len(values)

    def trimmed(k):
        return ordered[k : n - k].mean(0)

    return {
        "mean": {"the mean of the absolute values": values.abs().mean(0)},
        "mean_abs": {"the absolute value of the mean": values.mean(0).abs()},
        "mean_square": {
            "the square of the mean": values.mean(0).square(),
            "the root of the mean square": values.square().mean(0).sqrt(),
        },
        "variance": {
            "the biased variance (divided by n)": values.var(0, unbiased=False),
            "the standard deviation": values.std(0),
            "the mean square: the mean is not taken off": values.square().mean(0),
        },
        "median": {
            "the lower of the middle two": ordered[(n - 1) // 2],
            "the upper of the middle two": ordered[n // 2],
        },
        "trimmed_mean": {
            "5 % trimmed off each end": trimmed(n // 20),
            "20 % trimmed off each end": trimmed(n // 5),
            "n / 10 rounded to the nearest number, not down": trimmed(round(n / 10)),
            "n / 10 rounded up, not down": trimmed(-(-n // 10)),
            "the mean of all: a tenth belongs off each end": ordered.mean(0),
        },
        "geometric_mean": {
            "without the absolute value's ε": values.abs().log().mean(0).exp(),
            "the mean of the logarithms: the exp is missing": (values.abs() + 1e-8).log().mean(0),
        },
    }.get(how)


TASKS = (my_gradient, my_smoothgrad, my_noise_study, my_counts, my_noise, my_aggregate)
