"""Controls: maps that know nothing, or all, of what the network does, for the same pipeline as the
methods.

Each is called like an attribution, (model, pixels, target=None, extra=()) → map of the shape of
``pixels``.
What a picture gets depends on the picture and the seed, never on the rest of the batch; the global
random state and the model are left as they were.
"""

import copy
import hashlib
import operator
from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from helpers.attribution.gradients import saliency
from helpers.attribution.targets import resolve_target
from helpers.evaluate import NotApplicableError, check_pixels, evaluation

BLUR_SIGMA = 0.05  # of the shorter side


def random_map(model, pixels, target=None, *, seed=0, extra=()) -> torch.Tensor:
    """Standard normal values that know neither network nor picture, signed.

    The generator starts from the seed and the picture's own values: other pictures get other
    fields, the same one the same.
    """
    check_pixels(model, pixels)
    fields = [_generator(picture, seed).standard_normal(tuple(picture.shape)) for picture in pixels]
    return torch.from_numpy(np.stack(fields)).to(pixels)


def blurred_random_map(model, pixels, target=None, *, seed=0, extra=()) -> torch.Tensor:
    """``random_map`` under a Gaussian of σ = 0.05 × the shorter side (channels apart): as smooth as
    a map that looks good."""
    _check_pictures(model, pixels)
    fields = random_map(model, pixels, seed=seed)
    sigma = BLUR_SIGMA * min(pixels.shape[2:])
    return torch.from_numpy(
        gaussian_filter(fields.cpu().double().numpy(), (0, 0, sigma, sigma), mode="nearest")
    ).to(pixels)


def sobel(model, pixels, target=None, *, extra=()) -> torch.Tensor:
    """The size of the Sobel gradient of each channel, ≥ 0: edges of the picture, whatever the
    network."""
    from skimage import filters  # here, since it takes a while to import

    _check_pictures(model, pixels)
    planes = pixels.detach().cpu().double().flatten(0, 1).numpy()
    return (
        torch.from_numpy(np.stack([filters.sobel(plane) for plane in planes]))
        .reshape(pixels.shape)
        .to(pixels)
    )


def distance_from_mean(model, pixels, target=None, *, extra=()) -> torch.Tensor:
    """|x − x̄|, x̄ the picture's mean colour, ≥ 0: the multiplier of Integrated Gradients without
    any gradient."""
    _check_pictures(model, pixels)
    pixels = pixels.detach()
    return (pixels - pixels.mean((2, 3), keepdim=True)).abs()


def oracle(mask):
    """The attribution that returns the true part itself, 1 on it and 0 elsewhere: the best there is
    against that mask.

    mask: (N, 1, H, W) bool, for the N pictures that it will be called with, in their order.
    """
    if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(
            f"the mask must be bool of shape (N, 1, H, W), found {mask.dtype} {tuple(mask.shape)}"
        )

    def oracle_map(model, pixels, target=None, *, extra=()):
        _check_pictures(model, pixels)
        if (len(mask), *mask.shape[2:]) != (len(pixels), *pixels.shape[2:]):
            raise ValueError(
                f"the oracle has masks {tuple(mask.shape)}, which do not fit the pictures "
                f"{tuple(pixels.shape)}"
            )
        return mask.to(pixels).expand_as(pixels).clone()

    return oracle_map


def random_network(attribution=saliency, *, seed=0):
    """The attribution of a network of the same architecture whose every layer was drawn anew
    (``cascade``, to its end).

    The target is the model's own, where None is given: the random copy is asked about the same
    class.
    """
    return partial(_explain_random, attribution=attribution, seed=seed)


def cascade(model, *, seed=0, layers=None) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model that forget what they learnt, one layer more at a time, from the top
    (Adebayo et al. 2018, arXiv:1810.03292, section 4.1): yields (the layer just drawn anew, a copy
    in which it and all above it are).

    Weights are drawn by each layer's own ``reset_parameters`` (batch statistics return to 0 and 1).
    A parameter that this leaves alone, since its module has none (a class token, a position
    embedding, a layer scale) or it is reparametrised (``weight_norm``, ``spectral_norm``), is drawn
    from a normal of mean 0 with the root mean square that it had: the paper leaves open how, and of
    all that was learnt this keeps the one number a tensor without which the signal would vanish or
    explode (He et al. 2015, arXiv:1502.01852). One of zeros stays so. Buffers that no reset knows
    stay, as constants. All are drawn on the CPU, from the seed and the layer's number, so they
    depend neither on the device nor on which other layers are drawn.

    Args:
        layers: names of submodules from the top down, each with all it holds, e.g. ("network.11",
            "network.8"); by default every module that has parameters of its own, the last defined
            first. A parameter that two layers share is drawn with either.

    Raises:
        TypeError, ValueError: no nn.Module, or a scripted one; no such layer, or one without
            parameters.
        NotApplicableError: before anything is drawn, the layers that cannot be: not initialised
            yet, of whole numbers (quantised), or with running statistics that nothing resets.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"only the layers of an nn.Module can be drawn anew, found {type(model).__name__}"
        )
    modules = dict(model.named_modules())
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules.values()):
        raise TypeError("a scripted or traced model cannot be drawn anew: pass it as it was before")
    holders = [name for name, module in modules.items() if _learns(module)]
    if not holders:
        raise NotApplicableError(
            "the model has no layer with parameters: there is nothing to draw anew"
        )
    groups = {}
    for layer in reversed(holders) if layers is None else layers:
        groups[layer] = [
            name
            for name in reversed(holders)
            if name == layer or layer == "" or name.startswith(f"{layer}.")
        ]
        if layer not in modules or not groups[layer]:
            raise ValueError(
                f"the model has no layer {layer!r} with parameters; "
                f"it has {', '.join(holders[:12])}"
            )
    drawn = set().union(*groups.values())
    stuck = [
        f"{name!r} ({type(modules[name]).__name__}: {why})"
        for name in holders
        if name in drawn and (why := _why_not(modules[name]))
    ]
    if stuck:
        raise NotApplicableError(f"layers that cannot be drawn anew: {'; '.join(stuck)}")
    return _cascade(
        model, groups, {name: number for number, name in enumerate(holders)}, operator.index(seed)
    )


def _cascade(model, groups, numbers, seed):
    # What old-style weight_norm and spectral_norm compute before each call cannot be deep-copied.
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    current = copy.deepcopy(model, computed)
    done = set()
    for layer, names in groups.items():
        for name in names:
            if name in done:  # within a layer that came before
                continue
            done.add(name)
            _draw_anew(current.get_submodule(name), np.random.SeedSequence([seed, numbers[name]]))
        yield layer, copy.deepcopy(current)


def _learns(module):
    """Whether it holds what is learnt: parameters, or statistics of the batches seen."""
    return bool(_own(module)) or _counts(module)


def _own(module):
    return list(module.parameters(recurse=False))


def _counts(module):
    return any("running_" in name for name, _ in module.named_buffers(recurse=False))


def _why_not(module):
    if any(map(is_lazy, _own(module))):
        return "not initialised; call the model once first"
    if not all(parameter.is_floating_point() for parameter in _own(module)):
        return "its parameters are whole numbers"
    if _counts(module) and _reset_of(module) is None:
        return "nothing resets its running statistics"
    return None


def _draw_anew(module, sequence):
    whole, own = list(module.parameters()), _own(module)
    device = next(chain(whole, module.buffers())).device
    needed = [parameter.requires_grad for parameter in whole]
    cuda = [device] if device.type == "cuda" else []  # where a reset draws what stayed there
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        torch.default_generator.manual_seed(
            int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
        )
        module.cpu()
        ordered = [parameter.data for parameter in whole]
        for parameter in whole:
            # some versions of torch draw in the order of memory
            parameter.data = parameter.data.contiguous()
        size = [float(parameter.double().square().mean().sqrt()) for parameter in own]
        for parameter in own:  # what is still NaN after the reset was not drawn by it
            parameter.data = torch.full_like(parameter, torch.nan)
        (_reset_of(module) or (lambda: None))()
        for parameter, scale in zip(own, size, strict=True):
            if (left := parameter.isnan()).any():
                parameter[left] = scale * torch.randn_like(parameter)[left]
        _settle(module)
        for parameter, data in zip(whole, ordered, strict=True):
            parameter.data = data.copy_(parameter)
    module.to(device)
    for parameter, flag in zip(whole, needed, strict=True):
        parameter.requires_grad_(flag)


def _settle(module):
    """Let the vectors of a spectral norm follow its new weight: a power iteration each time that it
    is computed in training mode, 15 of them as torch does at first."""
    hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm)]
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    for _ in range(15):
        if isinstance(module, ParametrizationList):
            module()
        for hook in hooks:
            hook(module, ())
    for part, mode in modes:
        part.training = mode


def _reset_of(module):
    return getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))


def _explain_random(model, pixels, target=None, *, attribution, seed, extra=()):
    with evaluation(model):
        target = resolve_target(model, pixels, target, extra=extra)
    ((_, network),) = cascade(model, seed=seed, layers=[""])
    return attribution(network, pixels, target, **({"extra": extra} if extra else {}))


def _generator(picture, seed):
    values = picture.detach().cpu().float().contiguous().numpy().tobytes()
    words = np.frombuffer(hashlib.blake2b(values, digest_size=16).digest(), np.uint32)
    return np.random.default_rng(np.random.SeedSequence([operator.index(seed), *words.tolist()]))


def _check_pictures(model, pixels):
    check_pixels(model, pixels)
    if pixels.ndim != 4:
        raise ValueError(f"this control needs pictures, (N, C, H, W), found {tuple(pixels.shape)}")
