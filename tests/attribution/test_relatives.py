"""The gradient's relatives, against their definitions written out, and what they promise like every
method here."""

import random
import re

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision import models

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.relatives import (
    backward_with,
    cam,
    deconvnet_rule,
    feature_maps,
    grad_cam,
    gradient_x_input,
    guided_backprop,
    guided_grad_cam,
    guided_rule,
    last_spatial_layer,
)
from helpers.benchmark.images import load_images
from helpers.benchmark.models import load_model
from helpers.evaluate import NotApplicableError, noisy_points

METHODS = [gradient_x_input, guided_backprop, grad_cam, guided_grad_cam]
every_method = pytest.mark.parametrize("method", METHODS)
CLASSES = torch.tensor([2, 0, 4])


def relative_l2(a, b):
    return float((a - b).norm() / b.norm())


def guided_by_hand(layers, pixels, target):
    """Back through the layers one by one; a ReLU lets through what is positive both on the way
    there and on the way back."""
    inputs = [pixels]
    for layer in layers:
        inputs.append(layer(inputs[-1]).detach())
    signal = F.one_hot(target, inputs.pop().shape[1]).to(pixels)
    for layer, given in zip(reversed(layers), reversed(inputs), strict=True):
        if isinstance(layer, nn.ReLU):
            signal = signal * (signal > 0) * (given > 0)
        else:
            given = given.requires_grad_()
            (signal,) = torch.autograd.grad(layer(given), given, signal)
    return signal


def cam_by_hand(features, head, pixels, target):
    """Equations 1 and 2, before the enlargement: (N, 1, h, w)."""
    maps = features(pixels).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(head(maps).gather(1, target[:, None]).sum(), maps)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1, keepdim=True).relu().detach()


def enlarged(coarse, pixels):
    return F.interpolate(coarse, pixels.shape[2:], mode="bilinear", align_corners=False).expand_as(
        pixels
    )


class Branches(nn.Module):
    """Two convolutions in an order that is not that of their definition, with ReLUs to choose."""

    def __init__(self, first=None, second=None):
        super().__init__()
        self.top, self.bottom = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3)
        self.second, self.first, self.linear = (
            second or nn.ReLU(),
            first or nn.ReLU(),
            nn.Linear(4, 5),
        )

    def forward(self, pixels):
        return self.linear(self.second(self.top(self.first(self.bottom(pixels)))).mean((2, 3)))


def with_relus(first, second):
    """``Branches`` of the same weights, whatever its ReLUs."""
    torch.manual_seed(5)
    return Branches(first, second).double().eval()


# --- gradient × input -----------------------------------------------------------------------------


def test_gradient_x_input_of_a_polynomial():
    # f₀ = Σ x³: x ⊙ ∇f = 3x³.
    def model(x):
        return torch.stack([(x**3).sum(1), x.sum(1)], 1)

    x = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    assert gradient_x_input(model, x, 0).tolist() == [[24.0, -3.0], [0.375, 81.0]]
    assert gradient_x_input(model, x, torch.tensor([1, 0])).tolist() == [[2.0, -1.0], [0.375, 81.0]]


def test_gradient_x_input_is_integrated_gradients_from_black_with_its_one_node_at_the_end(
    conv_net, pictures
):
    expected = integrated_gradients(
        conv_net, pictures, CLASSES, baseline="black", n_steps=1, rule="right"
    )
    assert relative_l2(gradient_x_input(conv_net, pictures, CLASSES), expected) < 1e-12


# --- guided backprop ------------------------------------------------------------------------------


def test_guided_backprop_drops_what_is_negative_on_its_way_back():
    # f = ReLU(x₁) − ReLU(x₂) + ReLU(x₃ − 9) at (1, 1, 1): the gradient is (1, −1, 0); the −1 does
    # not get back past its ReLU.
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[0].bias.copy_(torch.tensor([0.0, 0, -9]))
        model[2].weight.copy_(torch.tensor([[1.0, -1, 1]]))
    assert saliency(model, torch.ones(1, 3), 0).tolist() == [[1, -1, 0]]
    assert guided_backprop(model, torch.ones(1, 3), 0).tolist() == [[1, 0, 0]]


def test_a_guided_map_is_signed_below_the_lowest_relu():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, -1]]))
        model[2].weight.fill_(3)
    assert guided_backprop(model, torch.ones(1, 2), 0).tolist() == [[6, -3]]


def test_guided_backprop_by_hand(conv_net, pictures):
    found = guided_backprop(conv_net, pictures, CLASSES)
    assert relative_l2(found, guided_by_hand(conv_net, pictures, CLASSES)) < 1e-12
    # it is not the gradient
    assert relative_l2(found, saliency(conv_net, pictures, CLASSES)) > 0.01
    assert found.min() < 0 < found.max()


def test_guided_backprop_of_signals_and_tables(network_and_inputs):
    model, inputs = network_and_inputs
    target = torch.tensor([2, 0, 1])
    assert (
        relative_l2(guided_backprop(model, inputs, target), guided_by_hand(model, inputs, target))
        < 1e-12
    )


@pytest.mark.parametrize("method", [guided_backprop, grad_cam])
def test_relus_in_place_or_used_twice_change_nothing(method, pictures):
    expected = method(with_relus(nn.ReLU(), nn.ReLU()), pictures, CLASSES)
    assert expected.any()
    shared, in_place = nn.ReLU(), nn.ReLU(inplace=True)
    for relus in (
        (nn.ReLU(inplace=True), nn.ReLU(inplace=True)),
        (shared, shared),
        (in_place, in_place),
    ):
        assert relative_l2(method(with_relus(*relus), pictures, CLASSES), expected) < 1e-12


RELUS = {
    "nn.ReLU6": nn.ReLU6(),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu6": F.relu6,
    "torch.relu": torch.relu,
    "Tensor.relu": lambda x: x.relu(),
    "relu_, what it returns left out": lambda x: (x.relu_(), x)[1],
    "relu_ of a view": lambda x: x.flatten(1).relu_().view(x.shape),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clamp_": lambda x: x.clamp_(0, 50),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 50.0),
    "recomputed on the way back": lambda x: checkpoint(F.relu, x, use_reentrant=False),
}


def by_captum(model, pixels, target):
    return GuidedBackprop(model).attribute(pixels.clone().requires_grad_(), target=target).detach()


@pytest.mark.parametrize("name", RELUS)
def test_every_relu_is_reached_whoever_calls_it(name, pictures, snapshot):
    expected = by_captum(with_relus(nn.ReLU(), nn.ReLU()), pictures, CLASSES)
    mixed = with_relus(nn.ReLU(), RELUS[name]), with_relus(RELUS[name], RELUS[name])
    for model in mixed:
        before = snapshot(model)
        assert relative_l2(guided_backprop(model, pictures, CLASSES), expected) < 1e-12
        assert snapshot(model) == before


def test_relu6_drops_what_lies_above_6():
    # f = −r(x₁) + r(x₂) + r(x₃) + r(x₄), r = ReLU6, at (1, 1, −1, 7).
    model = nn.Sequential(nn.ReLU6(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0, 1, 1, 1]]))
    with noisy_points():
        found = guided_backprop(model, torch.tensor([[1.0, 1, -1, 7]]), 0)
    assert found.tolist() == [[0, 1, 0, 0]]


def test_the_relu_inside_a_transformer_layer():
    # The layer's own code calls F.relu; here it is written out, by modules.
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True).double().eval()

    class WrittenOut(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.relu = layer, nn.ReLU()

        def forward(self, x):
            x = layer.norm1(x + layer.self_attn(x, x, x, need_weights=False)[0])
            return layer.norm2(x + layer.linear2(self.relu(layer.linear1(x)))).mean(1)

    class Tokens(nn.Sequential):
        def forward(self, x):
            return super().forward(x).mean(1)

    x, target = torch.rand(2, 5, 8).double(), torch.tensor([1, 6])
    found = guided_backprop(Tokens(layer), x, target)
    assert relative_l2(found, by_captum(WrittenOut(), x, target)) < 1e-12
    assert relative_l2(found, saliency(Tokens(layer), x, target)) > 0.01


@torch.jit.script
def scripted_relu(x):
    return torch.relu(x)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


UNRULED = {
    "SiLU": nn.SiLU(),
    "GELU": nn.GELU(),
    "Hardswish": nn.Hardswish(),
    "LeakyReLU": nn.LeakyReLU(),
    "PReLU": nn.PReLU(),
    "RReLU": nn.RReLU(),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "CELU": nn.CELU(),
    "Mish": nn.Mish(),
    "Softplus": nn.Softplus(),
    "LogSigmoid": nn.LogSigmoid(),
    "Threshold": nn.Threshold(0.1, 0),
    "x · g(x)": lambda x: x * torch.sigmoid(x),
    "x · g(x): a hardswish": lambda x: x * F.relu6(x + 3) / 6,
    "x · g(x): a GELU": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x**3))),
    "maximum": lambda x: torch.maximum(x, torch.zeros((), dtype=x.dtype)),
    "Relu": scripted_relu,
    "StraightThrough": StraightThrough.apply,
    "CheckpointFunction": lambda x: checkpoint(F.relu, x, use_reentrant=True),
}


@pytest.mark.parametrize("name", UNRULED)
@pytest.mark.parametrize("beside_a_relu", [True, False])
def test_a_rectifier_without_a_rule_is_an_error_that_names_it(name, beside_a_relu, pictures):
    other = UNRULED[name]
    model = with_relus(nn.ReLU() if beside_a_relu else other, other)
    named = {"SELU": "Elu"}.get(name, name.split(":")[0])
    where = "" if not isinstance(other, nn.Module) else " in (first|second)"
    with pytest.raises(
        ValueError, match=f"(?i)rule for ReLU alone.* also .*{re.escape(named)}.*{where}"
    ):
        guided_backprop(model, pictures, CLASSES)


@pytest.mark.parametrize("other", [nn.Tanh(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Identity()])
def test_what_is_no_rectifier_keeps_its_gradient_but_alone_is_an_error(other, pictures):
    model = with_relus(nn.ReLU(), other)
    assert (
        relative_l2(guided_backprop(model, pictures, CLASSES), by_captum(model, pictures, CLASSES))
        < 1e-12
    )
    with pytest.raises(ValueError, match="none between input and logits"):
        guided_backprop(with_relus(other, other), pictures, CLASSES)


def test_a_rectifier_beside_the_logits_does_not_count(pictures):
    class TwoHeads(Branches):
        def forward(self, pixels):
            self.mask = F.silu(self.bottom(pixels))
            return super().forward(pixels)

    torch.manual_seed(5)
    model = TwoHeads().double().eval()
    expected = guided_backprop(with_relus(nn.ReLU(), nn.ReLU()), pictures, CLASSES)
    assert guided_backprop(model, pictures, CLASSES).equal(expected)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("regnet_y_400mf", None),  # ReLU, and a sigmoid in the gates
        ("mobilenet_v2", None),  # ReLU6
        ("shufflenet_v2_x0_5", None),
        ("mobilenet_v3_small", r"Hardswish in features\.0\.2, .*\(19 modules\)"),
        ("efficientnet_b0", r"Silu in features\.0\.2, .*\(49 modules\)"),
    ],
)
def test_guided_backprop_of_torchvisions_networks(name, refused):
    model, pixels = models.get_model(name, weights=None).eval(), torch.rand(1, 3, 64, 64)
    if refused:
        with pytest.raises(ValueError, match=refused):
            guided_backprop(model, pixels, 0)
    else:
        found = guided_backprop(model, pixels, 0)
        assert relative_l2(found, saliency(model, pixels, 0)) > 0.1


# --- a rule of one's own --------------------------------------------------------------------------


def own_gradient(gradient, activation):
    return gradient * (activation > 0)


@pytest.mark.parametrize("name", sorted(set(RELUS) - {"relu_ of a view"}))
def test_any_rule_at_every_relu_whoever_calls_it(name, pictures, snapshot):
    for model in (with_relus(nn.ReLU(), RELUS[name]), with_relus(RELUS[name], RELUS[name])):
        before = snapshot(model)
        for rule, expected in ((guided_rule, guided_backprop), (own_gradient, saliency)):
            found = backward_with(model, pictures, CLASSES, rule)
            assert relative_l2(found, expected(model, pictures, CLASSES)) < 1e-12
        assert snapshot(model) == before


def test_the_rule_is_given_what_arrives_and_what_went_out_of_each_relu_the_last_first(pictures):
    model, seen = with_relus(nn.ReLU(), nn.ReLU(inplace=True)), []

    def rule(gradient, activation):
        seen.append((gradient, activation))
        return guided_rule(gradient, activation)

    backward_with(model, pictures, CLASSES, rule)
    first = model.bottom(pictures).relu()
    last = model.top(first).relu()
    assert [activation for _, activation in seen] and len(seen) == 2
    assert seen[0][1].equal(last) and seen[1][1].equal(first)
    weights = model.linear.weight.detach()[CLASSES][:, :, None, None] / last[0, 0].numel()
    assert relative_l2(seen[0][0], weights.expand_as(last)) < 1e-12


def test_the_deconvnet_lets_through_a_closed_relu():
    # f = ReLU(x₁) − ReLU(x₂) + ReLU(x₃ − 9) at (1, 1, 1): only the −1 is stopped.
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[0].bias.copy_(torch.tensor([0.0, 0, -9]))
        model[2].weight.copy_(torch.tensor([[1.0, -1, 1]]))
    assert backward_with(model, torch.ones(1, 3), 0, deconvnet_rule).tolist() == [[1, 0, 1]]
    assert backward_with(model, torch.ones(1, 3), 0, lambda g, a: 2 * g).tolist() == [[2, -2, 2]]


def test_no_rule_gets_past_a_full_relu6():
    model = nn.Sequential(nn.ReLU6(), nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0, 1, 1]]))
    points = torch.tensor([[1.0, -1, 7]])
    with noisy_points():
        assert backward_with(model, points, 0, lambda g, a: g).tolist() == [[-1, 1, 0]]
        assert backward_with(model, points, 0, deconvnet_rule).tolist() == [[0, 1, 0]]


def test_what_no_rule_can_be_put_on_and_what_is_no_rule(pictures, snapshot):
    view = with_relus(nn.ReLU(), RELUS["relu_ of a view"])
    with pytest.raises(NotApplicableError, match="in place on a part"):
        backward_with(view, pictures, CLASSES, guided_rule)
    with pytest.raises(NotApplicableError, match="rule for ReLU alone"):
        backward_with(with_relus(nn.ReLU(), nn.SiLU()), pictures, CLASSES, guided_rule)
    model = with_relus(nn.ReLU(), nn.ReLU())
    before = snapshot(model)
    for rule, found in ((lambda g, a: g.sum(), r"found \(\)"), (lambda g, a: None, "NoneType")):
        with pytest.raises(ValueError, match=f"as large as the gradient .*{found}"):
            backward_with(model, pictures, CLASSES, rule)
    assert snapshot(model) == before


# --- Grad-CAM -------------------------------------------------------------------------------------


def test_grad_cam_by_hand(conv_net, pictures):
    found = grad_cam(conv_net, pictures, CLASSES)
    coarse = cam_by_hand(conv_net[:6], conv_net[6:], pictures, CLASSES)
    assert coarse.shape == (3, 1, 2, 2) and coarse.flatten(1).any(1).any()
    assert relative_l2(found, enlarged(coarse, pictures)) < 1e-12


@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_grad_cam_of_another_layer(conv_net, pictures, cut):
    found = grad_cam(conv_net, pictures, CLASSES, layer=conv_net[cut - 1])
    assert (
        relative_l2(
            found,
            enlarged(cam_by_hand(conv_net[:cut], conv_net[cut:], pictures, CLASSES), pictures),
        )
        < 1e-12
    )


def test_the_enlargement_is_bilinear_and_negative_sums_are_dropped():
    # f₀ is the mean of 2 × 2 values a and f₁ = −f₀: the map of class 0 is ReLU(a) / 4, that of
    # class 1 is 0. From the middles of 2 pixels to those of 4: the outer two repeat the ends, the
    # inner two lie a quarter and three quarters of the way.
    convolution = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([1.0, -1]).reshape(2, 1, 1, 1))
    model = nn.Sequential(nn.AvgPool2d(2), convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pixels = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 4, 4)
    assert grad_cam(model, pixels, 0, layer=model[0]).flatten().tolist() == 4 * [
        0,
        0.0625,
        0.1875,
        0.25,
    ]
    assert not grad_cam(model, pixels, 1, layer=model[0]).any()
    # Of the convolution's own output, (a, −a), each class weighs its own channel by ¼: −a / 4 is
    # dropped again.
    assert grad_cam(model, pixels, 0).flatten().tolist() == 4 * [0, 0.0625, 0.1875, 0.25]
    assert not grad_cam(model, pixels, 1).any()


def test_with_global_average_pooling_it_is_the_class_activation_map(pictures):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    ).double()
    activations = model[:4](pictures).detach()  # (3, 6, 4, 4)
    cam = torch.einsum("nc,nchw->nhw", model[6].weight.detach()[CLASSES], activations)[
        :, None
    ].relu()
    assert cam.any()
    assert relative_l2(16 * grad_cam(model, pictures, CLASSES), enlarged(cam, pictures)) < 1e-12


def test_on_the_embedded_network_it_is_the_class_activation_map():
    model, images = load_model("scenes", device="cpu"), load_images("scenes", 2)
    target = images.labels["shape"]
    activations = nn.Sequential(*list(model.network)[:8])(
        (images.pixels - model.mean) / model.std
    ).detach()
    cam = torch.einsum("nc,nchw->nhw", model.network[10].weight.detach()[target], activations)[
        :, None
    ].relu()
    found = grad_cam(model, images.pixels, target) * activations[0, 0].numel()
    assert relative_l2(found, enlarged(cam, images.pixels)) < 1e-5


def pooled_net():
    """Two convolutions, global average pooling, one linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    ).double()


def test_the_mean_of_a_class_activation_map_and_the_bias_are_the_logit(pictures):
    model = pooled_net()
    coarse = cam(model, pictures, CLASSES, enlarge="none")
    logits = model(pictures).gather(1, CLASSES[:, None])[:, 0]
    assert coarse.shape == (3, 1, 4, 4) and (coarse < 0).any()
    assert coarse.mean((1, 2, 3)).allclose(logits - model[6].bias[CLASSES], atol=1e-12)
    assert cam(model, pictures, CLASSES).equal(enlarged(coarse, pictures))


def test_grad_cam_is_its_positive_part_up_to_the_number_of_places(pictures):
    model = pooled_net()
    coarse = cam(model, pictures, CLASSES, enlarge="none")
    found = grad_cam(model, pictures, CLASSES, enlarge="none")
    assert (16 * found).allclose(coarse.relu(), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "layers", "weights"),
    [
        ("scenes", 8, lambda net: net[10].weight),
        ("scenes-2x2", 10, lambda net: net[12].weight),
        ("digits", 11, lambda net: net[13].weight),
    ],
)
def test_a_class_activation_map_by_the_weights_of_the_last_layer(name, layers, weights):
    model = load_model(name, device="cpu")
    images = load_images(model.images, 2)
    target = images.labels[model.part]
    maps = model.network[:layers]((images.pixels - model.mean) / model.std).detach()
    by_hand = torch.einsum("nc,nchw->nhw", weights(model.network).detach()[target], maps)[:, None]
    found = cam(model, images.pixels, target)
    assert relative_l2(found, enlarged(by_hand, images.pixels)) < 1e-5


def test_a_class_activation_map_of_an_imagenet_network():
    model, images = load_model("efficientnet_lite0", device="cpu"), load_images("photos", 2)
    net = model.network
    maps = net.forward_features((images.pixels - model.mean) / model.std).detach()
    target = model(images.pixels).argmax(1)
    by_hand = torch.einsum("nc,nchw->nhw", net.classifier.weight.detach()[target], maps)[:, None]
    assert relative_l2(cam(model, images.pixels), enlarged(by_hand, images.pixels)) < 1e-5


def test_a_squeezenet_has_its_classes_own_map(pictures):
    torch.manual_seed(0)
    model = models.squeezenet1_1(num_classes=5).double().eval()
    pixels = F.interpolate(pictures, 64)
    own = model.classifier[:3](model.features(pixels)).detach()[torch.arange(3), CLASSES][:, None]
    assert cam(model, pixels, CLASSES, enlarge="none").allclose(own)


@pytest.mark.parametrize(
    ("behind", "named"),
    [
        ([nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 5)], "Max"),
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 5)], "LayerNorm"),
        (
            [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5)],
            "Relu",
        ),
        ([nn.Flatten(), nn.Linear(96, 5)], "a weight of its own for each place"),
    ],
)
def test_behind_anything_but_a_mean_and_a_linear_layer_there_is_no_cam(behind, named, pictures):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), *behind)
    with pytest.raises(NotApplicableError, match=named):
        cam(model.double(), pictures, CLASSES)


@pytest.mark.parametrize(
    "how",
    [
        lambda values: values.mean((2, 3)),
        lambda values: values.mean(3).mean(2),
        lambda values: values.sum((2, 3)) / 16,
        lambda values: F.avg_pool2d(values, 4).flatten(1),
    ],
)
def test_however_the_mean_is_taken_the_map_is_the_same(how, pictures):
    net = pooled_net()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = net[:4], net[6]

        def forward(self, pixels):
            return self.head(how(self.features(pixels)))

    assert cam(Net(), pictures, CLASSES).allclose(cam(net, pictures, CLASSES), atol=1e-12)


@pytest.mark.parametrize("method", [grad_cam, cam])
def test_a_map_is_enlarged_by_the_nearest_place_or_not_at_all(method, pictures):
    model = pooled_net()
    coarse = method(model, pictures, CLASSES, enlarge="none")
    nearest = method(model, pictures, CLASSES, enlarge="nearest")
    assert coarse.shape == (3, 1, 4, 4) and nearest.shape == pictures.shape
    assert nearest[:, 0].equal(coarse[:, 0].repeat_interleave(2, 1).repeat_interleave(2, 2))
    with pytest.raises(ValueError, match="bilinear"):
        method(model, pictures, CLASSES, enlarge="cubic")


def test_several_layers_come_from_one_pass(conv_net, pictures, watch):
    layers = ["0", conv_net[2], "5"]
    model = watch(conv_net)
    found = grad_cam(model, pictures, CLASSES, layer=[f"model.{layers[0]}", layers[1], "model.5"])
    assert len(model.calls) == 1
    for name, one in zip(layers, found.values(), strict=True):
        assert one.allclose(grad_cam(conv_net, pictures, CLASSES, layer=name), atol=1e-14)
    with pytest.raises(ValueError, match="empty"):
        grad_cam(conv_net, pictures, CLASSES, layer=[])


def test_feature_maps_are_what_both_methods_weigh(pictures):
    model = pooled_net()
    maps, gradients = feature_maps(model, pictures, CLASSES)
    assert maps.shape == gradients.shape and maps.shape[2:] == (4, 4)
    coarse = (gradients.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    assert coarse.relu().allclose(grad_cam(model, pictures, CLASSES, enlarge="none"))
    weights = [m for m in model.modules() if isinstance(m, nn.Linear)][-1].weight[CLASSES]
    by_class = (weights[:, :, None, None] * maps).sum(1, keepdim=True)
    assert by_class.allclose(cam(model, pictures, CLASSES, enlarge="none"))
    several = feature_maps(model, pictures, CLASSES, layer=[None, "0"])
    assert several[None][0].equal(maps) and list(several) == [None, "0"]
    assert several["0"][1].equal(feature_maps(model, pictures, CLASSES, layer="0")[1])


def test_guided_grad_cam_is_the_product(conv_net, pictures):
    layer = conv_net[2]
    product = guided_backprop(conv_net, pictures, CLASSES) * grad_cam(
        conv_net, pictures, CLASSES, layer=layer
    )
    assert guided_grad_cam(conv_net, pictures, CLASSES, layer=layer).equal(product)


def test_one_layer_under_every_rule():
    # f₀ = mean of ReLU(2 x − ½), f₁ = −f₀; two of four places are alive. By hand: the gradient of
    # f₀ is 2 / 4 there; that of f₁ is negative at the ReLU, which guided backprop drops; the class
    # activation map of f₀ is the ReLU's output, of f₁ minus that.
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)
    )
    with torch.no_grad():
        model[0].weight.fill_(2.0), model[0].bias.fill_(-0.5)
        model[4].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    pixels = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]])
    live = torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]])
    raised = torch.tensor([[[[0.0, 0.0], [0.1, 0.3]]]])
    assert saliency(model, pixels, 0).equal(0.5 * live)
    assert saliency(model, pixels, 1).equal(-0.5 * live)
    assert guided_backprop(model, pixels, 0).equal(0.5 * live)
    assert not guided_backprop(model, pixels, 1).any()
    assert gradient_x_input(model, pixels, 1).allclose(-0.5 * pixels * live)
    assert cam(model, pixels, 0).allclose(raised)
    assert cam(model, pixels, 1).allclose(-raised)
    assert grad_cam(model, pixels, 0).allclose(raised / 4)
    assert not grad_cam(model, pixels, 1).any()
    assert guided_grad_cam(model, pixels, 0).allclose(0.5 * raised / 4)


def test_a_map_is_not_negative_and_the_same_in_every_channel(conv_net, pictures):
    found = grad_cam(conv_net, pictures, CLASSES)
    assert (found >= 0).all() and found.any()
    assert found.equal(found[:, :1].expand_as(found))
    found[0, 0] = 7  # and no view of one channel
    assert not (found[0, 1] == 7).any()


class Headed(nn.Module):
    """Three convolutions under a head that is given their 8 maps."""

    def __init__(self, head):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
        )
        self.linear, self.decoder, self.head = nn.Linear(8, 5), nn.Conv2d(8, 1, 1), head

    def forward(self, pixels):
        return self.head(self, self.features(pixels))


def headed(head):
    torch.manual_seed(2)
    return Headed(head).double().eval(), torch.rand(3, 3, 12, 16).double()


def decodes(net, maps, y=None):
    y = net.linear(maps.mean((2, 3)))
    net.mask = net.decoder(net.features[0](torch.rand(1, 3, 8, 8).double())), net.decoder(maps)
    return y


HEADS = {
    "the mean": lambda net, maps: net.linear(maps.mean((-2, -1))),
    "one axis, then the other": lambda net, maps: net.linear(maps.mean(3).mean(2)),
    "the largest, so": lambda net, maps: net.linear(maps.max(3)[0].max(2).values),
    "flat places": lambda net, maps: net.linear(maps.flatten(2).mean(-1)),
    "tokens": lambda net, maps: net.linear(maps.flatten(2).mT.mean(1)),
    "channels last": lambda net, maps: net.linear(maps.permute(0, 2, 3, 1).mean((1, 2))),
    "einsum": lambda net, maps: net.linear(torch.einsum("nchw->nc", maps)),
    "F.avg_pool2d": lambda net, maps: net.linear(F.avg_pool2d(maps, maps.shape[2:])[:, :, 0, 0]),
    "pooled to several places": lambda net, maps: net.linear(
        F.adaptive_avg_pool2d(maps, 2).flatten(1)[:, ::4]
    ),
    "two poolings": lambda net, maps: net.linear(maps.mean((2, 3)) + maps.amax((2, 3))),
    "probabilities": lambda net, maps: net.linear(maps.mean((2, 3))).softmax(1),
    "a convolution after the pooling": lambda net, maps: F.conv2d(
        maps.mean((2, 3), keepdim=True), net.linear.weight[:, :, None, None]
    ).flatten(1),
    "a decoder beside it": decodes,
}


@pytest.mark.parametrize("name", HEADS)
def test_the_default_is_what_the_head_is_given(name, snapshot):
    model, pixels = headed(HEADS[name])
    before = snapshot(model)
    coarse = cam_by_hand(model.features, lambda maps: model.head(model, maps), pixels, CLASSES)
    assert coarse.any()
    found = grad_cam(model, pixels, CLASSES)
    assert relative_l2(found, enlarged(coarse, pixels)) < 1e-12 and snapshot(model) == before
    alone = grad_cam(model, pixels[:1], CLASSES[:1])
    assert relative_l2(alone, found[:1]) < 1e-12


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (lambda net, maps: net.linear(maps[:, :, 0, 0]), "one place alone"),
        (lambda net, maps: net.linear(maps.flatten(2).mT[:, 0]), "one place alone"),
        (
            lambda net, maps: net.linear(maps.mean((2, 3)) + net.features[3](maps).mean((2, 3))),
            "more than one feature map",
        ),
        (lambda net, maps: net.linear(maps.flatten(2).permute(2, 0, 1).mean(0)), "not plain where"),
    ],
)
def test_where_the_default_is_a_guess_the_error_lists_the_choices(head, why):
    model, pixels = headed(head)
    with pytest.raises(ValueError, match=f"{why}.*layer=.*'features', "):
        grad_cam(model, pixels, CLASSES)
    assert grad_cam(model, pixels, CLASSES, layer="features").shape == pixels.shape


def test_a_layer_by_module_or_name_before_an_in_place_relu_or_run_twice(pictures):
    model, pixels = headed(HEADS["the mean"])
    first, rest = model.features[0], nn.Sequential(nn.ReLU(), *model.features[2:])
    coarse = cam_by_hand(first, lambda maps: model.head(model, rest(maps)), pixels, CLASSES)
    for layer in (first, "features.0"):
        found = grad_cam(model, pixels, CLASSES, layer=layer)
        assert relative_l2(found, enlarged(coarse, pixels)) < 1e-12
    shared = with_relus(relu := nn.ReLU(), relu)  # counts where it runs last
    found = grad_cam(shared, pictures, CLASSES, layer="first")
    assert found.equal(grad_cam(shared, pictures, CLASSES))


class Tuples(nn.Module):
    def __init__(self, *more):
        super().__init__()
        self.more = more

    def forward(self, maps):
        return (maps.sin(), *self.more)


def test_a_layer_that_returns_several_tensors():
    def head(net, maps):
        return net.linear(net.pair(maps)[0].mean((2, 3)))

    model, pixels = headed(head)
    model.pair = Tuples(torch.ones(3, 8))
    coarse = cam_by_hand(
        lambda x: model.features(x).sin(), lambda m: model.linear(m.mean((2, 3))), pixels, CLASSES
    )
    found = grad_cam(model, pixels, CLASSES, layer="pair")
    assert relative_l2(found, enlarged(coarse, pixels)) < 1e-12
    model.pair = Tuples(torch.ones(3, 8, 6, 8))
    with pytest.raises(ValueError, match=r"'pair' returns \(3, 8, 6, 8\), \(3, 8, 6, 8\)"):
        grad_cam(model, pixels, CLASSES, layer="pair")


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("feature.3", ValueError, "unknown layer 'feature.3'; did you mean 'features.3'"),
        (nn.Conv2d(3, 4, 3), ValueError, "no module of this model: Conv2d"),
        (3, TypeError, "module of the model, or its name, found int"),
        ("linear", ValueError, r"'linear' returns \(3, 5\)"),
        ("unused", ValueError, "'unused' does not run"),
        ("decoder", ValueError, "'decoder' does not reach the logit"),
    ],
)
def test_a_layer_that_will_not_do(layer, error, message):
    model, pixels = headed(decodes)
    model.unused = nn.ReLU()
    with pytest.raises(error, match=message):
        grad_cam(model, pixels, CLASSES, layer=layer)


class ChannelsLast(nn.Module):
    """As Swin without its last permutation, or, with flat, one of tokens."""

    def __init__(self, channels, flat=False):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, channels, 4, 4), nn.LayerNorm(channels)
        self.linear, self.flat = nn.Linear(channels, 5), flat

    def features(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        return self.norm(x.flatten(1, 2) if self.flat else x)

    def forward(self, x):
        return self.linear(self.features(x).flatten(1, -2).mean(1))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
def test_channels_last_and_tokens_are_laid_on_their_grid(flat, size):
    model, x = ChannelsLast(12, flat).double().eval(), torch.rand(3, 3, *size).double()

    def head(maps):
        return model.linear(maps.mean((2, 3)))

    def features(x):
        maps = model.features(x)
        return maps.reshape(3, size[0] // 4, size[1] // 4, 12).permute(0, 3, 1, 2)

    expected = enlarged(cam_by_hand(features, head, x, CLASSES), x)
    for layer in (None, "norm"):
        assert relative_l2(grad_cam(model, x, CLASSES, layer=layer), expected) < 1e-12


def test_where_height_width_and_channels_are_one_number_it_is_a_guess():
    with pytest.raises(ValueError, match=r"not plain where .* \(2, 4, 4, 4\)"):
        grad_cam(ChannelsLast(4), torch.rand(2, 3, 16, 16), 0, layer="norm")
    convolutions = nn.Sequential(
        nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    grad_cam(convolutions, torch.rand(2, 3, 16, 16), 0)  # never in doubt without such layers


def test_a_vision_transformer_asks_for_a_layer_and_lays_its_tokens_out():
    settings = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2}
    torch.manual_seed(0)
    model = models.VisionTransformer(**settings, hidden_dim=8, mlp_dim=16, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    model, x = model.double().eval(), torch.rand(3, 3, 32, 32).double()
    with pytest.raises(ValueError, match=r"class token.*'encoder\.layers\.encoder_layer_1"):
        grad_cam(model, x, CLASSES)
    kept = []
    layer = model.encoder.layers[1].ln_1
    hook = layer.register_forward_hook(lambda module, args, output: kept.append(output))
    logit = model(x).gather(1, CLASSES[:, None]).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    tokens, gradient = kept[0][:, 1:].detach(), gradient[:, 1:]  # the class token goes first
    coarse = (tokens * gradient.mean(1, keepdim=True)).sum(2).relu().reshape(3, 1, 4, 4)
    found = grad_cam(model, x, CLASSES, layer="encoder.layers.encoder_layer_1.ln_1")
    assert coarse.any() and relative_l2(found, enlarged(coarse, x)) < 1e-12


def of_torchvision(name):
    torch.manual_seed(0)
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, num_classes=12, **settings).eval()
    for module in model.modules():  # so that maps are not the same everywhere
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0, 0.3)
        if hasattr(module, "layer_scale"):
            module.layer_scale.data.fill_(0.5)
    return model


@pytest.mark.parametrize(
    ("name", "pooling"),  # the pooling module, or + the last layer before a functional one
    [
        ("googlenet", "avgpool"),
        ("squeezenet1_1", "classifier.3"),
        ("shufflenet_v2_x0_5", "+conv5"),
        ("densenet121", "+features"),
        ("mobilenet_v3_small", "avgpool"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("resnet18", "avgpool"),
                ("alexnet", "avgpool"),
                ("vgg11", "avgpool"),
                ("inception_v3", "avgpool"),
                ("mobilenet_v2", "+features"),
                ("mnasnet0_5", "+layers"),
                ("efficientnet_b0", "avgpool"),
                ("regnet_y_400mf", "avgpool"),
                ("convnext_tiny", "avgpool"),
                ("swin_t", "avgpool"),
                ("swin_v2_t", "avgpool"),
                ("maxvit_t", "classifier.0"),
            )
        ),
    ],
)
def test_grad_cam_of_torchvisions_networks(name, pooling):
    model, side = of_torchvision(name), {"maxvit_t": 224, "inception_v3": 128}.get(name, 96)
    x, kept, mapped = torch.rand(1, 3, side, side), [], 0
    module = model.get_submodule(pooling.lstrip("+"))
    if pooling.startswith("+"):
        # DenseNet's ReLU comes after the module, in place: the tensor is the rectified one then.
        hook = module.register_forward_hook(lambda module, args, output: kept.append(output))
    else:
        hook = module.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    logits = model(x)
    hook.remove()
    for target in range(12):
        (gradient,) = torch.autograd.grad(logits[0, target], kept[0], retain_graph=True)
        weights = gradient.mean((2, 3), keepdim=True)
        expected = enlarged((weights * kept[0]).sum(1, keepdim=True).relu().detach(), x)
        found = grad_cam(model, x, target)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        mapped += bool(expected.any())
        if mapped == 3:
            return
    assert mapped


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_single_place_is_no_feature_map(which, conv_net, pictures):
    torch.manual_seed(2)
    heads = (
        [nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8, 5)],
        [nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(16, 5)],
        [nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 5)],
    )
    features, head = conv_net[:6], nn.Sequential(*heads[which]).double().eval()
    coarse = cam_by_hand(features, head, pictures, CLASSES)
    model = nn.Sequential(*features, *head)
    assert relative_l2(grad_cam(model, pictures, CLASSES), enlarged(coarse, pictures)) < 1e-12


@pytest.mark.parametrize("normalised", [False, True])
def test_the_pixels_are_no_feature_map(normalised):
    layers = [nn.BatchNorm2d(3)] * normalised + [nn.Flatten(), nn.Linear(48, 4), nn.ReLU()]
    with pytest.raises(ValueError, match="Grad-CAM needs a convolutional one"):
        grad_cam(nn.Sequential(*layers), torch.rand(2, 3, 4, 4), 0)


def test_without_pictures_there_is_no_grad_cam(table_net, sequence_net):
    for model, shape in ((table_net, (2, 6)), (sequence_net, (2, 2, 12))):
        with pytest.raises(ValueError, match="Grad-CAM needs a convolutional network"):
            grad_cam(model, torch.rand(shape).double(), 0)


# --- models that cannot be looked into ------------------------------------------------------------

CLOSED = {
    "compiled": lambda model, pixels: torch.compile(model, backend="eager"),
    "compiled in place": lambda model, pixels: (model.compile(backend="eager"), model)[1],
    "scripted": lambda model, pixels: torch.jit.script(model),
    "traced": lambda model, pixels: torch.jit.trace(model, pixels),
    "frozen": lambda model, pixels: torch.jit.freeze(torch.jit.script(model)),
}


@pytest.mark.parametrize("how", CLOSED)
@pytest.mark.parametrize("inside", [False, True])
def test_what_cannot_be_looked_into_is_refused_but_has_gradients(how, inside, conv_net, pictures):
    gradient = saliency(conv_net, pictures, CLASSES)
    path = integrated_gradients(conv_net, pictures, CLASSES, n_steps=3)
    closed = CLOSED[how](conv_net, pictures)
    model = nn.Sequential(nn.Identity(), closed) if inside else closed
    for method in (guided_backprop, grad_cam):
        where = "'1'" if inside else "the model"
        with pytest.raises(ValueError, match=f"{where} is (compiled|scripted or traced)"):
            method(model, pictures, CLASSES)
    assert relative_l2(saliency(model, pictures, CLASSES), gradient) < 1e-10
    found = integrated_gradients(model, pictures, CLASSES, n_steps=3)
    assert relative_l2(found, path) < 1e-10


@pytest.mark.parametrize("method", [guided_backprop, grad_cam])
def test_a_map_that_is_not_finite_is_an_error_and_half_precision_is_not(method, conv_net, pictures):
    expected = method(conv_net, pictures, CLASSES)
    found = method(conv_net.float(), pictures, CLASSES)  # float64 pixels, a float32 network
    assert found.dtype == pictures.dtype and relative_l2(found, expected) < 1e-4
    half = method(conv_net.bfloat16(), pictures.bfloat16(), CLASSES)
    assert half.dtype == torch.bfloat16 and relative_l2(half.double(), expected) < 0.2

    class Root(nn.Sequential):  # √0 has no gradient
        def forward(self, pixels):
            return (0 * super().forward(pixels)).sqrt()

    model = Root(*conv_net.double())
    with pytest.raises(ValueError, match="infinite at input 0"):
        method(model, pictures, conv_net(pictures).argmin(1))


# --- every method ---------------------------------------------------------------------------------


@every_method
def test_no_target_means_the_predicted_class_and_an_int_means_it_for_all(
    method, conv_net, pictures
):
    predicted = conv_net(pictures).argmax(1)
    assert method(conv_net, pictures).equal(method(conv_net, pictures, predicted))
    assert method(conv_net, pictures, 1).equal(method(conv_net, pictures, torch.tensor([1, 1, 1])))
    assert method(conv_net, pictures, torch.tensor([1, 1, 1], dtype=torch.int32)).equal(
        method(conv_net, pictures, np.int64(1))
    )
    assert not method(conv_net, pictures, 1).allclose(method(conv_net, pictures, 2))


@every_method
def test_company_does_not_matter(method, conv_net, pictures):
    together = method(conv_net, pictures, CLASSES)
    for i in range(3):
        assert method(conv_net, pictures[[i]], CLASSES[[i]]).allclose(together[[i]])


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_has_the_shape_and_dtype_of_the_pixels_and_no_graph(
    method, dtype, conv_net, pictures
):
    pixels = pictures.to(dtype).requires_grad_()
    found = method(conv_net.to(dtype), pixels, CLASSES)
    assert found.shape == pixels.shape and found.dtype == dtype and not found.requires_grad
    assert pixels.grad is None and pixels.detach().equal(pictures.to(dtype))


@every_method
def test_the_model_is_left_as_it_was_found_and_evaluated_in_eval_mode(
    method, mixed_mode_net, conv_net, snapshot, pictures
):
    before = snapshot(mixed_mode_net)
    for target in (None, CLASSES):
        # the same weights
        assert method(mixed_mode_net, pictures, target).equal(method(conv_net, pictures, target))
    assert snapshot(mixed_mode_net) == before


@every_method
@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_the_model_is_left_as_it_was_found_when_it_fails_midway(
    method, fail_at, mixed_mode_net, watch, snapshot, pictures
):
    watched = watch(mixed_mode_net, fail_at=fail_at)
    before = snapshot(watched)
    with pytest.raises(RuntimeError, match="failed midway"):
        for _ in range(3):  # some ask the model once only
            method(watched, pictures, CLASSES)
    assert snapshot(watched) == before


@every_method
def test_a_frozen_model_is_explained(method, conv_net, pictures):
    expected = method(conv_net, pictures, CLASSES)
    assert method(conv_net.requires_grad_(False), pictures, CLASSES).equal(expected)


@every_method
def test_global_random_state_is_untouched_and_nothing_is_warned_of(
    method, conv_net, pictures, recwarn
):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    method(conv_net, pictures, None)
    assert (
        torch.equal(torch.get_rng_state(), before[0])
        and (np.random.get_state()[1] == before[1]).all()
    )
    assert random.getstate() == before[2]
    assert not [warning for warning in recwarn if "backward hooks" in str(warning.message)]


@pytest.mark.parametrize(
    ("method", "context"),
    [(method, context) for method in METHODS for context in (torch.no_grad, torch.inference_mode)],
)
def test_it_works_without_gradients_around_it(method, context, conv_net, pictures):
    expected = method(conv_net, pictures, CLASSES)
    with context():
        assert method(conv_net, pictures.clone(), CLASSES.clone()).equal(expected)


@every_method
def test_input_that_makes_no_sense_is_refused(method, tiny_classifier, pictures):
    for pixels, target, error, message in (
        (pictures, 5, ValueError, "5 is out of range"),
        (pictures, torch.tensor([0, 1]), ValueError, "one class for each"),
        (pictures, 0.5, TypeError, "int"),
        (pictures / 0, 0, ValueError, "NaN"),
        (2 * pictures, 0, ValueError, r"\[0, 1\]"),
        ((255 * pictures).byte(), 0, TypeError, "floating point"),
    ):
        with pytest.raises(error, match=message):
            method(tiny_classifier, pixels, target)


@every_method
def test_noisy_points_may_leave_the_range(method, tiny_classifier, pictures):
    with noisy_points():
        found = method(tiny_classifier, 3 * pictures - 1, CLASSES)
    assert torch.isfinite(found).all() and found.any()


@every_method
def test_the_normalisation_inside_is_part_of_the_gradient(method, tiny_classifier, pictures):
    # The network sees (x − 0.5) / 0.25, so what reaches x is 4 times what reaches the network;
    # Grad-CAM never gets there.
    inside = (pictures - 0.5) / 0.25
    raw = method(tiny_classifier.network, inside, CLASSES)
    expected = {
        gradient_x_input: raw / inside * 4 * pictures,
        guided_backprop: 4 * raw,
        grad_cam: raw,
        guided_grad_cam: 4 * raw,
    }[method]
    assert relative_l2(method(tiny_classifier, pictures, CLASSES), expected) < 1e-10


@pytest.mark.parametrize("method", [guided_backprop, grad_cam, cam, guided_grad_cam])
def test_what_looks_into_layers_needs_a_module(method, conv_net, pictures):
    with pytest.raises(TypeError, match="found function"):
        method(lambda pixels: conv_net(pixels), pictures, CLASSES)


def test_the_last_spatial_layer_is_the_module_that_returns_the_default_map(conv_net, pictures):
    found = last_spatial_layer(conv_net, pictures)
    assert grad_cam(conv_net, pictures, 1).equal(grad_cam(conv_net, pictures, 1, layer=found))


def test_a_map_that_a_function_makes_has_no_layer(pictures):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3).double(), nn.Linear(4, 3).double()

        def forward(self, x):
            return self.head(self.conv(x).relu().mean((2, 3)))

    with pytest.raises(ValueError, match="a function does"):
        last_spatial_layer(Functional(), pictures)
