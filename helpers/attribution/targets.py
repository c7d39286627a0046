"""What is explained: the class whose logit the gradient is of."""

import operator

import torch

from helpers.benchmark.models import Classifier
from helpers.evaluate import check_classes, check_pixels, logits_of


def resolve_target(model, pixels, target, *, batch_size=None) -> torch.Tensor:
    """Check the pixels and fix the classes to be explained, once: (N,) int64 on the pixels' device.

    None becomes the class predicted for these pixels; it is not asked again at noisy points or
    along a path.
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
                f"target must hold one class for each of the {n} inputs, shape ({n},), found "
                f"{tuple(target.shape)}"
            )
        target = target.to(pixels.device, torch.int64)
        target = target.clone() if target.is_inference() else target
    else:
        try:
            if isinstance(target, bool):
                raise TypeError
            target = torch.full((n,), operator.index(target), device=pixels.device)
        except TypeError:
            raise TypeError(
                f"target must be None, an int or an ({n},) integer tensor, found {target!r}"
            ) from None
    if isinstance(model, Classifier):
        check_classes(int(target.min()), int(target.max()), len(model.classes))
    elif target.min() < 0:
        raise ValueError(f"class {int(target.min())} is out of range: classes count from 0")
    return target
