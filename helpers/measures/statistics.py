"""Means over pictures with their uncertainty, and claims that are checked against it.

Pictures are the sample. Values are (N,), one a picture, or (S, N) for S training seeds on the same
N pictures: seeds are averaged within a picture and each shown, never pooled as if they were more
pictures; an interval is for these S networks. Every function takes arrays or tensors and raises
ValueError for NaN: a picture without a value must be left out by hand.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# The cumulative distributions of the normal and of Student's t, and their inverses: scipy.stats,
# which has them too, takes a second to import.
from scipy.special import ndtr, ndtri, stdtr, stdtrit

FEWEST, MANY = 10, 30  # pictures for an interval at all, and for BCa's
N_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean over n pictures and its 95 % interval, nan where there are too few pictures for
    one."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self):
        if self.low != self.low:
            return f"{self.mean:z.3f}"
        return f"{self.mean:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"


class SeedEstimate(NamedTuple):
    """The estimate from the values averaged over training seeds, and each seed's own."""

    overall: Estimate
    seeds: tuple[Estimate, ...]

    @property
    def across(self) -> Estimate:
        """The mean over training seeds with its 95 % t-interval over them, n networks: where
        ``overall`` speaks of these networks on other pictures, this speaks of other networks of the
        kind. Three seeds make it wide: their signs agree by chance in one of four cases. nan for
        one."""
        means = np.array([one.mean for one in self.seeds])
        n = len(means)
        if n < 2:
            return Estimate(float(means.mean()), np.nan, np.nan, n)
        half = stdtrit(n - 1, 0.975) * means.std(ddof=1) / np.sqrt(n)
        return Estimate(float(means.mean()), *(float(means.mean() + s * half) for s in (-1, 1)), n)

    def __str__(self):
        return (
            f"{self.overall}; training seeds {', '.join(f'{seed.mean:.3f}' for seed in self.seeds)}"
        )


class Comparison(NamedTuple):
    """A mean difference, its p-value, and that p-value after Holm's correction over its family."""

    estimate: Estimate | SeedEstimate
    p: float
    adjusted: float

    def __str__(self):
        p, adjusted = (
            "< 1e-10" if value < 1e-10 else f"= {value:.2g}" for value in (self.p, self.adjusted)
        )
        return f"{self.estimate}; p {p}, Holm {adjusted}"


class Equivalence(NamedTuple):
    """A mean difference with its 90 % interval, the bound it was held against, and the verdict."""

    estimate: Estimate
    bound: float
    verdict: str

    def __str__(self):
        mean, low, high, n = self.estimate
        return (
            f"{self.verdict}: {mean:z.3f}, 90 % interval [{low:z.3f}, {high:z.3f}], bound "
            f"±{self.bound:g}, {n} pictures"
        )


def mean_over_pictures(values, *, seed=0) -> Estimate:
    """The mean of one value a picture and its 95 % bootstrap interval over pictures (2000
    resamples): BCa for 30 pictures or more; for 10 to 29 the wider studentised bootstrap, since
    BCa's covers too little where values are skewed; below 10 none (nan).

    For a paired comparison pass the differences. Values that are all equal have an interval of no
    width.
    """
    return _bootstrap(_values(values, (1,))[None], 0.95, seed)[0]


def share_of_pictures(share, n) -> Estimate:
    """A share of n pictures, as of those that keep their label, and its 95 % interval by Wilson
    (1927), which stays within [0, 1] and is right for few pictures and for shares of 0 and 1 too.
    Of a mean of several such shares of the same pictures it is at least as wide as it must be."""
    share, z = float(share), float(ndtri(0.975)) / np.sqrt(n)
    middle = (share + z**2 / 2) / (1 + z**2)
    half = z * np.sqrt(share * (1 - share) + z**2 / 4) / (1 + z**2)
    return Estimate(share, float(middle - half), float(middle + half), n)


def mean_over_seeds(values, *, seed=0) -> SeedEstimate:
    """``mean_over_pictures`` of (S, N) values: of their mean over the S training seeds, and of each
    seed alone."""
    values = _values(values, (2,))
    overall, *seeds = _bootstrap(np.stack([values.mean(0), *values]), 0.95, seed)
    return SeedEstimate(overall, tuple(seeds))


def paired_difference(first, second, *, seed=0) -> Estimate | SeedEstimate:
    """first − second on the same pictures: an Estimate for (N,) values, a SeedEstimate for (S,
    N)."""
    first, second = _values(first), _values(second)
    if first.shape != second.shape:
        raise ValueError(
            f"paired values must have one shape, found {first.shape} and {second.shape}"
        )
    return _estimate(first - second, seed)


def check_claim(claim, estimate, *, above=None, below=None, shipped=True) -> str:
    """Print whether an interval supports a claim: its mean lies ``above`` or ``below`` a number.

    Supported if the whole interval does, unsupported if none of it does, else undecided. A
    ``SeedEstimate`` is supported only if the mean of every training seed lies on the claimed side
    too, and unsupported only if every one lies on the other. On the shipped configuration the words
    around it rest on the claim, so anything but support raises AssertionError; elsewhere it is only
    said.
    """
    if (above is None) == (below is None):
        raise ValueError("give either above or below")
    overall, seeds = estimate if isinstance(estimate, SeedEstimate) else (estimate, ())
    bound, sign = (above, 1) if below is None else (below, -1)
    sides = [np.sign(sign * (one.mean - bound)) for one in seeds]
    better = min(sign * (end - bound) for end in overall[1:3]) > 0 and all(
        side > 0 for side in sides
    )
    worse = max(sign * (end - bound) for end in overall[1:3]) < 0 and all(
        side < 0 for side in sides
    )
    verdict = "supported" if better else "unsupported" if worse else "undecided"
    side = "above" if below is None else "below"
    line = f"{verdict}: {claim} ({estimate} over {overall.n} pictures; claimed {side} {bound:g})"
    if shipped and verdict != "supported":
        raise AssertionError(line)
    print(line)
    return verdict


def compare(family, *, seed=0) -> dict[str, Comparison]:
    """Every comparison of a family that was named beforehand: {name: differences, (N,) or (S, N)} →
    {name: Comparison}.

    p is that of a two-sided paired t-test on the differences (averaged over seeds): it tests the
    mean, which is what the interval shows (Wilcoxon's tests another thing where differences are
    skewed), is valid for hundreds of pictures, and, unlike a bootstrap's, is not cut off at 1 /
    resamples, which Holm's factor would turn into "not significant". Differences without any spread
    have p = 1 if they are 0, else 0.
    """
    family = {name: _values(differences) for name, differences in family.items()}
    p = {name: _t_test(differences) for name, differences in family.items()}
    adjusted = holm(p)
    return {
        name: Comparison(_estimate(values, seed), p[name], adjusted[name])
        for name, values in family.items()
    }


def holm(p_values) -> dict[str, float]:
    """{name: p} → {name: adjusted p} (Holm 1979): the k-th smallest of m times m − k + 1, never
    less than the one before it, at most 1. Rejecting where the adjusted p is below 0.05 errs
    anywhere in the family with at most that probability."""
    names = sorted(p_values, key=lambda name: p_values[name])
    p = _values([p_values[name] for name in names], (1,), least=1)
    if (p < 0).any() or (p > 1).any():
        raise ValueError(f"p-values must lie in [0, 1], found {p_values}")
    adjusted = np.minimum(1, np.maximum.accumulate(p * np.arange(len(p), 0, -1)))
    by_name = dict(zip(names, adjusted.tolist(), strict=True))
    return {name: by_name[name] for name in p_values}


def equivalence(differences, bound, *, seed=0) -> Equivalence:
    """Is a mean difference too small to matter? Two one-sided tests at 5 % (Schuirmann 1987), by
    the 90 % bootstrap interval:

    "equivalent" if it lies within (−bound, bound), "different" if it lies wholly outside, else
    "undecided": no difference found is no equivalence. Name the bound beforehand. (S, N)
        differences are averaged over seeds.
    """
    if not 0 < bound < np.inf:
        raise ValueError(f"the bound must be greater than 0, found {bound!r}")
    (estimate,) = _bootstrap(_over_seeds(differences)[None], 0.90, seed)
    within, outside = (
        -bound < estimate.low and estimate.high < bound,
        estimate.low > bound or estimate.high < -bound,
    )
    return Equivalence(
        estimate, float(bound), "equivalent" if within else "different" if outside else "undecided"
    )


def not_worse_than_best(values, *, higher_is_better=True, margin=0.0) -> list:
    """The settings that may be the best: {setting: values, (N,) or (S, N), of the same pictures} →
    settings, in their order.

    A setting is out if some other beats it by more than ``margin`` in a one-sided paired t-test at
    0.05 / (number of others), so the one that truly is best is in with a probability of at least 95
    % (a subset selection after Gupta 1965, with Bonferroni's bound), however the best in the sample
    was found. Being in is no proof of being as good.
    """
    table = {
        name: _over_seeds(row) * (1 if higher_is_better else -1) for name, row in values.items()
    }
    if len({row.shape for row in table.values()}) != 1:
        raise ValueError(
            "every setting needs values of the same pictures, found "
            f"{ {k: v.shape for k, v in table.items()} }"
        )
    if not margin >= 0:
        raise ValueError(f"margin must be at least 0, found {margin!r}")
    level = 0.05 / max(1, len(table) - 1)
    return [
        name
        for name, row in table.items()
        if all(
            _t_test(row - other + margin, "less") >= level
            for key, other in table.items()
            if key != name
        )
    ]


def log_log_slope(counts, values) -> np.ndarray:
    """The exponent b of value ∝ count^b for each picture, (N,): least squares in log–log.

    Counts are nested, so points on one curve are not independent and their scatter says nothing:
    the interval comes from pictures, ``mean_over_pictures(log_log_slope(counts, values))``. That
    mean is the slope of the curve of geometric means too.

    Args:
        counts: K ≥ 2 distinct numbers > 0.
        values: (N, K) > 0, e.g. root mean squared errors (theory for a mean of n independent
            samples: −1/2, once the reference's own variance is taken off the square). One that is
                not positive has no logarithm: ValueError.
    """
    counts, values = _values(counts, (1,)), _values(values, (2,), least=1)
    if (
        values.shape[1:] != counts.shape
        or (counts <= 0).any()
        or len(np.unique(counts)) != len(counts)
    ):
        raise ValueError(
            f"values must be (N, K) for K distinct counts above 0, found {values.shape} for "
            f"{counts.tolist()}"
        )
    if (values <= 0).any():
        raise ValueError(
            f"{(values <= 0).sum()} of {values.size} values are not positive and have no logarithm"
        )
    x = np.log(counts) - np.log(counts).mean()
    return np.log(values) @ x / (x @ x)


def spearman_brown(reliability, factor=2.0) -> np.ndarray:
    """The reliability of ``factor`` times as many samples: k r / (1 + (k − 1) r) (Spearman 1910,
    Brown 1910).

    With the correlation of two halves and factor 2, the reliability of the whole. nan where 1 + (k
    − 1) r is not positive, which no true reliability makes it.
    """
    r = _reliability(reliability)
    if not 0 < factor < np.inf:
        raise ValueError(f"the factor must be greater than 0, found {factor!r}")
    below = 1 + (factor - 1) * r
    return np.where(below > 0, factor * r / np.where(below > 0, below, 1), np.nan)


def count_for_reliability(reliability, n, target=0.9) -> np.ndarray:
    """The number of samples (not rounded) that reaches the target reliability where n samples have
    ``reliability``: n R (1 − r) / (r (1 − R)). inf where r ≤ 0, which no number would raise; 0
        where r = 1."""
    r = _reliability(reliability)
    if not (0 < target < 1 and n > 0):
        raise ValueError(
            f"target must lie between 0 and 1 and n above 0, found {target!r} and {n!r}"
        )
    return np.where(r > 0, n * target * (1 - r) / (np.where(r > 0, r, 1) * (1 - target)), np.inf)


def _values(values, dimensions=(1, 2), least=2):
    """float64, at least ``least`` in each row, all finite."""
    values = np.asarray(
        values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64
    )
    if (
        values.ndim not in dimensions
        or min(values.shape) < 1
        or values.shape[-1] < least
        or not np.isfinite(values).all()
    ):
        shape = " or ".join({1: "(N,)", 2: "(S, N)"}[d] for d in dimensions)
        raise ValueError(
            f"expected at least {'two finite values' if least == 2 else 'one finite value'}, one a "
            f"picture, as {shape}, "
            f"found shape {values.shape}, {np.isfinite(values).sum()} of them finite"
        )
    return values


def _over_seeds(values):
    values = _values(values)
    return values if values.ndim == 1 else values.mean(0)


def _estimate(values, seed):
    return (
        mean_over_pictures(values, seed=seed)
        if values.ndim == 1
        else mean_over_seeds(values, seed=seed)
    )


def _bootstrap(rows, confidence, seed):
    """The ``Estimate`` of each row of (R, N) values, from resamples drawn once for all."""
    n = rows.shape[1]
    means, scales = rows.mean(1, keepdims=True), np.ptp(rows, 1, keepdims=True)
    # rounded on one scale: means that tie do so on every processor
    scaled = (rows - means) / np.where(scales, scales, 1)
    found, drawn = [], _resampled(scaled, seed) if n >= FEWEST else scaled
    for row, mean, scale, *about in zip(rows, means, scales, scaled, drawn, strict=True):
        if scale == 0:
            ends = mean = row[:1]
        elif n < FEWEST:
            ends = np.nan, np.nan
        elif n < MANY:
            ends = mean + scale * _bootstrap_t(*about, confidence, seed)
        else:
            ends = mean + scale * _bca(*about, confidence)
        found.append(Estimate(float(mean[0]), float(ends[0]), float(ends[-1]), n))
    return found


def _resampled(rows, seed):
    """(R, 2000) means of resamples of (R, N) values."""
    return (rows @ _resamples(rows.shape[1], seed).T).round(9)


@lru_cache(8)
def _resamples(n, seed):
    """(2000, n): how often each of n values is drawn in each resample, over n."""
    rows = np.random.default_rng(seed).integers(0, n, (N_RESAMPLES, n))
    return np.stack([np.bincount(row, minlength=n) for row in rows]) / n


def _bca(values, means, confidence):
    """Of values about 0: the bias-corrected and accelerated bootstrap (Efron 1987); the jackknife's
    acceleration of a mean is a sixth of the values' skewness over √N."""
    bias = ndtri(((means < 0).mean() + (means <= 0).mean()) / 2)
    acceleration = (values**3).sum() / (6 * (values**2).sum() ** 1.5)
    tails = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    return np.quantile(means, ndtr(bias + tails / (1 - acceleration * tails)))


def _bootstrap_t(values, means, confidence, seed):
    """Of values about 0: the studentised bootstrap (Efron and Tibshirani 1993, ch. 12), taken at
    0.4 of the error: of 10 values it covers the means of skewed laws (lognormal, exponential, χ²,
    beta) in 0.94 to 0.98 of all cases, where BCa does in 0.80 to 0.90. A resample's deviation
    counts as a tenth of the values' at least: among values that are nearly all the same many
    resamples have none, and the interval would have no end."""
    variances = _resampled(values[None] ** 2, seed)[0] - means**2
    spread = np.sqrt(np.maximum(variances, 0.01 * values.var()))
    error = 0.4 * (1 - confidence)
    return -values.std() * np.quantile(means / spread, [1 - error / 2, error / 2])


def _t_test(values, alternative="two-sided"):
    values = _over_seeds(values)
    if np.ptp(values) == 0:
        return float(values[0] >= 0) if alternative == "less" else float(values[0] == 0)
    t = values.mean() / (values.std(ddof=1) / np.sqrt(len(values)))
    return float(
        stdtr(len(values) - 1, t) if alternative == "less" else 2 * stdtr(len(values) - 1, -abs(t))
    )


def _reliability(r):
    r = np.asarray(r.detach().cpu() if hasattr(r, "detach") else r, dtype=np.float64)
    if not (np.abs(r) <= 1).all():
        raise ValueError(f"a reliability is a correlation, in [−1, 1], found {r}")
    return r
