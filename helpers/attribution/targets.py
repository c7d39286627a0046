"""What is explained: the logit of a class, or any other number that can be read off the model's
output.

A target is None (the class predicted for the clean input, fixed once), an int, the name of a class
(of a ``Classifier``), an (N,) tensor of classes, a one-hot (N, K) tensor, or a callable from the
model's output, whatever that is, to one number a row, (N,): ``lambda output: output["out"][:, 12,
40, 60]``. The model is asked about several points, or a part of the inputs, at a time, so what a
callable makes of a row may depend on that row alone; one that must know something of each input
holds it in a ``Score``. ``logit``, ``probability``, ``log_probability``, ``margin`` and ``region``
are the usual ones.
"""

import operator
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from helpers.benchmark.models import Classifier
from helpers.checks import choose
from helpers.evaluate import (
    ask,
    at_least_float32,
    check_classes,
    check_extra,
    check_model,
    check_pixels,
    checked_logits,
    evaluation,
    logits_of,
    one_class,
    refuse_probabilities,
    rows_at_once,
)


class Score:
    """A target that is a function of the output and of what it holds of each input.

    function: (output, each of the rows) → (N,), floating point.
    rows: tensors (N, ...), a row an input, or one row for all. They go along with the points:
    ``Score(lambda output, wanted: -(output - wanted).square().mean(1), wanted)``.
    """

    def __init__(self, function: Callable, *rows: torch.Tensor):
        self.function, self.rows = function, rows

    def __call__(self, output):
        return self.function(output, *self.rows)

    def __getitem__(self, which):
        return type(self)(self.function, *(row[which] for row in self.rows))

    def split(self, sizes):
        """Those of the first sizes[0] inputs, the next sizes[1], …"""
        parts = zip(*(row.split(sizes) for row in self.rows), strict=True)
        parts = parts if self.rows else [()] * len(sizes)
        return [type(self)(self.function, *part) for part in parts]

    def of(self, pixels):
        """That of these inputs, on their device; an error if it holds rows of others."""
        n, rows = len(pixels), []
        for row in self.rows:
            if not isinstance(row, torch.Tensor) or row.ndim < 1 or len(row) not in (1, n):
                found = tuple(row.shape) if isinstance(row, torch.Tensor) else type(row).__name__
                raise ValueError(
                    f"what the target holds of each input must be tensors of {n} rows, as many as "
                    f"there are inputs, or one for all, found {found}"
                )
            row = row.to(pixels.device).expand(n, *row.shape[1:])
            rows.append(row.clone() if row.is_inference() else row)
        return type(self)(self.function, *rows)


class ClassScore(Score):
    """A ``Score`` whose first row is a class, in any of the ways to say one until the model and the
    inputs settle it: what the factories return."""

    def __init__(self, function, target, *rows):
        if callable(target):
            raise TypeError(
                f"{function.__name__.strip('_')} is of a class: None, an int, a name, (N,) or "
                f"one-hot, found the callable {target!r}"
            )
        super().__init__(function, target, *rows)

    def __call__(self, output):
        classes, *rows = self.rows
        if not isinstance(classes, torch.Tensor) or classes.ndim != 1:
            logits = _tensor_in(output)
            if classes is None:
                classes = logits.argmax(1)
            else:
                classes = torch.full((len(logits),), operator.index(classes), device=logits.device)
        return self.function(output, classes, *rows)


def logit(target=None):
    """The logit of a class, (N,): what is explained where the target is that class itself.

    Args:
        target: None (the class predicted for the clean input, fixed once), an int, a name, (N,) or
            a one-hot (N, K).
    """
    return ClassScore(_logit, target)


def probability(target=None):
    """The softmax of a class, (N,) in [0, 1], in float32 at least; of a network with one logit, its
    sigmoid. Other logits move it too, and where it saturates its gradient vanishes. Args:
    ``logit``.

    Raises:
        ValueError: the model returns probabilities already.
    """
    return ClassScore(_probability, target)


def log_probability(target=None):
    """The logarithm of ``probability``, (N,), ≤ 0, in nats: minus the cross-entropy. It saturates
    at 1 alone. Args, Raises: ``probability``."""
    return ClassScore(_log_probability, target)


def margin(target=None):
    """The logit of a class over the largest other one, (N,), > 0 where the class is named: which
    other one is asked at each point. Of a network with one logit, that logit. Args: ``logit``."""
    return ClassScore(_margin, target)


def region(target, mask):
    """The mean logit of a class over a part of the picture, (N,), of a network that names every
    pixel.

    The network returns (N, K, H, W), or that under "out", as torchvision's, or as ``.logits``.

    Args:
        target: an int or (N,).
        mask: bool, (H, W) for all inputs, or (N, H, W) or (N, 1, H, W), with a pixel in each.

    Raises:
        TypeError, ValueError: no class, or a mask of another dtype or shape, or without a pixel.
    """
    if target is None:
        raise TypeError("region needs a class: a network that names every pixel predicts many")
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        found = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TypeError(f"the mask must be a bool tensor, found {found}")
    shape = tuple(mask.shape)
    mask = mask[None] if mask.ndim == 2 else mask[:, 0] if shape[1:2] == (1,) else mask
    if mask.ndim != 3:
        raise ValueError(f"the mask must be (H, W), (N, H, W) or (N, 1, H, W), found {shape}")
    if not (there := mask.flatten(1).any(1)).all():
        raise ValueError(f"the mask of input {int((~there).nonzero()[0])} holds no pixel")
    return ClassScore(_region, target, mask)


def _logit(output, classes):
    return one_class(checked_logits(output, len(classes)), classes)


def _probability(output, classes):
    return _log_probability(output, classes).exp()


def _log_probability(output, classes):
    logits = checked_logits(output, len(classes), int(classes.max()))
    refuse_probabilities(logits.detach())
    return one_class(_columns(logits).log_softmax(1), classes)


def _margin(output, classes):
    logits = _columns(checked_logits(output, len(classes), int(classes.max())))
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return one_class(logits, classes) - others.amax(1)


def _region(output, classes, mask):
    scores = _tensor_in(output)
    if scores.ndim != 4 or scores.shape[2:] != mask.shape[1:] or len(scores) != len(mask):
        raise ValueError(
            f"region needs an output (N, K, H, W) of the size of the mask {tuple(mask.shape)}, "
            f"found {tuple(scores.shape)}"
        )
    check_classes(int(classes.min()), int(classes.max()), scores.shape[1])
    own = scores[torch.arange(len(scores), device=scores.device), classes]
    return own.where(mask, 0).sum((1, 2)) / mask.sum((1, 2))


def _columns(logits):
    """The logits (N, K) of two classes at least, in float32 at least: a network's only one stands
    against another of 0, so that softmax is its sigmoid."""
    logits = logits.to(at_least_float32(logits.dtype))
    return logits if logits.shape[1] > 1 else torch.cat([logits, torch.zeros_like(logits)], 1)


def _tensor_in(output):
    if isinstance(output, Mapping) and "out" in output:
        output = output["out"]
    output = getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor):
        raise ValueError(
            "the output must be a tensor, or hold one as 'out' or .logits, found "
            f"{type(output).__name__}: give a callable of your own"
        )
    return output


# --- asked by the methods ------------------------------------------------------------------------


def resolve_target(model, pixels, target, *, extra=(), batch_size=None) -> torch.Tensor | Score:
    """Check pixels and ``extra``, and fix what is to be explained, once: (N,) int64 classes on the
    pixels' device, or a ``Score`` where the target is a callable.

    None becomes the class predicted for these pixels; it is not asked again at noisy points or
    along a path.

    Raises:
        TypeError, ValueError: input that does not fit, or a target: no class of the model's, a
            tensor of another shape or dtype, a one-hot of another width, a soft label.
    """
    check_model(model)
    check_pixels(model, pixels)
    check_extra(pixels, extra)
    n, asked = len(pixels), {"extra": extra, "batch_size": batch_size}
    if isinstance(target, ClassScore):
        classes = resolve_target(model, pixels, target.rows[0], **asked)
        if target.function is _logit:
            return classes
        return ClassScore(target.function, classes, *target.rows[1:]).of(pixels)
    if callable(target):
        return (target if isinstance(target, Score) else Score(target)).of(pixels)
    if target is None:
        return logits_of(model, pixels, **asked).argmax(1)
    if isinstance(target, torch.Tensor) and target.ndim == 2:
        if target.shape[0] != n:
            raise ValueError(f"{_ONE_HOT.format(n=n)}, found {tuple(target.shape)}")
        width = logits_of(model, pixels[:1], extra=[each[:1] for each in extra]).shape[1]
        target = _from_one_hot(target, n, width)
    if isinstance(target, torch.Tensor) and (
        target.dtype.is_floating_point or target.is_complex() or target.dtype == torch.bool
    ):
        raise TypeError(f"target must hold integer classes, found a tensor of {target.dtype}")
    if isinstance(target, torch.Tensor) and target.ndim:
        if target.shape != (n,):
            raise ValueError(
                f"target must hold one class for each of the {n} inputs, shape ({n},), found "
                f"{tuple(target.shape)}; or be one-hot, ({n}, K)"
            )
        target = target.to(pixels.device, torch.int64)
        target = target.clone() if target.is_inference() else target
    else:
        if isinstance(target, str) and isinstance(model, Classifier):
            target = class_named(target, model.classes)
        try:
            if isinstance(target, bool):
                raise TypeError
            target = torch.full((n,), operator.index(target), device=pixels.device)
        except TypeError:
            remedy = ""
            if isinstance(target, str):
                remedy = ": only a Classifier knows its classes by name"
            elif isinstance(target, np.ndarray):
                remedy = ": torch.from_numpy(target)"
            raise TypeError(
                f"target must be None, an int or an ({n},) integer tensor, found {target!r}"
                f"{remedy}; a class name, a one-hot ({n}, K) tensor and a callable from the "
                "model's output to one number a row do too"
            ) from None
    if isinstance(model, Classifier):
        check_classes(int(target.min()), int(target.max()), len(model.classes))
    elif target.min() < 0:
        raise ValueError(f"class {int(target.min())} is out of range: classes count from 0")
    return target


def explained(model, pixels, target, *, extra=(), batch_size=None) -> torch.Tensor:
    """The number explained at each of (N, ...) points, (N,), without gradients: the logit of its
    class, or what the callable makes of the output. ``target`` from ``resolve_target``.

    Raises:
        ValueError: NaN or infinite ones.
    """
    if not isinstance(target, Score):
        return one_class(logits_of(model, pixels, extra=extra, batch_size=batch_size), target)
    sizes = [len(part) for part in pixels.split(rows_at_once(pixels, batch_size))]
    parts = zip(*(each.split(sizes) for each in (pixels.detach(), target, *extra)), strict=True)
    with evaluation(model), torch.no_grad():
        values = torch.cat(
            [explained_in(ask(model, part, more), aim, len(part)) for part, aim, *more in parts]
        )
    if (bad := values.isnan() | values.isinf()).any():
        raise ValueError(
            f"what the target makes of {int(bad.sum())} of {len(bad)} inputs is NaN or infinite, "
            f"of number {int(bad.nonzero()[0])} first"
        )
    return values


def explained_in(output, target, n, top=None) -> torch.Tensor:
    """The number explained of each of n rows, (n,), in a model's output. ``top``: the largest
    class, where the caller knows it, so that a GPU need not be asked."""
    if not isinstance(target, Score):
        logits = checked_logits(output, n, int(target.max()) if top is None else top)
        return logits.gather(1, target[:, None])[:, 0]
    values = target(output)
    if not isinstance(values, torch.Tensor):
        raise TypeError(_ONE_NUMBER.format(n=n, found=type(values).__name__))
    if not values.is_floating_point():
        found = f"{values.dtype}, which has no gradient"
        raise TypeError(_ONE_NUMBER.format(n=n, found=found))
    if values.shape != (n,):
        raise ValueError(_ONE_NUMBER.format(n=n, found=f"shape {tuple(values.shape)}"))
    return values


def repeated(rows, times):
    """(N, ...) rows, or a ``Score`` of them, several times over, (times · N, ...)."""
    if isinstance(rows, Score):
        return type(rows)(rows.function, *(repeated(row, times) for row in rows.rows))
    return rows if times == 1 else rows.repeat(times, *(1,) * (rows.ndim - 1))


_ONE_NUMBER = (
    "the target must make one number a row of the model's output, here a floating-point tensor of "
    "shape ({n},), found {found}. The rows are several points, or some of the inputs, at a time: "
    "what it must know of each input goes along in Score(function, rows), a class in logit(classes)"
)
_ONE_HOT = "a target of two dimensions must be one-hot, a row for each of the {n} inputs, ({n}, K)"


def _from_one_hot(target, n, width):
    found = f"{_ONE_HOT.format(n=n)}, found {tuple(target.shape)}"
    if target.is_complex():
        raise TypeError(f"{found} of {target.dtype}")
    if target.shape[1] != width:
        raise ValueError(f"{found}, and the model returns {width} logits")
    ones = target == 1
    if not ((ones | (target == 0)).all() and (ones.sum(1) == 1).all()):
        raise ValueError(
            f"{found} with other rows than a single 1 and zeros: a soft label names no class; give "
            "a callable, e.g. lambda logits: (logits * weights).sum(1)"
        )
    return ones.int().argmax(1)


def class_named(name, classes):
    name = choose(name, classes, "class")
    if classes.count(name) > 1:
        numbers = ", ".join(str(i) for i, each in enumerate(classes) if each == name)
        raise ValueError(f"several classes are called {name!r}: give one of {numbers}")
    return classes.index(name)


# --- a model up to a layer -----------------------------------------------------------------------


def layer_output(model, layer):
    """The model up to a layer, as a model: what the layer returns is its output, so that logits can
    be explained where a softmax follows, or any layer inside.

    Args:
        model: a module; it is left as it was found.
        layer: a name, as in ``model.named_modules()``, or an index into its children, as into a
            ``Sequential`` (of a ``Classifier``, those of its network); −1 is the last. Of several
            runs in one call, the last counts.

    Returns:
        a module. Where the layer's output is not (N, K), the target must be a callable:
        ``saliency(layer_output(model, "layer3"), pixels, lambda maps: maps[:, 5].amax((1, 2)))``.

    Raises:
        TypeError: the model is no module, or the layer neither a name nor an index.
        ValueError: no such layer (the nearest names are listed); when called, it does not run.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"only a torch.nn.Module has layers, found {type(model).__name__}")
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    if isinstance(layer, str):
        return _UpTo(model, choose(layer, names, "layer"))
    within = model.network if isinstance(model, Classifier) else model
    children = [name for name, _ in within.named_children()]
    try:
        if isinstance(layer, bool):
            raise TypeError
        name = children[operator.index(layer)]
    except TypeError:
        raise TypeError(
            f"a layer must be a name or an index, found {type(layer).__name__}"
        ) from None
    except IndexError:
        raise ValueError(
            f"layer {layer} is out of range: the model has {len(children)} children"
            + (f", {', '.join(children[:12])}" if children else "")
        ) from None
    return _UpTo(model, name if within is model else f"network.{name}")


class _UpTo(nn.Module):
    def __init__(self, model, name):
        super().__init__()
        self.model, self.layer = model, name

    @property
    def pixel_range(self):
        return getattr(self.model, "pixel_range", None)

    def forward(self, *inputs):
        found = []

        def keep(module, args, output):
            found[:] = [output]
            # what comes next may work in place
            return output.clone() if isinstance(output, torch.Tensor) else output

        hook = self.model.get_submodule(self.layer).register_forward_hook(keep)
        try:
            self.model(*inputs)
        finally:
            hook.remove()
        if not found:
            raise ValueError(
                f"layer {self.layer!r} does not run when the model is called, or is compiled"
            )
        return found[0]
