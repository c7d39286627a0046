"""Noise fields from seeds: what the i-th one holds depends on the seed and on i, and on nothing
else."""

import math

import numpy as np
import torch

from helpers.checks import choose

NORMAL_IQR = 1.3489795003921634  # of a normal with standard deviation 1: 2 Φ⁻¹(3/4)
# name -> (draws at its textbook scale, their standard deviation, their interquartile range)
_DISTRIBUTIONS = {
    # In single precision, twice as fast.
    "normal": (lambda shape, rng: rng.standard_normal(shape, np.float32), 1.0, NORMAL_IQR),
    "uniform": (lambda shape, rng: rng.uniform(-1, 1, shape), 1 / math.sqrt(3), 1.0),
    "laplace": (lambda shape, rng: rng.laplace(size=shape), math.sqrt(2), 2 * math.log(2)),
    "rademacher": (lambda shape, rng: 2.0 * rng.integers(0, 2, shape, np.int8) - 1, 1.0, None),
    "cauchy": (lambda shape, rng: rng.standard_cauchy(shape), None, 2.0),
}
DISTRIBUTIONS = tuple(_DISTRIBUTIONS)


def noise_field(shape, seed, index, *, distribution="normal", match="std"):
    """The ``index``-th noise field of a seed, at the scale where σ is 1: a float64 array that
    follows from the arguments alone.

    distribution, match: as for ``smoothgrad``; seed, index: 0 … 2³² − 1. (The normal one is drawn
        in single precision.)
    """
    check_distribution(distribution, match)
    return draw_field(shape, seed, index, distribution, match).astype(np.float64)


def noise_fields(n, pixels, *, seed=0, distribution="normal") -> torch.Tensor:
    """The first n noise fields of a seed, (n, C, H, W), for pictures like ``pixels`` (N, C, H, W):
    of their dtype, on their device; those that ``smoothgrad`` uses with the same seed."""
    shape = tuple(pixels.shape[1:])
    fields = [noise_field(shape, seed, i, distribution=distribution) for i in range(n)]
    return torch.from_numpy(np.stack(fields)).to(pixels)


def draw_field(shape, seed, index, distribution, match):
    """``noise_field`` in the precision it was drawn in, its arguments not checked."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, index])))
    if callable(distribution):
        # a copy: what it returned may be kept, or read-only
        field = np.array(distribution(shape, rng), order="C")
        if field.shape != shape:
            raise ValueError(
                f"the distribution must return an array of the shape it was asked for, {shape}, "
                f"found {field.shape}"
            )
        return field
    draw, std, iqr = _DISTRIBUTIONS[distribution]
    factor = 1 / std if match == "std" else NORMAL_IQR / iqr
    return np.asarray(draw(shape, rng) if factor == 1 else draw(shape, rng) * factor)


def check_distribution(distribution, match):
    choose(match, ("std", "iqr"), "match")
    if callable(distribution):
        return
    _, std, iqr = _DISTRIBUTIONS[choose(distribution, DISTRIBUTIONS, "distribution")]
    if match == "std" and std is None:
        raise ValueError(f"{distribution} has no standard deviation to match: use match='iqr'")
    if match == "iqr" and iqr is None:
        raise ValueError(
            f"{distribution} takes two values and has no useful quartiles to match: use match='std'"
        )
