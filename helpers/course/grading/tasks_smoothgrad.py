"""The tasks of the SmoothGrad notebooks."""

import numpy as np
import torch
from scipy import stats

from helpers.attribution.aggregates import AGGREGATES, make_accumulator
from helpers.attribution.gradients import saliency
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import probability
from helpers.course.grading.tasks import (
    MODEL,
    Generator,
    array,
    gradients,
    keys,
    same,
    same_noise,
    shaped,
    task,
    tasks_in,
    wrong,
)
from helpers.noise import noise_field

NOISE = 0.12


def on_fields(model, pixels, target, fields, noise, **several):
    """The helper's SmoothGrad on given fields, (n, C, H, W)."""
    given = iter(fields)
    drawn = {"noise": noise, "distribution": lambda shape, generator: next(given).cpu().numpy()}
    return smoothgrad(model, pixels, target, **{"n_samples": len(fields)} | drawn | several)


def _strengths(model, pixels, target, strengths, fields):
    drawn = [(float(s), fields if s else fields[:1]) for s in strengths]
    return torch.stack([on_fields(model, pixels, target, some, s) for s, some in drawn])


def _counts(model, pixels, target, counts, fields, noise):
    return on_fields(model, pixels, target, fields, noise, n_samples=list(counts))


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
    pixels, target = given.pixels, given.target
    answer = call(MODEL, pixels, target)
    expected = given.gradient(pixels, target)

    def mistakes():
        classes = torch.arange(len(given.facts["classes"]))
        of_each = torch.stack([given.gradient(pixels, k.expand(len(pixels))) for k in classes])
        return {
            "its absolute value": expected.abs(),
            "the gradient of the predicted class, not of the target": given.gradient(pixels),
            "the gradient of the target's probability, not of its logit": saliency(
                given.network, pixels.double(), probability(target)
            ),
            "divided by the number of pictures: the sum of their logits belongs here, not the "
            "mean": expected / len(pixels),
            "the gradient of all logits, not of the target's": of_each.sum(0),
            "every target's logit of every picture, as `[:, target]` picks them; one a picture "
            "belongs here": of_each[target].sum(0),
            "the gradient times the picture": expected * pixels,
        }

    text = "the gradient of the target's logit, signed, in the shape of the pixels"
    yield 2, text, same(answer, expected, mistakes)
    again = call(MODEL, pixels, target)
    problem = same(again, expected) or answer.changed or again.changed
    yield 1, "a second call gives the same, and the pixels stay as they were", problem
    yield 1, "asks the network for one gradient a picture", gradients(answer, len(pixels))


RENAMED = "with the class predicted for each noisy copy, not `target`"
CLIPPED = "with the noisy copies clipped to [0, 1]"


@task("smoothgrad_1_method", 8, [saliency], on_fields, {"my_gradient": saliency})
def my_smoothgrad(given, call):
    pixels, target, fields = given.pixels, given.target, given.fields(6)
    copies = pixels + NOISE * fields[:, None]
    each = given.gradient(copies, target)

    def mistakes():
        loud, added_up = pixels + fields[:, None], pixels + NOISE * fields.cumsum(0)[:, None]
        one_each = pixels + NOISE * fields[: len(pixels)]
        return {
            "the mean of the absolute gradients": each.abs().mean(0),
            "the mean of the squared gradients": each.square().mean(0),
            "the plain gradient": given.gradient(pixels, target),
            "the sum over the fields, not the mean": each.sum(0),
            "the gradient at the mean of the noisy copies": given.gradient(copies.mean(0), target),
            "with noise of standard deviation 1": given.gradient(loud, target).mean(0),
            CLIPPED: given.gradient(copies.clamp(0, 1), target).mean(0),
            "the map of the predicted class": given.gradient(copies, given.predicted).mean(0),
            RENAMED: given.gradient(copies).mean(0),
            "a field of its own for each picture; each field belongs to all pictures": (
                given.gradient(one_each, target)
            ),
            "`+=` on the pixels: each copy has the noise of those before it too": (
                given.gradient(added_up, target).mean(0)
            ),
        }

    arguments = MODEL, pixels, target, fields, NOISE
    answer = call(*arguments)
    problem = same_noise(call, arguments, answer, each.mean(0), mistakes)
    yield 4, "the mean of the signed gradients at pixels + noise × field", problem
    fewer = call(MODEL, pixels, target, fields[:2], 2 * NOISE)
    expected = given.gradient(pixels + 2 * NOISE * fields[:2, None], target).mean(0)
    summed = {"the sum over the fields, not the mean": 2 * expected}
    yield 2, "another number of fields, another noise", same(fewer, expected, summed)
    still = call(MODEL, pixels, target, fields[:2], 0.0)
    problem = same(still, given.gradient(pixels, target)) or still.changed
    yield 1, "noise 0 gives the plain gradient, and the pixels stay as they were", problem
    problem = gradients(answer, len(fields) * len(pixels))
    yield 1, "asks the network for one gradient for each field and picture", problem


@task("smoothgrad_2_noise_strength", 10, [saliency], _strengths)
def my_noise_study(given, call):
    pixels, target, fields = given.pixels, given.target, given.fields(4)
    strengths = [0.0, 0.1, 0.25]
    copies = [pixels + s * fields[:, None] for s in strengths]
    each = torch.stack([given.gradient(several, target) for several in copies])
    expected = each.mean(1)

    def mistakes():
        renamed = torch.stack([given.gradient(several).mean(0) for several in copies])
        clipped = [given.gradient(several.clamp(0, 1), target).mean(0) for several in copies]
        return {
            "the mean of absolute gradients": each.abs().mean(1),
            "the sums over the fields, not the means": torch.cat([expected[:1], each[1:].sum(1)]),
            "the sums over the fields, not the means, at σ = 0 too": each.sum(1),
            RENAMED: renamed,
            RENAMED + " (but at σ = 0)": torch.cat([expected[:1], renamed[1:]]),
            CLIPPED: torch.stack(clipped),
        }

    arguments = MODEL, pixels, target, strengths, fields
    answer = call(*arguments)
    problem = same_noise(call, arguments, answer, expected, mistakes)
    yield 4, "a map (S, N, C, H, W): SmoothGrad for each strength on the same fields", problem
    found = array(answer)[:1] if array(answer).ndim else array(answer)
    is_array = answer.kind == "array" and not answer.problem
    problem = wrong(found, expected[:1]) if is_array else same(answer, expected)
    yield 2, "strength 0 gives the plain gradient", problem
    other = call(MODEL, pixels, target, [0.3, 0.05], fields[:3])
    maps = [given.gradient(pixels + s * fields[:3, None], target).mean(0) for s in (0.3, 0.05)]
    problem = same(other, torch.stack(maps)) or other.changed
    yield 2, "other strengths, in any order", problem
    problem = gradients(answer, (2 * len(fields) + 1) * len(pixels))
    yield 2, "strength 0 costs one gradient a picture", problem


@task("smoothgrad_3_sample_count", 10, [saliency], _counts)
def my_counts(given, call):
    pixels, target, fields = given.pixels, given.target, given.fields(9)
    counts = [5, 1, 8]
    answer = call(MODEL, pixels, target, counts, fields, NOISE)
    each = given.gradient(pixels + NOISE * fields[:, None], target)
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
    problem = gradients(answer, max(counts) * len(pixels), again) or answer.changed
    yield 2, "evaluates each field's gradient once, and none beyond the largest count", problem


@task("smoothgrad_4_noise_distribution", 10, (), _draw)
def my_noise(given, call):
    shape = (3, 80, 80 + given.seed % 16)
    width, normal = np.sqrt(12), stats.norm()
    laws = {
        "normal": normal,
        "uniform": stats.uniform(-width / 2, width),
        "laplace": stats.laplace(scale=np.sqrt(0.5)),
        "rademacher": None,
    }
    mistakes = {
        "normal": {},
        "uniform": {
            "normal noise": normal,
            "uniform on [−1, 1], whose standard deviation is 1/√3": stats.uniform(-1, 2),
            "uniform on [0, 1], whose mean is ½": stats.uniform(),
            "uniform from 0 to √12, whose mean is √3": stats.uniform(0, width),
            "uniform on [−√12, √12]: √12 is the whole width": stats.uniform(-width, 2 * width),
        },
        "laplace": {
            "normal noise": normal,
            "Laplace noise of scale 1, whose standard deviation is √2": stats.laplace(),
            "√2 times the scale 1, where 1/√2 of it belongs": stats.laplace(scale=np.sqrt(2)),
            "Laplace noise of scale ½, whose variance is 2 · ½²": stats.laplace(scale=0.5),
        },
        "rademacher": {"normal noise": normal},
    }
    problems = {}
    for name, law in laws.items():
        first, again, other = (call(name, shape, Generator(given.seed + i)) for i in (1, 1, 2))
        problem = _not_drawn(first, law, shape, mistakes[name])
        yield 2, f"{name}: its shape, mean 0, standard deviation 1", problem
        first, again, other = map(array, (first, again, other))
        if problem and (first.shape != shape or not np.isfinite(first).all()):
            problems[name] = problem
        elif not np.array_equal(first, again):
            problems[name] = "the same generator gave other numbers: the draws do not come from it"
        elif np.array_equal(first, other):
            problems[name] = "another generator gave the same numbers: they do not come from it"
    reasons = set(problems.values())
    if len(problems) < len(laws) or len(reasons) > 1:
        reasons = [f"{name}: {problem}" for name, problem in problems.items()]
    yield 2, "all draws come from the generator", "; ".join(reasons) or None


def _not_drawn(answer, law, shape, mistakes):
    found = np.asarray(array(answer), np.float64)
    if problem := shaped(answer, shape):
        return problem
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
    if (distance := _distance(found, law)) > 0.03:  # 1e-14 by chance
        return f"of another shape: Kolmogorov–Smirnov distance {distance:.3f}"
    return None


def _distance(found, law):
    return stats.kstest(found.ravel(), law.cdf).statistic


@task("smoothgrad_5_aggregation", 10, (), _aggregate)
def my_aggregate(given, call):
    values = (given.normal(5, 20, 2, 3, 6, 5) + 0.3).float()
    values[3, 0, 0, 0, 0] = 0  # must not decide a geometric mean
    for points, how in zip((1, 1, 1, 2, 2, 2, 1), AGGREGATES, strict=True):
        problem = None
        for n in (20, 17, 5):  # n / 10 is whole; is not, and rounds up; is less than one
            answer = call(values[:n], how)
            expected = _aggregate(values[:n].double(), how)
            problem = same(answer, expected, _mistaken(values[:n], how))
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


TASKS = tasks_in(globals())
