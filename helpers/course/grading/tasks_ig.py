"""The tasks of the Integrated Gradients notebooks."""

from functools import partial

import numpy as np
import torch
from scipy import stats

from helpers.attribution.gradients import reduce_channels, saliency
from helpers.attribution.integrated_gradients import (
    RULES,
    integrated_gradients,
    make_baseline,
    nodes_and_weights,
)
from helpers.course.grading.tasks import (
    MODEL,
    Generator,
    array,
    gradients,
    keys,
    remembered,
    same,
    shaped,
    task,
    tasks_in,
    wrong,
)
from helpers.measures.quality import correlation, rank_correlation

ASKED = ("midpoint", "left", "right", "trapezoid", "gauss_legendre")  # the rules of my_nodes


def _integrated(model, pixels, target, baseline, n_steps, rule="midpoint"):
    return integrated_gradients(
        model, pixels, target, baseline=baseline, n_steps=n_steps, rule=rule
    )


def _from_references(model, pixels, target, references, n_steps):
    return integrated_gradients(
        model, pixels, target, baseline="samples", references=references, n_steps=n_steps
    )


def _start(name, pixels, generator):
    seeds = generator.integers(2**32, size=len(pixels)).tolist()
    return make_baseline(name, None, pixels, seed=seeds)


def _nested(model, pixels, target, baseline, steps):
    return _integrated(model, pixels, target, baseline, list(steps), "trapezoid")


def _kept(model, pixels, maps, target, fractions, fill):
    from helpers.measures.faithfulness import retained_accuracy

    kept = retained_accuracy(model, pixels, maps, fractions, fill=fill, target=target)
    return kept.float().mean(0)


def _steps_kept(model, pixels, target, baseline, steps, fractions, fill):
    maps = _integrated(model, pixels, target, baseline, list(steps))
    return torch.stack(
        [_kept(model, pixels, maps[n], target, fractions, fill).mean() for n in steps]
    )


def _ranked(first, second):
    return rank_correlation(first, second, "unsigned")


@remembered
def _reference(given, pixels, target, baseline, n_steps, rule="midpoint"):
    return _integrated(given.network, pixels.double(), target, baseline.double(), n_steps, rule)


def _baseline(given, pixels):
    return torch.from_numpy(given.rng(3).random(tuple(pixels.shape), np.float32))


@task("ig_1_method", 12, [saliency], _integrated)
def my_integrated_gradients(given, call):
    pixels, target = given.pixels, given.target
    black, other = torch.zeros_like(pixels), _baseline(given, pixels)
    expected = _reference(given, pixels, target, black, 8)

    def mistakes():
        points = pixels * _midpoints(8)
        return {
            "the mean gradient, without the factor (x − x′)": expected / pixels,
            "the map of the predicted class, not of the target": _reference(
                given, pixels, given.predicted, black, 8
            ),
            "of the class that the network says at each point, not of the target": (
                pixels * given.gradient(points).mean(0)
            ),
            "gradient × input": given.gradient(pixels, target) * pixels,
            "the absolute value": expected.abs(),
        } | _other_rules(given, pixels, target, black, 8)

    answer = call(MODEL, pixels, target, black, 8)
    yield 6, "the midpoint rule from a black baseline", same(answer, expected, mistakes)
    expected_other = _reference(given, pixels, target, other, 5)

    def mistakes_other():
        return {
            "a path from black, not from the baseline": _reference(given, pixels, target, black, 5),
            "a map with the factor x instead of (x − x′)": (
                expected_other / (pixels - other) * pixels
            ),
        } | _other_rules(given, pixels, target, other, 5)

    problem = same(call(MODEL, pixels, target, other, 5), expected_other, mistakes_other)
    yield 4, "another baseline, another number of steps", problem
    problem = gradients(answer, 8 * len(pixels), pictures=len(pixels))
    yield 2, "asks the network for n_steps gradients for each picture", problem


def _midpoints(n):
    """(n, 1, 1, 1, 1): how far along the path the midpoint rule asks."""
    return ((torch.arange(n) + 0.5) / n).reshape(n, 1, 1, 1, 1)


def _other_rules(given, *arguments):
    return {f"the {rule} rule": _reference(given, *arguments, rule) for rule in RULES[1:]}


@task("ig_2_baseline", 10, (), _start)
def my_baseline(given, call):
    pixels = given.pixels
    of_pixel, of_all, of_channels = (
        pixels.mean(dims, keepdim=True).expand_as(pixels) for dims in (1, (1, 2, 3), (0, 2, 3))
    )
    mistakes = {
        "black": {},
        "white": {},
        "mean": {
            "the mean of all channels together": of_all,
            "the mean of all pictures": of_channels,
        },
        "farthest": {
            "the nearest end of the range": (pixels > 0.5).float(),
            "one end for all channels of a pixel": (of_pixel < 0.5).float(),
            "the negative, 1 − x": 1 - pixels,
        },
    }
    for name, mistaken in mistakes.items():
        answer = call(name, pixels, Generator(given.seed + 1))
        expected = make_baseline(name, None, pixels)
        yield 2, name, same(answer, expected, mistaken, tolerance=1e-5)
    first, again, other = (call("noise", pixels, Generator(given.seed + i)) for i in (1, 1, 2))
    text = "noise: uniform in [0, 1], a field of its own for each picture, from the generator"
    problem = shaped(first, pixels.shape) or _not_noise(*map(array, (first, again, other)))
    yield 2, text, problem


def _not_noise(first, again, other):
    if stats.kstest(np.ravel(first).astype(float), stats.uniform.cdf).statistic > 0.04:
        return "the values are not uniform in [0, 1]"
    if np.array_equal(first[0], first[1]):
        return "all pictures share a field"
    if not np.array_equal(first, again) or np.array_equal(first, other):
        return "the draws do not come from the generator"
    return None


@task("ig_2_baseline", 10, [saliency], _from_references)
def my_expected_gradients(given, call):
    pixels, target = given.pixels, given.target
    references = given.pictures(7)[3:]

    def of_path(start, n_steps=4):
        return _reference(given, pixels, target, start.expand_as(pixels), n_steps)

    def over(references, n_steps=4):
        return torch.stack([of_path(one, n_steps) for one in references]).mean(0)

    def mistakes():
        mean = references.mean(0)
        paths = [one + _midpoints(4) * (pixels - one) for one in references]
        return {
            "one path from the mean of the references": of_path(mean),
            "of the first reference only": of_path(references[0]),
            "with one reference for each picture, not all of them for every picture": of_path(
                references[: len(pixels)]
            ),
            "the factor of the references' mean, instead of a factor for each path": (
                (pixels - mean) * given.gradient(torch.cat(paths), target).mean(0)
            ),
            "the sum over references, not the mean": len(references) * over(references),
        }

    answer = call(MODEL, pixels, target, references, 4)
    problem = same(answer, over(references), mistakes)
    yield 6, "the mean over the references of the midpoint rule", problem
    fewer = call(MODEL, pixels, target, references[:2], 3)
    yield 2, "other references, another number of steps", same(fewer, over(references[:2], 3))
    asked = {4 * len(pixels): "one path for all references?"}
    problem = gradients(answer, 4 * 4 * len(pixels), asked, pictures=len(pixels))
    yield 2, "asks the network for n_steps gradients a reference, for each picture", problem


@task("ig_3_steps", 10, (), nodes_and_weights)
def my_nodes(given, call):
    sizes = (5 + given.seed % 3, 8 + given.seed % 5)
    for rule in ASKED:
        problem = None
        for n in sizes:
            answer = call(rule, n)
            problem = problem or answer.problem or _not_nodes(answer, rule, n)
        yield 2, f"{rule}: nodes and weights for n = {sizes[0]} and {sizes[1]}", problem


def _not_nodes(answer, rule, n):
    pair = list(answer.arrays.values())
    if answer.kind == "array" and pair[0].ndim:
        pair = list(pair[0])  # an array (2, n) is one too
    if len(pair) != 2 or answer.kind == "dict":
        return "a pair (nodes, weights) was expected"
    nodes, weights = pair
    expected = np.stack(nodes_and_weights(rule, n))
    if nodes.shape != (n,) or weights.shape != (n,):
        looks = ": n is the number of points, not of the sections between them"
        said = f"n = {n}: shapes {nodes.shape} and {weights.shape}, where ({n},) was expected"
        return said + (looks if nodes.shape == (n + 1,) else "")
    order = np.argsort(nodes)
    found = np.stack([nodes[order], weights[order]])
    raw, endpoints = np.polynomial.legendre.leggauss(n), nodes_and_weights("endpoints", n)
    mistakes = {f"the {other} rule": nodes_and_weights(other, n) for other in ASKED} | {
        "the trapezoid's nodes, both ends counted fully": endpoints,
        "Gauss and Legendre's for [−1, 1], not moved to [0, 1]": raw,
        "weights for [−1, 1], which sum to 2": expected * [[1], [2]],
        "all weights 1, without the division by n": [expected[0], np.ones(n)],
        "weights of 1/n and 1/(2n) at the ends, which sum to (n − 1)/n": (
            expected * [[1], [(n - 1) / n]]
        ),
    }
    problem = wrong(found, expected, mistakes, tolerance=1e-6)
    if problem and "this is" not in problem and abs(weights.sum() - 1) > 1e-6:
        return f"n = {n}: the weights sum to {weights.sum():.4g}, not to 1"
    return f"n = {n}: {problem}" if problem else None


@task("ig_3_steps", 10, [nodes_and_weights, saliency], _nested, {"my_nodes": nodes_and_weights})
def my_steps(given, call):
    pixels, target, steps = given.pixels, given.target, [9, 3, 5]
    baseline = _baseline(given, pixels)
    answer = call(MODEL, pixels, target, baseline, steps)
    by_rule = partial(_reference, given, pixels, target)
    for n in sorted(steps):
        expected = by_rule(baseline, n, "trapezoid")

        def mistakes(n=n, expected=expected):
            ends = by_rule(baseline, n, "endpoints")
            return {
                "the midpoint rule": by_rule(baseline, n),
                "the mean over the nodes, both ends counted fully": ends,
                "a path from black, not from the baseline": by_rule(0 * pixels, n, "trapezoid"),
                "the mean gradient, without the factor (x − x′)": expected / (pixels - baseline),
            }

        problem = keys(answer, steps) or wrong(answer.arrays[str(n)], expected, mistakes)
        yield 2, f"{n} steps: the trapezoid rule", problem
    asked = {sum(steps) * len(pixels): "a pass of its own for each number of steps?"}
    problem = gradients(answer, 9 * len(pixels), asked, pictures=len(pixels))
    yield 4, "evaluates each different node once (9 of them here)", problem


_FRACTIONS = [0.0, 0.5, 0.75, 0.875, 1.0]  # of 64 × 64 pixels: whole numbers of them


@remembered
def _retained(given, pixels, maps, target, fill, fractions=_FRACTIONS):
    doubles = pixels.double(), maps.double()
    return _kept(given.network, *doubles, target, fractions, fill.double())


@task("ig_4_hiding", 25, [reduce_channels], _kept)
def my_retained_accuracy(given, call):
    pixels, fill = given.large_pictures(8), given.large_pictures(16)[8:]
    target, second = given.logits(pixels).argsort(1, descending=True)[:, :2].T
    maps = given.gradient(pixels, target).float()
    expected = _retained(given, pixels, maps, target, fill)

    def mistakes():
        def ranked(values):
            return _retained(given, pixels, values.expand_as(maps).contiguous(), target, fill)

        sizes, signed = maps.abs().sum(1, keepdim=True), maps.sum(1, keepdim=True)
        kept = [1 - share for share in _FRACTIONS]
        return {
            "with the highest-ranked pixels replaced": ranked(sizes.amax() - sizes),
            "ranked by the signed sum over channels": ranked(signed - signed.amin()),
            "ranked by the size of the sum: the absolute value comes before the sum": ranked(
                signed
            ),
            "ranked and hidden channel by channel, not pixel by pixel": _by_channel(
                given, pixels, maps, target, fill
            ),
            "with the fractions as the share that is kept, not hidden": _retained(
                given, pixels, maps, target, fill, kept
            ),
            "1 minus it": 1 - expected,
            "with the pixels black": _retained(given, pixels, maps, target, 0 * fill),
        }

    problem = same(call(MODEL, pixels, maps, target, _FRACTIONS, fill), expected, mistakes)
    yield 15, "the share of pictures still given the target, at each fraction", problem
    # the network never says these of a whole picture
    others = torch.where(torch.arange(8) % 3 == 0, second, target)
    maps = torch.from_numpy(given.rng(9).standard_normal(tuple(pixels.shape), np.float32))
    fractions, grey = [0.0, 0.125, 0.25, 0.375, 0.5], torch.full_like(pixels, 0.5)
    expected_others = _retained(given, pixels, maps, others, grey, fractions)

    def mistakes_others():
        return {
            "the share still given what the network says of the whole picture": _retained(
                given, pixels, maps, target, grey, fractions
            ),
            "with the pixels black": _retained(given, pixels, maps, others, 0 * grey, fractions),
        }

    answer = call(MODEL, pixels, maps, others, fractions, grey)
    problem = same(answer, expected_others, mistakes_others)
    yield 10, "other maps, targets and fractions, a grey fill", problem


def _by_channel(given, pixels, maps, target, fill):
    order = maps.abs().flatten(1).argsort(1).argsort(1).reshape(maps.shape)
    left = [
        torch.where(order < round(share * pixels[0].numel()), fill, pixels) for share in _FRACTIONS
    ]
    return [(given.logits(each).argmax(1) == target).double().mean() for each in left]


_EARLIER = {"my_retained_accuracy": _kept}


@task("ig_4_hiding", 25, [integrated_gradients, saliency], _steps_kept, _EARLIER)
def my_steps_quality(given, call):
    pixels, fractions = given.large_pictures(6), _FRACTIONS[1:-1]
    target = given.logits(pixels).argmax(1)

    def kept(baseline, fill, steps):
        maps = [_reference(given, pixels, target, baseline, n).float() for n in steps]
        shares = [_retained(given, pixels, one, target, fill, fractions).mean() for one in maps]
        return torch.stack(shares)

    def check(baseline, fill, steps):
        expected = kept(baseline, fill, steps)

        def mistakes():
            return {
                "the sum over the fractions, not the mean": len(fractions) * expected,
                "for the steps in another order than asked for": expected.flip(0),
                "with maps from black, not from the baseline": kept(0 * pixels, fill, steps),
                "with the fill as the baseline of the maps": kept(fill, fill, steps),
                "hidden with the baseline, not with the fill": kept(baseline, baseline, steps),
            }

        text = f"the mean over fractions for {steps[0]} and {steps[1]} steps"
        answer = call(MODEL, pixels, target, baseline, steps, fractions, fill)
        return text, same(answer, expected, mistakes)

    yield 15, *check(torch.zeros_like(pixels), given.large_pictures(12)[6:], [1, 2])
    yield 10, *check(torch.ones_like(pixels), given.large_pictures(16)[10:], [3, 1])


@task("ig_5_beyond_hiding", 10, [reduce_channels], _ranked)
def my_rank_correlation(given, call):
    first, second = given.normal(11, 4, 3, 9, 8), given.normal(12, 4, 3, 9, 8)
    second = 0.6 * first.flip(1).abs() + second  # related in size, not in sign

    def mistakes():
        sums = [each.sum(1, keepdim=True) for each in (first, second)]
        flat = [each.flatten(1)[:, None, None] for each in (first, second)]
        return {
            "the correlation of the values, not of their ranks": correlation(
                first, second, "unsigned"
            ),
            "of the signed sums over channels": rank_correlation(first, second, "signed"),
            "of the sizes of the sums: the absolute value comes before the sum": rank_correlation(
                *sums, "unsigned"
            ),
            "with ranks over all pictures together": _ranked_together(first, second),
            "of the places that argsort lists, not of ranks: sort once more": _in_order(
                first, second, sorts=1
            ),
            "over pixels and channels, without the sum over channels": rank_correlation(
                *flat, "unsigned"
            ),
            "of signed values over pixels and channels": rank_correlation(*flat, "signed"),
        }

    problem = same(call(first, second), rank_correlation(first, second, "unsigned"), mistakes)
    yield 8, "Spearman's correlation of the pixels' sizes, one for each picture", problem
    tied = (first * 2).round() / 2
    in_order = {"with ties in the order they came": _in_order(tied, second)}
    expected = rank_correlation(tied, second, "unsigned")
    yield 2, "equal sizes share their mean rank", same(call(tied, second), expected, in_order)


def _in_order(first, second, sorts=2):
    """ρ of ranks by sorting so often: ties keep the order in which they came."""
    ranks = [each.abs().sum(1).flatten(1).numpy() for each in (first, second)]
    for _ in range(sorts):
        ranks = [each.argsort(1, kind="stable") for each in ranks]
    return _row_by_row(*ranks)


def _ranked_together(first, second):
    sizes = [each.abs().sum(1).flatten(1).numpy() for each in (first, second)]
    return _row_by_row(*(stats.rankdata(each).reshape(each.shape) for each in sizes))


def _row_by_row(first, second):
    return [np.corrcoef(x, y)[0, 1] for x, y in zip(first, second, strict=True)]


TASKS = tasks_in(globals())
