"""The loop itself, and what every method promises of it: rows, chunks, draws, and a model left as
it was found."""

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from helpers.attribution.aggregates import AGGREGATES
from helpers.attribution.gradients import in_own_dtype, saliency, stream
from helpers.attribution.integrated_gradients import (
    completeness_gap,
    converged_integrated_gradients,
    integrated_gradients,
    make_baseline,
    path_gradient,
)
from helpers.attribution.smoothgrad import smoothgrad
from helpers.attribution.targets import resolve_target
from helpers.evaluate import CompanyWarning, default_batch_size, evaluation, logits_of
from helpers.noise import noise_field

# name -> (model, pixels, target) → map, or a list of maps
METHODS = {
    "saliency": saliency,
    "smoothgrad": lambda *args: smoothgrad(*args, n_samples=3),
    "smoothgrad_antithetic": lambda *args: smoothgrad(
        *args, n_samples=3, antithetic=True, clip=True
    ),
    "smoothgrad_over_ig": lambda *args: smoothgrad(
        *args, n_samples=2, attribution=integrated_gradients
    ),
    "smoothgrad_counts": lambda *args: list(smoothgrad(*args, n_samples=(2, 3)).values()),
    "smoothgrad_aggregates": lambda *args: list(
        smoothgrad(*args, n_samples=3, aggregate=AGGREGATES.keys()).values()
    ),
    "integrated_gradients": lambda *args: integrated_gradients(*args, n_steps=3),
    "integrated_gradients_noise": lambda *args: integrated_gradients(
        *args, n_steps=3, baseline="noise"
    ),
    "integrated_gradients_steps": lambda *args: list(
        integrated_gradients(*args, n_steps=(2, 3)).values()
    ),
    "expected_gradients": lambda m, x, t: integrated_gradients(
        m, x, t, n_steps=3, baseline="samples", references=x[:2] / 2
    ),
    "converged": lambda *args: list(converged_integrated_gradients(*args, tolerance=0.2)),
    "adversarial": lambda m, x, t: make_baseline("adversarial", m, x, t),
    "completeness_gap": lambda m, x, t: completeness_gap(m, x, "black", x, t),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def as_list(maps):
    return maps if isinstance(maps, list) else [maps]


def relative_l2(a, b):
    return float((a - b).norm() / b.norm())


def without_kinks(model):
    """The model with ReLUs softened and maxima averaged: its gradient is continuous, so it is exact
    to rounding."""
    smooth = {nn.ReLU: nn.Softplus, nn.MaxPool2d: lambda: nn.AvgPool2d(2)}
    return nn.Sequential(
        *(smooth.get(type(module), lambda module=module: module)() for module in model)
    )


# --- the gradient
# -------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_polynomial_is_its_derivative():
    # f₀ = Σ x³ and f₁ = x₁ x₂: ∇f₀ = 3x², ∇f₁ = (x₂, x₁).
    def model(x):
        return torch.stack([(x**3).sum(1), x[:, 0] * x[:, 1]], 1)

    x = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    assert saliency(model, x, 0).tolist() == [[12.0, 3.0], [0.75, 27.0]]
    assert saliency(model, x, 1).tolist() == [[-1.0, 2.0], [3.0, 0.5]]
    assert saliency(model, x, torch.tensor([0, 1])).tolist() == [[12.0, 3.0], [3.0, 0.5]]


def test_saliency_is_captums_signed_saliency_on_pictures_signals_and_tables(network_and_inputs):
    from captum.attr import Saliency

    model, inputs = network_and_inputs
    target = torch.tensor([2, 0, 1])
    reference = Saliency(model).attribute(inputs.clone().requires_grad_(), target=target, abs=False)
    assert relative_l2(saliency(model, inputs, target), reference) < 1e-12


def test_no_target_means_the_predicted_class_and_an_int_means_it_for_all(network_and_inputs):
    model, inputs = network_and_inputs
    predicted = model(inputs).argmax(1)
    torch.testing.assert_close(saliency(model, inputs), saliency(model, inputs, predicted))
    torch.testing.assert_close(
        saliency(model, inputs, 1), saliency(model, inputs, torch.tensor([1, 1, 1]))
    )


def test_a_map_has_the_shape_dtype_and_signs_of_a_gradient_and_no_graph(network_and_inputs):
    model, inputs = network_and_inputs
    for dtype in (torch.float32, torch.float64):
        gradient = saliency(model.to(dtype), inputs.to(dtype), 0)
        assert (
            gradient.shape == inputs.shape
            and gradient.dtype == dtype
            and not gradient.requires_grad
        )
        assert gradient.min() < 0 < gradient.max()


# --- every method
# -------------------------------------------------------------------------------------------------


@every_method
def test_the_model_is_left_as_it_was_found(method, mixed_mode_net, snapshot, pictures):
    before = snapshot(mixed_mode_net)
    method(mixed_mode_net, pictures, None)
    assert snapshot(mixed_mode_net) == before


@every_method
def test_the_model_is_left_as_it_was_found_when_it_fails_midway(
    method, mixed_mode_net, watch, snapshot, pictures
):
    watched = watch(mixed_mode_net, fail_at=2)
    before = snapshot(watched)
    with pytest.raises(RuntimeError, match="failed midway"):
        for _ in range(2):  # saliency asks the model once only
            method(watched, pictures, torch.tensor([0, 1, 2]))
    assert snapshot(watched) == before


@every_method
def test_a_model_in_training_mode_is_evaluated_in_eval_mode(
    method, mixed_mode_net, conv_net, pictures
):
    target = torch.tensor([0, 1, 2])  # mixed_mode_net is conv_net, but for its modes
    for found, expected in zip(
        as_list(method(mixed_mode_net, pictures, target)),
        as_list(method(conv_net, pictures, target)),
        strict=True,
    ):
        assert torch.equal(found, expected)


@every_method
def test_global_random_state_is_untouched(method, conv_net, pictures):
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    method(conv_net, pictures, None)
    assert torch.equal(torch.get_rng_state(), before[0])
    after = np.random.get_state()
    assert (
        after[0] == before[1][0]
        and np.array_equal(after[1], before[1][1])
        and after[2:] == before[1][2:]
    )
    assert random.getstate() == before[2]


@every_method
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_without_gradients_around_it(method, context, conv_net, pictures):
    for target in (None, torch.tensor([0, 1, 2])):
        expected = as_list(method(conv_net, pictures, target))
        with context():  # clones are inference tensors in inference mode
            found = as_list(
                method(conv_net, pictures.clone(), target if target is None else target.clone())
            )
            assert not torch.is_grad_enabled()
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


@every_method
def test_the_pixels_are_left_as_they_were(method, conv_net, pictures):
    pixels = pictures.clone().requires_grad_()
    maps = as_list(method(conv_net, pixels, None))
    assert torch.equal(pixels.detach(), pictures) and pixels.grad is None and pixels.requires_grad
    assert not any(found.requires_grad for found in maps)


@every_method
def test_a_picture_gets_the_same_map_alone_as_in_company(method, conv_net, pictures):
    target = torch.tensor([0, 1, 2])
    together = as_list(method(conv_net, pictures, target))
    for i in range(3):
        # x[:2] / 2 of expected gradients is made of the batch, so give that method its references
        # from outside.
        if method is METHODS["expected_gradients"]:
            alone = [
                integrated_gradients(
                    conv_net,
                    pictures[i : i + 1],
                    target[i : i + 1],
                    n_steps=3,
                    baseline="samples",
                    references=pictures[:2] / 2,
                )
            ]
        else:
            alone = as_list(method(conv_net, pictures[i : i + 1], target[i : i + 1]))
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_of_them[i], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize(
    ("run", "gradients"),
    [
        (lambda *args: saliency(*args), 1),
        (lambda *args: smoothgrad(*args, n_samples=7), 7),
        (lambda *args: smoothgrad(*args, n_samples=7, batch_size=4), 7),
        (lambda *args: smoothgrad(*args, n_samples=7, antithetic=True), 14),
        (lambda *args: smoothgrad(*args, n_samples=(2, 5, 7)), 7),
        (lambda *args: smoothgrad(*args, n_samples=7, aggregate=list(AGGREGATES)), 7),
        (lambda *args: integrated_gradients(*args, n_steps=7), 7),
        (lambda *args: integrated_gradients(*args, n_steps=7, rule="trapezoid", batch_size=2), 7),
        # midpoints of 5 intervals are among those of 15
        (lambda *args: integrated_gradients(*args, n_steps=(5, 15)), 15),
        # multiples of 1/20 hold those of 1/10 and 1/5
        (lambda *args: integrated_gradients(*args, n_steps=(5, 10, 20), rule="left"), 20),
        (lambda *args: integrated_gradients(*args, n_steps=(3, 5, 9), rule="trapezoid"), 9),
        # the nodes of 3 and 5 have only the middle in common
        (lambda *args: integrated_gradients(*args, n_steps=(3, 5), rule="gauss_legendre"), 7),
        # 0, ¼, ½, ¾, 1, of both rules
        (lambda *args: integrated_gradients(*args, n_steps=5, rule=["endpoints", "trapezoid"]), 5),
        # 0, ¼, ½, ¾ of the left one, ¼, ½, ¾, 1 of the right one
        (lambda *args: integrated_gradients(*args, n_steps=4, rule={"left", "right"}), 5),
    ],
)
def test_the_model_sees_exactly_the_rows_it_must(run, gradients, target, network_and_inputs, watch):
    model, inputs = network_and_inputs
    watched = watch(model)
    run(watched, inputs, target)
    # one look at the clean inputs fixes their classes
    assert len(watched.rows) == 3 * (gradients + (target is None))


def test_expected_gradients_see_each_node_once_for_each_reference(conv_net, watch, pictures):
    watched = watch(conv_net)
    integrated_gradients(
        watched, pictures, 0, n_steps=4, baseline="samples", references=pictures[:2] / 2
    )
    assert len(watched.rows) == 3 * 4 * 2


BATCH_SIZES = (1, 2, 3, 7, 1000)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize(
    "run",
    [
        lambda *args, **kwargs: smoothgrad(*args, n_samples=11, **kwargs),
        lambda *args, **kwargs: smoothgrad(
            *args, n_samples=5, antithetic=True, seed=[3, 1, 2], **kwargs
        ),
        lambda *args, **kwargs: smoothgrad(*args, n_samples=11, aggregate="variance", **kwargs),
        lambda *args, **kwargs: smoothgrad(*args, n_samples=11, aggregate="median", **kwargs),
        lambda *args, **kwargs: integrated_gradients(*args, n_steps=11, **kwargs),
        lambda *args, **kwargs: integrated_gradients(
            *args, n_steps=5, baseline="noise", rule="gauss_legendre", **kwargs
        ),
        lambda *args, **kwargs: (
            converged_integrated_gradients(*args, tolerance=0.2, **kwargs).attribution
        ),
    ],
    ids=[
        "smoothgrad",
        "antithetic",
        "variance",
        "median",
        "midpoint",
        "gauss_legendre",
        "converged",
    ],
)
def test_batch_size_changes_neither_the_points_nor_beyond_rounding_the_map(
    run, dtype, bound, network_and_inputs, watch
):
    model, inputs = network_and_inputs
    if dtype == torch.float32:
        # else rounding may turn a ReLU at some point, on one machine and not on another
        model = without_kinks(model)
    model, inputs = model.to(dtype), inputs.to(dtype)
    points, maps = {}, {}
    for size in BATCH_SIZES:
        watched = watch(model)
        maps[size] = run(watched, inputs, 1, batch_size=size)
        points[size] = watched.rows
        assert max(map(len, watched.calls)) <= size
    for size in BATCH_SIZES:
        assert torch.equal(points[size], points[1])  # to the bit
        assert relative_l2(maps[size], maps[1]) < bound


# --- the loop
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 1, 3, 4, 6, 100])
def test_a_stream_yields_the_points_maps_in_order_and_asks_for_each_point_once(batch_size):
    asked = []

    def point(number):
        asked.append(number)
        return torch.tensor([[1.0], [10.0], [100.0]]) * (number + 1)

    def model(x):
        return x**2 / 2  # ∂/∂x = x: a map shows which point it belongs to

    gradients = list(
        stream(model, torch.zeros(3, dtype=torch.int64), point, 7, batch_size=batch_size)
    )
    assert asked == list(range(7))
    assert [g.flatten().tolist() for g in gradients] == [[k, 10 * k, 100 * k] for k in range(1, 8)]


def test_each_row_keeps_its_class_whatever_the_chunk():
    def model(x):
        return x * torch.tensor([1.0, 10.0, 100.0])  # ∂ logit k / ∂ x = 10ᵏ

    for size in (1, 2, 3, 4, 5, 100):
        maps = stream(
            model, torch.tensor([0, 1, 2]), lambda _: torch.ones(3, 1), 4, batch_size=size
        )
        assert all(found.flatten().tolist() == [1.0, 10.0, 100.0] for found in maps)


def test_the_default_chunk_is_never_everything_at_once(watch):
    for shape in [(2,), (3, 8, 8), (3, 224, 224), (3, 1000, 1000)]:
        rows = default_batch_size(torch.empty(1, *shape))
        assert 1 <= rows <= 1024 and rows * np.prod(shape) <= max(1.25e6, np.prod(shape))
    watched = watch(lambda x: x.flatten(1).sum(1, keepdim=True))
    smoothgrad(watched, torch.zeros(2, 1, 256, 256), 0, n_samples=20)
    assert max(map(len, watched.calls)) <= 1.25e6 // 256**2 < 40 == len(watched.rows)


@pytest.mark.parametrize(
    "aggregate", ["mean", "mean_abs", "mean_square", "variance", "geometric_mean"]
)
def test_points_are_let_go_of_as_the_loop_goes(aggregate):
    import weakref

    seen, most_alive = [], 0

    def model(x):
        nonlocal most_alive
        seen.append(weakref.ref(x))
        most_alive = max(most_alive, sum(ref() is not None for ref in seen))
        return (x**3).sum(1, keepdim=True)

    smoothgrad(model, torch.ones(1, 2), 0, n_samples=60, batch_size=1, aggregate=aggregate)
    # this chunk's, at most the last one's and one on its way out
    assert len(seen) == 60 and most_alive <= 3


def test_a_progress_bar_is_shown_only_when_asked_for(conv_net, pictures, capsys):
    smoothgrad(conv_net, pictures, 0, n_samples=3)
    assert capsys.readouterr().err == ""
    smoothgrad(conv_net, pictures, 0, n_samples=3, progress="noisy copies")
    assert "noisy copies" in capsys.readouterr().err


def test_evaluation_turns_gradients_on_and_restores_what_was():
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout()).train()
    model[1].eval()
    with torch.no_grad():
        with evaluation(model):
            assert torch.is_grad_enabled() and not any(
                module.training for module in model.modules()
            )
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == [True, True, False]


def test_logits_come_in_chunks_and_without_a_graph(conv_net, watch, pictures):
    watched = watch(conv_net)
    logits = logits_of(watched, pictures, batch_size=2)
    torch.testing.assert_close(logits, conv_net(pictures).detach())
    assert [len(call) for call in watched.calls] == [2, 1] and not logits.requires_grad


def test_a_model_may_be_any_callable(table_net):
    x = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(saliency(lambda rows: table_net(rows), x), saliency(table_net, x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@every_method
def test_cuda_gives_the_maps_of_the_cpu_on_cuda(method, conv_net, pictures):
    expected = as_list(method(conv_net, pictures, None))
    for found, on_cpu in zip(
        as_list(method(conv_net.cuda(), pictures.cuda(), None)), expected, strict=True
    ):
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), on_cpu, rtol=1e-7, atol=1e-9)


# --- precision
# -------------------------------------------------------------------------------------------------

halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def sloped(slope):
    """The model with one logit, slope × Σx: its gradient is the slope everywhere."""
    return lambda x: slope * x.flatten(1).sum(1, keepdim=True)


@halves
def test_a_thousand_gradients_of_half_precision_add_up(dtype):
    # All gradients are 1: a mean is 1 and the integral to 0.5 is 0.5, however many there are.
    x = torch.full((2, 4), 0.5, dtype=dtype)
    settings = dict(n_samples=1000, aggregate=list(AGGREGATES))
    expected = {
        **dict.fromkeys(AGGREGATES, 1.0),
        "variance": 0.0,
        "steps": 0.5,
        "rules": 0.5,
        "path": 1.0,
        "converged": 0.5,
    }
    found = smoothgrad(sloped(1), x, 0, **settings) | {
        "steps": integrated_gradients(sloped(1), x, 0, n_steps=1000),
        "rules": integrated_gradients(sloped(1), x, 0, n_steps=1000, rule=["left"])["left"],
        "path": path_gradient(sloped(1), x, 0, n_steps=1000),
        "converged": converged_integrated_gradients(sloped(1), x, 0).attribution,
    }
    for name, values in found.items():
        assert values.dtype == dtype and (values == expected[name]).all(), name


def test_a_map_is_wider_than_its_pixels_only_where_it_must_be():
    x = torch.full((1, 4), 0.5).half()

    def of(slope, **settings):
        return smoothgrad(sloped(slope), x, 0, **dict(n_samples=1000) | settings)

    small = torch.tensor(1e-4).half().item()
    assert of(100).dtype == torch.float16 and (of(100) == 100).all()  # Σ = 1e5 is no float16
    for slope, settings, expected in [
        (300, dict(aggregate="mean_square"), 9e4),
        (small, dict(aggregate="mean_square"), small**2),
        (0, dict(aggregate="geometric_mean"), 1e-8),  # its ε
    ]:
        found = of(slope, **settings)
        assert found.dtype == torch.float32
        assert found[0].tolist() == pytest.approx([expected] * 4, rel=1e-4)
    # A float32 network's gradient that float16 pixels could not hold, of plain saliency too.
    linear = nn.Linear(4, 1)
    nn.init.constant_(linear.weight, 1e-9)
    for method in (saliency, smoothgrad, integrated_gradients):
        found = method(linear, torch.ones(1, 4).half(), 0)
        assert found[0].tolist() == pytest.approx([1e-9] * 4, rel=1e-5)


def test_a_map_keeps_zeros_and_the_dtype_they_fit_in():
    assert in_own_dtype(torch.tensor([[0.0, 1.0]]), torch.float16).dtype == torch.float16
    assert in_own_dtype(torch.tensor([[1e-9, 1.0]]), torch.float16).dtype == torch.float32
    assert in_own_dtype(torch.tensor([[7e4, 1.0]]), torch.float16).dtype == torch.float32
    assert in_own_dtype(torch.tensor([[7e4, 1e-9]]), torch.bfloat16).dtype == torch.bfloat16


@halves
def test_points_of_half_precision_are_rounded_once(dtype, watch):
    x, start = torch.full((1, 50), 0.3, dtype=dtype), torch.full((1, 50), 0.7, dtype=dtype)
    noisy, path = watch(sloped(1)), watch(sloped(1))
    smoothgrad(noisy, x, 0, n_samples=3)
    integrated_gradients(path, x, 0, baseline=start, n_steps=7, rule="left")
    fields = torch.stack([torch.from_numpy(noise_field((50,), 0, i)).float() for i in range(3)])
    assert torch.equal(noisy.rows, (x.float() + 0.15 * fields).to(dtype))
    alphas = torch.arange(7)[:, None] / 7
    exact = start.double() + alphas.double() * (x.double() - start.double())
    assert torch.equal(path.rows, exact.to(dtype)) and path.rows.dtype == dtype


@every_method
def test_a_float32_network_takes_float64_pixels(method, conv_net, pictures):
    model = without_kinks(conv_net).float()
    found, expected = (as_list(method(model, x, None)) for x in (pictures, pictures.float()))
    for double, single in zip(found, expected, strict=True):
        if single.is_floating_point():
            assert double.dtype == torch.float64 or method is METHODS["completeness_gap"]
            assert relative_l2(double.float(), single) < 1e-3


def test_a_half_precision_network_takes_float32_pixels():
    linear = nn.Linear(2, 1).half()
    assert torch.equal(saliency(linear, torch.ones(3, 2), 0), linear.weight.float().expand(3, 2))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model, x: torch.jit.script(model),
        lambda model, x: torch.jit.trace(model, x),
        lambda model, x: torch.jit.freeze(torch.jit.script(model)),
        lambda model, x: torch.fx.symbolic_trace(model),
    ],
    ids=["scripted", "traced", "frozen", "fx"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_gradient_of_a_network_in_another_form_is_its_own(wrap, conv_net, pictures):
    model, target = wrap(conv_net, pictures), torch.tensor([0, 1, 2])
    for method in (saliency, integrated_gradients, smoothgrad):
        found, expected = (method(m, pictures, target) for m in (model, conv_net))
        assert relative_l2(found, expected) < 1e-10


# --- what is passed in
# -------------------------------------------------------------------------------------------------


@every_method
def test_weights_made_under_inference_mode_work_and_stay(method, conv_net, pictures, snapshot):
    with torch.inference_mode():
        model = copy.deepcopy(conv_net)
    weights, before = [*model.parameters(), *model.buffers()], snapshot(model)
    assert all(weight.is_inference() for weight in weights)
    for found, expected in zip(
        as_list(method(model, pictures, None)),
        as_list(method(conv_net, pictures, None)),
        strict=True,
    ):
        assert torch.equal(found, expected)
    assert snapshot(model) == before
    assert all(
        a is b for a, b in zip(weights, [*model.parameters(), *model.buffers()], strict=True)
    )


def test_weights_that_a_module_holds_twice_work_under_inference_mode_too():
    class Last(nn.LSTM):  # keeps a list of its weights besides their names
        def forward(self, x):
            return super().forward(x)[0][:, -1]

    model = Last(3, 2, batch_first=True)
    with torch.inference_mode():
        inside = copy.deepcopy(model)
    x = torch.rand(2, 4, 3)
    assert torch.equal(saliency(inside, x, 0), saliency(model, x, 0))
    with torch.inference_mode():
        assert torch.equal(inside(x), model(x))


@every_method
def test_a_model_that_changes_its_input_in_place_does_not_change_ours(method, pictures):
    def model(x):
        return x.mul_(2).sub_(1).relu_().flatten(1) @ weights

    weights = torch.rand(192, 5, dtype=torch.float64)
    before, target = pictures.clone(), torch.tensor([0, 1, 2])
    found = as_list(method(model, pictures, target))
    as_list(method(model, pictures, None))
    assert torch.equal(pictures, before) and target.tolist() == [0, 1, 2]
    expected = as_list(method(lambda x: model(x.clone()), pictures, target))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


# --- not finite
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3])
def test_a_logit_that_is_nan_is_an_error_that_names_the_sample(batch_size, watch):
    # log x of a negative x is NaN, its derivative 1/x is not: the logit is looked at too.
    seeds = [3, 4]
    fields = np.stack([[noise_field((5,), s, i) for s in seeds] for i in range(20)])
    sample, row = np.argwhere((0.8 + 0.3 * fields < 0).any(2))[0]
    assert sample > 1
    message = rf"NaN or infinite at sample {sample} \(counted from 0\) of input {row}:"
    with pytest.raises(ValueError, match=message):
        smoothgrad(
            lambda x: x.log().sum(1, keepdim=True),
            torch.full((2, 5), 0.8, dtype=torch.float64),
            0,
            noise=0.3,
            n_samples=20,
            seed=seeds,
            batch_size=batch_size,
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_gradient_that_is_not_finite_is_an_error_that_names_the_input(value):
    slope = torch.tensor([[1.0], [2.0], [value]])
    with pytest.raises(ValueError, match="its gradient, is NaN or infinite at input 2:"):
        saliency(lambda x: (x * slope).sum(1, keepdim=True), torch.zeros(3, 2), 0)
    with pytest.raises(ValueError, match=r"at sample 0 .* of input 2:"):
        smoothgrad(sloped(1), torch.zeros(3, 2), 0, attribution=lambda m, x, t: x * 0 + slope)


def test_logits_that_are_nan_are_an_error_where_no_target_is_given_and_minus_infinity_is_not():
    def with_second(value):
        return lambda x: torch.cat([x, x.where(x < 1, value)], 1)

    x = torch.tensor([[0.0], [2.0]])
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match=r"logits of 1 of 2 inputs are NaN .* number 1 first"):
            saliency(with_second(value), x)
    assert saliency(with_second(-torch.inf), x).tolist() == [[1.0], [1.0]]


def test_large_gradients_are_no_error_until_their_map_overflows():
    x = torch.zeros(1, 2)
    assert saliency(sloped(3e38), x, 0).tolist() == [[torch.tensor(3e38).item()] * 2]  # Σ = 6e38
    for how in ("mean", "mean_square"):  # 4 · 3e38, and 9e76
        with pytest.raises(
            ValueError, match=r"the map overflows torch\.float32: give pixels\.double"
        ):
            smoothgrad(sloped(3e38), x, 0, n_samples=4, aggregate=how)
        wide = smoothgrad(sloped(3e38), x.double(), 0, n_samples=4, aggregate=how)
        assert wide[0].tolist() == pytest.approx([3e38 if how == "mean" else 9e76] * 2)


# --- company
# -------------------------------------------------------------------------------------------------


def test_a_network_whose_rows_depend_on_their_company_is_warned_of_once(pictures):
    # One value a channel and input: alone every row is normalised to 0; in company it is not.
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()).double()
    with pytest.warns(CompanyWarning, match=r"statistics \('0'\) .*batch_size=1") as caught:
        for _ in range(2):
            smoothgrad(model, pictures, 0, n_samples=30, batch_size=2)
            integrated_gradients(model, pictures, n_steps=3)
    assert len(caught) == 1 and caught[0].filename == __file__
    one, all_of_them = (
        smoothgrad(model, x, 0, n_samples=3, batch_size=1) for x in (pictures[:1], pictures)
    )
    torch.testing.assert_close(one[0], all_of_them[0])  # as the warning says


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm([3, 8, 8])]
)
def test_a_network_whose_rows_do_not_is_not_warned_of(norm, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saliency(nn.Sequential(norm, nn.Flatten()).double(), pictures)


# --- errors: what was wrong, what was found, what to do
# ---------------------------------------------------------------


@every_method
@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (
            lambda x: x.numpy(),
            TypeError,
            r"must be a torch\.Tensor, found ndarray: torch\.from_numpy\(pixels\)",
        ),
        (lambda x: x.to(torch.cfloat), TypeError, r"floating point, found torch\.complex64$"),
        (lambda x: (x * 255).int(), TypeError, r"floating point, found torch\.int32$"),
        (
            lambda x: (x * 255).byte(),
            TypeError,
            r"floating point, found torch\.uint8: for bytes, pixels\.float\(\) / 255",
        ),
        (lambda x: x[:0], ValueError, r"at least one input, found shape \(0, 3, 8, 8\)"),
        (lambda x: x.where(x < x.max(), torch.nan), ValueError, "1 values are NaN or infinite"),
        (lambda x: x.where(x < x.max(), torch.inf), ValueError, "1 values are NaN or infinite"),
        (lambda x: x.to("meta"), ValueError, "pixels: on meta, and the model is on cpu: move one"),
        (lambda x: x * 2 - 1, ValueError, r"must lie in \[0, 1\], found \[-\d.*normalises inside"),
        (lambda x: x * 255, ValueError, r"must lie in \[0, 1\], found \[.*bytes up to 255"),
        (
            lambda x: x[:, :1],
            ValueError,
            r"tiny takes pictures of shape \(N, 3, H, W\), found \(\d+, 1, 8, 8\)",
        ),
    ],
    ids=[
        "numpy",
        "complex",
        "integers",
        "bytes",
        "empty",
        "nan",
        "inf",
        "device",
        "normalised",
        "0-255",
        "channels",
    ],
)
def test_unfit_pixels_are_an_error_that_says_why(
    method, break_it, error, message, tiny_classifier, pictures
):
    with pytest.raises(error, match=message):
        method(tiny_classifier, break_it(pictures), 0)


def test_only_a_classifier_asks_for_pixels_between_0_and_1(conv_net, pictures):
    assert saliency(conv_net, pictures * 255 - 100, 0).shape == pictures.shape


@every_method
@pytest.mark.parametrize(
    "wrap", [lambda model: model, lambda model: model.network], ids=["classifier", "module"]
)
@pytest.mark.parametrize("bad", [5, torch.tensor([0, 5, 1])], ids=["int", "tensor"])
def test_a_class_out_of_range_is_an_error_that_counts_the_classes(
    method, wrap, bad, tiny_classifier, pictures
):
    with pytest.raises(
        ValueError, match="class 5 is out of range: the model has 5 classes, 0 to 4"
    ):
        method(wrap(tiny_classifier), pictures, bad)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (-1, ValueError, "class -1 is out of range"),
        (1.0, TypeError, r"target must be None, an int or an \(3,\) integer tensor, found 1\.0"),
        ("cat", TypeError, "found 'cat'"),
        (
            torch.tensor([0.0, 1.0, 2.0]),
            TypeError,
            r"integer classes, found a tensor of torch\.float32",
        ),
        (torch.tensor([True, False, True]), TypeError, r"found a tensor of torch\.bool"),
        (
            torch.tensor([0, 1]),
            ValueError,
            r"one class for each of the 3 inputs, shape \(3,\), found \(2,\)",
        ),
        (torch.tensor([[0], [1], [2]]), ValueError, r"found \(3, 1\)"),
    ],
)
def test_an_unfit_target_is_an_error(bad, error, message, conv_net, pictures):
    with pytest.raises(error, match=message):
        saliency(conv_net, pictures, bad)


def test_a_target_may_be_a_numpy_integer_or_a_tensor_without_dimensions(conv_net, pictures):
    for target in (np.int64(2), torch.tensor(2), torch.tensor([2, 2, 2], dtype=torch.uint8)):
        assert resolve_target(conv_net, pictures, target).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda x: x.flatten(1).sum(1),
            r"logits of shape \(N, K\), here \(3, K\), found shape \(3,\)",
        ),
        (lambda x: torch.cat([x, x]).flatten(1), r"here \(3, K\), found shape \(6, "),
        (lambda x: x, r"found shape \(3, 3, 8, 8\)"),
        (lambda x: (x,), "found tuple"),
        (lambda x: x.detach().flatten(1), "do not depend on the input through autograd"),
        (
            lambda x: torch.zeros(len(x), 2, requires_grad=True),
            "do not depend on the input through autograd",
        ),
    ],
    ids=["1-d", "too many rows", "4-d", "tuple", "detached", "constant"],
)
def test_a_model_without_usable_logits_is_an_error(model, message, pictures):
    with pytest.raises(ValueError, match=message):
        saliency(model, pictures, 0)


@pytest.mark.parametrize(
    ("bad", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("8", TypeError)]
)
def test_an_unfit_batch_size_is_an_error(bad, error, conv_net, pictures):
    for method in (smoothgrad, integrated_gradients, converged_integrated_gradients):
        with pytest.raises(error, match=f"batch_size must be .*found {bad!r}"):
            method(conv_net, pictures, 0, batch_size=bad)


def test_nothing_warns_on_the_ordinary_way(conv_net, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in METHODS.values():
            method(conv_net, pictures, None)
