"""The measurements of the SmoothGrad notebooks; see ``studies``. Each is (model, images, target,
seeds, sizes) → {setting: {measure: (N,)}}, with the measures of ``scoring.score`` for every map and
those named in its own docstring."""

from dataclasses import replace
from functools import partial

import torch

from helpers.attribution.aggregates import AGGREGATES, GeometricMean
from helpers.attribution.gradients import saliency
from helpers.attribution.smoothgrad import smoothgrad
from helpers.evaluate import evaluation
from helpers.measures.controls import (
    blurred_random_map,
    distance_from_mean,
    oracle,
    random_map,
    random_network,
    sobel,
)
from helpers.measures.quality import correlation, relevance_mass
from helpers.measures.scoring import score

NOISE = 0.15
STRENGTHS = (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
CLIPPED = (0.15, 0.3, 0.5)
COUNTS = (1, 3, 5, 10, 20, 30, 40, 50)
ALL_COUNTS = tuple(range(3, 51))
PAIRS = (2, 5, 10, 15, 25)
# label -> (distribution, match)
DISTRIBUTIONS = {
    "normal": ("normal", "std"),
    "uniform": ("uniform", "std"),
    "laplace": ("laplace", "std"),
    "rademacher": ("rademacher", "std"),
    "uniform, IQR": ("uniform", "iqr"),
    "laplace, IQR": ("laplace", "iqr"),
    "cauchy, IQR": ("cauchy", "iqr"),
    "sparse": (
        lambda shape, rng: (rng.random(shape) < 0.1) * rng.choice([-1.0, 1.0], shape) * 10**0.5,
        "std",
    ),
}
EPSILONS = (1.0, 1e-2, 1e-4)


def noise_strength(
    model, images, target, seeds, *, n_samples=50, strengths=STRENGTHS, clipped=CLIPPED
):
    """SmoothGrad over noise strengths, unclipped and (setting "σ clipped") clipped.

    Own measures: "stability", the correlation of the maps of the first and of the other half of the
        samples; "mass first half"
    and "mass other half", the relevance mass of those two; "answer kept", the share of the noisy
    pictures that the network still gives ``target``; "outside", the share of their values outside
    [0, 1].
    """
    found, mask = {}, images.masks.get(_part(model))
    for noise, clip in [(noise, False) for noise in strengths] + [
        (noise, True) for noise in clipped
    ]:
        if noise == 0:
            maps, more = saliency(model, images.pixels, target), {}
        else:
            half = n_samples // 2
            asked, seen = watched(model)
            # which smoothgrad cannot see to, since ``asked`` is a plain callable
            with evaluation(model):
                counts = smoothgrad(
                    asked,
                    images.pixels,
                    target,
                    n_samples=[half, n_samples],
                    noise=noise,
                    clip=clip,
                    seed=seeds,
                )
            maps, first = counts[n_samples], counts[half]
            other = (n_samples * maps - half * first) / (n_samples - half)
            kept = torch.cat(seen["answers"]).reshape(n_samples, -1) == target
            outside = torch.cat(seen["outside"]).reshape(n_samples, -1)
            more = {
                "stability": correlation(first, other),
                "answer kept": kept.float().mean(0),
                "outside": outside.mean(0),
            }
            for name, part in (("first", first), ("other", other)):
                if mask is not None:
                    more[f"mass {name} half"] = relevance_mass(part, mask)
        found[f"{noise:g} clipped" if clip else f"{noise:g}"] = (
            score(model, images, target, maps) | more
        )
    return found


def low_contrast(model, images, target, seeds, **sizes):
    """``noise_strength`` of the same pictures at half their contrast: is σ a share of the fixed
    range, or of each picture's?"""
    faded = replace(images, pixels=0.5 + (images.pixels - 0.5) / 2)
    return noise_strength(model, faded, target, seeds, clipped=(), **{"n_samples": 25} | sizes)


def sample_count(model, images, target, seeds, *, counts=COUNTS):
    """SmoothGrad over sample counts, and the plain gradient. Own measure: "stability", the
    correlation with the map of the same count from other noise."""
    first, second = (
        smoothgrad(model, images.pixels, target, n_samples=counts, noise=NOISE, seed=some)
        for some in (seeds, _others(seeds))
    )
    found = {"gradient": score(model, images, target, saliency(model, images.pixels, target))}
    return found | {
        str(n): score(model, images, target, first[n])
        | {"stability": correlation(first[n], second[n])}
        for n in first
    }


def sample_error(model, images, target, seeds, *, counts=ALL_COUNTS, pairs=PAIRS, n_reference=1000):
    """How far the map of n samples is from the map of very many: for each count, and (setting "n
    antithetic") for n gradients in antithetic pairs.

    Own measures, all divided by the reference's squared norm, from which its own variance was taken
    off: "error", ‖A_n − R‖², R the mean of ``n_reference`` samples that none of the A_n shares;
        "reference error", the variance of R, which "error"
    holds too: before the division, E ‖A_n − R‖² = V/n + V/n_reference for independent samples of
        total variance V.
    """
    reference = smoothgrad(
        model,
        images.pixels,
        target,
        aggregate=["mean", "variance"],
        n_samples=n_reference,
        noise=NOISE,
        seed=_others(seeds),
    )
    own = reference["variance"].flatten(1).sum(1) / n_reference
    size = reference["mean"].flatten(1).square().sum(1) - own
    maps = smoothgrad(model, images.pixels, target, n_samples=counts, noise=NOISE, seed=seeds)
    maps = {str(n): values for n, values in maps.items()}
    if pairs:
        paired = smoothgrad(
            model, images.pixels, target, n_samples=pairs, noise=NOISE, seed=seeds, antithetic=True
        )
        maps |= {f"{2 * n} antithetic": values for n, values in paired.items()}
    return {
        setting: {
            "error": (values - reference["mean"]).flatten(1).square().sum(1) / size,
            "reference error": own / size,
        }
        for setting, values in maps.items()
    }


def noise_distribution(model, images, target, seeds, *, n_samples=16):
    """SmoothGrad over noise distributions, matched by standard deviation or by interquartile range,
    and the plain gradient. "normal again" is the normal distribution with other draws: the floor
    for every difference.

    Own measure: "like normal", the correlation with the map of the normal distribution.
    """
    found = {"gradient": score(model, images, target, saliency(model, images.pixels, target))}
    settings = dict(n_samples=n_samples, noise=NOISE)
    for label, (distribution, match) in DISTRIBUTIONS.items():
        maps = smoothgrad(
            model,
            images.pixels,
            target,
            distribution=distribution,
            match=match,
            seed=seeds,
            **settings,
        )
        if label == "normal":
            normal = maps
            again = smoothgrad(model, images.pixels, target, seed=_others(seeds), **settings)
            found["normal again"] = score(model, images, target, again) | {
                "like normal": correlation(again, normal)
            }
        like = {} if label == "normal" else {"like normal": correlation(maps, normal)}
        found[label] = score(model, images, target, maps) | like
    return found


def aggregation(model, images, target, seeds, *, n_samples=50):
    """Every aggregate of one set of gradients, the geometric mean with several ε, the plain
    gradient, and (setting "…, random network") every aggregate of half as many gradients of a
    network that learnt nothing.

    Own measure: "stability", the correlation with the map of the same aggregate from other noise.
    """
    accumulators = {name: name for name in AGGREGATES} | {
        f"geometric_mean, ε = {epsilon:g}": GeometricMean(epsilon) for epsilon in EPSILONS
    }
    settings = dict(aggregate=accumulators, n_samples=n_samples, noise=NOISE)
    first, second = (
        smoothgrad(model, images.pixels, target, seed=some, **settings)
        for some in (seeds, _others(seeds))
    )
    found = {"gradient": score(model, images, target, saliency(model, images.pixels, target))}
    for name, maps in first.items():
        found[name] = score(model, images, target, maps) | {
            "stability": correlation(maps, second[name])
        }

    def every_aggregate(network, pixels, target):
        half = dict(n_samples=n_samples // 2, noise=NOISE, seed=seeds)
        return smoothgrad(network, pixels, target, aggregate=list(AGGREGATES), **half)

    unlearnt = random_network(every_aggregate)(model, images.pixels, target)
    return found | {
        f"{name}, random network": score(model, images, target, maps)
        for name, maps in unlearnt.items()
    }


def controls(model, images, target, seeds, *, n_samples=25):
    """What maps score that know nothing, or all, of what the network does, and the plain gradient
    beside them."""
    attributions = {
        "gradient": saliency,
        "random": random_map,
        "blurred random": blurred_random_map,
        "Sobel": sobel,
        "|x − mean|": distance_from_mean,
        "random network, gradient": random_network(saliency),
        "random network, SmoothGrad": random_network(
            partial(smoothgrad, n_samples=n_samples, noise=NOISE, seed=seeds)
        ),
    }
    mask = images.masks.get(_part(model))
    if mask is not None:
        attributions["oracle"] = oracle(mask)
    return {
        name: score(model, images, target, attribution(model, images.pixels, target))
        for name, attribution in attributions.items()
    }


def _part(model):
    return getattr(model, "part", None)


def _others(seeds):
    """Noise seeds that share no draw with these."""
    return [seed + 1_000_000 for seed in seeds]


def watched(model):
    """A callable like the model that notes, for every row it is given, its answer and the share of
    values outside [0, 1]."""
    seen = {"answers": [], "outside": []}

    def asked(points):
        logits = model(points)
        seen["answers"].append(logits.detach().argmax(1))
        seen["outside"].append(((points < 0) | (points > 1)).detach().flatten(1).float().mean(1))
        return logits

    return asked, seen


# name -> (function, number of pictures, split)
STUDIES = {
    "controls": (controls, 300, "test"),
    "noise_strength": (noise_strength, 300, "test"),
    "noise_tuning": (partial(noise_strength, n_samples=25, clipped=()), 100, "tune"),
    "low_contrast": (low_contrast, 100, "test"),
    "sample_count": (sample_count, 300, "test"),
    "sample_error": (sample_error, 50, "test"),
    "noise_distribution": (noise_distribution, 300, "test"),
    "aggregation": (partial(aggregation, n_samples=16), 300, "test"),
}
