"""The one loop: input gradients at a stream of points, in chunks.

SmoothGrad draws its points from noise, Integrated Gradients lays them on a path; both hand
``stream`` a function from a point's number to the point, and add up what comes out.
"""

from collections.abc import Callable, Iterator

import torch
from tqdm.auto import tqdm

from helpers.attribution.targets import Score, explained_in, repeated, resolve_target
from helpers.checks import at_least_one, choose
from helpers.evaluate import (
    ask,
    at_least_float32,
    default_batch_size,
    dtype_for,
    evaluation,
    noisy_points,
)

REDUCTIONS = ("signed", "unsigned")


def saliency(model, pixels, target=None, *, extra=()):
    """The gradient of one logit, or of another number, with respect to the input: which way, and
    how steeply, each value moves it.

    A(x) = ∂f_target(x) / ∂x (Simonyan et al. 2014, arXiv:1312.6034, section 3, without their
    absolute value).

    Args:
        model: a module or callable from (N, ...) to logits (N, K); a module is evaluated in eval
            mode and left as found.
        pixels: (N, ...) floating point, in [0, 1] for a ``Classifier``, on the model's device.
        target: what is explained, the logit of a class: an int, a class name (of a
            ``Classifier``), an (N,) integer tensor or a one-hot (N, K); None for the class the
            model predicts; or any callable from the model's output, whatever that is, to one number
            a row (N,), such as ``targets.probability()``.
        extra: further arguments of the model, not explained: tensors (N, ...), a row an input.

    Returns:
        (N, ...): signed, in logits (or units of the callable) per unit of input.

    Raises:
        TypeError, ValueError: input of the wrong type, shape, range or device, or a class that does
            not exist; a callable that returns anything but (N,); a logit or gradient that is NaN or
            infinite, or that does not depend on the input.
    """
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra)
        (gradient,) = stream(model, target, lambda _: pixels, 1, extra=extra)
    return in_own_dtype(gradient, pixels.dtype)


def stream(
    model,
    target,
    point: Callable[[int], torch.Tensor],
    n_points,
    *,
    attribution=saliency,
    extra=(),
    batch_size=None,
    progress=False,
    place=lambda number, row: f"input {row}",
) -> Iterator[torch.Tensor]:
    """Yield the attribution at ``point(0)``, …, ``point(n_points - 1)``, in order: the loop under
    every method here. In float32 at least, since what follows adds them up.

    Args:
        target: (N,) classes or a ``Score``, from ``resolve_target``.
        point: a point's number → its (N, ...) tensor. Called once for each number, in order.
        attribution: ``saliency`` (evaluated without a detour), or any callable (model, pixels,
            target) → map; where there is ``extra``, it is given ``extra=`` too.
        extra: further arguments of the model, (N, ...), repeated along with the points.
        batch_size: the most rows the model sees at once. None: a number that is fast and bounded in
            memory for the gradient; a callable gets one point of all N inputs at a time, and does
            its own batching.
        progress: show a tqdm bar over the points (a str becomes its label).
        place: a point's number and a row of it → what an error calls them.

    Must be consumed within ``evaluation(model)``, and to its end: the last chunk is checked there.

    Raises:
        ValueError: a logit or a gradient is NaN or infinite.
    """
    first = point(0)
    n, top = len(first), None if isinstance(target, Score) else int(target.max())
    if batch_size is not None:
        rows = at_least_one(batch_size, "batch_size")
    else:
        rows = default_batch_size(first) if attribution is saliency else n
    # whole points in a chunk; where N is larger than a chunk, one point in several
    together = max(1, rows // n)

    def evaluate(part, aim, *more):
        if attribution is saliency:
            return _gradient_and_logit(model, part, aim, top, more)
        given = {"extra": tuple(more)} if more else {}
        with noisy_points():
            found = _checked_map(attribution(model, part, aim, **given), part)
        return found, found.new_zeros(len(part))  # no logit is known

    def check(start, maps, logits, finite):
        if not finite:
            bad = ~(_rows(maps).isfinite().all(1) & logits.isfinite())
            if bad.any():  # else finite values have an infinite sum
                number, row = divmod(int(bad.nonzero()[0]), n)
                raise ValueError(_NOT_FINITE.format(place=place(start + number, row)))

    label = progress if isinstance(progress, str) else None
    with tqdm(total=n_points, desc=label, disable=not progress, leave=False) as bar:
        last = None
        for start in range(0, n_points, together):
            numbers = range(start, min(start + together, n_points))
            points = (
                torch.cat([first if i == 0 else point(i) for i in numbers])
                if len(numbers) > 1 or start
                else first
            )
            parts = points.chunk(-(-len(points) // rows))
            sizes = [len(part) for part in parts]
            along = [repeated(each, len(numbers)).split(sizes) for each in (target, *extra)]
            found = [evaluate(*part) for part in zip(parts, *along, strict=True)]
            maps, logits = found[0] if len(parts) == 1 else map(torch.cat, zip(*found, strict=True))
            maps = maps.detach().to(at_least_float32(maps.dtype))
            if last:  # looked at when the next chunk is under way, so that a GPU need not wait
                check(*last)
            last = start, maps, logits, (_rows(maps).sum(1) + logits).isfinite().all()
            bar.update(len(numbers))
            yield from maps.split(n)
        check(*last)


def in_own_dtype(maps, dtype) -> torch.Tensor:
    """Maps added up in float32 at least, back in the ``dtype`` of the pixels, unless one of their
    values would become 0 or infinite there: then as they are.

    Raises:
        ValueError: values are infinite or NaN although every gradient was finite.
    """
    if not isinstance(maps, torch.Tensor) or not maps.is_floating_point():
        return maps  # an accumulator of one's own
    if not maps.sum().isfinite() and not maps.isfinite().all():
        raise ValueError(f"the map overflows {maps.dtype}: give pixels.double(), or smaller logits")
    own = maps.to(dtype)
    return own if own is maps or (own.isfinite() & ((own == 0) == (maps == 0))).all() else maps


def input_gradient(model, points, target, top=None):
    """∂ logit[target] / ∂ point for (B, ...) points and (B,) classes or a ``Score``, with no checks
    of the points. ``top``: the largest class, where the caller knows it, so that a GPU need not be
        asked for every chunk."""
    return _gradient_and_logit(model, points, target, top)[0]


def _gradient_and_logit(model, points, target, top=None, extra=()):
    points = (points.clone() if points.is_inference() else points).detach()
    points = points.to(dtype_for(model, points.dtype)).requires_grad_()
    with torch.enable_grad():
        explained = explained_in(ask(model, points, extra), target, len(points), top)
        if not explained.requires_grad:
            raise ValueError(_NO_GRADIENT)
        (gradient,) = torch.autograd.grad(explained.sum(), points, allow_unused=True)
    if gradient is None:
        raise ValueError(_NO_GRADIENT)
    return gradient, explained.detach()


def _rows(maps):
    return maps.reshape(len(maps), -1)


_NOT_FINITE = (
    "the explained logit, or its gradient, is NaN or infinite at {place}: a root, a logarithm or a "
    "division there, or numbers too large for the model's precision. Leave that point out (another "
    "baseline or rule, less noise), or give the model and the pixels in float32 or float64"
)
_NO_GRADIENT = (
    "the logits, or what the target makes of the output, do not depend on the input through "
    "autograd, so there is no gradient to explain them with: does the model or the target detach "
    "its input, round, leave torch (numpy), or run under no_grad?"
)


def reduce_channels(maps, how="signed") -> torch.Tensor:
    """One value a pixel, (N, H, W), from maps (N, C, H, W): "signed" adds up the channels, so
    evidence for and against in one pixel cancels; "unsigned" adds up their absolute values."""
    choose(how, REDUCTIONS, "reduction")
    return (maps if how == "signed" else maps.abs()).sum(1)


def _checked_map(values, points):
    if not isinstance(values, torch.Tensor):
        raise TypeError(
            f"the attribution must return a torch.Tensor, found {type(values).__name__}"
        )
    if len(values) != len(points):
        raise ValueError(
            f"the attribution must return a map for each of {len(points)} inputs, found "
            f"{tuple(values.shape)}"
        )
    return values
