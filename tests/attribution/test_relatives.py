"""The gradient's relatives, against their definitions written out, and what they promise like every
method here."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.relatives import (
    grad_cam,
    gradient_x_input,
    guided_backprop,
    last_spatial_layer,
)
from helpers.benchmark.images import load_images
from helpers.benchmark.models import load_model
from helpers.evaluate import noisy_points

METHODS = [gradient_x_input, guided_backprop, grad_cam]
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


# --- gradient × input
# -------------------------------------------------------------------------------------------------


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


# --- guided backprop
# --------------------------------------------------------------------------------------------------


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
    assert (
        relative_l2(found, saliency(conv_net, pictures, CLASSES)) > 0.01
    )  # it is not the gradient
    assert found.min() < 0 < found.max()


def test_guided_backprop_of_signals_and_tables(network_and_inputs):
    model, inputs = network_and_inputs
    target = torch.tensor([2, 0, 1])
    assert (
        relative_l2(guided_backprop(model, inputs, target), guided_by_hand(model, inputs, target))
        < 1e-12
    )


def test_without_a_relu_it_is_the_gradient(pictures):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)).double()
    assert (
        relative_l2(guided_backprop(model, pictures, CLASSES), saliency(model, pictures, CLASSES))
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


def test_a_relu_that_is_no_module_is_not_seen(pictures):
    # As the docstring says: nn.ReLU modules. Here is what one gets without.
    class Functional(Branches):
        def forward(self, pixels):
            return self.linear(F.relu(self.top(F.relu(self.bottom(pixels)))).mean((2, 3)))

    model = Functional().double()
    assert (
        relative_l2(guided_backprop(model, pictures, CLASSES), saliency(model, pictures, CLASSES))
        < 1e-12
    )


# --- Grad-CAM
# ---------------------------------------------------------------------------------------------------------


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
    assert last_spatial_layer(model, images.pixels) is model.network[7][2]  # the last block's ReLU
    activations = nn.Sequential(*list(model.network)[:8])(
        (images.pixels - model.mean) / model.std
    ).detach()
    cam = torch.einsum("nc,nchw->nhw", model.network[10].weight.detach()[target], activations)[
        :, None
    ].relu()
    found = grad_cam(model, images.pixels, target) * activations[0, 0].numel()
    assert relative_l2(found, enlarged(cam, images.pixels)) < 1e-5


def test_a_map_is_not_negative_and_the_same_in_every_channel(conv_net, pictures):
    found = grad_cam(conv_net, pictures, CLASSES)
    assert (found >= 0).all() and found.any()
    assert found.equal(found[:, :1].expand_as(found))
    found[0, 0] = 7  # and no view of one channel
    assert not (found[0, 1] == 7).any()


class TestLastSpatialLayer:
    def test_the_order_is_that_of_evaluation(self, pictures):
        model = Branches().double()
        assert last_spatial_layer(model, pictures) is model.second

    def test_a_single_place_is_not_spatial(self, conv_net, pictures):
        assert last_spatial_layer(conv_net, pictures) is conv_net[5]  # (N, 8, 2, 2)
        pooled = nn.Sequential(
            *conv_net[:6],
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(8, 8, 1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
        assert last_spatial_layer(pooled.double(), pictures) is conv_net[5]
        row = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((1, 6)), nn.Flatten(), nn.Linear(24, 5)
        ).double()
        assert last_spatial_layer(row, pictures) is row[0]

    @every_method
    def test_a_model_without_one(self, method, table_net, sequence_net):
        for model, inputs in (
            (table_net, torch.rand(2, 6).double()),
            (sequence_net, torch.rand(2, 2, 12).double()),
        ):
            if method is grad_cam:
                with pytest.raises(ValueError, match="Grad-CAM needs a convolutional one"):
                    method(model, inputs, 0)
            else:
                assert method(model, inputs, 0).shape == inputs.shape

    def test_no_hook_stays(self, conv_net, pictures, snapshot):
        before = snapshot(conv_net)
        last_spatial_layer(conv_net, pictures)
        with pytest.raises(RuntimeError):
            last_spatial_layer(conv_net, pictures[:, :2])  # a channel is missing: it fails midway
        assert snapshot(conv_net) == before


# --- every method
# -----------------------------------------------------------------------------------------------------


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
        assert method(mixed_mode_net, pictures, target).equal(
            method(conv_net, pictures, target)
        )  # the same weights
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
    }[method]
    assert relative_l2(method(tiny_classifier, pictures, CLASSES), expected) < 1e-10


@pytest.mark.parametrize("method", [guided_backprop, grad_cam])
def test_what_looks_into_layers_needs_a_module(method, conv_net, pictures):
    with pytest.raises(TypeError, match="found function"):
        method(lambda pixels: conv_net(pixels), pictures, CLASSES)
