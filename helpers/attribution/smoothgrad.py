"""SmoothGrad: average an explanation over noisy copies of the input (Smilkov et al. 2017,
arXiv:1706.03825)."""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from numbers import Real

import numpy as np
import torch

from helpers.attribution.aggregates import check_aggregate, make_accumulator
from helpers.attribution.gradients import in_own_dtype, saliency, stream
from helpers.attribution.targets import resolve_target
from helpers.checks import at_least_one, check_range, check_seed, one_or_several
from helpers.evaluate import at_least_float32, default_batch_size, evaluation
from helpers.noise import check_distribution, draw_field


def smoothgrad(
    model,
    pixels,
    target=None,
    *,
    attribution=saliency,
    n_samples=50,
    noise=0.15,
    distribution="normal",
    match="std",
    antithetic=False,
    clip=False,
    aggregate="mean",
    input_range=(0.0, 1.0),
    extra=(),
    batch_size=None,
    seed=0,
    progress=False,
):
    """The explanation of the input, averaged (or combined otherwise) over noisy copies of it.

    Â(x) = 1/n Σᵢ A(x + σ δᵢ), σ = noise × (high − low) of ``input_range`` (Smilkov et al. 2017,
    section 3). The paper takes 10–20 % of the range and n = 50.

    Args:
        model, pixels, target, extra: as for ``saliency``. ``target=None`` is the class predicted
            for the clean input, for all noisy copies.
        attribution: what is smoothed: the input gradient, or any callable (model, pixels, target) →
            map (with ``extra=``, where there is any).
        n_samples: how many noise fields are drawn; several (a list, tuple, range, set or array) are
            taken from one pass over the largest, {count: map}.
        noise: σ as a share of ``input_range``; 0 gives the plain explanation (for the signed
            aggregates).
        distribution: "normal", "uniform", "laplace", "rademacher", "cauchy", or a callable (shape,
            generator) → array of unit scale, ``generator`` a ``numpy.random.Generator``.
        match: "std" gives every distribution the standard deviation σ; "iqr" the interquartile
            range of a normal with standard deviation σ, 1.349 σ. A callable's own scale is left as
            it is.
        antithetic: use each field twice, as +δ and −δ: 2 × ``n_samples`` gradients. Not with
            "variance".
        clip: bring noisy copies back into ``input_range``.
        aggregate: a name from ``aggregates.AGGREGATES``, or an accumulator object; several combine
            one and the same set of gradients, {name: map}, or from {label: name or accumulator},
            {label: map}. "median" and "trimmed_mean" hold all samples in memory; the others do not.
        input_range: (low, high) of the inputs.
        batch_size: the most rows the model sees at once; None picks a number that is fast and
            bounded in memory.
        seed: the i-th field depends on (seed, i) and on nothing else, so 3 samples are the first 3
            of 50, and all pictures share their fields. N integers, one a picture, give each picture
            fields of its own.
        progress: show a progress bar.

    Returns:
        a map of the shape of ``pixels`` (for the gradient): signed for "mean", "median" and
            "trimmed_mean". Added up in float32 at least, and in the dtype of ``pixels`` unless a
            value would become 0 or infinite there. Of several n_samples or aggregates a dict of
            them, in the order given, a set's sorted.

    Raises:
        TypeError, ValueError: as ``saliency``; n_samples < 1; noise < 0; an unknown name; "cauchy"
            matched by "std" or "rademacher" by "iqr", which they do not have; "variance" of a
            single gradient; several n_samples and several aggregates at once.
    """
    counts, by_count = one_or_several(
        n_samples, "n_samples", lambda n: at_least_one(n, "n_samples")
    )
    aggregates, by_aggregate = one_or_several(aggregate, "aggregate", check_aggregate)
    if by_count and by_aggregate:
        raise ValueError(
            "n_samples and aggregate name several each, and a call varies one setting: give one of "
            "them a single value"
        )
    low, high = check_range(input_range)
    check_distribution(distribution, match)
    if not (isinstance(noise, Real) and math.isfinite(noise) and noise >= 0):
        raise ValueError(
            f"noise must be a number of at least 0, a share of the input range, found {noise!r}"
        )
    signs = (1, -1) if antithetic else (1,)
    fewest, most = len(signs) * min(counts.values()), max(counts.values())
    accumulators = {label: make_accumulator(each, fewest) for label, each in aggregates.items()}
    if antithetic and any(getattr(each, "independent", False) for each in accumulators.values()):
        raise ValueError(
            "'variance' needs independent samples, which antithetic pairs are not: leave one of "
            "them out"
        )
    found = {}  # count → {label: map}
    with evaluation(model), ThreadPoolExecutor(2) as pool:
        target = resolve_target(model, pixels, target, extra=extra, batch_size=batch_size)
        own, pixels = pixels.dtype, pixels.detach().to(at_least_float32(pixels.dtype))
        scale = float(noise) * (high - low)
        shape, seeds = tuple(pixels.shape[1:]), check_seed(seed, len(pixels))

        def draw(index):
            fields = [draw_field(shape, s, index, distribution, match) for s in seeds]
            return torch.from_numpy(fields[0][None] if len(fields) == 1 else np.stack(fields)).to(
                pixels.dtype
            )

        if callable(distribution):
            # the user's own code: called in order, from the user's thread
            deltas = map(draw, range(most))
        else:
            deltas = _ahead(pool, draw, most, max(1, default_batch_size(pixels) // len(seeds)))

        def point(number):
            if number % len(signs) == 0:
                point.delta = next(deltas).to(pixels.device)
            noisy = torch.add(pixels, point.delta, alpha=signs[number % len(signs)] * scale)
            return (noisy.clamp(low, high) if clip else noisy).to(own)

        gradients = stream(
            model,
            target,
            point,
            most * len(signs),
            attribution=attribution,
            extra=extra,
            batch_size=batch_size,
            progress=progress,
            place=lambda number, row: f"sample {number} (counted from 0) of input {row}",
        )
        for number, gradient in enumerate(gradients, start=1):
            for accumulator in accumulators.values():
                accumulator.update(gradient)
            count, half = divmod(number, len(signs))
            if not half and count in counts.values():
                found[count] = {label: each.result() for label, each in accumulators.items()}
    maps = found[most]
    if by_count:
        maps = {label: found[count]["aggregate"] for label, count in counts.items()}
    maps = {label: in_own_dtype(each, own) for label, each in maps.items()}
    return maps if by_count or by_aggregate else maps["aggregate"]


def _ahead(pool, draw, n, ahead):
    """draw(0), …, draw(n − 1), up to ``ahead`` of them drawn by the pool while the model is at
    work.

    The pool is the caller's: one that a forgotten generator closes when it is collected can
    deadlock.
    """
    upcoming = deque(pool.submit(draw, index) for index in range(min(ahead, n)))
    for index in range(n):
        drawn = upcoming.popleft().result()
        if index + ahead < n:
            upcoming.append(pool.submit(draw, index + ahead))
        yield drawn
