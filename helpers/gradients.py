"""The one loop: input gradients at a stream of points, in chunks.

SmoothGrad draws its points from noise, Integrated Gradients lays them on a path; both hand ``stream`` a function from
a point's number to the point, and add up what comes out.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain

import torch
from torch import nn
from tqdm.auto import tqdm

from helpers.checks import at_least_one, choose
from helpers.models import Classifier

REDUCTIONS = ("signed", "unsigned")
_perturbed = ContextVar("perturbed", default=False)  # set by noisy_points


def saliency(model, pixels, target=None):
    """The gradient of one logit with respect to the input: which way, and how steeply, each value moves it.

    A(x) = ∂f_target(x) / ∂x (Simonyan et al. 2014, arXiv:1312.6034, section 3, without their absolute value).

    Args:
        model: a module or callable from (N, ...) to logits (N, K); a module is evaluated in eval mode and left as found.
        pixels: (N, ...) floating point, in [0, 1] for a ``Classifier``, on the model's device.
        target: the class whose logit is explained: an int, or an (N,) integer tensor, or None for the class the model
            predicts.

    Returns:
        (N, ...): signed, in logits per unit of input.

    Raises:
        TypeError, ValueError: input of the wrong type, shape, range or device, or a class that does not exist.
    """
    with evaluation(model):
        target = resolve_target(model, pixels, target)
        (gradient,) = stream(model, target, lambda _: pixels, 1)
    return gradient


def stream(model, target, point: Callable[[int], torch.Tensor], n_points, *, attribution=saliency, batch_size=None,
           progress=False) -> Iterator[torch.Tensor]:  # fmt: skip
    """Yield the attribution at ``point(0)``, …, ``point(n_points - 1)``, in order: the loop under every method here.

    Args:
        target: (N,) classes, from ``resolve_target``.
        point: a point's number → its (N, ...) tensor. Called once for each number, in order.
        attribution: ``saliency`` (evaluated without a detour), or any callable (model, pixels, target) → map.
        batch_size: the most rows the model sees at once. None: a number that is fast and bounded in memory for the gradient;
            a callable gets one point of all N inputs at a time, and does its own batching.
        progress: show a tqdm bar over the points (a str becomes its label).

    Must be consumed within ``evaluation(model)``.
    """
    n, top = len(target), int(target.max())
    first = point(0)
    if batch_size is not None:
        rows = at_least_one(batch_size, "batch_size")
    else:
        rows = default_batch_size(first) if attribution is saliency else n
    together = max(1, rows // n)  # whole points in a chunk; where N is larger than a chunk, one point in several

    def evaluate(part, classes):
        if attribution is saliency:
            return input_gradient(model, part, classes, top)
        with noisy_points():
            return _checked_map(attribution(model, part, classes), part)

    label = progress if isinstance(progress, str) else None
    with tqdm(total=n_points, desc=label, disable=not progress, leave=False) as bar:
        for start in range(0, n_points, together):
            numbers = range(start, min(start + together, n_points))
            points = torch.cat([first if i == 0 else point(i) for i in numbers]) if len(numbers) > 1 or start else first
            parts = -(-len(points) // rows)
            classes = target.repeat(len(numbers))
            maps = [evaluate(*part) for part in zip(points.chunk(parts), classes.chunk(parts), strict=True)]
            bar.update(len(numbers))
            yield from (maps[0] if parts == 1 else torch.cat(maps)).detach().split(n)


def input_gradient(model, points, target, top=None):
    """∂ logit[target] / ∂ point for (B, ...) points and (B,) classes, with no checks of the points. ``top``: the largest class,
    where the caller knows it, so that a GPU need not be asked for every chunk."""
    points = (points.clone() if points.is_inference() else points).detach().requires_grad_()
    with torch.enable_grad():
        logits = _checked_logits(model(points), len(points), int(target.max()) if top is None else top)
        if not logits.requires_grad:
            raise ValueError(_NO_GRADIENT)
        (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), points, allow_unused=True)
    if gradient is None:
        raise ValueError(_NO_GRADIENT)
    return gradient


@contextmanager
def noisy_points():
    """Within this block pixels may leave [0, 1]: a method calls another, and they are perturbed on purpose."""
    token = _perturbed.set(True)
    try:
        yield
    finally:
        _perturbed.reset(token)


_NO_GRADIENT = (
    "the logits do not depend on the input through autograd, so there is no gradient to explain them with: does the "
    "model detach its input, leave torch (numpy), or run under no_grad?"
)


@contextmanager
def evaluation(model):
    """Gradients on, and every submodule in eval mode until the block ends, whatever ends it."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for module, _ in modes:
            module.training = False
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def resolve_target(model, pixels, target, *, batch_size=None) -> torch.Tensor:
    """Check the pixels and fix the classes to be explained, once: (N,) int64 on the pixels' device.

    None becomes the class predicted for these pixels; it is not asked again at noisy points or along a path.
    """
    check_pixels(model, pixels)
    n = len(pixels)
    if target is None:
        return logits_of(model, pixels, batch_size=batch_size).argmax(1)
    if isinstance(target, torch.Tensor) and (
        target.dtype.is_floating_point or target.is_complex() or target.dtype == torch.bool
    ):
        raise TypeError(f"target must hold integer classes, found a tensor of {target.dtype}")
    if isinstance(target, torch.Tensor) and target.ndim:
        if target.shape != (n,):
            raise ValueError(
                f"target must hold one class for each of the {n} inputs, shape ({n},), found {tuple(target.shape)}"
            )
        target = target.to(pixels.device, torch.int64)
        target = target.clone() if target.is_inference() else target
    else:
        try:
            if isinstance(target, bool):
                raise TypeError
            target = torch.full((n,), operator.index(target), device=pixels.device)
        except TypeError:
            raise TypeError(f"target must be None, an int or an ({n},) integer tensor, found {target!r}") from None
    if isinstance(model, Classifier):
        _check_classes(int(target.min()), int(target.max()), len(model.classes))
    elif target.min() < 0:
        raise ValueError(f"class {int(target.min())} is out of range: classes count from 0")
    return target


def check_pixels(model, pixels, what="pixels"):
    """Raise unless ``pixels`` are finite floating point on the model's device and, for a Classifier, within [0, 1]."""
    if not isinstance(pixels, torch.Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, found {type(pixels).__name__}")
    if not pixels.is_floating_point():
        raise TypeError(f"{what} must be floating point, found {pixels.dtype}: for bytes, pixels.float() / 255")
    if pixels.ndim < 1 or pixels.numel() == 0:
        raise ValueError(f"{what} must be a batch (N, ...) of at least one input, found shape {tuple(pixels.shape)}")
    if isinstance(model, nn.Module):
        weights = model.mean if isinstance(model, Classifier) else next(chain(model.parameters(), model.buffers()), None)
        if weights is not None and weights.device != pixels.device:
            raise ValueError(
                f"{what}: on {pixels.device}, and the model is on {weights.device}: "
                f"move one, e.g. {what}.to({str(weights.device)!r})"
            )
    if not torch.isfinite(pixels).all():
        raise ValueError(f"{what}: {int((~torch.isfinite(pixels)).sum())} values are NaN or infinite")
    if isinstance(model, Classifier) and not _perturbed.get():
        low, high = float(pixels.min()), float(pixels.max())
        if low < -1e-6 or high > 1 + 1e-6:
            raise ValueError(
                f"{what} must lie in [0, 1], found [{low:.3g}, {high:.3g}]: a Classifier normalises inside, so pass "
                "neither normalised pixels nor bytes up to 255"
            )


def logits_of(model, pixels, *, batch_size=None) -> torch.Tensor:
    """The logits (N, K), in chunks, without gradients and in eval mode."""
    rows = default_batch_size(pixels) if batch_size is None else at_least_one(batch_size, "batch_size")
    with evaluation(model), torch.no_grad():
        return torch.cat([_checked_logits(model(part), len(part)) for part in pixels.detach().split(rows)])


def default_batch_size(pixels) -> int:
    """Rows for one call of the model: enough to keep the device busy, few enough to stay in cache and in memory.

    On a CPU 8 for pictures of 224 pixels, 16 for 64 pixels, 1024 for rows of a table; on a GPU 66, 813 and 1024.
    See `make bench`.
    """
    per_row = max(1, pixels[0].numel())
    rows, most = (1e7 / per_row, 1e7) if pixels.device.type != "cpu" else (max(8, 2e5 / per_row), 1.25e6)
    return int(max(1, min(rows, most / per_row, 1024)))


def one_class(logits, target):
    """The logit of each row's class, (N,)."""
    _check_classes(0, int(target.max()), logits.shape[1])
    return logits.gather(1, target[:, None])[:, 0]


def reduce_channels(maps, how="signed") -> torch.Tensor:
    """One value a pixel, (N, H, W), from maps (N, C, H, W): "signed" adds up the channels, so evidence for and against in one
    pixel cancels; "unsigned" adds up their absolute values."""
    choose(how, REDUCTIONS, "reduction")
    return (maps if how == "signed" else maps.abs()).sum(1)


def _checked_logits(logits, n_rows, top=0):
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != n_rows:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"the model must return logits of shape (N, K), here ({n_rows}, K), found {found}")
    _check_classes(0, top, logits.shape[1])
    return logits


def _checked_map(values, points):
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"the attribution must return a torch.Tensor, found {type(values).__name__}")
    if len(values) != len(points):
        raise ValueError(f"the attribution must return a map for each of {len(points)} inputs, found {tuple(values.shape)}")
    return values


def _check_classes(low, high, n_classes):
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"class {low if low < 0 else high} is out of range: the model has {n_classes} classes, 0 to {n_classes - 1}"
        )
