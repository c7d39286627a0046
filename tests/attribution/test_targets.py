"""What is explained: classes in all their forms, callables on outputs of every kind, a model up to
a layer, and further arguments. The right values are worked out by hand, by autograd, by captum."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import layer_output
from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import (
    completeness_gap,
    converged_integrated_gradients,
    integrated_gradients,
    make_baseline,
    path_gradient,
)
from helpers.attribution.relatives import grad_cam, gradient_x_input, guided_backprop
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import (
    Score,
    explained,
    log_probability,
    logit,
    margin,
    probability,
    region,
    resolve_target,
)
from helpers.evaluate import evaluation
from helpers.measures.controls import random_network
from helpers.measures.faithfulness import (
    deletion,
    hiding_curves,
    infidelity,
    insertion,
    max_sensitivity,
    retained_accuracy,
)
from tests.by_hand import randn

METHODS = {
    "saliency": saliency,
    "smoothgrad": lambda *a, **k: smoothgrad(*a, n_samples=3, **k),
    "smoothgrad_rows": lambda *a, **k: smoothgrad(*a, n_samples=3, batch_size=2, **k),
    "smoothgrad_of_ig": lambda *a, **k: smoothgrad(
        *a, n_samples=2, attribution=lambda *b, **m: integrated_gradients(*b, n_steps=2, **m), **k
    ),
    "integrated_gradients": lambda *a, **k: integrated_gradients(*a, n_steps=3, **k),
    "adversarial": lambda *a, **k: integrated_gradients(*a, n_steps=3, baseline="adversarial", **k),
    "expected": lambda m, x, t, **k: integrated_gradients(
        m, x, t, n_steps=3, baseline="samples", references=torch.zeros_like(x[:2]), **k
    ),
    "path_gradient": lambda *a, **k: path_gradient(*a, n_steps=3, **k),
    "converged": lambda *a, **k: converged_integrated_gradients(*a, tolerance=0.5, **k).attribution,
    "gradient_x_input": gradient_x_input,
    "guided_backprop": guided_backprop,
    "grad_cam": grad_cam,
    "random_network": random_network(),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def by_hand(model, x, score, *extra):
    """∂ Σ score(model(x)) / ∂ x, by autograd; as good as each row's own, where rows are apart."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(score(model(x, *extra)).sum(), x)[0]


def close(a, b, **tolerance):
    torch.testing.assert_close(a, b, **({"rtol": 1e-9, "atol": 1e-12} | tolerance))


# --- classes, in all their forms


@every_method
@pytest.mark.parametrize(
    "of",
    [
        lambda classes: F.one_hot(classes, 5),
        lambda classes: F.one_hot(classes, 5).double(),
        lambda classes: F.one_hot(classes, 5).bool(),
        logit,
        lambda classes: logit(F.one_hot(classes, 5)),
    ],
    ids=["one-hot", "float one-hot", "bool one-hot", "logit", "logit of one-hot"],
)
def test_a_class_may_be_said_in_many_ways(method, of, conv_net, pictures):
    classes = torch.tensor([2, 0, 4])
    assert torch.equal(method(conv_net, pictures, of(classes)), method(conv_net, pictures, classes))


def test_a_class_may_be_called_by_its_name(tiny_classifier, pictures):
    expected = saliency(tiny_classifier, pictures, 3)
    for target in ("d", logit("d")):
        assert torch.equal(saliency(tiny_classifier, pictures, target), expected)
    with pytest.raises(ValueError, match=r"unknown class 'dd'; did you mean 'd'\?"):
        saliency(tiny_classifier, pictures, "dd")
    tiny_classifier.classes = ("crane", "b", "crane", "d", "e")
    with pytest.raises(ValueError, match="several classes are called 'crane': give one of 0, 2"):
        saliency(tiny_classifier, pictures, "crane")


def test_a_class_costs_no_more_than_it_did_and_a_callable_the_same(conv_net, pictures, watch):
    for target in (1, torch.tensor([0, 1, 2]), lambda logits: logits[:, 1], probability(1)):
        watched = watch(conv_net)
        smoothgrad(watched, pictures, target, n_samples=4)
        assert len(watched.rows) == 12
    watched = watch(conv_net)
    smoothgrad(watched, pictures, probability(), n_samples=4)  # one look fixes the class
    assert len(watched.rows) == 15


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.eye(4)[:3], ValueError, r"found \(3, 4\), and the model returns 5 logits"),
        (torch.eye(5)[:2], ValueError, r"for each of the 3 inputs, \(3, K\), found \(2, 5\)"),
        (torch.full((3, 5), 0.2), ValueError, "a soft label names no class; give a callable"),
        (torch.zeros(3, 5).long(), ValueError, "other rows than a single 1 and zeros"),
        (torch.eye(5)[:3] * 1.0j, TypeError, r"found \(3, 5\) of torch\.complex64"),
        (np.array([0, 1, 2]), TypeError, r"torch\.from_numpy\(target\)"),
        ("cat", TypeError, "found 'cat': only a Classifier knows its classes by name"),
        (torch.zeros(3, 5, 1).long(), ValueError, r"found \(3, 5, 1\); or be one-hot, \(3, K\)"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda target: target, probability], ids=["bare", "factory"])
def test_an_unfit_class_is_an_error(bad, error, message, wrap, conv_net, pictures):
    with pytest.raises(error, match=message):
        saliency(conv_net, pictures, wrap(bad))


# --- callables


@every_method
def test_a_callable_is_explained_by_every_method(method, conv_net, pictures):
    # f = 3 f₁ − f₂: every map is linear in what is explained, but for those that rectify
    found = method(conv_net, pictures, lambda logits: 3 * logits[:, 1])
    assert found.shape == pictures.shape
    if method not in (METHODS["grad_cam"], METHODS["adversarial"]):
        close(found, 3 * method(conv_net, pictures, 1))


def test_guided_backprop_leaves_the_rule_to_the_model_and_the_callable_its_own(conv_net, pictures):
    # softplus has no rule, and its slope is a factor ≥ 0
    slope = conv_net(pictures)[:, 1].sigmoid()[:, None, None, None]
    with pytest.raises(ValueError, match="Softplus"):
        guided_backprop(conv_net, pictures, lambda logits: F.softplus(logits[:, 1]))
    found = guided_backprop(conv_net, pictures, lambda logits: logits[:, 1].exp().log1p())
    close(found, slope * guided_backprop(conv_net, pictures, 1))
    kept = guided_backprop(conv_net, pictures, lambda logits: -logits[:, 1].clamp(min=-100))
    close(kept, guided_backprop(conv_net, pictures, lambda logits: -logits[:, 1]))


@pytest.mark.parametrize("n", [1, 4])
def test_the_factories_in_closed_form(n):
    # The model is the identity on K logits, so the gradient is the score's own.
    z = randn(n, 4)
    classes = z.argmax(1)
    one = F.one_hot(classes, 4).double()
    p = z.exp() / z.exp().sum(1, keepdim=True)
    own = (p * one).sum(1, keepdim=True)
    runner_up = F.one_hot((z - 1e9 * one).argmax(1), 4).double()
    for target, value, gradient in (
        (logit(), (z * one).sum(1), one),
        (probability(), own[:, 0], own * (one - p)),
        (log_probability(), own[:, 0].log(), one - p),
        (margin(), (z * (one - runner_up)).sum(1), one - runner_up),
    ):
        close(saliency(nn.Identity(), z, target), gradient)
        close(explained(nn.Identity(), z, resolve_target(nn.Identity(), z, target)), value)
        close(target(z), value)  # a factory's target may be called by hand


def test_of_a_network_with_one_logit_the_probability_is_its_sigmoid():
    z = randn(5, 1)
    s = z.sigmoid()
    close(saliency(nn.Identity(), z, probability()), s * (1 - s))
    close(saliency(nn.Identity(), z, log_probability(0)), 1 - s)
    close(saliency(nn.Identity(), z, margin()), torch.ones_like(z))
    with pytest.raises(ValueError, match="class 1 is out of range: the model has 1 classes"):
        saliency(nn.Identity(), z, probability(1))


def test_a_log_probability_does_not_overflow_where_a_probability_is_0():
    z = torch.tensor([[0.0, 2000.0]])
    assert saliency(nn.Identity(), z, log_probability(0)).tolist() == [[1.0, -1.0]]
    assert saliency(nn.Identity(), z, probability(0)).tolist() == [[0.0, 0.0]]


def test_the_probability_of_probabilities_is_refused():
    model = nn.Softmax(1)
    for target in (probability(), log_probability()):
        with pytest.raises(ValueError, match=r"probabilities already.*layer_output"):
            saliency(model, randn(2, 3), target)


def test_the_mean_of_a_region_is_its_share_of_the_gradient():
    scores, mask = randn(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, 1:3, 2:4], mask[1, 0, 0] = True, True
    expected = torch.zeros_like(scores)
    expected[0, 1][mask[0]], expected[1, 2][mask[1]] = 1 / 4, 1.0
    target = region(torch.tensor([1, 2]), mask)
    for model in (nn.Identity(), lambda x: {"out": x}, lambda x: SimpleNamespace(logits=x)):
        close(saliency(model, scores, target), expected)
    close(saliency(nn.Identity(), scores, region(torch.tensor([1, 2]), mask[:, None])), expected)
    expected = torch.zeros_like(scores)
    expected[:, 1, mask[0]] = 1 / 4
    close(
        smoothgrad(nn.Identity(), scores, region(1, mask[0]), n_samples=5, batch_size=3), expected
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: region(None, torch.ones(4, 5).bool()), TypeError, "region needs a class"),
        (lambda: region(1, torch.ones(4, 5)), TypeError, r"a bool tensor, found torch\.float32"),
        (lambda: region(1, [[True]]), TypeError, "a bool tensor, found list"),
        (lambda: region(1, torch.zeros(4, 5).bool()), ValueError, "of input 0 holds no pixel"),
        (lambda: region(1, torch.ones(5).bool()), ValueError, r"found \(5,\)"),
        (
            lambda: region(1, torch.ones(5, 4).bool()),
            ValueError,
            r"\(2, 5, 4\), found \(2, 3, 4, 5\)",
        ),
        (lambda: region(3, torch.ones(4, 5).bool()), ValueError, "class 3 is out of range"),
        (lambda: region(1, torch.ones(3, 4, 5).bool()), ValueError, "tensors of 2 rows"),
        (lambda: probability(lambda logits: logits[:, 0]), TypeError, "probability is of a class"),
    ],
)
def test_a_region_that_does_not_fit_is_an_error(make, error, message):
    with pytest.raises(error, match=message):
        saliency(nn.Identity(), randn(2, 3, 4, 5), make())


@pytest.mark.parametrize(
    ("bad", "error", "found"),
    [
        (lambda logits: logits, ValueError, r"shape \(3, 5\)"),
        (lambda logits: logits[:, :1], ValueError, r"shape \(3, 1\)"),
        (lambda logits: logits.sum(), ValueError, r"shape \(\)"),
        (lambda logits: logits[0], ValueError, r"shape \(5,\)"),
        (lambda logits: logits.argmax(1), TypeError, r"torch\.int64, which has no gradient"),
        (lambda logits: [1.0, 2.0, 3.0], TypeError, "list"),
        (lambda logits: None, TypeError, "NoneType"),
        (lambda logits: logits[:, 0].detach(), ValueError, None),
        (lambda logits: torch.ones(3), ValueError, None),
    ],
)
def test_a_callable_that_gives_no_number_a_row_is_an_error(bad, error, found, conv_net, pictures):
    message = (
        "do not depend on the input through autograd"
        if found is None
        else rf"one number a row .* shape \(3,\), found {found}"
    )
    for method in (saliency, guided_backprop, grad_cam):
        with pytest.raises(error, match=message):
            method(conv_net, pictures, bad)
    for method in (smoothgrad, integrated_gradients):
        with pytest.raises(error, match=r"one number a row|do not depend"):
            method(conv_net, pictures, bad)


def test_a_callable_that_gives_nan_is_an_error_that_names_the_input(conv_net, pictures):
    with pytest.raises(ValueError, match=r"NaN or infinite at input 0"):
        saliency(conv_net, pictures, lambda logits: logits[:, 0] / 0)
    target = resolve_target(conv_net, pictures, lambda logits: logits[:, 0].log() * torch.nan)
    with pytest.raises(ValueError, match="of 3 of 3 inputs is NaN or infinite, of number 0"):
        explained(conv_net, pictures, target)


@every_method
def test_what_a_score_holds_of_each_input_goes_along_with_it(method, conv_net, pictures):
    wanted = randn(3, 5)
    score = Score(lambda logits, wanted: (logits * wanted).sum(1), wanted)
    together = method(conv_net, pictures, score)
    for i in range(3):
        alone = method(conv_net, pictures[i : i + 1], lambda logits, i=i: logits @ wanted[i])
        close(together[i], alone[0], rtol=1e-7, atol=1e-10)
    with pytest.raises(ValueError, match="tensors of 3 rows, as many as there are inputs"):
        method(conv_net, pictures, Score(lambda logits, w: logits @ w, torch.ones(2)))


def test_the_gap_of_a_callable_is_that_of_its_own_rise(conv_net, pictures):
    for target in (probability(), margin(1), lambda logits: logits.square().sum(1)):
        maps = integrated_gradients(conv_net, pictures, target, n_steps=400)
        gap = completeness_gap(conv_net, pictures, "black", maps, target)
        assert gap.abs().max() < 1e-2
        score = resolve_target(conv_net, pictures, target)
        rise = score(conv_net(pictures)) - score(conv_net(torch.zeros_like(pictures)))
        close(maps.flatten(1).sum(1) - rise, gap)
        references = torch.zeros_like(pictures[:2])  # twice the same: the same integral
        close(completeness_gap(conv_net, pictures, references, maps, target), gap)


def test_the_adversarial_baseline_lowers_a_callable_as_it_lowers_a_margin(conv_net, pictures):
    lowered = make_baseline("adversarial", conv_net, pictures, margin(1))
    assert torch.equal(lowered, make_baseline("adversarial", conv_net, pictures, 1))
    other = make_baseline("adversarial", conv_net, pictures, lambda logits: -logits[:, 1])
    assert (conv_net(other)[:, 1] > conv_net(pictures)[:, 1]).all()


# --- outputs that no one here wrote


def test_a_regression_is_explained_by_its_value():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    x = randn(4, 6)
    first, _, last = model
    h = first(x).tanh()
    expected = (last.weight * (1 - h**2)) @ first.weight  # Σⱼ vⱼ (1 − hⱼ²) wⱼᵢ
    close(saliency(model, x, lambda value: value[:, 0]), expected.detach())
    close(saliency(lambda x: model(x)[:, 0], x, lambda value: value), expected.detach())


def test_an_rnn_whose_batch_is_its_second_dimension():
    model = nn.LSTM(4, 3).double()
    x = randn(2, 5, 4)  # (N, T, F)
    swapped = lambda x: model(x.transpose(0, 1))  # noqa: E731
    last = lambda output: output[0][-1, :, 1]  # noqa: E731
    close(saliency(swapped, x, last), by_hand(swapped, x, last))
    found = smoothgrad(swapped, x, last, n_samples=4, noise=0.0, batch_size=3)
    close(found, by_hand(swapped, x, last))
    with pytest.raises(ValueError, match=r"shape \(2,\), found shape \(5,\)"):
        saliency(swapped, x, lambda output: output[0][:, -1, 1])


def test_an_rnn_does_without_cudnn_which_has_no_gradient_in_eval_mode(conv_net):
    for model, enabled in ((nn.Sequential(nn.GRU(2, 2)), False), (conv_net, True)):
        with evaluation(model):
            assert torch.backends.cudnn.enabled == enabled
        assert torch.backends.cudnn.enabled


Named = namedtuple("Named", ["values", "rest"])
WRAPS = {
    "dict": (lambda y: {"y": y, "more": None}, lambda o: o["y"][:, 1]),
    "tuple": (lambda y: (None, y), lambda o: o[1][:, 1]),
    "namedtuple": (lambda y: Named(y, 3), lambda o: o.values[:, 1]),
    "object": (lambda y: SimpleNamespace(logits=y), lambda o: o.logits[:, 1]),
    "list of dicts": (
        lambda y: [{"score": row[1]} for row in y],
        lambda o: torch.stack([each["score"] for each in o]),
    ),
}


class Wrapped(nn.Module):
    def __init__(self, model, wrap):
        super().__init__()
        self.model, self.wrap = model, wrap

    def forward(self, x):
        return self.wrap(self.model(x))


@every_method
@pytest.mark.parametrize(("wrap", "score"), WRAPS.values(), ids=WRAPS)
def test_the_output_may_be_anything_a_callable_reads(method, wrap, score, conv_net, pictures):
    found = method(Wrapped(conv_net, wrap), pictures, score)
    close(found, method(conv_net, pictures, lambda logits: logits[:, 1]))


def test_logits_in_an_object_are_logits(conv_net, pictures):
    model = Wrapped(conv_net, WRAPS["object"][0])
    for target in (None, 1, torch.eye(5)[:3], probability(), margin(2)):
        close(saliency(model, pictures, target), saliency(conv_net, pictures, target))
    with pytest.raises(ValueError, match="found dict; to explain another output, give as target"):
        saliency(Wrapped(conv_net, WRAPS["dict"][0]), pictures)


@pytest.fixture(scope="module")
def segmentation():
    models = pytest.importorskip("torchvision").models.segmentation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)


def test_a_class_of_a_region_in_torchvisions_segmentation(segmentation):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, 4:20, 8:16], mask[1, 20:, 20:] = True, True
    target = region(torch.tensor([1, 3]), mask)
    found = saliency(segmentation, x, target)
    segmentation.eval()
    expected = by_hand(
        segmentation,
        x,
        lambda out: torch.stack([out["out"][i, k][mask[i]].mean() for i, k in enumerate((1, 3))]),
    )
    segmentation.train()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert found.abs().max() > 0
    one = smoothgrad(segmentation, x, target, n_samples=2, noise=0.0, batch_size=1)
    torch.testing.assert_close(one, expected, rtol=1e-3, atol=1e-6)


def test_grad_cam_of_a_region_needs_a_layer_to_be_named(segmentation):
    x, mask = torch.ones(1, 3, 32, 32) / 2, torch.ones(32, 32, dtype=torch.bool)
    target = region(1, mask)
    with pytest.raises(ValueError, match=r"is what the model returns\. Choose one.*'classifier"):
        grad_cam(segmentation, x, target)
    found = grad_cam(segmentation, x, target, layer="classifier.cbr")
    assert found.shape == x.shape and found.min() >= 0


def test_the_best_box_of_torchvisions_detection():
    detection = pytest.importorskip("torchvision").models.detection
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        )
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    best = lambda found: torch.stack([each["scores"].max() for each in found])  # noqa: E731
    found = saliency(model, x, best)
    model.eval()
    expected = torch.cat([by_hand(model, one, best) for one in x.split(1)])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)
    assert found.abs().amax((1, 2, 3)).min() > 0


# --- a model up to a layer


def test_a_layer_is_what_the_model_computes_there(conv_net, pictures, snapshot):
    before = snapshot(conv_net)
    for layer in range(9):
        expected = conv_net[: layer + 1](pictures)
        for one in (layer, layer - 9, str(layer)):
            assert torch.equal(layer_output(conv_net, one)(pictures), expected)
    assert snapshot(conv_net) == before


def test_logits_can_be_explained_where_a_softmax_follows(conv_net, pictures):
    model = nn.Sequential(conv_net, nn.Softmax(1))
    for name in (-2, 0, "0", "0.8"):
        assert torch.equal(
            saliency(layer_output(model, name), pictures), saliency(conv_net, pictures)
        )
    p = saliency(model, pictures, 1)
    close(saliency(layer_output(model, -2), pictures, probability(1)), p)


def test_a_layer_inside_is_explained_by_a_callable(conv_net, pictures):
    score = lambda maps: maps[:, 3].amax((1, 2))  # noqa: E731
    expected = by_hand(conv_net[:5], pictures, score)
    up_to = layer_output(conv_net, "4")
    close(saliency(up_to, pictures, score), expected)
    assert guided_backprop(up_to, pictures, score).shape == pictures.shape


def test_what_comes_after_a_layer_may_work_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)).double()
    x = randn(2, 3)
    assert torch.equal(layer_output(model, 0)(x), model[0](x)) and model[0](x).min() < 0


@pytest.mark.parametrize("method", [saliency, smoothgrad, integrated_gradients])
def test_the_model_of_a_layer_is_left_as_it_was_found(
    method, mixed_mode_net, snapshot, pictures, watch
):
    before = snapshot(mixed_mode_net)
    method(layer_output(mixed_mode_net, 8), pictures)
    with pytest.raises(RuntimeError, match="failed midway"):
        layer_output(watch(mixed_mode_net, fail_at=1), "model.8")(pictures)
    assert snapshot(mixed_mode_net) == before


def test_a_layer_of_a_classifier_counts_within_its_network(tiny_classifier, pictures):
    for layer in (-1, 8, "network.8"):
        up_to = layer_output(tiny_classifier, layer)
        assert torch.equal(up_to(pictures), tiny_classifier(pictures))
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            saliency(up_to, pictures * 255)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("8x", ValueError, r"unknown layer '8x'; did you mean '8'\?"),
        ("features", ValueError, "unknown layer 'features'; known: 0, 1, 2"),
        (9, ValueError, "layer 9 is out of range: the model has 9 children, 0, 1, 2"),
        (-10, ValueError, "layer -10 is out of range"),
        (1.0, TypeError, "a name or an index, found float"),
        (True, TypeError, "a name or an index, found bool"),
        (None, TypeError, "a name or an index, found NoneType"),
    ],
)
def test_an_unknown_layer_is_an_error(layer, error, message, conv_net):
    with pytest.raises(error, match=message):
        layer_output(conv_net, layer)


def test_a_layer_that_does_not_run_is_an_error(pictures):
    model = nn.Sequential(nn.Flatten())
    model.idle = nn.Linear(1, 1)
    model.forward = lambda x: x.flatten(1)
    with pytest.raises(ValueError, match="'idle' does not run when the model is called"):
        layer_output(model, "idle")(pictures)
    with pytest.raises(TypeError, match=r"only a torch\.nn\.Module has layers, found function"):
        layer_output(lambda x: x, 0)


# --- further arguments


class Gated(nn.Module):
    """Σ over places of what the network sees, times a gate a picture, plus a table's row."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.embed = nn.Embedding(4, 5).double()

    def forward(self, x, gate, kind):
        assert len(x) == len(gate) == len(kind)
        return self.model(x * gate[:, None]) * (1 + self.embed(kind).tanh())


@pytest.fixture
def gated(conv_net):
    return Gated(conv_net)


EXTRA = (
    torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(3)).double(),
    torch.tensor([2, 0, 3]),
)


@every_method
@pytest.mark.parametrize(
    "target", [None, 1, probability(), lambda out: out[:, 1]], ids=["none", "int", "p", "callable"]
)
def test_further_arguments_go_along_with_the_points(method, target, gated, pictures):
    kept = [each.clone() for each in EXTRA]
    found = method(gated, pictures, target, extra=EXTRA)
    for i in range(3):
        row = tuple(each[i : i + 1] for each in EXTRA)
        if method is METHODS["random_network"]:
            alone = method(gated, pictures[i : i + 1], target, extra=row)
        elif method in (METHODS["guided_backprop"], METHODS["grad_cam"]):
            alone = method(Bound(gated, row), pictures[i : i + 1], target)
        else:
            alone = method(
                lambda x, row=row: gated(x, *(r.expand(len(x), *r.shape[1:]) for r in row)),
                pictures[i : i + 1],
                target,
            )
        close(found[i], alone[0], rtol=1e-7, atol=1e-10)
    assert all(torch.equal(a, b) for a, b in zip(kept, EXTRA, strict=True))


class Bound(nn.Module):
    def __init__(self, model, extra):
        super().__init__()
        self.model, self.extra = model, extra

    def forward(self, x):
        return self.model(x, *self.extra)


def test_the_gradient_beside_further_arguments_is_autograds(gated, pictures):
    expected = by_hand(gated, pictures, lambda out: out[:, 1], *EXTRA)
    close(saliency(gated, pictures, 1, extra=EXTRA), expected)
    close(saliency(gated, pictures, 1, extra=list(EXTRA)), expected)
    close(
        smoothgrad(gated, pictures, 1, noise=0.0, n_samples=5, batch_size=2, extra=EXTRA), expected
    )


def test_the_measures_take_callables_and_further_arguments(gated, pictures):
    maps = saliency(gated, pictures, 1, extra=EXTRA)
    at = {"fractions": (0.0, 0.5, 1.0), "extra": EXTRA}
    score = lambda out: out.softmax(1)[:, 1]  # noqa: E731
    by_class = hiding_curves(gated, pictures, maps, target=1, **at)
    curves = hiding_curves(gated, pictures, maps, target=score, **at)
    close(curves.probability, by_class.probability)
    assert curves.retained is None
    close(curves.probability[:, 0], score(gated(pictures, *EXTRA)).detach())
    for measure in (deletion, insertion):
        close(
            measure(gated, pictures, maps, target=probability(1), **at),
            measure(gated, pictures, maps, target=1, **at),
        )
    with pytest.raises(TypeError, match="needs a class as target, found a callable"):
        retained_accuracy(gated, pictures, maps, (0.5,), target=score, extra=EXTRA)
    assert retained_accuracy(gated, pictures, maps, (0.5,), extra=EXTRA).shape == (3, 1)
    for measure, more in ((infidelity, (maps,)), (max_sensitivity, ())):
        given = (gated, pictures, *more)
        one = measure(*given, 1, n_samples=3, extra=EXTRA)
        close(measure(*given, lambda out: out[:, 1], n_samples=3, extra=EXTRA), one)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.ones(3), TypeError, r"a tuple of the model's further arguments, .* found Tensor"),
        (None, TypeError, "found NoneType"),
        ((torch.ones(2),), ValueError, r"extra\[0\] must have one row for each of the 3 inputs"),
        ((torch.tensor(1.0),), ValueError, r"found shape \(\)"),
        (
            (torch.ones(3), 5),
            TypeError,
            r"extra\[1\] must be a torch\.Tensor, found int; .* lambda",
        ),
        ((np.ones(3),), TypeError, r"found ndarray: torch\.from_numpy"),
        ((torch.ones(3, device="meta"),), ValueError, "is on meta, and the pixels are on cpu"),
    ],
)
def test_unfit_further_arguments_are_an_error(bad, error, message, gated, pictures):
    for method in (saliency, smoothgrad, integrated_gradients):
        with pytest.raises(error, match=message):
            method(gated, pictures, 0, extra=bad)


class Encoder(nn.Module):
    """A small transformer of token ids, with a mask of what is padding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True),
            2,
            enable_nested_tensor=False,
        )
        self.head = nn.Linear(8, 3)

    def encode(self, embedded, padding):
        tokens = self.layers(embedded, src_key_padding_mask=padding)
        return self.head(tokens.masked_fill(padding[..., None], 0).sum(1))

    def forward(self, ids, padding):
        return self.encode(self.embed(ids), padding)


class FromEmbeddings(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, embedded, padding):
        return self.model.encode(embedded, padding)


def test_the_words_of_a_text_are_explained_as_captums_layer_integrated_gradients():
    from captum.attr import LayerIntegratedGradients

    model = Encoder().double().eval()
    rest = FromEmbeddings(model)
    ids = torch.tensor([[4, 7, 2, 9, 1], [3, 3, 8, 0, 0]])
    padding = ids == 0
    nothing = torch.zeros_like(ids)
    reference = LayerIntegratedGradients(model, model.embed).attribute(
        ids,
        nothing,
        target=torch.tensor([1, 2]),
        additional_forward_args=(padding,),
        n_steps=20,
        method="riemann_middle",
    )
    found = integrated_gradients(
        rest,
        model.embed(ids).detach(),
        torch.tensor([1, 2]),
        baseline=model.embed(nothing).detach(),
        n_steps=20,
        batch_size=3,
        extra=(padding,),
    )
    close(found, reference, rtol=1e-4, atol=1e-7)  # captum's steps are float32
    p = integrated_gradients(
        rest,
        model.embed(ids).detach(),
        probability(torch.tensor([1, 2])),
        baseline=model.embed(nothing).detach(),
        n_steps=300,
        extra=(padding,),
    )
    rise = (
        model(ids, padding).softmax(1) - model.encode(model.embed(nothing), padding).softmax(1)
    )[[0, 1], [1, 2]]
    close(p.flatten(1).sum(1), rise.detach(), rtol=2e-3, atol=1e-4)
