"""Ways to combine a stream of gradients into one map, each read off as the stream goes by.

An accumulator has ``update(gradient)``, ``result()`` and ``needs``, the fewest gradients its result
makes sense for; ``independent`` is True where it makes sense of independent samples only.
Those here hold what they add up in float32 at least. Write your own the same way and pass it as
``aggregate``: a copy of it is used, so it holds no state between calls.
"""

import copy

import numpy as np
import torch

from helpers.checks import choose
from helpers.evaluate import at_least_float32


class Mean:
    """The mean of g, or of ``transform(g)``. Memory: one map, whatever the number of samples."""

    needs = 1

    def __init__(self, transform=None):
        self.transform, self.total, self.n = transform, None, 0

    def update(self, gradient):
        gradient = _wide(gradient)
        gradient = gradient if self.transform is None else self.transform(gradient)
        self.total = gradient.clone() if self.total is None else self.total.add_(gradient)
        self.n += 1

    def result(self):
        return self.total / self.n


class GeometricMean(Mean):
    """exp(mean log(|g| + ε)): unsigned, since gradients change sign. ``epsilon``, in logits per
    unit of input, keeps one exact zero from deciding a pixel; it is also the value of a pixel whose
    gradients are all zero."""

    def __init__(self, epsilon=1e-8):
        super().__init__(lambda gradient: torch.log(gradient.abs() + epsilon))

    def result(self):
        return super().result().exp()


class Variance:
    """The unbiased variance (VarGrad, Adebayo et al. 2018, arXiv:1810.03307, eq. 3). Memory: three
    maps.

    Welford's update, on differences from the first gradient: never negative, and exact where Σg² −
    (Σg)²/n cancels.
    """

    needs = 2
    independent = True

    def __init__(self):
        self.first, self.n = None, 0

    def update(self, gradient):
        gradient = _wide(gradient)
        if self.first is None:
            self.first = gradient.clone()
            self.mean, self.squares = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self.n += 1
        shifted = gradient - self.first
        change = shifted - self.mean
        self.mean += change / self.n
        self.squares += change * (shifted - self.mean)

    def result(self):
        return self.squares / (self.n - 1)


class TrimmedMean:
    """The mean without the lowest and highest ``proportion`` of the samples at each pixel (rounded
    down, as in ``scipy.stats.trim_mean``). An order statistic: memory grows with the number of
    samples."""

    needs = 1

    def __init__(self, proportion=0.1):
        if not 0 <= proportion < 0.5:
            raise ValueError(f"proportion must lie in [0, 0.5), found {proportion!r}")
        self.proportion, self.gradients = proportion, []

    def update(self, gradient):
        self.gradients.append(_wide(gradient).clone())

    def cut(self, n):
        return int(self.proportion * n)

    def result(self):
        n = len(self.gradients)
        cut = self.cut(n)
        # Sorted in blocks of pixels: sorting all at once would take four times the memory of the
        # samples.
        blocks = zip(*(gradient.flatten().split(2**16) for gradient in self.gradients), strict=True)
        middle = [_sorted(torch.stack(block))[cut : n - cut].mean(dim=0) for block in blocks]
        return torch.cat(middle).reshape(self.gradients[0].shape)


class Median(TrimmedMean):
    """The median at each pixel; of an even number, the mean of the middle two. Memory grows with
    the samples."""

    def cut(self, n):
        return (n - 1) // 2


def _sorted(samples):
    """Along the first axis; on a CPU by NumPy, in a seventh of the time."""
    if samples.requires_grad or samples.device.type != "cpu":
        return samples.sort(dim=0).values
    return torch.from_numpy(np.sort(samples.numpy(), axis=0))


def _wide(gradient):
    return gradient.to(at_least_float32(gradient.dtype))


AGGREGATES = {
    "mean": Mean,
    "mean_abs": lambda: Mean(torch.abs),
    "mean_square": lambda: Mean(torch.square),
    "variance": Variance,
    "median": Median,
    "trimmed_mean": TrimmedMean,
    "geometric_mean": GeometricMean,
}
"""Name → a fresh accumulator. ``mean`` is SmoothGrad (Smilkov et al. 2017), ``mean_square``
SmoothGrad² (Hooker et al. 2019, arXiv:1806.10758), ``variance`` VarGrad; ``mean``, ``median`` and
``trimmed_mean`` are signed, the rest are not."""


def check_aggregate(aggregate):
    """A name of ``AGGREGATES`` or an accumulator, as it is, or an error that says what there is."""
    if isinstance(aggregate, str):
        return choose(aggregate, AGGREGATES, "aggregate")
    if isinstance(aggregate, type) or not all(hasattr(aggregate, f) for f in ("update", "result")):
        raise TypeError(
            f"aggregate must be one of {', '.join(AGGREGATES)} or an object with update and "
            f"result, found {aggregate!r}"
        )
    return aggregate


def make_accumulator(aggregate, n_gradients):
    """A fresh accumulator for a name or an accumulator object; an error if so few gradients are too
    few for it."""
    named = isinstance(check_aggregate(aggregate), str)
    accumulator = AGGREGATES[aggregate]() if named else copy.deepcopy(aggregate)
    if n_gradients < (needs := getattr(accumulator, "needs", 1)):
        raise ValueError(f"{aggregate!r} needs at least {needs} samples, found {n_gradients}")
    return accumulator
