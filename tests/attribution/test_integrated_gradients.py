"""Integrated Gradients against closed forms and captum; its baselines, its bookkeeping, and when it
calls itself done."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from helpers.attribution.integrated_gradients import (
    BASELINES,
    BLUR_SIGMA,
    GAP_FLOOR,
    PGD,
    RULES,
    ConvergedMap,
    ConvergenceWarning,
    completeness_gap,
    converged_integrated_gradients,
    integrated_gradients,
    integrated_gradients_nodes,
    make_baseline,
    nodes_and_weights,
)
from helpers.noise import noise_field

every_rule = pytest.mark.parametrize("rule", RULES)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def one_logit(function):
    """The model with the logit function(x₁, x₂, …)."""
    return lambda x: function(*x.unbind(1))[:, None]


def relative_l2(a, b):
    return float((a - b).norm() / b.norm())


def smallest(rule):
    return 2 if rule == "trapezoid" else 1


# --- closed forms
# -------------------------------------------------------------------------------------------------

# function, x, x′, A: with γ(α) = x′ + α (x − x′), Aᵢ = (xᵢ − x′ᵢ) ∫₀¹ ∂ᵢf(γ(α)) dα
CLOSED_FORMS = {
    # ∂₁ = α x₂: half of the product each
    "product": (lambda a, b: a * b, (2.0, 3.0), (0.0, 0.0), (3.0, 3.0)),
    # ∂₁ = x′₂ + α (x₂ − x′₂), so A₁ = (2 − 1)(5 + 3)/2 and A₂ = (3 − 5)(2 + 1)/2
    "product, from elsewhere": (lambda a, b: a * b, (2.0, 3.0), (1.0, 5.0), (4.0, -3.0)),
    # ∂₁ = α² x₂², ∂₂ = 2 α² x₁ x₂: a third and two thirds of 18
    "a b²": (lambda a, b: a * b**2, (2.0, 3.0), (0.0, 0.0), (6.0, 12.0)),
    # ∂₁ = α² x₂ x₃: a third of 24 each
    "three factors": (lambda a, b, c: a * b * c, (2.0, 3.0, 4.0), (0.0, 0.0, 0.0), (8.0, 8.0, 8.0)),
    # the third variable takes no part; a³ gives all of 8 to a; b c² = 48 goes a third to b, two
    # thirds to c
    "a³ + b c²": (
        lambda a, b, c, d: a**3 + b * c**2,
        (2.0, 3.0, 4.0, 9.0),
        (0.0,) * 4,
        (8.0, 16.0, 32.0, 0.0),
    ),
    # ∫ cos(α s) dα = sin(s)/s with s = 0.5 + 0.25: sin(s), shared as 2 : 1
    "sin(a + b)": (
        lambda a, b: torch.sin(a + b),
        (0.5, 0.25),
        (0.0, 0.0),
        (math.sin(0.75) * 2 / 3, math.sin(0.75) / 3),
    ),
    # ∫ 2α p cos(α² p)/2 dα = sin(p)/2, p = 0.6: half each
    "sin(a b)": (
        lambda a, b: torch.sin(a * b),
        (2.0, 0.3),
        (0.0, 0.0),
        (math.sin(0.6) / 2, math.sin(0.6) / 2),
    ),
    # ∫ x e^{αx} dα = eˣ − 1 and ∫ y·(−1)/(1 + αy)² dα = 1/(1 + y) − 1
    "eᵃ + 1/(1 + b)": (
        lambda a, b: a.exp() + 1 / (1 + b),
        (1.0, 1.0),
        (0.0, 0.0),
        (math.e - 1, -0.5),
    ),
}


@pytest.mark.parametrize(
    ("function", "x", "baseline", "expected"), CLOSED_FORMS.values(), ids=CLOSED_FORMS
)
@pytest.mark.parametrize(
    ("rule", "n", "bound"),
    [("midpoint", 1000, 1e-6), ("trapezoid", 1000, 2e-6), ("gauss_legendre", 12, 1e-12)],
)
def test_a_map_is_the_integral_along_the_path(function, x, baseline, expected, rule, n, bound):
    # Errors: (b − a)³ f″/(24 n²) of a map for midpoints, twice that for the trapezoid; integrand″
    # is at most 24 here.
    found = integrated_gradients(
        one_logit(function), f64(x), 0, baseline=f64(baseline), n_steps=n, rule=rule
    )
    torch.testing.assert_close(
        found, f64(expected), rtol=0, atol=max(abs(v) for v in expected) * bound * 2
    )


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize(
    ("rule", "square", "cube"),
    [
        # f = xᵏ from 0: A = xᵏ · k Σⱼ wⱼ αⱼᵏ⁻¹. Σ(2i + 1) = n², Σ(2i + 1)² = n(4n² − 1)/3; Σi = n(n
        # − 1)/2, Σi² = …
        ("midpoint", lambda n: 1, lambda n: 1 - 1 / (4 * n**2)),
        ("left", lambda n: (n - 1) / n, lambda n: (n - 1) * (2 * n - 1) / (2 * n**2)),
        ("right", lambda n: (n + 1) / n, lambda n: (n + 1) * (2 * n + 1) / (2 * n**2)),
        # n nodes are n − 1 intervals
        (
            "trapezoid",
            lambda n: 1,
            lambda n: 1 + 1 / (2 * (n - 1) ** 2),
        ),
        # Σi/(n(n − 1)) = 1/2, Σi²/(n(n − 1)²) = (2n − 1)/(6(n − 1)), for i = 0 … n − 1
        ("endpoints", lambda n: 1, lambda n: (2 * n - 1) / (2 * (n - 1))),
        ("gauss_legendre", lambda n: 1, lambda n: 1),  # n ≥ 2 nodes integrate up to degree 3
    ],
)
def test_each_rule_makes_exactly_its_own_error(rule, square, cube, n):
    x = f64([0.5, -2.0])
    for power, share in ((2, square), (3, cube)):
        found = integrated_gradients(
            lambda z, k=power: (z**k).sum(1, keepdim=True), x, 0, n_steps=n, rule=rule
        )
        torch.testing.assert_close(found, x**power * share(n), rtol=1e-12, atol=1e-14)


@every_rule
def test_a_linear_model_is_exact_at_the_smallest_number_of_steps(rule):
    # A = w ⊙ (x − x′): the gradient is w everywhere, and every rule's weights sum to 1.
    weights = f64([1.0, -2.0, 0.5], [3.0, 0.0, 1.0])
    x, baseline = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    target = torch.tensor([0, 1, 1, 0])
    for n in (smallest(rule), 2, 7):
        found = integrated_gradients(
            lambda z: z @ weights.T + 5, x, target, baseline=baseline, n_steps=n, rule=rule
        )
        torch.testing.assert_close(found, weights[target] * (x - baseline), rtol=1e-12, atol=1e-14)


@every_rule
@pytest.mark.parametrize("n", [1, 2, 3, 50, 1000])
def test_weights_sum_to_one_and_nodes_lie_in_order_on_the_path(rule, n):
    n = max(n, smallest(rule))
    nodes, weights = nodes_and_weights(rule, n)
    assert (
        len(nodes) == len(weights) == n and abs(weights.sum() - 1) < 1e-12 and (weights > 0).all()
    )
    assert nodes.min() >= 0 and nodes.max() <= 1 and (np.diff(nodes) > 0).all()
    assert (nodes[0] == 0) == (rule in ("left", "trapezoid", "endpoints"))
    assert (nodes[-1] == 1) == (rule in ("right", "trapezoid") or (rule == "endpoints" and n > 1))


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_endpoints_are_the_plain_mean_over_linspace_both_ends_counted_whole(n):
    # As many courses write it: torch.linspace(0, 1, n), a mean over it; of one, the baseline alone.
    nodes, weights = nodes_and_weights("endpoints", n)
    np.testing.assert_allclose(nodes, np.linspace(0, 1, n), rtol=0, atol=1e-15)
    assert weights.tolist() == [1 / n] * n
    # f = a b at (2, 3) from (1, 5), n = 3: ∂₁ = 5, 4, 3, so A₁ = (2 − 1) · 4; ∂₂ = 1, 1.5, 2, so
    # A₂ = (3 − 5) · 1.5. And f = a⁴ at 1, n = 3: 4 (0 + 1/8 + 1)/3 = 1.5.
    found = integrated_gradients(
        one_logit(lambda a, b: a * b),
        f64([2.0, 3.0]),
        0,
        baseline=f64([1.0, 5.0]),
        n_steps=3,
        rule="endpoints",
    )
    assert found.tolist() == [[4.0, -3.0]]
    fourth = one_logit(lambda a: a**4)
    assert integrated_gradients(fourth, f64([1.0]), 0, n_steps=3, rule="endpoints").item() == 1.5


def test_a_relu_gives_what_lies_beyond_its_kink():
    # relu(a + b − 1) from 0 to (1, 1): the gradient is (1, 1) for α > 1/2, 0 before; an even number
    # of midpoints is exact.
    found = integrated_gradients(
        one_logit(lambda a, b: torch.relu(a + b - 1)), f64([1.0, 1.0]), 0, n_steps=10
    )
    torch.testing.assert_close(found, f64([0.5, 0.5]))


def test_a_saturated_input_still_gets_its_share():
    # 1 − relu(1 − a) at a = 2 (arXiv:1703.01365, section 2.1): the gradient there is 0, and A =
    # f(2) − f(0) = 1.
    found = integrated_gradients(
        one_logit(lambda a: 1 - torch.relu(1 - a)), f64([2.0]), 0, n_steps=50
    )
    assert found.item() == pytest.approx(1)


# --- captum
# -------------------------------------------------------------------------------------------------

# Its trapezoid is left out: captum's weights for it sum to (n − 1)/n. Its step sizes are float32,
# hence the bound of 1e-6.
CAPTUM = {
    "left": "riemann_left",
    "right": "riemann_right",
    "midpoint": "riemann_middle",
    "gauss_legendre": "gausslegendre",
}


def assert_agrees_with_captum(model, pixels, rule, baseline):
    from captum.attr import IntegratedGradients

    target = model(pixels).argmax(1).flip(0)
    found = integrated_gradients(model, pixels, target, baseline=baseline, n_steps=7, rule=rule)
    start = 0 if isinstance(baseline, str) else baseline
    reference = IntegratedGradients(model).attribute(
        pixels, start, target=target, n_steps=7, method=CAPTUM[rule]
    )
    assert relative_l2(found, reference) < 1e-6


@pytest.mark.parametrize("rule", CAPTUM)
@pytest.mark.parametrize("from_elsewhere", [False, True])
def test_it_agrees_with_captum_rule_by_rule(rule, from_elsewhere, network_and_inputs):
    model, inputs = network_and_inputs
    assert_agrees_with_captum(
        model, inputs, rule, torch.rand_like(inputs) if from_elsewhere else "black"
    )


@pytest.mark.parametrize("rule", CAPTUM)
def test_it_agrees_with_captum_on_a_real_network(rule, real_network):
    # no flat parts: there max pooling meets equal values, and rounding decides
    pixels = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    assert_agrees_with_captum(copy.deepcopy(real_network).double(), pixels, rule, "black")


def test_on_photographs_a_real_network_s_map_is_complete(real_network, photos):
    from helpers.benchmark.images import load_images

    pixels = load_images(photos, 1).pixels
    found = converged_integrated_gradients(real_network, pixels, tolerance=0.05, max_steps=257)
    rise = (real_network(pixels) - real_network(torch.zeros_like(pixels))).gather(
        1, real_network(pixels).argmax(1)[:, None]
    )[:, 0]
    gap = completeness_gap(
        real_network, pixels, "black", found.attribution
    ).abs() / rise.abs().clamp_min(GAP_FLOOR)
    assert (gap < 0.05).all()


# --- the path and its nodes
# -------------------------------------------------------------------------------------------


@every_rule
def test_the_model_sees_the_nodes_of_the_rule_on_the_straight_path(rule, watch):
    watched = watch(one_logit(lambda a, b: a * b))
    x, baseline = f64([1.0, -2.0]), f64([3.0, 0.5])
    integrated_gradients(watched, x, 0, baseline=baseline, n_steps=4, rule=rule)
    alphas = {
        "midpoint": [1 / 8, 3 / 8, 5 / 8, 7 / 8],
        "left": [0, 1 / 4, 1 / 2, 3 / 4],
        "right": [1 / 4, 1 / 2, 3 / 4, 1],
        "trapezoid": [0, 1 / 3, 2 / 3, 1],
        "endpoints": [0, 1 / 3, 2 / 3, 1],
        "gauss_legendre": (1 + np.polynomial.legendre.leggauss(4)[0]) / 2,
    }[rule]
    torch.testing.assert_close(watched.rows, baseline + f64(*alphas)[:, None] * (x - baseline))


@pytest.mark.parametrize(
    ("rule", "steps", "distinct"),
    [
        ("midpoint", (5, 15), 15),  # the midpoints of 5 intervals are among those of 15
        ("midpoint", (5, 10, 20), 35),  # but none of 10 is one of 5 or 20
        ("left", (5, 10, 20), 20),
        ("right", (5, 10, 20, 50), 60),  # multiples of 1/20 and of 1/50 share those of 1/10
        ("trapezoid", (3, 5, 9, 17), 17),
        ("trapezoid", (50, 100), 148),  # 1/49 and 1/99 share the ends only
        ("gauss_legendre", (3, 5, 7), 13),  # the middle
        ("left", (10, 10, 10), 10),
    ],
)
def test_several_numbers_of_steps_evaluate_each_distinct_node_once(
    rule, steps, distinct, network_and_inputs, watch
):
    model, inputs = network_and_inputs
    watched = watch(model)
    maps = integrated_gradients(watched, inputs, 0, n_steps=steps, rule=rule)
    assert (
        len(watched.rows)
        == 3 * distinct
        == len(watched.rows.flatten(1).unique(dim=0)) + (rule in ("left", "trapezoid")) * 2
    )
    # black is the same row for three pictures, hence the 2
    assert list(maps) == list(dict.fromkeys(steps))
    for n, found in maps.items():
        assert (
            relative_l2(found, integrated_gradients(model, inputs, 0, n_steps=n, rule=rule)) < 1e-10
        )


def test_several_sums_from_one_pass_are_each_their_own_and_share_nodes(network_and_inputs, watch):
    model, inputs = network_and_inputs
    watched = watch(model)
    wanted = [("midpoint", 3), ("left", 4), ("right", 4), ("trapezoid", 5)]
    maps = integrated_gradients_nodes(
        watched, inputs, 0, nodes={key: nodes_and_weights(*key) for key in wanted}
    )
    assert list(maps) == wanted
    assert len(watched.rows) == 3 * 7  # 0, ¼, ½, ¾, 1, and of the midpoints 1/6 and 5/6
    for (rule, n), found in maps.items():
        assert (
            relative_l2(found, integrated_gradients(model, inputs, 0, n_steps=n, rule=rule)) < 1e-10
        )


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        (dict(n_steps=[10, 3, 10]), [10, 3]),
        (dict(n_steps={7, 3}), [3, 7]),
        (dict(n_steps=range(2, 4)), [2, 3]),
        (dict(n_steps=np.array([5])), [5]),
        (dict(rule=("right", "left")), ["right", "left"]),
        (dict(rule={"right", "left"}), ["left", "right"]),
        (dict(rule=RULES), list(RULES)),
        (dict(rule={"mine": "endpoints", "theirs": "left"}), ["mine", "theirs"]),
    ],
)
def test_several_in_a_dict_out_in_the_order_given(settings, labels, table_net):
    x = torch.rand(2, 6, dtype=torch.float64)
    found = integrated_gradients(table_net, x, 0, **dict(n_steps=4) | settings)
    assert list(found) == labels
    (name, values), wanted = next(iter(settings.items())), {"mine": "endpoints", "theirs": "left"}
    for label, values in found.items():
        one = {"n_steps": 4, name: wanted.get(label, label)}
        assert relative_l2(values, integrated_gradients(table_net, x, 0, **one)) < 1e-12


def test_the_class_is_fixed_on_the_input_even_if_it_is_not_predicted_along_the_path(watch):
    # Logits (s, 0.6 − s), s = Σx: class 0 is predicted at s = 0.9, class 1 below s = 0.3; A = x for
    # class 0 all the way.
    watched = watch(lambda x: torch.stack([x.sum(1), 0.6 - x.sum(1)], 1))
    x = f64([0.3, 0.6])
    found = integrated_gradients(watched, x, n_steps=10)
    assert (watched.rows.sum(1) < 0.3).any()
    torch.testing.assert_close(found, x)
    torch.testing.assert_close(converged_integrated_gradients(watched, x).attribution, x)


# --- baselines
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.5, 0.1)])
def test_black_and_white_are_the_ends_of_the_range(low, high, conv_net, pictures):
    for name, value in (("black", low), ("white", high)):
        found = make_baseline(name, conv_net, pictures, 0, input_range=(low, high))
        assert torch.equal(found, torch.full_like(pictures, value))


def test_mean_is_each_pictures_own_mean_colour(conv_net, pictures):
    found = make_baseline("mean", conv_net, pictures)
    expected = pictures.numpy().mean((2, 3), keepdims=True)  # (3 pictures, 3 channels)
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(expected, (3, 3, 8, 8)), rtol=1e-12)


def test_blur_is_a_gaussian_of_a_tenth_of_the_shorter_side_in_each_channel(conv_net):
    pixels = torch.rand(2, 3, 10, 20, dtype=torch.float64)
    found = make_baseline("blur", lambda x: x.flatten(1), pixels).numpy()
    assert BLUR_SIGMA == 0.1
    for picture, blurred in zip(pixels.numpy(), found, strict=True):
        for channel, result in zip(picture, blurred, strict=True):
            np.testing.assert_allclose(
                result, ndimage.gaussian_filter(channel, 1.0, mode="nearest"), rtol=1e-10
            )
    signal = torch.rand(2, 3, 40, dtype=torch.float64)
    expected = ndimage.gaussian_filter1d(signal.numpy(), 4.0, axis=2, mode="nearest")
    np.testing.assert_allclose(
        make_baseline("blur", lambda x: x.flatten(1), signal).numpy(), expected, rtol=1e-10
    )


def test_noise_is_uniform_in_the_range_and_a_function_of_the_seed(conv_net):
    pixels = torch.rand(2, 3, 40, 40, dtype=torch.float64)

    def noise(seed, **kwargs):
        return make_baseline("noise", lambda x: x.flatten(1), pixels, 0, seed=seed, **kwargs)

    first = noise(3, input_range=(-2, 2))
    assert torch.equal(first, noise(3, input_range=(-2, 2))) and torch.equal(first[0], first[1])
    assert stats.kstest(first[0].flatten().numpy(), stats.uniform(-2, 4).cdf).pvalue > 1e-3
    each = noise([3, 4])
    assert (
        torch.equal(each[0], noise(3)[0])
        and torch.equal(each[1], noise(4)[0])
        and not (each[0] == each[1]).any()
    )
    # none of the draws of a SmoothGrad of the same seed
    drawn = np.concatenate(
        [noise_field((3, 40, 40), 3, i, distribution="uniform").ravel() for i in range(5)]
    )
    assert not np.isin((2 * noise(3)[0].numpy() - 1) * math.sqrt(3), drawn).any()


def test_farthest_is_the_farther_end_of_the_range_at_each_value(table_net):
    x = f64([0.0, 0.2, 0.49, 0.5, 0.51, 1.0])
    assert make_baseline("farthest", table_net, x).tolist() == [[1, 1, 1, 1, 0, 0]]
    found = make_baseline("farthest", table_net, x, input_range=(0.1, 0.7))  # middle 0.4
    assert found.tolist() == [[0.7, 0.7, 0.1, 0.1, 0.1, 0.1]]  # to the last bit of a float64


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-10.0, 10.0)])
def test_adversarial_is_near_and_lowers_the_margin_of_the_target(low, high, network_and_inputs):
    model, inputs = network_and_inputs
    inputs = low + (high - low) * inputs
    target = torch.tensor([2, 0, 1])
    found = make_baseline("adversarial", model, inputs, target, input_range=(low, high))

    def margin(x):
        logits = model(x)
        others = logits.clone()
        others[torch.arange(3), target] = -torch.inf
        return logits[torch.arange(3), target] - others.amax(1)

    radius = (found - inputs).abs().amax()
    assert PGD["radius"] == 0.1 and 0.05 * (high - low) < radius <= 0.1 * (high - low) + 1e-12
    assert found.min() >= low and found.max() <= high
    assert (margin(found) < margin(inputs)).all()


def test_adversarial_on_a_linear_model_goes_straight_to_the_corner():
    # Margin x₁ − x₂: down by the full radius on x₁, up on x₂; the third value has no gradient and
    # stays.
    def model(x):
        return x[:, :2] * 5

    found = make_baseline(
        "adversarial", model, f64([0.5, 0.5, 0.5], [0.05, 0.97, 0.5]), torch.tensor([0, 0])
    )
    torch.testing.assert_close(found, f64([0.4, 0.6, 0.5], [0.0, 1.0, 0.5]))


def test_a_tensor_is_one_baseline_for_all_or_one_for_each(conv_net, pictures):
    each = torch.rand_like(pictures)
    assert torch.equal(make_baseline(each, conv_net, pictures), each)
    for one in (each[0], each[:1]):
        assert torch.equal(make_baseline(one, conv_net, pictures), each[:1].expand(3, 3, 8, 8))
    assert make_baseline(each.float(), conv_net, pictures).dtype == torch.float64
    mine = make_baseline(each, conv_net, pictures)
    mine.zero_()
    assert each.any()  # a copy


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "samples"])
def test_a_named_baseline_is_the_same_as_its_tensor(name, conv_net, pictures):
    tensor = make_baseline(name, conv_net, pictures, 1, seed=7)
    assert (
        tensor.shape == pictures.shape
        and tensor.dtype == pictures.dtype
        and not tensor.requires_grad
    )
    named = integrated_gradients(conv_net, pictures, 1, baseline=name, n_steps=3, seed=7)
    assert torch.equal(
        named, integrated_gradients(conv_net, pictures, 1, baseline=tensor, n_steps=3)
    )


@pytest.mark.parametrize("name", ["black", "white", "noise", "farthest", "adversarial"])
def test_baselines_without_places_suit_tables_too(name, table_net):
    x = torch.rand(3, 6, dtype=torch.float64)
    assert integrated_gradients(table_net, x, baseline=name, n_steps=3).shape == x.shape


# --- expected gradients
# -----------------------------------------------------------------------------------------------


def test_expected_gradients_are_the_mean_of_the_integrals_from_each_reference(network_and_inputs):
    model, inputs = network_and_inputs
    references = torch.rand(4, *inputs.shape[1:], dtype=torch.float64)
    found = integrated_gradients(
        model, inputs, baseline="samples", references=references, n_steps=6
    )
    each = [
        integrated_gradients(model, inputs, baseline=reference, n_steps=6)
        for reference in references
    ]
    assert relative_l2(found, torch.stack(each).mean(0)) < 1e-12


@pytest.mark.parametrize("n_references", [2, 3, 5])
def test_expected_gradients_are_complete_with_the_mean_over_the_references(n_references):
    # f = abc: two Gauss-Legendre nodes are exact, so ΣA = f(x) − mean f(x′).
    model = one_logit(lambda a, b, c: a * b * c)
    x, references = (
        torch.rand(3, 3, dtype=torch.float64),
        torch.rand(n_references, 3, dtype=torch.float64),
    )
    found = integrated_gradients(
        model, x, 0, baseline="samples", references=references, n_steps=2, rule="gauss_legendre"
    )
    torch.testing.assert_close(found.sum(1), x.prod(1) - references.prod(1).mean())
    gap = completeness_gap(model, x, "samples", found, 0, references=references)
    torch.testing.assert_close(gap, torch.zeros_like(gap), rtol=0, atol=1e-12)
    if n_references not in (1, 3):  # 3 would be a baseline for each of the 3 inputs
        torch.testing.assert_close(
            completeness_gap(model, x, references.float().double(), found, 0),
            gap,
            rtol=0,
            atol=1e-6,
        )


# --- completeness
# -------------------------------------------------------------------------------------------------


def test_the_gap_is_the_sum_of_the_map_less_the_rise_of_the_logit():
    # f = ab: 6 − 0 and 2 − 12; maps that sum to 2 and 1 miss them by −4 and 11.
    model = one_logit(lambda a, b: a * b)
    x, baseline = f64([2.0, 3.0], [1.0, 2.0]), f64([0.0, 5.0], [3.0, 4.0])
    gap = completeness_gap(model, x, baseline, f64([1.0, 1.0], [0.0, 1.0]), 0)
    assert gap.tolist() == [-4.0, 11.0]
    assert completeness_gap(model, x, "white", f64([1.0, 1.0], [0.0, 1.0]), 0).tolist() == [
        2 - 5,
        1 - 1,
    ]


def test_the_gap_is_that_of_the_target():
    def model(x):
        return torch.cat([x, 10 * x], 1)

    x = f64([1.0])
    assert completeness_gap(model, x, "black", x, 0).item() == 0
    assert completeness_gap(model, x, "black", x, 1).item() == -9
    assert completeness_gap(model, x, "black", x).item() == -9  # class 1 is predicted


@pytest.mark.parametrize("rule", ["midpoint", "trapezoid", "gauss_legendre"])
def test_more_steps_close_the_gap(rule, network_and_inputs):
    model, inputs = network_and_inputs
    maps = integrated_gradients(model, inputs, n_steps=(2, 500), rule=rule)
    few, many = (
        completeness_gap(model, inputs, "black", found).abs().sum() for found in maps.values()
    )
    rise = (model(inputs) - model(torch.zeros_like(inputs))).abs().amax()
    assert many < 0.01 * rise and many < few


def test_the_gap_in_half_precision_is_not_rounded_to_it():
    # f(x) − f(x′) = 1 + 2⁻⁸, which is no bfloat16; ΣA = 1. And ΣA = 4 · 30000 is no float16.
    def model(x):
        return x[:, :1]

    x, start = (torch.tensor([[v, 0.0]], dtype=torch.bfloat16) for v in (1.0, -(2**-8)))
    gap = completeness_gap(model, x, start, torch.tensor([[1.0, 0.0]]).bfloat16(), 0)
    assert gap.tolist() == [-(2**-8)]
    large = torch.full((1, 4), 30000.0).half()
    assert completeness_gap(model, large, large, large, 0).tolist() == [120000.0]


def test_the_mean_of_a_large_picture_in_half_precision_is_its_mean():
    x = torch.full((1, 1, 400, 400), 0.5).half()  # Σ = 80000, more than float16 holds
    assert (make_baseline("mean", lambda z: z.flatten(1), x) == 0.5).all()


# --- as many steps as it takes
# ----------------------------------------------------------------------------------------


def test_a_cubic_stops_where_both_criteria_say():
    # f = x³ from 0 to 1, m intervals: A = 1 + 1/(2m²). From m to 2m the gap is 1/(8m²), the change
    # (3/(8m²))/(1 + 1/(8m²)); the change is at most 0.01 for m² ≥ 37.4, so m = 8, and 16 intervals
    # have 17 nodes.
    found = converged_integrated_gradients(one_logit(lambda a: a**3), f64([1.0]), 0)
    assert isinstance(found, ConvergedMap) and found._fields == ("attribution", "n_steps", "gap")
    assert found.n_steps.tolist() == [17] and found.n_steps.dtype == torch.int64
    torch.testing.assert_close(found.attribution, f64([1 + 1 / 512]))
    torch.testing.assert_close(found.gap, f64(1 / 512))


def test_a_small_rise_is_measured_against_the_floor():
    # f = 0.004 x³, tolerance 0.1: the change is 0.0909 from 2 to 4 intervals; the gap there is
    # 0.004/32 over 0.01, not 0.004.
    found = converged_integrated_gradients(
        one_logit(lambda a: 0.004 * a**3), f64([1.0]), 0, tolerance=0.1
    )
    assert found.n_steps.item() == 5 and found.gap.item() == pytest.approx(0.004 / 32 / GAP_FLOOR)


def test_attributions_that_cancel_do_not_pass_for_converged():
    # f = a⁸ − b⁸ at a = b = 1: the sum of the map is 0 = f(x) − f(x′) for any number of steps, so
    # the gap is 0 from the start, while with 2 intervals A₁ is 8 · (0.5⁷ + 0.5)/2 = 2.03 in place
    # of 1.
    found = converged_integrated_gradients(one_logit(lambda a, b: a**8 - b**8), f64([1.0, 1.0]), 0)
    assert found.gap.item() == 0 and found.n_steps.item() > 3
    torch.testing.assert_close(found.attribution, f64([1.0, -1.0]), rtol=0.01, atol=0)


def test_a_map_that_stands_still_does_not_pass_for_converged():
    # The slope lies between 0.26 and 0.49, where 2 and 4 intervals have no node: the map is 0,
    # unchanged, and misses all.
    ramp = one_logit(lambda a: (torch.relu(a - 0.26) - torch.relu(a - 0.49)) / 0.23)
    found = converged_integrated_gradients(ramp, f64([1.0]), 0, tolerance=0.05)
    assert found.n_steps.item() > 5 and found.attribution.item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("tolerance", [0.1, 0.01])
def test_each_input_stops_at_the_first_doubling_that_meets_both_criteria(
    tolerance, network_and_inputs
):
    model, inputs = network_and_inputs
    found = converged_integrated_gradients(model, inputs, 1, tolerance=tolerance, max_steps=4097)
    maps = list(
        integrated_gradients(
            model, inputs, 1, n_steps=[2**k + 1 for k in range(13)], rule="trapezoid"
        ).values()
    )
    rise = (model(inputs) - model(torch.zeros_like(inputs)))[:, 1].detach()
    for i in range(3):
        for k in range(1, 13):
            now, before = maps[k][i], maps[k - 1][i]
            gap = (now.sum() - rise[i]).abs() / rise[i].abs().clamp_min(GAP_FLOOR)
            if gap <= tolerance and (now - before).abs().sum() <= tolerance * now.abs().sum():
                break
        assert found.n_steps[i] == 2**k + 1
        torch.testing.assert_close(found.attribution[i], now)
        torch.testing.assert_close(found.gap[i], gap)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_the_steps_it_reports_are_the_rows_the_model_saw_and_no_node_is_evaluated_twice(
    batch_size, conv_net, pictures, watch
):
    watched = watch(conv_net)
    found = converged_integrated_gradients(
        watched, pictures, 1, tolerance=0.05, batch_size=batch_size
    )
    # besides the gradients, the logits at both ends: one row each, of each picture
    assert len(watched.rows) == int(found.n_steps.sum()) + 2 * 3
    gradients = watched.rows[6:].flatten(1)
    # black is the same row for three pictures
    assert len(gradients.unique(dim=0)) == len(gradients) - 2


def test_what_an_input_gets_does_not_depend_on_its_company():
    # a⁸ needs more steps than a², and a linear input only the fewest: each its own, in any order.
    model = one_logit(lambda a, b, c: a**8 + b**2 + c)
    x = f64([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    together = converged_integrated_gradients(model, x, 0)
    backwards = converged_integrated_gradients(model, x.flip(0), 0)
    for i in range(4):
        alone = converged_integrated_gradients(model, x[i : i + 1], 0)
        for one, all_of_them, reverse in zip(alone, together, backwards, strict=True):
            assert torch.equal(one[0], all_of_them[i]) and torch.equal(one[0], reverse[3 - i])
    # x² is exact with one interval, so it stops at the first doubling, as do the linear input and
    # the one that is black.
    assert together.n_steps.tolist()[1:] == [3, 3, 3] and together.n_steps[0] > 17
    assert together.attribution[3].tolist() == [0, 0, 0] and together.gap[3] == 0


def test_an_infinite_gradient_is_an_error_that_names_the_input_among_all_of_them():
    # Input 0 is linear on its path and done after 3 gradients; input 1 meets the pole at α = 5/8.
    model = one_logit(lambda a, b: a + (b - 0.625).abs().log())
    with pytest.raises(ValueError, match=r"infinite at α = 0\.625 of the path .* of input 1:"):
        converged_integrated_gradients(model, f64([1.0, 0.0], [0.0, 1.0]), 0)


@pytest.mark.parametrize("rule", ["left", "trapezoid", "endpoints"])
def test_a_rule_with_a_node_at_a_pole_is_an_error_that_names_it_and_one_without_is_not(rule):
    # f = Σ√x: from black to 0.25 each value gives √0.25 = 0.5, and the gradient at black is ∞.
    def model(x):
        return x.sqrt().sum(1, keepdim=True)

    x, baseline = f64([0.25], [0.25]), f64([0.04], [0.0])  # only input 1 starts at the pole
    for batch_size in (None, 1, 3):
        with pytest.raises(ValueError, match=r"infinite at α = 0 of the path .* of input 1:"):
            integrated_gradients(
                model, x, 0, baseline=baseline, n_steps=5, rule=rule, batch_size=batch_size
            )
    found = integrated_gradients(model, x, 0, baseline=baseline, n_steps=20000)
    assert found.flatten().tolist() == pytest.approx([0.3, 0.5], rel=3e-3)


@pytest.mark.parametrize("max_steps", [3, 4, 9, 16])
def test_too_few_steps_are_a_warning_that_names_the_inputs(max_steps, watch):
    watched = watch(one_logit(lambda a, b: a**8 + b))
    x = f64([0.0, 1.0], [1.0, 0.0], [0.0, 0.5], [0.9, 0.0])
    with pytest.warns(
        ConvergenceWarning,
        match=rf"^2 of 4 .* 0\.01 in .* would pass max_steps={max_steps} \(numbers 1, 3; .*raise",
    ) as caught:
        found = converged_integrated_gradients(watched, x, 0, max_steps=max_steps)
    assert caught[0].filename == __file__
    intervals = {3: 2, 4: 2, 9: 8, 16: 8}[max_steps]  # the most doublings with as many nodes
    assert found.n_steps.tolist() == [3, intervals + 1, 3, intervals + 1]
    assert len(watched.rows) == found.n_steps.sum() + 8
    best = integrated_gradients(watched, x, 0, n_steps=intervals + 1, rule="trapezoid")
    torch.testing.assert_close(found.attribution, best)
    assert (found.gap[[1, 3]] > 0.01).all() and (found.gap[[0, 2]] <= 0.01).all()


def test_a_looser_tolerance_takes_fewer_steps_and_enough_steps_do_not_warn(conv_net, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loose = converged_integrated_gradients(conv_net, pictures, 1, tolerance=0.2)
        tight = converged_integrated_gradients(conv_net, pictures, 1, tolerance=0.01)
    assert (loose.n_steps <= tight.n_steps).all() and (loose.n_steps < tight.n_steps).any()
    assert (tight.gap <= 0.01).all() and (loose.gap <= 0.2).all()


@pytest.mark.parametrize(
    "baseline", ["white", "mean", "blur", "noise", "farthest", "adversarial", "tensor"]
)
def test_it_converges_from_any_baseline_but_samples(baseline, conv_net, pictures):
    start = torch.rand_like(pictures) if baseline == "tensor" else baseline
    found = converged_integrated_gradients(
        conv_net, pictures, 1, baseline=start, tolerance=0.05, seed=3
    )
    origin = make_baseline(start, conv_net, pictures, 1, seed=3)
    rise = (conv_net(pictures) - conv_net(origin))[:, 1].detach().abs().clamp_min(GAP_FLOOR)
    gap = completeness_gap(conv_net, pictures, origin, found.attribution, 1).abs() / rise
    torch.testing.assert_close(gap, found.gap)
    assert (gap <= 0.05).all()


# --- errors
# -------------------------------------------------------------------------------------------------

X = torch.full((2, 6), 0.5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(n_steps=0), ValueError, "n_steps must be at least 1, found 0"),
        (dict(n_steps=2.5), TypeError, r"n_steps must be an integer, found 2\.5"),
        (
            dict(n_steps=1, rule="trapezoid"),
            ValueError,
            "trapezoid .* n_steps must be at least 2, found 1",
        ),
        (
            dict(rule="trapezoidal"),
            ValueError,
            "unknown rule 'trapezoidal'; did you mean 'trapezoid'",
        ),
        (
            dict(rule="xyzzy"),
            ValueError,
            "unknown rule 'xyzzy'; known: midpoint, left, right, trapezoid, gauss_legendre",
        ),
        (dict(baseline="blak"), ValueError, "unknown baseline 'blak'; did you mean 'black'"),
        (dict(baseline=0), TypeError, r"a name \(black, .*\) or a tensor, found int"),
        (
            dict(baseline=X[:, :5]),
            ValueError,
            r"shape of the pixels \(2, 6\) or of one of them \(6,\), found \(2, 5\)",
        ),
        (dict(baseline=X[:1].expand(3, 6)), ValueError, r"found \(3, 6\)"),
        (dict(baseline=X * torch.nan), ValueError, "the baseline: 12 values are NaN or infinite"),
        (dict(baseline=X.to("meta")), ValueError, "the baseline: on meta, and the model is on cpu"),
        (
            dict(baseline="mean"),
            ValueError,
            r"the mean baseline needs inputs with channels and places.*found \(2, 6\)",
        ),
        (
            dict(baseline="blur"),
            ValueError,
            r"the blur baseline needs inputs with channels and places.*found \(2, 6\)",
        ),
        (
            dict(baseline="noise", seed=-1),
            ValueError,
            r"seeds must lie in 0 … 2\*\*32 - 1, found -1",
        ),
        (dict(baseline="noise", seed=[1]), ValueError, "one for each of the 2 inputs, found 1"),
        (
            dict(references=X),
            ValueError,
            r"references, .*go with baseline='samples', and only with it",
        ),
        (
            dict(baseline="samples"),
            ValueError,
            r"references, .*go with baseline='samples', and only with it",
        ),
        (
            dict(baseline=X, references=X),
            ValueError,
            r"references, .*go with baseline='samples', and only with it",
        ),
        (
            dict(baseline="samples", references=X[:, :5]),
            ValueError,
            r"references must be \(R, 6\).*found \(2, 5\)",
        ),
        (
            dict(baseline="samples", references=X * torch.nan),
            ValueError,
            "references: 12 values are NaN",
        ),
        (
            dict(baseline="samples", references=X[:0]),
            ValueError,
            r"references must be a batch .*found shape \(0, 6\)",
        ),
        (dict(input_range=(1, 0)), ValueError, r"finite with low < high, found \(1, 0\)"),
    ],
)
def test_an_unfit_setting_is_an_error_that_says_why(settings, error, message, table_net):
    with pytest.raises(error, match=message):
        integrated_gradients(table_net, X, 0, **settings)


def test_a_baseline_outside_the_range_of_a_classifier_is_an_error(tiny_classifier, pictures):
    with pytest.raises(ValueError, match=r"the baseline must lie in \[0, 1\], found \[-1, -1\]"):
        integrated_gradients(tiny_classifier, pictures, 0, baseline=torch.full_like(pictures, -1))
    with pytest.raises(ValueError, match=r"references must lie in \[0, 1\]"):
        integrated_gradients(
            tiny_classifier, pictures, 0, baseline="samples", references=pictures * 3
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(max_steps=2), "max_steps must be at least 3, .*found 2"),
        (dict(max_steps=0), "max_steps must be at least 1, found 0"),
        (dict(tolerance=0), "tolerance must be greater than 0, found 0"),
        (dict(tolerance=math.nan), "tolerance must be greater than 0, found nan"),
        (
            dict(baseline="samples"),
            "'samples' is no single baseline: give references to integrated_gradients",
        ),
    ],
)
def test_an_unfit_setting_of_the_converged_kind_is_an_error(settings, message, table_net):
    with pytest.raises(ValueError, match=message):
        converged_integrated_gradients(table_net, X, 0, **settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(n_steps=()), ValueError, "n_steps is empty: give one value or several"),
        (dict(rule=set()), ValueError, "rule is empty: give one value or several"),
        (dict(n_steps=(5, 0)), ValueError, "n_steps must be at least 1, found 0"),
        (dict(n_steps=(5, 1), rule="trapezoid"), ValueError, "must be at least 2, found 1"),
        (dict(rule=["left", "rihgt"]), ValueError, "unknown rule 'rihgt'; did you mean 'right'"),
        (
            dict(n_steps=[3, 5], rule=["left", "right"]),
            ValueError,
            "n_steps and rule name several each, .*, or every sum to integrated_gradients_nodes",
        ),
    ],
)
def test_unfit_lists_are_an_error_before_any_work(settings, error, message, table_net, watch):
    watched = watch(table_net)
    with pytest.raises(error, match=message):
        integrated_gradients(watched, X, **settings)
    assert not watched.calls


@pytest.mark.parametrize(
    ("attribution", "error", "message"),
    [
        (
            X[:1],
            ValueError,
            r"the attribution must have the shape of the pixels, \(2, 6\), found \(1, 6\)",
        ),
        (X.numpy(), TypeError, r"the attribution must be a torch\.Tensor, found ndarray"),
    ],
)
def test_the_gap_of_something_else_than_a_map_is_an_error(attribution, error, message, table_net):
    with pytest.raises(error, match=message):
        completeness_gap(table_net, X, "black", attribution, 0)


def test_references_of_another_shape_have_no_gap(table_net):
    with pytest.raises(
        ValueError, match=r"a baseline must have the shape of the pixels \(2, 6\).*found \(5, 4\)"
    ):
        completeness_gap(table_net, X, torch.zeros(5, 4, dtype=torch.float64), X, 0)
