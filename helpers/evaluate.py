"""Asking a network: in eval mode, in chunks, about inputs that were checked."""

import warnings
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from itertools import chain
from weakref import WeakSet

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from helpers.checks import at_least_one

_perturbed = ContextVar("perturbed", default=False)  # set by noisy_points
_warned = WeakSet()  # models whose rows depend on their company


class CompanyWarning(UserWarning):
    """What the model says of one input depends on the others in the batch."""


class NotApplicableError(ValueError):
    """A method that cannot mean for this model what it means elsewhere, and so returns nothing."""


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
    """Gradients on, and every submodule in eval mode until the block ends, whatever ends it.

    Weights made under ``inference_mode``, which autograd refuses, are replaced by copies meanwhile.
    A model whose BatchNorm keeps no running statistics, and so takes them from each batch, is
    warned of once. One with an RNN does without cuDNN, whose RNNs have no gradient in eval mode.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    # A frozen TorchScript module has no mode.
    modes = [(module, module.training) for module in modules if hasattr(module, "training")]
    replaced = [
        (module, name, value)
        for module in modules
        for name, value in chain(module._parameters.items(), module._buffers.items())
        if value is not None and value.is_inference()
    ]
    if any(_goes_by_company(module) for module in modules) and model not in _warned:
        _warned.add(model)
        names = [name for name, module in model.named_modules() if _goes_by_company(module)]
        shown = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
        warnings.warn(
            f"BatchNorm without running statistics ({shown}) takes them from each batch: what an "
            "input gets depends on its company. Give batch_size=1, or train the network with "
            "track_running_stats=True",
            CompanyWarning,
            stacklevel=4,
        )
    try:
        for module, _ in modes:
            module.training = False
        recurrent = any(isinstance(module, nn.RNNBase) for module in modules)
        rnn = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
        with torch.inference_mode(False), torch.enable_grad(), rnn:
            for module, name, value in replaced:
                copy = value.clone()
                is_weight = isinstance(value, nn.Parameter)
                setattr(module, name, nn.Parameter(copy, False) if is_weight else copy)
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, name, value in replaced:
            setattr(module, name, value)


def _goes_by_company(module):
    return isinstance(module, _BatchNorm) and module.running_mean is None


def ask(model, points, extra=()):
    """The model's output for (B, ...) points and its further arguments, in its own precision: a
    float32 network takes float64 pixels. It gets copies, which it may change in place."""
    return model(*(_own_copy(model, each) for each in (points, *extra)))


def _own_copy(model, values):
    own = values.dtype if not values.is_floating_point() else dtype_for(model, values.dtype)
    return values.to(own, copy=True)


def dtype_for(model, dtype):
    """What to hand a model: ``dtype`` where some weight has it, or none is known, else that of the
    first weight."""
    if not isinstance(model, nn.Module):
        return dtype
    own = (w.dtype for w in chain(model.parameters(), model.buffers()) if w.is_floating_point())
    first = next(own, dtype)
    return dtype if first == dtype or dtype in own else first


def at_least_float32(dtype):
    """The type to add up in: ``dtype``, or float32 where that is narrower or holds whole
    numbers."""
    return torch.promote_types(dtype, torch.float32)


def check_model(model):
    """Raise unless ``model`` can be called."""
    if not callable(model):
        remedy = f": load_model({model!r}) makes one" if isinstance(model, str) else ""
        raise TypeError(f"the model must be a module or callable, found {model!r}{remedy}"[:200])


def check_pixels(model, pixels, what="pixels"):
    """Raise unless ``pixels`` are finite floating point on the model's device and, for a
    ``Classifier``, within [0, 1]."""
    if not isinstance(pixels, torch.Tensor):
        remedy = f": torch.from_numpy({what})" if isinstance(pixels, np.ndarray) else ""
        raise TypeError(f"{what} must be a torch.Tensor, found {type(pixels).__name__}{remedy}")
    if not pixels.is_floating_point():
        remedy = ": for bytes, pixels.float() / 255" if pixels.dtype == torch.uint8 else ""
        raise TypeError(f"{what} must be floating point, found {pixels.dtype}{remedy}")
    if pixels.ndim < 1 or pixels.numel() == 0:
        raise ValueError(
            f"{what} must be a batch (N, ...) of at least one input, found shape "
            f"{tuple(pixels.shape)}"
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
                f"{what} must lie in [0, 1], found [{low:.3g}, {high:.3g}]: a Classifier "
                "normalises inside, so pass neither normalised pixels nor bytes up to 255"
            )


def check_extra(pixels, extra):
    """Raise unless ``extra`` are tensors with a row for each of the pixels, on their device."""
    if not isinstance(extra, (tuple, list)):
        raise TypeError(
            "extra must be a tuple of the model's further arguments, extra=(mask,), found "
            f"{type(extra).__name__}"
        )
    for number, each in enumerate(extra):
        if not isinstance(each, torch.Tensor):
            remedy = ": torch.from_numpy(…)" if isinstance(each, np.ndarray) else ""
            raise TypeError(
                f"extra[{number}] must be a torch.Tensor, found {type(each).__name__}{remedy}; "
                "what is no tensor, or the same for all inputs, can be set in a lambda around the "
                "model"
            )
        if each.ndim < 1 or len(each) != len(pixels):
            raise ValueError(
                f"extra[{number}] must have one row for each of the {len(pixels)} inputs, found "
                f"shape {tuple(each.shape)}"
            )
        if each.device != pixels.device:
            raise ValueError(
                f"extra[{number}] is on {each.device}, and the pixels are on {pixels.device}: move "
                "one"
            )


def logits_of(model, pixels, *, extra=(), batch_size=None) -> torch.Tensor:
    """The logits (N, K), in chunks, without gradients and in eval mode.

    extra: further arguments of the model, tensors (N, ...), a row an input.

    Raises:
        ValueError: some are NaN or +∞ (−∞ stands for a class that is ruled out).
    """
    rows = rows_at_once(pixels, batch_size)
    parts = zip(*(each.detach().split(rows) for each in (pixels, *extra)), strict=True)
    with evaluation(model), torch.no_grad():
        logits = torch.cat(
            [checked_logits(ask(model, part, more), len(part)) for part, *more in parts]
        )
    bad = (logits.isnan() | (logits == torch.inf)).any(1)
    if bad.any():
        raise ValueError(
            f"the logits of {int(bad.sum())} of {len(bad)} inputs are NaN or infinite, "
            f"those of number {int(bad.nonzero()[0])} first"
        )
    return logits


def rows_at_once(pixels, batch_size=None) -> int:
    """``batch_size`` if it is one, or by default ``default_batch_size``."""
    return (
        default_batch_size(pixels) if batch_size is None else at_least_one(batch_size, "batch_size")
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


def probabilities(logits) -> torch.Tensor:
    """What logits (..., K) say, (..., K), in [0, 1] and float32 at least: their softmax, or for one
    logit (K = 1) its sigmoid, the probability of what that logit stands for.

    Raises:
        ValueError: NaN or infinite ones; rows that are probabilities already, ≥ 0 with sum 1, all
            of them (of one number this cannot be told).
    """
    values = logits.to(at_least_float32(logits.dtype))
    found = values.softmax(-1) if values.shape[-1] > 1 else values.sigmoid()
    if found.isnan().any():
        raise ValueError("the model's logits are NaN or infinite: there is no probability to tell")
    refuse_probabilities(logits)
    return found


def refuse_probabilities(logits):
    """Raise where rows (..., K) are probabilities already, ≥ 0 with sum 1, all of them."""
    values = logits.to(at_least_float32(logits.dtype))
    rounding = 1e-2 if logits.element_size() < 4 else 1e-4
    sums_to_one = (values >= 0).all() and ((values.sum(-1) - 1).abs() <= rounding).all()
    if values.shape[-1] > 1 and sums_to_one:
        raise ValueError(
            "the model's rows are probabilities already, ≥ 0 with sum 1: pass the network without "
            "its last softmax, so that it returns logits (layer_output(model, -2), say)"
        )


def says(logits, target) -> torch.Tensor:
    """Whether logits (..., K) name the class ``target``, (...) or a shape that fits it, bool: it is
    the largest; one logit (K = 1) names what it stands for where it is above 0, probability ½."""
    if logits.shape[-1] == 1:
        return logits[..., 0] > 0
    return logits.argmax(-1) == target


def checked_logits(output, n_rows, top=0):
    """The logits (N, K): the output itself, or its ``.logits``."""
    logits = getattr(output, "logits", output)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != n_rows:
        found = (
            f"shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else type(logits).__name__
        )
        raise ValueError(
            f"the model must return logits of shape (N, K), here ({n_rows}, K), found {found}; to "
            "explain another output, give as target a callable from it to one number a row"
        )
    check_classes(0, top, logits.shape[1])
    return logits


def check_classes(low, high, n_classes):
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"class {low if low < 0 else high} is out of range: the model has {n_classes} "
            f"classes, 0 to {n_classes - 1}"
        )
