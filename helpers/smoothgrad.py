"""SmoothGrad: average an explanation over noisy copies of the input (Smilkov et al. 2017, arXiv:1706.03825)."""

import math
import operator
from functools import partial
from numbers import Real

import numpy as np
import torch

from helpers.aggregates import AGGREGATES, make_accumulator
from helpers.checks import choose
from helpers.gradients import _positive, evaluation, resolve_target, saliency, stream

NORMAL_IQR = 1.3489795003921634  # of a normal with standard deviation 1: 2 Φ⁻¹(3/4)
# name -> (draws at its textbook scale, their standard deviation, their interquartile range)
_DISTRIBUTIONS = {
    "normal": (lambda shape, rng: rng.standard_normal(shape), 1.0, NORMAL_IQR),
    "uniform": (lambda shape, rng: rng.uniform(-1, 1, shape), 1 / math.sqrt(3), 1.0),
    "laplace": (lambda shape, rng: rng.laplace(size=shape), math.sqrt(2), 2 * math.log(2)),
    "rademacher": (lambda shape, rng: 2.0 * rng.integers(0, 2, shape, np.int8) - 1, 1.0, None),
    "cauchy": (lambda shape, rng: rng.standard_cauchy(shape), None, 2.0),
}
DISTRIBUTIONS = tuple(_DISTRIBUTIONS)


def smoothgrad(model, pixels, target=None, *, attribution=saliency, n_samples=50, noise=0.15, distribution="normal",
               match="std", antithetic=False, clip=False, aggregate="mean", input_range=(0.0, 1.0), batch_size=None, seed=0,
               progress=False):  # fmt: skip
    """The explanation of the input, averaged (or combined otherwise) over noisy copies of it.

    Â(x) = 1/n Σᵢ A(x + σ δᵢ), σ = noise × (high − low) of ``input_range`` (Smilkov et al. 2017, section 3).
    The paper takes 10–20 % of the range and n = 50.

    Args:
        model, pixels, target: as for ``saliency``. ``target=None`` is the class predicted for the clean input, for all
            noisy copies.
        attribution: what is smoothed: the input gradient, or any callable (model, pixels, target) → map.
        n_samples: how many noise fields are drawn.
        noise: noise level as a share of ``input_range``; 0 gives the plain explanation.
        distribution: "normal", "uniform", "laplace", "rademacher", "cauchy", or a callable (shape, generator) → array
            of unit scale, ``generator`` a ``numpy.random.Generator``.
        match: "std" gives every distribution the standard deviation σ; "iqr" the interquartile range of a normal with
            standard deviation σ, 1.349 σ. A callable's own scale is left as it is.
        antithetic: use each field twice, as +δ and −δ: 2 × ``n_samples`` gradients.
        clip: bring noisy copies back into ``input_range``.
        aggregate: a name from ``aggregates.AGGREGATES``, or an accumulator object. "median" and "trimmed_mean" hold
            all samples in memory; the others do not.
        input_range: (low, high) of the inputs.
        batch_size: the most rows the model sees at once; None picks a number that is fast and bounded in memory.
        seed: the i-th field depends on (seed, i) and on nothing else, so 3 samples are the first 3 of 50, and all pictures
            share their fields. N integers, one a picture, give each picture fields of its own.
        progress: show a progress bar.

    Returns:
        a map of the shape of ``pixels`` (for the gradient): signed for "mean", "median" and "trimmed_mean".

    Raises:
        TypeError, ValueError: as ``saliency``; n_samples < 1; noise < 0; an unknown name; "cauchy" matched by "std" or
            "rademacher" by "iqr", which they do not have; "variance" of a single gradient.
    """
    n_samples = _positive(n_samples, "n_samples")
    settings = (attribution, noise, distribution, match, antithetic, clip, input_range, batch_size, seed, progress)
    return _run(model, pixels, target, [aggregate], [n_samples], *settings)[n_samples][0]


def smoothgrad_counts(model, pixels, target=None, *, counts=range(3, 51), attribution=saliency, noise=0.15,
                      distribution="normal", match="std", antithetic=False, clip=False, aggregate="mean",
                      input_range=(0.0, 1.0), batch_size=None, seed=0, progress=False) -> dict[int, torch.Tensor]:  # fmt: skip
    """``smoothgrad`` for several sample counts, {count: map}, from one pass over the largest of them.

    Args: as ``smoothgrad``, with ``counts`` instead of ``n_samples``.
    """
    counts = sorted({_positive(count, "each count") for count in counts})
    if not counts:
        raise ValueError("counts must name at least one sample count, found none")
    settings = (attribution, noise, distribution, match, antithetic, clip, input_range, batch_size, seed, progress)
    return {n: maps[0] for n, maps in _run(model, pixels, target, [aggregate], counts, *settings).items()}


def smoothgrad_aggregates(model, pixels, target=None, *, aggregates=tuple(AGGREGATES), n_samples=50, attribution=saliency,
                          noise=0.15, distribution="normal", match="std", antithetic=False, clip=False, input_range=(0.0, 1.0),
                          batch_size=None, seed=0, progress=False) -> dict[str, torch.Tensor]:  # fmt: skip
    """``smoothgrad`` for several aggregates, {name: map}, from one and the same set of gradients.

    Args: as ``smoothgrad``, with ``aggregates`` instead of ``aggregate``: names, or a dict from a label of your choice
        to a name or an accumulator object.
    """
    labelled = dict(aggregates) if isinstance(aggregates, dict) else {name: name for name in aggregates}
    if not labelled:
        raise ValueError("aggregates must name at least one aggregate, found none")
    n_samples = _positive(n_samples, "n_samples")
    settings = (attribution, noise, distribution, match, antithetic, clip, input_range, batch_size, seed, progress)
    maps = _run(model, pixels, target, list(labelled.values()), [n_samples], *settings)[n_samples]
    return dict(zip(labelled, maps, strict=True))


def noise_field(shape, seed, index, *, distribution="normal", match="std"):
    """The ``index``-th noise field of a seed, at the scale where σ is 1: a float64 array, a function of its arguments."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, index])))
    if callable(distribution):
        field = np.asarray(distribution(shape, rng), dtype=np.float64)
        if field.shape != shape:
            raise ValueError(
                f"the distribution must return an array of the shape it was asked for, {shape}, found {field.shape}"
            )
        return field
    draw, std, iqr = _DISTRIBUTIONS[distribution]
    return draw(shape, rng) * (1 / std if match == "std" else NORMAL_IQR / iqr)


def _run(model, pixels, target, aggregates, counts, attribution, noise, distribution, match, antithetic, clip, input_range,
         batch_size, seed, progress):  # fmt: skip
    """{count: [map of each aggregate]}, from one pass over the largest count."""
    low, high = check_range(input_range)
    _check_distribution(distribution, match)
    if not (isinstance(noise, Real) and math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be a number of at least 0, a share of the input range, found {noise!r}")
    signs = (1, -1) if antithetic else (1,)
    accumulators = [make_accumulator(aggregate, len(signs) * counts[0]) for aggregate in aggregates]
    with evaluation(model):
        target = resolve_target(model, pixels, target, batch_size=batch_size)
        pixels = pixels.detach()
        seeds = check_seed(seed, len(pixels))
        field = partial(noise_field, tuple(pixels.shape[1:]), distribution=distribution, match=match)
        deltas = {}  # the latest field, so that its mirror image need not be drawn again

        def point(number):
            index, sign = number // len(signs), signs[number % len(signs)]
            if index not in deltas:
                deltas.clear()
                drawn = field(seeds, index) if isinstance(seeds, int) else np.stack([field(s, index) for s in seeds])
                drawn = drawn * (noise * (high - low))  # a new array: a callable may have returned one of its own
                deltas[index] = torch.as_tensor(drawn).to(pixels.dtype).to(pixels.device)
            noisy = pixels + sign * deltas[index]
            return noisy.clamp(low, high) if clip else noisy

        results = {}
        n_points = counts[-1] * len(signs)
        gradients = stream(model, target, point, n_points, attribution=attribution, batch_size=batch_size, progress=progress)
        for number, gradient in enumerate(gradients, start=1):
            for accumulator in accumulators:
                accumulator.update(gradient)
            if number % len(signs) == 0 and number // len(signs) in counts:
                results[number // len(signs)] = [accumulator.result() for accumulator in accumulators]
    return results


def _check_distribution(distribution, match):
    choose(match, ("std", "iqr"), "match")
    if callable(distribution):
        return
    _, std, iqr = _DISTRIBUTIONS[choose(distribution, DISTRIBUTIONS, "distribution")]
    if match == "std" and std is None:
        raise ValueError(f"{distribution} has no standard deviation to match: use match='iqr'")
    if match == "iqr" and iqr is None:
        raise ValueError(f"{distribution} takes two values and has no useful quartiles to match: use match='std'")


def check_range(input_range):
    """(low, high) as floats, low < high."""
    try:
        low, high = map(float, input_range)
    except (TypeError, ValueError):
        raise ValueError(f"input_range must be a pair (low, high), found {input_range!r}") from None
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"input_range must be finite with low < high, found {input_range!r}")
    return low, high


def check_seed(seed, n):
    """An int, or a list of N ints: each of 0 … 2³² − 1, so that (seed, index) names a draw that no other pair shares."""
    many = isinstance(seed, (list, tuple, range, np.ndarray, torch.Tensor)) and getattr(seed, "ndim", 1)
    values = list(seed) if many else [seed]
    try:
        values = [operator.index(value) for value in values]
    except TypeError:
        raise TypeError(f"seed must be an integer, or {n} of them, one an input, found {seed!r}") from None
    if many and len(values) != n:
        raise ValueError(f"seed must be one integer, or one for each of the {n} inputs, found {len(values)}")
    if not all(0 <= value < 2**32 for value in values):
        raise ValueError(f"seeds must lie in 0 … 2**32 - 1, found {seed!r}")
    return values if many else values[0]
