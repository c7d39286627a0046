"""The gradient's relatives, called like it, (model, pixels, target=None) → map; through Captum,
which does them right.

``pixels`` (N, C, H, W), ``target`` as for ``saliency``; the model is left as it was found.
"""

import warnings

import torch
from torch import nn

from helpers.attribution.gradients import saliency
from helpers.attribution.targets import resolve_target
from helpers.evaluate import evaluation


def gradient_x_input(model, pixels, target=None) -> torch.Tensor:
    """x ⊙ ∇f(x), signed, in logits (Shrikumar et al. 2016, arXiv:1605.01713): Integrated Gradients
    from black with the single node at its end."""
    return pixels.detach() * saliency(model, pixels, target)


def guided_backprop(model, pixels, target=None) -> torch.Tensor:
    """The gradient under another backward rule: every ReLU also drops what is negative on its way
    back (Springenberg et al. 2015, arXiv:1412.6806). Signed. Only ``nn.ReLU`` modules have that
    rule: under a functional ReLU it is the gradient's own.

    Raises:
        TypeError: the model is not a module.
    """
    _must_be_a_module(model, "guided backprop")
    from captum.attr import GuidedBackprop  # here, since captum takes a second to import

    with evaluation(model), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Setting backward hooks on ReLU"
        )  # captum takes them off again
        target = resolve_target(model, pixels, target)
        return (
            GuidedBackprop(model)
            .attribute(pixels.detach().clone().requires_grad_(), target=target)
            .detach()
        )


def grad_cam(model, pixels, target=None, *, layer=None) -> torch.Tensor:
    """The channels of a convolution's output, weighted by their mean gradient, added up, and
    enlarged bilinearly: which places speak for the class (Selvaraju et al. 2017, arXiv:1610.02391,
        eq. 1 and 2). (N, C, H, W), ≥ 0, the same in every
    channel. For a network that ends in global average pooling and one linear layer it is the class
    activation map (Zhou et al. 2016, arXiv:1512.04150) of its ReLU'd last block, times a constant.

    layer: the module whose output is weighted; by default the last one whose output has a height
        and a width above 1.

    Raises:
        TypeError: the model is not a module. ValueError: it has no such layer.
    """
    _must_be_a_module(model, "Grad-CAM")
    from captum.attr import LayerAttribution, LayerGradCam

    with evaluation(model):
        target = resolve_target(model, pixels, target)
        layer = last_spatial_layer(model, pixels[:1]) if layer is None else layer
        coarse = (
            LayerGradCam(model, layer)
            .attribute(pixels.detach().clone(), target=target, relu_attributions=True)
            .detach()
        )
    fine = LayerAttribution.interpolate(coarse, pixels.shape[2:], interpolate_mode="bilinear")
    return fine.expand_as(pixels).contiguous()


def _must_be_a_module(model, method):
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{method} looks into the layers of a torch.nn.Module, found {type(model).__name__}"
        )


def last_spatial_layer(model, pixels) -> nn.Module:
    """The last module without submodules, in the order of evaluation, whose output is (N, C, H, W)
    with H, W above 1."""
    found = []

    def note(module, inputs, output):
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            found.append(module)

    hooks = [
        module.register_forward_hook(note)
        for module in model.modules()
        if not list(module.children())
    ]
    try:
        with torch.no_grad():
            model(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(
            "no layer of this model has an output with a height and a width: Grad-CAM needs a convolutional one"
        )
    return found[-1]
