"""The tasks of the Integrated Gradients notebooks."""

import numpy as np
import torch
from scipy import stats

from helpers.attribution.integrated_gradients import (
    RULES,
    integrated_gradients,
    make_baseline,
    nodes_and_weights,
    path_gradient,
)
from helpers.course.grading.tasks import (
    MODEL,
    SALIENCY,
    Generator,
    gradients,
    keys,
    of,
    remembered,
    same,
    task,
    wrong,
)
from helpers.measures.faithfulness import retained_accuracy
from helpers.measures.quality import correlation, rank_correlation

ASKED = ("midpoint", "left", "right", "trapezoid", "gauss_legendre")  # the rules of my_nodes
_HERE = "helpers.attribution.integrated_gradients"
_NODES = of(_HERE, "nodes_and_weights")
_GIVEN = [*of(_HERE, "integrated_gradients"), *SALIENCY]
_REDUCE = of("helpers.attribution.gradients", "reduce_channels")
_MY_NODES = {
    "my_nodes": "from helpers.attribution.integrated_gradients import nodes_and_weights as my_nodes"
}
_MY_RETAINED = {
    "my_retained_accuracy": """
from helpers.measures.faithfulness import retained_accuracy
def my_retained_accuracy(model, pixels, maps, target, fractions, fill):
    kept = retained_accuracy(model, pixels, maps, fractions, fill=fill, target=target)
    return kept.float().mean(0)
"""
}


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
    return integrated_gradients(
        given.network,
        pixels.double(),
        target,
        baseline=baseline.double(),
        n_steps=n_steps,
        rule=rule,
    )


def _baseline(given, pixels):
    return torch.from_numpy(given.rng(3).random(tuple(pixels.shape), np.float32))


@task("ig_1_method", 12, SALIENCY, _integrated)
def my_integrated_gradients(given, call):
    pixels, target = given.pixels, given.target
    black, other = torch.zeros_like(pixels), _baseline(given, pixels)
    answer = call(MODEL, pixels, target, black, 8)
    expected = _reference(given, pixels, target, black, 8)
    mistakes = {
        "the mean gradient, without the factor (x − x′)": lambda: expected / pixels,
        "the map of the predicted class, not of the target": lambda: _reference(
            given, pixels, given.predicted, black, 8
        ),
        "of the class that the network says at each point, not of the target": lambda: _own_classes(
            given, pixels, black, 8
        ),
        "gradient × input": lambda: given.gradient(pixels, target) * pixels,
        "the absolute value": expected.abs(),
    } | _other_rules(given, pixels, target, black, 8)
    yield 6, "the midpoint rule from a black baseline", same(answer, expected, mistakes)
    answer_other = call(MODEL, pixels, target, other, 5)
    expected = _reference(given, pixels, target, other, 5)
    mistakes = {
        "a path from black, not from the baseline": lambda: _reference(
            given, pixels, target, black, 5
        ),
        "a map with the factor x instead of (x − x′)": lambda: expected / (pixels - other) * pixels,
    } | _other_rules(given, pixels, target, other, 5)
    yield 4, "another baseline, another number of steps", same(answer_other, expected, mistakes)
    yield (
        2,
        "asks the network for n_steps gradients for each picture",
        gradients(answer, 8 * len(pixels), pictures=len(pixels)),
    )


def _own_classes(given, pixels, baseline, n_steps):
    """The midpoint rule, the class chosen anew at each point."""
    points = [baseline + (i + 0.5) / n_steps * (pixels - baseline) for i in range(n_steps)]
    each = [given.gradient(point, given.logits(point).argmax(1)) for point in points]
    return (pixels - baseline) * torch.stack(each).mean(0)


def _other_rules(given, *arguments):
    return {
        f"the {rule} rule": lambda r=rule: _reference(given, *arguments, r) for rule in RULES[1:]
    }


@task("ig_2_baseline", 10, (), _start)
def my_baseline(given, call):
    pixels = given.pixels
    for name in ("black", "white", "mean", "farthest"):
        mistakes = {
            "mean": {
                "the mean of all channels together": pixels.mean((1, 2, 3), keepdim=True).expand_as(
                    pixels
                ),
                "the mean of all pictures": pixels.mean((0, 2, 3), keepdim=True).expand_as(pixels),
            },
            "farthest": {
                "the nearest end of the range": (pixels > 0.5).float(),
                "one end for all channels of a pixel": (pixels.mean(1, keepdim=True) < 0.5)
                .float()
                .expand_as(pixels),
                "the negative, 1 − x": 1 - pixels,
            },
        }.get(name)
        expected = make_baseline(name, None, pixels)
        yield (
            2,
            name,
            same(call(name, pixels, Generator(given.seed + 1)), expected, mistakes, tolerance=1e-5),
        )
    first, again, other = (call("noise", pixels, Generator(given.seed + i)) for i in (1, 1, 2))
    yield (
        2,
        "noise: uniform in [0, 1], a field of its own for each picture, from the generator",
        _not_noise(
            *(answer.arrays.get("", np.empty(0)) for answer in (first, again, other)),
            pixels,
            first.problem,
        ),
    )


def _not_noise(first, again, other, pixels, problem):
    if problem or first.shape != tuple(pixels.shape):
        return problem or f"shape {first.shape}, where {tuple(pixels.shape)} was expected"
    if stats.kstest(np.ravel(first).astype(float), stats.uniform.cdf).statistic > 0.04:
        return "the values are not uniform in [0, 1]"
    if np.array_equal(first[0], first[1]):
        return "all pictures share a field"
    if not np.array_equal(first, again) or np.array_equal(first, other):
        return "the draws do not come from the generator"
    return None


@task("ig_2_baseline", 10, SALIENCY, _from_references)
def my_expected_gradients(given, call):
    pixels, target = given.pixels, given.target
    references = given.pictures(7)[3:]
    answer = call(MODEL, pixels, target, references, 4)

    def expected(references, n_steps):
        each = [
            _reference(given, pixels, target, one.expand_as(pixels), n_steps) for one in references
        ]
        return torch.stack(each).mean(0)

    def from_mean():
        return _reference(given, pixels, target, references.mean(0).expand_as(pixels), 4)

    def mixed():
        gradients = [
            path_gradient(given.network, pixels.double(), target, baseline=one.double(), n_steps=4)
            for one in references
        ]
        return (pixels - references.mean(0)) * torch.stack(gradients).mean(0)

    mistakes = {
        "one path from the mean of the references": from_mean,
        "of the first reference only": lambda: expected(references[:1], 4),
        "with one reference for each picture, not all of them for every picture": lambda: (
            _reference(given, pixels, target, references[: len(pixels)], 4)
        ),
        "the factor of the references' mean, instead of a factor for each path": mixed,
        "the sum over references, not the mean": lambda: 4 * expected(references, 4),
    }
    yield (
        6,
        "the mean over the references of the midpoint rule",
        same(answer, expected(references, 4), mistakes),
    )
    fewer = call(MODEL, pixels, target, references[:2], 3)
    yield 2, "other references, another number of steps", same(fewer, expected(references[:2], 3))
    yield (
        2,
        "asks the network for n_steps gradients a reference, for each picture",
        gradients(
            answer,
            4 * 4 * len(pixels),
            {4 * len(pixels): "one path for all references?"},
            pictures=len(pixels),
        ),
    )


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
        return (
            f"n = {n}: shapes {nodes.shape} and {weights.shape}, where ({n},) was expected"
            f"{looks if nodes.shape == (n + 1,) else ''}"
        )
    order = np.argsort(nodes)
    found = np.stack([nodes[order], weights[order]])
    raw = np.polynomial.legendre.leggauss(n)
    mistakes = {f"the {other} rule": np.stack(nodes_and_weights(other, n)) for other in ASKED} | {
        "the trapezoid's nodes, both ends counted fully": np.stack(
            nodes_and_weights("endpoints", n)
        ),
        "Gauss and Legendre's for [−1, 1], not moved to [0, 1]": np.stack(raw),
        "weights for [−1, 1], which sum to 2": expected * [[1], [2]],
        "all weights 1, without the division by n": np.stack([expected[0], np.ones(n)]),
        "weights of 1/n and 1/(2n) at the ends, which sum to (n − 1)/n": np.stack(
            [expected[0], expected[1] * (n - 1) / n]
        ),
    }
    problem = wrong(found, expected, mistakes, tolerance=1e-6)
    if problem and "this is" not in problem and abs(weights.sum() - 1) > 1e-6:
        return f"n = {n}: the weights sum to {weights.sum():.4g}, not to 1"
    return f"n = {n}: {problem}" if problem else None


@task("ig_3_steps", 10, [*_NODES, *SALIENCY], _nested, _MY_NODES)
def my_steps(given, call):
    pixels, target, baseline, steps = (
        given.pixels,
        given.target,
        _baseline(given, given.pixels),
        [9, 3, 5],
    )
    answer = call(MODEL, pixels, target, baseline, steps)
    for n in sorted(steps):
        expected = _reference(given, pixels, target, baseline, n, "trapezoid")
        mistakes = {
            "the midpoint rule": lambda n=n: _reference(given, pixels, target, baseline, n),
            "the mean over the nodes, both ends counted fully": lambda n=n: _reference(
                given, pixels, target, baseline, n, "endpoints"
            ),
            "a path from black, not from the baseline": lambda n=n: _reference(
                given, pixels, target, torch.zeros_like(pixels), n, "trapezoid"
            ),
            "the mean gradient, without the factor (x − x′)": expected / (pixels - baseline),
        }
        problem = keys(answer, steps) or wrong(answer.arrays[str(n)], expected, mistakes)
        yield 2, f"{n} steps: the trapezoid rule", problem
    yield (
        4,
        "evaluates each different node once (9 of them here)",
        gradients(
            answer,
            9 * len(pixels),
            {sum(steps) * len(pixels): "a pass of its own for each number of steps?"},
            pictures=len(pixels),
        ),
    )


_FRACTIONS = [0.0, 0.5, 0.75, 0.875, 1.0]  # of 64 × 64 pixels: whole numbers of them


@remembered
def _retained(given, pixels, maps, target, fill, fractions=_FRACTIONS):
    kept = retained_accuracy(
        given.network, pixels.double(), maps.double(), fractions, fill=fill.double(), target=target
    )
    return kept.double().mean(0)


@task("ig_4_hiding", 25, _REDUCE, _kept)
def my_retained_accuracy(given, call):
    pixels, fill = given.large_pictures(8), given.large_pictures(16)[8:]
    target, second = given.logits(pixels).argsort(1, descending=True)[:, :2].T
    maps = given.gradient(pixels, target).float()
    mistakes = {
        "with the highest-ranked pixels replaced": lambda: _retained(
            given, pixels, _upside_down(maps), target, fill
        ),
        "ranked by the signed sum over channels": lambda: _retained(
            given, pixels, _shifted(maps), target, fill
        ),
        "ranked by the size of the sum: the absolute value comes before the sum": lambda: _retained(
            given, pixels, maps.sum(1, keepdim=True).expand_as(maps), target, fill
        ),
        "ranked and hidden channel by channel, not pixel by pixel": lambda: _by_channel(
            given, pixels, maps, target, fill
        ),
        "with the fractions as the share that is kept, not hidden": lambda: _retained(
            given, pixels, maps, target, fill, [1 - share for share in _FRACTIONS]
        ),
        "1 minus it": lambda: 1 - _retained(given, pixels, maps, target, fill),
        "with the pixels black": lambda: _retained(
            given, pixels, maps, target, torch.zeros_like(fill)
        ),
    }
    answer = call(MODEL, pixels, maps, target, _FRACTIONS, fill)
    expected = _retained(given, pixels, maps, target, fill)
    yield (
        15,
        "the share of pictures still given the target, at each fraction",
        same(answer, expected, mistakes),
    )
    # the network never says these of a whole picture
    others = torch.where(torch.arange(8) % 3 == 0, second, target)
    maps = torch.from_numpy(given.rng(9).standard_normal(tuple(pixels.shape), np.float32))
    fractions, grey = [0.0, 0.125, 0.25, 0.375, 0.5], torch.full_like(pixels, 0.5)
    answer = call(MODEL, pixels, maps, others, fractions, grey)
    expected = _retained(given, pixels, maps, others, grey, fractions)
    mistakes = {
        "the share still given what the network says of the whole picture": lambda: _retained(
            given, pixels, maps, target, grey, fractions
        ),
        "with the pixels black": lambda: _retained(
            given, pixels, maps, others, torch.zeros_like(grey), fractions
        ),
    }
    yield 10, "other maps, targets and fractions, a grey fill", same(answer, expected, mistakes)


def _by_channel(given, pixels, maps, target, fill):
    order = maps.abs().flatten(1).argsort(1).argsort(1).reshape(maps.shape)
    left = [
        torch.where(order < round(share * pixels[0].numel()), fill, pixels) for share in _FRACTIONS
    ]
    return [(given.logits(each).argmax(1) == target).double().mean() for each in left]


def _upside_down(maps):
    sums = maps.abs().sum(1, keepdim=True)
    return (sums.amax() - sums).expand_as(maps).contiguous()


def _shifted(maps):
    signed = maps.sum(1, keepdim=True)
    return (signed - signed.amin()).expand_as(maps)


@task("ig_4_hiding", 25, _GIVEN, _steps_kept, _MY_RETAINED)
def my_steps_quality(given, call):
    pixels, fractions = given.large_pictures(6), _FRACTIONS[1:-1]
    target = given.logits(pixels).argmax(1)

    def kept(baseline, fill, steps):
        maps = [_reference(given, pixels, target, baseline, n).float() for n in steps]
        shares = [_retained(given, pixels, one, target, fill, fractions).mean() for one in maps]
        return torch.stack(shares)

    for points, baseline, fill, steps in (
        (15, torch.zeros_like(pixels), given.large_pictures(12)[6:], [1, 2]),
        (10, torch.ones_like(pixels), given.large_pictures(16)[10:], [3, 1]),
    ):
        expected = kept(baseline, fill, steps)
        mistakes = {
            "the sum over the fractions, not the mean": len(fractions) * expected,
            "for the steps in another order than asked for": expected.flip(0),
            "with maps from black, not from the baseline": lambda f=fill, s=steps: kept(
                torch.zeros_like(pixels), f, s
            ),
            "with the fill as the baseline of the maps": lambda f=fill, s=steps: kept(f, f, s),
            "hidden with the baseline, not with the fill": lambda b=baseline, s=steps: kept(
                b, b, s
            ),
        }
        yield (
            points,
            f"the mean over fractions for {steps[0]} and {steps[1]} steps",
            same(call(MODEL, pixels, target, baseline, steps, fractions, fill), expected, mistakes),
        )


@task("ig_5_beyond_hiding", 10, _REDUCE, _ranked)
def my_rank_correlation(given, call):
    first, second = (torch.from_numpy(given.rng(n).standard_normal((4, 3, 9, 8))) for n in (11, 12))
    second = 0.6 * first.flip(1).abs() + second  # related in size, not in sign
    answer = call(first, second)
    mistakes = {
        "the correlation of the values, not of their ranks": lambda: correlation(
            first, second, "unsigned"
        ),
        "of the signed sums over channels": lambda: rank_correlation(first, second, "signed"),
        "of the sizes of the sums: the absolute value comes before the sum": lambda: (
            rank_correlation(*(each.sum(1, keepdim=True) for each in (first, second)), "unsigned")
        ),
        "with ranks over all pictures together": lambda: _ranked_together(first, second),
        "of the places that argsort lists, not of ranks: sort once more": lambda: _in_order(
            first, second, sorts=1
        ),
        "over pixels and channels, without the sum over channels": lambda: rank_correlation(
            first.flatten(1)[:, None, None], second.flatten(1)[:, None, None], "unsigned"
        ),
        "of signed values over pixels and channels": lambda: rank_correlation(
            first.flatten(1)[:, None, None], second.flatten(1)[:, None, None], "signed"
        ),
    }
    yield (
        8,
        "Spearman's correlation of the pixels' sizes, one for each picture",
        same(answer, rank_correlation(first, second, "unsigned"), mistakes),
    )
    tied = (first * 2).round() / 2
    mistakes = {"with ties in the order they came": lambda: _in_order(tied, second)}
    expected = rank_correlation(tied, second, "unsigned")
    yield 2, "equal sizes share their mean rank", same(call(tied, second), expected, mistakes)


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


TASKS = (
    my_integrated_gradients,
    my_baseline,
    my_expected_gradients,
    my_nodes,
    my_steps,
    my_retained_accuracy,
    my_steps_quality,
    my_rank_correlation,
)
