"""SmoothGrad: average an explanation over noisy copies of the input (Smilkov et al. 2017,
arXiv:1706.03825)."""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from numbers import Real

import numpy as np
import torch

from helpers.attribution.aggregates import AGGREGATES, make_accumulator
from helpers.attribution.gradients import saliency, stream
from helpers.attribution.targets import resolve_target
from helpers.checks import at_least_one, check_range, check_seed
from helpers.evaluate import default_batch_size, evaluation
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
    batch_size=None,
    seed=0,
    progress=False,
):
    """The explanation of the input, averaged (or combined otherwise) over noisy copies of it.

    Â(x) = 1/n Σᵢ A(x + σ δᵢ), σ = noise × (high − low) of ``input_range`` (Smilkov et al. 2017,
    section 3). The paper takes 10–20 % of the range and n = 50.

    Args:
        model, pixels, target: as for ``saliency``. ``target=None`` is the class predicted for the
            clean input, for all noisy copies.
        attribution: what is smoothed: the input gradient, or any callable (model, pixels, target) →
            map.
        n_samples: how many noise fields are drawn.
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
        aggregate: a name from ``aggregates.AGGREGATES``, or an accumulator object. "median" and
            "trimmed_mean" hold all samples in memory; the others do not.
        input_range: (low, high) of the inputs.
        batch_size: the most rows the model sees at once; None picks a number that is fast and
            bounded in memory.
        seed: the i-th field depends on (seed, i) and on nothing else, so 3 samples are the first 3
            of 50, and all pictures share their fields. N integers, one a picture, give each picture
            fields of its own.
        progress: show a progress bar.

    Returns:
        a map of the shape of ``pixels`` (for the gradient): signed for "mean", "median" and
            "trimmed_mean".

    Raises:
        TypeError, ValueError: as ``saliency``; n_samples < 1; noise < 0; an unknown name; "cauchy"
            matched by "std" or "rademacher" by "iqr", which they do not have; "variance" of a
            single gradient.
    """
    n_samples = at_least_one(n_samples, "n_samples")
    settings = dict(
        attribution=attribution,
        noise=noise,
        distribution=distribution,
        match=match,
        antithetic=antithetic,
        clip=clip,
        input_range=input_range,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    return _run(model, pixels, target, [aggregate], [n_samples], **settings)[n_samples][0]


def smoothgrad_counts(
    model,
    pixels,
    target=None,
    *,
    counts=range(3, 51),
    attribution=saliency,
    noise=0.15,
    distribution="normal",
    match="std",
    antithetic=False,
    clip=False,
    aggregate="mean",
    input_range=(0.0, 1.0),
    batch_size=None,
    seed=0,
    progress=False,
) -> dict[int, torch.Tensor]:
    """``smoothgrad`` for several sample counts, {count: map}, from one pass over the largest of
    them.

    Args: as ``smoothgrad``, with ``counts`` instead of ``n_samples``.
    """
    counts = sorted({at_least_one(count, "each count") for count in counts})
    if not counts:
        raise ValueError("counts must name at least one sample count, found none")
    settings = dict(
        attribution=attribution,
        noise=noise,
        distribution=distribution,
        match=match,
        antithetic=antithetic,
        clip=clip,
        input_range=input_range,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    return {
        n: maps[0]
        for n, maps in _run(model, pixels, target, [aggregate], counts, **settings).items()
    }


def smoothgrad_aggregates(
    model,
    pixels,
    target=None,
    *,
    aggregates=tuple(AGGREGATES),
    n_samples=50,
    attribution=saliency,
    noise=0.15,
    distribution="normal",
    match="std",
    antithetic=False,
    clip=False,
    input_range=(0.0, 1.0),
    batch_size=None,
    seed=0,
    progress=False,
) -> dict[str, torch.Tensor]:
    """``smoothgrad`` for several aggregates, {name: map}, from one and the same set of gradients.

    Args: as ``smoothgrad``, with ``aggregates`` instead of ``aggregate``: names, or a dict from a
        label of your choice to a name or an accumulator object.
    """
    names = [aggregates] if isinstance(aggregates, str) else aggregates
    labelled = dict(aggregates) if isinstance(aggregates, dict) else {name: name for name in names}
    if not labelled:
        raise ValueError("aggregates must name at least one aggregate, found none")
    n_samples = at_least_one(n_samples, "n_samples")
    settings = dict(
        attribution=attribution,
        noise=noise,
        distribution=distribution,
        match=match,
        antithetic=antithetic,
        clip=clip,
        input_range=input_range,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    maps = _run(model, pixels, target, list(labelled.values()), [n_samples], **settings)[n_samples]
    return dict(zip(labelled, maps, strict=True))


def _run(
    model,
    pixels,
    target,
    aggregates,
    counts,
    *,
    attribution,
    noise,
    distribution,
    match,
    antithetic,
    clip,
    input_range,
    batch_size,
    seed,
    progress,
):
    """{count: [map of each aggregate]}, from one pass over the largest count."""
    low, high = check_range(input_range)
    check_distribution(distribution, match)
    if not (isinstance(noise, Real) and math.isfinite(noise) and noise >= 0):
        raise ValueError(
            f"noise must be a number of at least 0, a share of the input range, found {noise!r}"
        )
    signs = (1, -1) if antithetic else (1,)
    accumulators = [make_accumulator(aggregate, len(signs) * counts[0]) for aggregate in aggregates]
    if antithetic and any(
        getattr(accumulator, "independent", False) for accumulator in accumulators
    ):
        raise ValueError(
            "'variance' needs independent samples, which antithetic pairs are not: leave one of them out"
        )
    with evaluation(model), ThreadPoolExecutor(2) as pool:
        target = resolve_target(model, pixels, target, batch_size=batch_size)
        pixels = pixels.detach()
        scale = float(noise) * (high - low)
        shape, seeds = tuple(pixels.shape[1:]), check_seed(seed, len(pixels))

        def draw(index):
            fields = [draw_field(shape, s, index, distribution, match) for s in seeds]
            return torch.from_numpy(fields[0][None] if len(fields) == 1 else np.stack(fields)).to(
                pixels.dtype
            )

        if callable(distribution):
            deltas = map(
                draw, range(counts[-1])
            )  # the user's own code: called in order, from the user's thread
        else:
            deltas = _ahead(
                pool, draw, counts[-1], max(1, default_batch_size(pixels) // len(seeds))
            )

        def point(number):
            if number % len(signs) == 0:
                point.delta = next(deltas).to(pixels.device)
            noisy = torch.add(pixels, point.delta, alpha=signs[number % len(signs)] * scale)
            return noisy.clamp(low, high) if clip else noisy

        results = {}
        n_points = counts[-1] * len(signs)
        gradients = stream(
            model,
            target,
            point,
            n_points,
            attribution=attribution,
            batch_size=batch_size,
            progress=progress,
        )
        for number, gradient in enumerate(gradients, start=1):
            for accumulator in accumulators:
                accumulator.update(gradient)
            if number % len(signs) == 0 and number // len(signs) in counts:
                results[number // len(signs)] = [
                    accumulator.result() for accumulator in accumulators
                ]
    return results


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
