"""Asking a network: in eval mode, in chunks, about inputs that were checked."""

from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain

import torch
from torch import nn

from helpers.checks import at_least_one

_perturbed = ContextVar("perturbed", default=False)  # set by noisy_points


@contextmanager
def noisy_points():
    """Within this block pixels may leave [0, 1]: a method calls another, and they are perturbed on
    purpose."""
    token = _perturbed.set(True)
    try:
        yield
    finally:
        _perturbed.reset(token)


@contextmanager
def evaluation(model):
    """Gradients on, and every submodule in eval mode until the block ends, whatever ends it."""
    modes = (
        [(module, module.training) for module in model.modules()]
        if isinstance(model, nn.Module)
        else []
    )
    try:
        for module, _ in modes:
            module.training = False
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_pixels(model, pixels, what="pixels"):
    """Raise unless ``pixels`` are finite floating point on the model's device and, for a
    ``Classifier``, within [0, 1]."""
    if not isinstance(pixels, torch.Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, found {type(pixels).__name__}")
    if not pixels.is_floating_point():
        raise TypeError(
            f"{what} must be floating point, found {pixels.dtype}: for bytes, pixels.float() / 255"
        )
    if pixels.ndim < 1 or pixels.numel() == 0:
        raise ValueError(
            f"{what} must be a batch (N, ...) of at least one input, found shape {tuple(pixels.shape)}"
        )
    if isinstance(model, nn.Module):
        weights = next(chain(model.parameters(), model.buffers()), None)
        if weights is not None and weights.device != pixels.device:
            raise ValueError(
                f"{what}: on {pixels.device}, and the model is on {weights.device}: "
                f"move one, e.g. {what}.to({str(weights.device)!r})"
            )
    if not torch.isfinite(pixels).all():
        raise ValueError(
            f"{what}: {int((~torch.isfinite(pixels)).sum())} values are NaN or infinite"
        )
    bounds = getattr(model, "pixel_range", None)  # a Classifier's
    if bounds is not None and not _perturbed.get():
        low, high = float(pixels.min()), float(pixels.max())
        if low < bounds[0] - 1e-6 or high > bounds[1] + 1e-6:
            raise ValueError(
                f"{what} must lie in [0, 1], found [{low:.3g}, {high:.3g}]: a Classifier normalises inside, so pass "
                "neither normalised pixels nor bytes up to 255"
            )


def logits_of(model, pixels, *, batch_size=None) -> torch.Tensor:
    """The logits (N, K), in chunks, without gradients and in eval mode."""
    rows = (
        default_batch_size(pixels) if batch_size is None else at_least_one(batch_size, "batch_size")
    )
    with evaluation(model), torch.no_grad():
        return torch.cat(
            [checked_logits(model(part), len(part)) for part in pixels.detach().split(rows)]
        )


def default_batch_size(pixels) -> int:
    """Rows for one call of the model: enough to keep the device busy, few enough to stay in cache
    and in memory.

    On a CPU 8 for pictures of 224 pixels, 16 for 64 pixels, 1024 for rows of a table; on a GPU 66,
    813 and 1024. See `make bench`.
    """
    per_row = max(1, pixels[0].numel())
    rows, most = (
        (1e7 / per_row, 1e7) if pixels.device.type != "cpu" else (max(8, 2e5 / per_row), 1.25e6)
    )
    return int(max(1, min(rows, most / per_row, 1024)))


def one_class(logits, target):
    """The logit of each row's class, (N,)."""
    check_classes(0, int(target.max()), logits.shape[1])
    return logits.gather(1, target[:, None])[:, 0]


def checked_logits(logits, n_rows, top=0):
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != n_rows:
        found = (
            f"shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise ValueError(
            f"the model must return logits of shape (N, K), here ({n_rows}, K), found {found}"
        )
    check_classes(0, top, logits.shape[1])
    return logits


def check_classes(low, high, n_classes):
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"class {low if low < 0 else high} is out of range: the model has {n_classes} classes, 0 to {n_classes - 1}"
        )
