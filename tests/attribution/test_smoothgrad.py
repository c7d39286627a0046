"""SmoothGrad against closed forms and captum, and what it promises of its noise."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from helpers.attribution.aggregates import Mean
from helpers.attribution.gradients import saliency
from helpers.attribution.integrated_gradients import integrated_gradients
from helpers.attribution.smoothgrad import smoothgrad
from helpers.noise import DISTRIBUTIONS, NORMAL_IQR, noise_field

MATCHES = [
    (d, m)
    for d in DISTRIBUTIONS
    for m in ("std", "iqr")
    if (d, m) not in [("cauchy", "std"), ("rademacher", "iqr")]
]
every_match = pytest.mark.parametrize(("distribution", "match"), MATCHES)


def separable(function):
    """The model with one logit, Σ function(x) over all values: a map is the mean derivative at each
    of them."""
    return lambda x: function(x).flatten(1).sum(1, keepdim=True)


def relative_l2(a, b):
    return float((a - b).norm() / b.norm())


def draws(n, shape, seed=0, **kwargs):
    return np.stack([noise_field(shape, seed, i, **kwargs) for i in range(n)])


def scale(distribution, match, sigma):
    """The distribution's textbook parameter: σ, half width a, b, a or γ."""
    iqr = NORMAL_IQR * sigma
    return {
        ("normal", "std"): sigma,
        ("normal", "iqr"): sigma,
        ("uniform", "std"): sigma * math.sqrt(3),
        ("uniform", "iqr"): iqr,  # U(−a, a): std a/√3, quartiles ∓a/2
        ("laplace", "std"): sigma / math.sqrt(2),
        ("laplace", "iqr"): iqr / (2 * math.log(2)),  # std b√2, quartiles ∓b ln 2
        ("rademacher", "std"): sigma,
        ("cauchy", "iqr"): iqr / 2,  # quartiles ∓γ
    }[distribution, match]


# --- closed forms
# -------------------------------------------------------------------------------------------------


def assert_mean_gradient(function, x, expected, *, noise=0.8, n_samples=25, **kwargs):
    """The mean over 25 × 4000 independent draws of function′(x + δ) is within 5 standard errors of
    ``expected``."""
    pixels = torch.full((1, 4000), x, dtype=torch.float64)
    maps = smoothgrad(
        separable(function),
        pixels,
        0,
        aggregate=("mean", "variance"),
        noise=noise,
        n_samples=n_samples,
        seed=3,
        **kwargs,
    )
    error = math.sqrt(float(maps["variance"].mean()) / (4000 * n_samples))
    assert abs(float(maps["mean"].mean()) - expected) < 5 * error + 1e-12


@every_match
def test_the_mean_gradient_of_sin_is_cos_times_the_characteristic_function(distribution, match):
    # E cos(x + δ) = cos(x) E cos δ for symmetric δ; E cos δ is φ(1), the characteristic function at
    # 1.
    s = scale(distribution, match, 0.8)
    phi = {
        "normal": math.exp(-(s**2) / 2),
        "uniform": math.sin(s) / s,
        "laplace": 1 / (1 + s**2),
        "rademacher": math.cos(s),
        "cauchy": math.exp(-s),
    }[distribution]
    assert_mean_gradient(
        torch.sin, 0.4, math.cos(0.4) * phi, distribution=distribution, match=match
    )


@every_match
def test_the_mean_gradient_of_a_relu_is_the_probability_of_its_open_side(distribution, match):
    # relu′(x + δ) = 1 where δ > −x, so the mean is P(δ > −0.3) = F(0.3).
    s = scale(distribution, match, 0.8)
    expected = {
        "normal": stats.norm.cdf(0.3 / s),
        "uniform": (1 + 0.3 / s) / 2,
        "laplace": 1 - math.exp(-0.3 / s) / 2,
        "rademacher": 0.5,
        "cauchy": 0.5 + math.atan(0.3 / s) / math.pi,
    }[distribution]
    assert_mean_gradient(torch.relu, 0.3, expected, distribution=distribution, match=match)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "laplace", "rademacher"])
def test_the_mean_gradient_of_a_cubic_adds_three_times_the_variance(distribution):
    # E 3(x + δ)² = 3x² + 3σ²
    assert_mean_gradient(lambda x: x**3, 0.5, 3 * 0.25 + 3 * 0.64, distribution=distribution)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "laplace", "rademacher"])
def test_the_mean_gradient_of_a_fifth_power_needs_the_fourth_moment(distribution):
    # E 5(x + δ)⁴ = 5 (x⁴ + 6 x² σ² + κσ⁴) with κ = 3, 9/5, 6, 1.
    kappa = {"normal": 3, "uniform": 9 / 5, "laplace": 6, "rademacher": 1}[distribution]
    expected = 5 * (0.5**4 + 6 * 0.25 * 0.64 + kappa * 0.8**4)
    assert_mean_gradient(lambda x: x**5, 0.5, expected, distribution=distribution, n_samples=50)


@pytest.mark.parametrize(
    ("distribution", "match"), [*MATCHES, (lambda shape, rng: rng.gamma(2, size=shape), "std")]
)
@pytest.mark.parametrize("antithetic", [False, True])
def test_a_linear_model_is_exact_from_the_first_sample(distribution, match, antithetic):
    weights = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]])
    for n in (1, 2, 5):
        found = smoothgrad(
            lambda x: x @ weights.T,
            torch.rand(4, 3),
            torch.tensor([0, 1, 1, 0]),
            n_samples=n,
            distribution=distribution,
            match=match,
            antithetic=antithetic,
        )
        assert torch.equal(found, weights[[0, 1, 1, 0]])


@every_match
def test_antithetic_pairs_are_exact_for_a_quadratic(distribution, match):
    # ∇ = Qx is linear in x, so +δ and −δ cancel: the mean is Qx from the first pair on, and without
    # pairs it is not.
    q = torch.tensor([[2.0, 1.0], [1.0, -3.0]], dtype=torch.float64)

    def model(x):
        return ((x @ q) * x).sum(1, keepdim=True) / 2

    x = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    for n in (1, 3):
        settings = dict(n_samples=n, distribution=distribution, match=match)
        torch.testing.assert_close(smoothgrad(model, x, 0, antithetic=True, **settings), x @ q)
        assert relative_l2(smoothgrad(model, x, 0, **settings), x @ q) > 1e-3


def test_no_noise_is_the_plain_gradient(network_and_inputs):
    model, inputs = network_and_inputs
    torch.testing.assert_close(
        smoothgrad(model, inputs, noise=0, n_samples=4), saliency(model, inputs)
    )


# --- captum
# -------------------------------------------------------------------------------------------------


def assert_agrees_with_captum_on_the_points_the_model_saw(model, pixels, watch, n):
    from captum.attr import Saliency

    target = model(pixels).argmax(1).flip(0)  # not the predicted classes
    watched = watch(model)
    found = smoothgrad(watched, pixels, target, n_samples=n)
    points = watched.rows.reshape(n, *pixels.shape)
    gradients = [
        Saliency(model).attribute(p.clone().requires_grad_(), target=target, abs=False)
        for p in points
    ]
    assert relative_l2(found, torch.stack(gradients).mean(0)) < 1e-10


def test_it_is_the_mean_of_captums_saliency_over_the_points_the_model_saw(
    network_and_inputs, watch
):
    assert_agrees_with_captum_on_the_points_the_model_saw(*network_and_inputs, watch, n=9)


def real_pixels(n):
    """Smooth seeded pictures: any picture will do to compare two implementations."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return nn.functional.interpolate(coarse, (64, 64), mode="bilinear")


def test_it_is_the_mean_of_captums_saliency_on_a_real_network(real_network, watch):
    model = copy.deepcopy(real_network).double()  # where rounding cannot turn a ReLU
    assert_agrees_with_captum_on_the_points_the_model_saw(model, real_pixels(2), watch, n=4)


def assert_agrees_with_noise_tunnel(model, pixels, n, noise):
    """Two independent means of n gradients differ by √((v₁ + v₂)/n) at each value, v the sample
    variances.

    Bound: the root mean square of that z over all values within 0.5 … 1.5 (1 if both estimate the
        same thing; values
    correlate, so not much nearer), and no |z| over 8. The plain gradient, in place of captum's,
    must not pass.
    """
    from captum.attr import NoiseTunnel, Saliency

    target = model(pixels).argmax(1)
    ours = smoothgrad(
        model, pixels, target, aggregate=("mean", "variance"), n_samples=n, noise=noise
    )
    settings = dict(nt_samples=n, nt_samples_batch_size=10, stdevs=noise, target=target, abs=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tunnel = NoiseTunnel(Saliency(model))
        theirs = tunnel.attribute(pixels.clone(), nt_type="smoothgrad", **settings).detach()
        spread = tunnel.attribute(pixels.clone(), nt_type="vargrad", **settings).detach()
    error = ((ours["variance"] + spread) / n).sqrt()
    z = (ours["mean"] - theirs)[error > 0] / error[error > 0]
    plain = (ours["mean"] - saliency(model, pixels, target))[error > 0] / (
        ours["variance"] / n
    ).sqrt()[error > 0]
    assert 0.5 < float(z.square().mean().sqrt()) < 1.5 and float(z.abs().max()) < 8
    assert float(plain.square().mean().sqrt()) > 1.5
    # VarGrad: both variances have a relative error of some √(2/n), more with heavy tails; over all
    # values, 20 %.
    assert float(ours["variance"].mean()) == pytest.approx(float(spread.mean()), rel=0.2)


def test_it_agrees_with_captums_noise_tunnel_within_monte_carlo_error(conv_net, pictures):
    assert_agrees_with_noise_tunnel(conv_net, pictures, n=400, noise=0.4)


def test_it_agrees_with_captums_noise_tunnel_on_a_real_network(real_network):
    assert_agrees_with_noise_tunnel(real_network, real_pixels(1).float(), n=100, noise=0.15)


# --- the noise
# -------------------------------------------------------------------------------------------------


@every_match
def test_matched_noise_has_the_spread_it_is_matched_by(distribution, match):
    # 200,000 draws: the standard error of a standard deviation is σ √((κ − 1)/4n), 0.25 % for κ = 6
    # (Laplace); that of an IQR at most 0.5 % (Cauchy: √2 π/(2√n)·γ of 2γ). Bounds of 1 % and 2 %
    # are four of them.
    field = noise_field((200_000,), 7, 0, distribution=distribution, match=match)
    assert field.dtype == np.float64 and field.shape == (200_000,)
    assert abs(np.median(field)) < 0.02 or distribution == "rademacher"
    if match == "std":
        assert field.std() == pytest.approx(1, rel=0.01) and abs(field.mean()) < 0.01
    else:
        assert stats.iqr(field) == pytest.approx(NORMAL_IQR, rel=0.02)


@pytest.mark.parametrize(
    ("distribution", "match", "frozen"),
    [
        ("normal", "std", stats.norm()),
        ("uniform", "std", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("laplace", "std", stats.laplace(scale=1 / math.sqrt(2))),
        ("cauchy", "iqr", stats.cauchy(scale=NORMAL_IQR / 2)),
    ],
)
def test_noise_has_the_shape_of_its_distribution(distribution, match, frozen):
    field = noise_field((20_000,), 11, 2, distribution=distribution, match=match)
    assert stats.kstest(field, frozen.cdf).pvalue > 1e-3


def test_rademacher_noise_is_plus_or_minus_one():
    values, counts = np.unique(
        noise_field((10_000,), 0, 0, distribution="rademacher"), return_counts=True
    )
    # 5 standard errors of √10000 / 2
    assert values.tolist() == [-1, 1] and abs(counts[0] - 5000) < 250


def test_noise_is_a_share_of_the_input_range_and_centred_on_the_input(watch):
    watched = watch(separable(torch.square))
    x = torch.full((1, 5), 3.0, dtype=torch.float64)
    smoothgrad(watched, x, 0, n_samples=4, noise=0.25, input_range=(-2, 6), seed=9)
    np.testing.assert_allclose(
        watched.rows.numpy(), 3 + 0.25 * 8 * draws(4, (5,), seed=9), rtol=1e-14
    )


def test_a_callable_distribution_keeps_its_own_scale_and_its_arrays(watch):
    constant, shapes = np.arange(1.0, 5.0).reshape(2, 2), []

    def distribution(shape, generator):
        assert isinstance(generator, np.random.Generator)
        shapes.append(shape)
        return constant

    for match in ("std", "iqr"):
        watched = watch(separable(torch.square))
        smoothgrad(
            watched,
            torch.zeros(3, 2, 2),
            0,
            n_samples=3,
            noise=0.5,
            distribution=distribution,
            match=match,
        )
        torch.testing.assert_close(
            watched.rows, torch.from_numpy(constant / 2).float().expand(9, 2, 2)
        )
    assert constant.tolist() == [[1, 2], [3, 4]] and set(shapes) == {(2, 2)}


def test_a_callable_distribution_gets_the_generator_of_its_seed_and_number():
    def normal(shape, generator):
        return generator.standard_normal(shape, np.float32)

    for index in range(3):
        assert np.array_equal(
            noise_field((5,), 4, index, distribution=normal), noise_field((5,), 4, index)
        )


def test_a_callable_distribution_is_called_in_order_from_the_callers_thread_its_array_left_alone(
    table_net,
):
    import threading

    stored, calls = np.ones(6)[::-1], []
    stored.setflags(write=False)

    def distribution(shape, generator):
        calls.append((threading.current_thread(), generator.integers(2**31)))
        return stored

    smoothgrad(
        table_net, torch.rand(1, 6, dtype=torch.float64), 0, distribution=distribution, n_samples=20
    )
    expected = [
        np.random.Generator(np.random.SFC64(np.random.SeedSequence([0, i]))).integers(2**31)
        for i in range(20)
    ]
    assert calls == [(threading.current_thread(), number) for number in expected]
    assert (stored == 1).all()


@every_match
def test_two_noise_strengths_share_their_draws(distribution, match, watch):
    points = []
    for noise in (0.125, 0.5):
        watched = watch(separable(torch.square))
        smoothgrad(
            watched,
            torch.zeros(1, 4, dtype=torch.float64),
            0,
            n_samples=5,
            noise=noise,
            distribution=distribution,
            match=match,
        )
        points.append(watched.rows)
    torch.testing.assert_close(points[1], 4 * points[0])


def test_no_two_samples_of_any_seeds_share_a_draw():
    # Continuous draws: one value twice among 20 × 20 × 10 would be a chance of 1e-9.
    values = np.concatenate(
        [draws(20, (10,), seed=seed).ravel() for seed in (*range(19), 2**32 - 1)]
    )
    assert len(np.unique(values)) == len(values) == 4000


def test_samples_are_independent_of_each_other():
    # 100 fields of 1000: the correlation of two has standard error 1/√1000; the largest of 4950
    # stays below 5 of them.
    fields = np.concatenate([draws(50, (1000,), seed=0), draws(50, (1000,), seed=1)])
    correlation = np.corrcoef(fields) - np.eye(100)
    assert np.abs(correlation).max() < 5 / math.sqrt(1000)


def test_three_samples_are_the_first_three_of_fifty(network_and_inputs, watch):
    model, inputs = network_and_inputs
    few, many = watch(model), watch(model)
    smoothgrad(few, inputs, 0, n_samples=3, seed=8)
    smoothgrad(many, inputs, 0, n_samples=50, seed=8)
    assert torch.equal(few.rows, many.rows[:9])


@pytest.mark.parametrize(
    ("aggregate", "antithetic"),
    [("mean", False), ("mean", True), ("variance", False), ("median", False), ("median", True)],
)
def test_one_pass_over_fifty_holds_the_maps_of_fewer(aggregate, antithetic, network_and_inputs):
    model, inputs = network_and_inputs
    settings = dict(aggregate=aggregate, antithetic=antithetic, seed=2)
    maps = smoothgrad(model, inputs, 0, n_samples=(50, 3, 4, 17), **settings)
    assert list(maps) == [50, 3, 4, 17]
    for n, found in maps.items():
        assert relative_l2(found, smoothgrad(model, inputs, 0, n_samples=n, **settings)) < 1e-10


def test_variance_refuses_antithetic_pairs_which_are_not_independent(table_net):
    x = torch.rand(1, 6, dtype=torch.float64)
    for aggregate in ("variance", ["mean", "variance"]):
        with pytest.raises(
            ValueError, match="'variance' needs independent samples, which antithetic pairs are not"
        ):
            smoothgrad(table_net, x, 0, aggregate=aggregate, antithetic=True)


@pytest.mark.parametrize(
    ("attribution", "error", "message"),
    [
        (
            lambda model, x, target: x.numpy(),
            TypeError,
            "the attribution must return a torch.Tensor, found ndarray",
        ),
        (
            lambda model, x, target: x[:1],
            ValueError,
            "the attribution must return a map for each of 2 inputs, found",
        ),
    ],
)
def test_an_attribution_that_returns_no_map_is_an_error(attribution, error, message, table_net):
    with pytest.raises(error, match=message):
        smoothgrad(
            table_net,
            torch.rand(2, 6, dtype=torch.float64),
            0,
            attribution=attribution,
            n_samples=2,
        )


def test_an_attribution_gets_all_inputs_of_a_point_at_once_so_it_may_have_an_argument_for_each(
    table_net,
):
    x = torch.rand(3, 6, dtype=torch.float64)
    ig = partial(integrated_gradients, baseline=x / 2, n_steps=3)
    found = smoothgrad(table_net, x, 0, attribution=ig, n_samples=4)
    alone = [
        smoothgrad(
            table_net,
            x[i : i + 1],
            0,
            n_samples=4,
            attribution=partial(integrated_gradients, baseline=x[i] / 2, n_steps=3),
        )
        for i in range(3)
    ]
    assert relative_l2(found, torch.cat(alone)) < 1e-10


def test_all_pictures_share_a_field_under_one_seed_and_none_under_seeds_of_their_own(watch):
    x = torch.rand(3, 4, dtype=torch.float64)
    one, three = watch(separable(torch.square)), watch(separable(torch.square))
    smoothgrad(one, x, 0, n_samples=2, seed=5)
    smoothgrad(three, x, 0, n_samples=2, seed=[5, 6, 7])
    deltas = one.rows.reshape(2, 3, 4) - x, three.rows.reshape(2, 3, 4) - x
    torch.testing.assert_close(deltas[0], deltas[0][:, :1].expand(2, 3, 4))
    np.testing.assert_allclose(
        deltas[1].numpy(),
        0.15 * np.stack([draws(2, (4,), seed=s) for s in (5, 6, 7)], 1),
        rtol=1e-10,
    )


@pytest.mark.parametrize(
    "seeds", [[4, 9, 4], (4, 9, 4), np.array([4, 9, 4]), torch.tensor([4, 9, 4])]
)
def test_a_picture_under_its_own_seed_gets_the_map_it_gets_alone(seeds, network_and_inputs):
    model, inputs = network_and_inputs
    together = smoothgrad(model, inputs, 1, n_samples=6, seed=seeds)
    for i, seed in enumerate((4, 9, 4)):
        assert (
            relative_l2(
                together[i], smoothgrad(model, inputs[i : i + 1], 1, n_samples=6, seed=seed)[0]
            )
            < 1e-10
        )


def test_seeds_of_every_integer_type_name_the_same_draws(table_net):
    x = torch.rand(1, 6, dtype=torch.float64)
    for seed in (np.int64(3), torch.tensor(3), [3], np.array(3)):
        assert torch.equal(
            smoothgrad(table_net, x, 0, n_samples=2, seed=seed),
            smoothgrad(table_net, x, 0, n_samples=2, seed=3),
        )


def test_draws_do_not_depend_on_the_dtype(watch):
    single, double = watch(separable(torch.square)), watch(separable(torch.square))
    smoothgrad(single, torch.zeros(1, 50), 0, n_samples=3)
    smoothgrad(double, torch.zeros(1, 50, dtype=torch.float64), 0, n_samples=3)
    assert single.rows.dtype == torch.float32
    # scaled in single precision
    torch.testing.assert_close(single.rows, double.rows.float(), rtol=1e-6, atol=0)


def test_antithetic_points_come_in_pairs_around_the_input_and_share_the_draws_of_the_others(watch):
    x = torch.rand(2, 3, dtype=torch.float64)
    plain, paired = watch(separable(torch.square)), watch(separable(torch.square))
    smoothgrad(plain, x, 0, n_samples=4)
    smoothgrad(paired, x, 0, n_samples=4, antithetic=True)
    pairs = paired.rows.reshape(4, 2, 2, 3)
    assert torch.equal(pairs[:, 0], plain.rows.reshape(4, 2, 3))
    torch.testing.assert_close(pairs.mean(1), x.expand(4, 2, 3))


@pytest.mark.parametrize("antithetic", [False, True])
def test_points_are_clipped_only_when_asked_for(antithetic, watch):
    x = torch.rand(2, 40, dtype=torch.float64) * 2 - 1
    settings = dict(n_samples=3, noise=0.5, antithetic=antithetic, input_range=(-1, 1))
    free, clipped = watch(separable(torch.square)), watch(separable(torch.square))
    smoothgrad(free, x, 0, **settings)
    smoothgrad(clipped, x, 0, clip=True, **settings)
    assert free.rows.min() < -1 and free.rows.max() > 1
    assert torch.equal(clipped.rows, free.rows.clamp(-1, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_draws_on_cuda_are_those_on_the_cpu(watch):
    here, there = watch(separable(torch.square)), watch(separable(torch.square))
    smoothgrad(here, torch.zeros(2, 50), 0, n_samples=3, noise=1, seed=[1, 2])
    smoothgrad(there, torch.zeros(2, 50, device="cuda"), 0, n_samples=3, noise=1, seed=[1, 2])
    assert torch.equal(here.rows, there.rows.cpu())


# --- the target
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attribution", [saliency, lambda model, pixels, target: saliency(model, pixels, target)]
)
def test_the_class_is_fixed_on_the_clean_input_even_if_noise_changes_the_prediction(
    attribution, watch
):
    # Logits (s, −s), s = Σx: class 0 is predicted at s = 0.1, class 1 at some noisy points; ∂ logit
    # 0 / ∂x = 1 at all.
    watched = watch(lambda x: torch.stack([x.sum(1), -x.sum(1)], 1))
    found = smoothgrad(
        watched, torch.full((1, 2), 0.05), noise=1, n_samples=20, attribution=attribution
    )
    assert (watched.rows.sum(1) < 0).any() and torch.equal(found, torch.ones(1, 2))


# --- another attribution
# ----------------------------------------------------------------------------------------------


def test_a_callable_is_smoothed_like_the_gradient_it_returns(network_and_inputs):
    model, inputs = network_and_inputs
    through = smoothgrad(model, inputs, n_samples=5, attribution=lambda m, p, t: saliency(m, p, t))
    assert relative_l2(through, smoothgrad(model, inputs, n_samples=5)) < 1e-12
    halved = smoothgrad(
        model, inputs, n_samples=5, attribution=lambda m, p, t: saliency(m, p, t) / 2
    )
    assert relative_l2(2 * halved, through) < 1e-12


def test_smoothed_integrated_gradients_of_a_square():
    # IG of Σx² from black is x² at each value (exact for the midpoint rule: the gradient is linear
    # on the path), so the mean over noisy points is that of (x + σδᵢ)².
    x = torch.linspace(0, 1, 6, dtype=torch.float64).reshape(1, 6)
    found = smoothgrad(separable(torch.square), x, 0, n_samples=7, attribution=integrated_gradients)
    expected = ((x.numpy() + 0.15 * draws(7, (6,))) ** 2).mean(0)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_smoothed_integrated_gradients_are_the_mean_over_the_noisy_points(
    batch_size, conv_net, pictures
):
    def few_steps(model, pixels, target):
        return integrated_gradients(model, pixels, target, n_steps=4)

    found = smoothgrad(
        conv_net, pictures, 1, n_samples=5, attribution=few_steps, batch_size=batch_size
    )
    noisy = [pictures + 0.15 * torch.from_numpy(field) for field in draws(5, (3, 8, 8))]
    assert (
        relative_l2(
            found, torch.stack([few_steps(conv_net, points, 1) for points in noisy]).mean(0)
        )
        < 1e-10
    )


def test_captums_guided_backprop_can_be_smoothed_in_a_callable(conv_net, pictures, snapshot):
    from captum.attr import GuidedBackprop

    def guided(model, pixels, target):
        return (
            GuidedBackprop(model).attribute(pixels.clone().requires_grad_(), target=target).detach()
        )

    before = snapshot(conv_net)
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        found = smoothgrad(conv_net, pictures, 1, n_samples=4, attribution=guided)
        noisy = [pictures + 0.15 * torch.from_numpy(field) for field in draws(4, (3, 8, 8))]
        expected = torch.stack([guided(conv_net, points, 1) for points in noisy]).mean(0)
    assert relative_l2(found, expected) < 1e-10 and snapshot(conv_net) == before
    # it is not the gradient
    assert relative_l2(found, smoothgrad(conv_net, pictures, 1, n_samples=4)) > 0.01


# --- what a Classifier lets through
# -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attribution",
    [
        saliency,
        integrated_gradients,
        lambda m, p, t: saliency(m, p, t),
        lambda m, p, t: integrated_gradients(m, p, t, baseline="farthest", n_steps=2),
        lambda m, p, t: smoothgrad(m, p, t, n_samples=2),
        lambda m, p, t: smoothgrad(m, p, t, n_samples=2, attribution=integrated_gradients),
    ],
    ids=[
        "saliency",
        "ig",
        "saliency in a callable",
        "ig in a callable",
        "smoothgrad",
        "smoothgrad of ig",
    ],
)
def test_noisy_points_outside_the_range_never_raise(attribution, tiny_classifier, pictures, watch):
    network = watch(tiny_classifier.network)
    tiny_classifier.network = network
    found = smoothgrad(tiny_classifier, pictures, n_samples=3, noise=1, attribution=attribution)
    assert found.shape == pictures.shape and torch.isfinite(found).all()
    assert network.rows.min() < -2  # (0 − 0.5) / 0.25: some were outside


def test_the_range_is_checked_again_after_a_nested_method_whether_or_not_it_failed(
    tiny_classifier, pictures
):
    def failing(model, pixels, target):
        raise RuntimeError("failed midway")

    smoothgrad(tiny_classifier, pictures, n_samples=2, attribution=integrated_gradients)
    with pytest.raises(RuntimeError, match="failed midway"):
        smoothgrad(tiny_classifier, pictures, n_samples=2, attribution=failing)
    for method in (saliency, integrated_gradients, smoothgrad):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            method(tiny_classifier, pictures * 2)
    # what the user passes in, nested or not
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        smoothgrad(tiny_classifier, pictures * 2, attribution=integrated_gradients)


# --- errors
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(n_samples=0), ValueError, "n_samples must be at least 1, found 0"),
        (dict(n_samples=-1), ValueError, "n_samples must be at least 1, found -1"),
        (dict(n_samples=2.5), TypeError, r"n_samples must be an integer, found 2\.5"),
        (
            dict(noise=-0.1),
            ValueError,
            r"noise must be a number of at least 0, a share of the input range, found -0\.1",
        ),
        (dict(noise=math.nan), ValueError, "noise must be a number of at least 0.*found nan"),
        (dict(noise=math.inf), ValueError, "noise must be a number of at least 0.*found inf"),
        (dict(noise="0.1"), ValueError, "noise must be a number of at least 0.*found '0.1'"),
        (
            dict(distribution="gaussain"),
            ValueError,
            "unknown distribution 'gaussain'; known: normal, uniform, laplace, rad",
        ),
        (
            dict(distribution="laplas"),
            ValueError,
            "unknown distribution 'laplas'; did you mean 'laplace'",
        ),
        (dict(match="sdt"), ValueError, "unknown match 'sdt'; did you mean 'std'"),
        (
            dict(match="x", distribution=lambda shape, rng: rng.random(shape)),
            ValueError,
            "unknown match 'x'",
        ),
        (
            dict(distribution="cauchy"),
            ValueError,
            "cauchy has no standard deviation to match: use match='iqr'",
        ),
        (
            dict(distribution="rademacher", match="iqr"),
            ValueError,
            "rademacher .* no useful quartiles.*: use match='std'",
        ),
        (
            dict(distribution=lambda shape, rng: rng.random(3)),
            ValueError,
            r"it was asked for, \(6,\), found \(3,\)",
        ),
        (dict(input_range=(1, 0)), ValueError, r"finite with low < high, found \(1, 0\)"),
        (dict(input_range=(0, math.inf)), ValueError, r"finite with low < high, found \(0, inf\)"),
        (dict(input_range=1), ValueError, r"a pair \(low, high\), found 1"),
        (dict(seed=-1), ValueError, r"seeds must lie in 0 … 2\*\*32 - 1, found -1"),
        (dict(seed=2**32), ValueError, r"seeds must lie in 0 … 2\*\*32 - 1, found 4294967296"),
        (
            dict(seed=1.5),
            TypeError,
            r"seed must be an integer, or 2 of them, one an input, found 1\.5",
        ),
        (
            dict(seed=None),
            TypeError,
            "seed must be an integer, or 2 of them, one an input, found None",
        ),
        (dict(seed=[1, 2, 3]), ValueError, "one for each of the 2 inputs, found 3"),
        (dict(aggregate="meen"), ValueError, "unknown aggregate 'meen'; did you mean 'mean'"),
    ],
)
def test_an_unfit_setting_is_an_error_that_says_why(settings, error, message, table_net):
    with pytest.raises(error, match=message):
        smoothgrad(table_net, torch.rand(2, 6, dtype=torch.float64), 0, **settings)


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        (dict(n_samples=[10, 3, 10, 5]), [10, 3, 5]),
        (dict(n_samples=(3,)), [3]),
        (dict(n_samples=range(2, 5)), [2, 3, 4]),
        (dict(n_samples={7, 3, 5}), [3, 5, 7]),
        (dict(n_samples=np.array([4, 2])), [4, 2]),
        (dict(n_samples=torch.tensor([4, 2])), [4, 2]),
        (dict(n_samples=(2**k for k in range(3))), [1, 2, 4]),
        (dict(aggregate=["median", "mean", "median"]), ["median", "mean"]),
        (dict(aggregate={"median", "mean"}), ["mean", "median"]),
        (dict(aggregate={"b": "median", "a": Mean()}), ["b", "a"]),
    ],
)
def test_several_in_a_dict_out_in_the_order_given_from_one_pass(settings, labels, watch):
    # f = Σ x²: the gradient is twice the noisy point, so that samples and aggregates differ.
    watched, x = watch(separable(torch.square)), torch.zeros(2, 3, dtype=torch.float64)
    found = smoothgrad(watched, x, 0, **dict(n_samples=4) | settings)
    assert list(found) == labels and [type(label) for label in found] == [type(labels[0])] * len(
        labels
    )
    counts = [label if isinstance(label, int) else 4 for label in labels]
    assert len(watched.rows) == 2 * max(counts)
    names = {"a": "mean", "b": "median"}
    for label, n in zip(labels, counts, strict=True):
        points = 2 * 0.15 * draws(n, (3,))
        how = np.median if names.get(label, label) == "median" else np.mean
        np.testing.assert_allclose(found[label][1].numpy(), how(points, axis=0), rtol=1e-12)


@pytest.mark.parametrize("one", [3, np.int64(3), np.array(3), torch.tensor(3)])
def test_a_number_in_a_map_out(one, table_net):
    found = smoothgrad(table_net, torch.rand(2, 6, dtype=torch.float64), 0, n_samples=one)
    assert found.shape == (2, 6)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(n_samples=()), ValueError, "n_samples is empty: give one value or several"),
        (dict(aggregate=[]), ValueError, "aggregate is empty"),
        (dict(aggregate={}), ValueError, "aggregate is empty"),
        (dict(n_samples=(0, 3)), ValueError, "n_samples must be at least 1, found 0"),
        (dict(n_samples=(3.5,)), TypeError, r"n_samples must be an integer, found 3\.5"),
        (dict(n_samples=[[3]]), TypeError, r"n_samples must be an integer, found \[3\]"),
        (dict(aggregate=["mean", "medain"]), ValueError, "unknown aggregate 'medain'"),
        (
            dict(n_samples=[3, 5], aggregate=["mean", "median"]),
            ValueError,
            "n_samples and aggregate name several each, .* give one of them a single value",
        ),
    ],
)
def test_unfit_lists_are_an_error_before_any_work(settings, error, message, table_net, watch):
    watched = watch(table_net)
    with pytest.raises(error, match=message):
        smoothgrad(watched, torch.rand(2, 6, dtype=torch.float64), **settings)
    assert not watched.calls


def test_the_variance_of_the_smallest_count_is_checked_before_any_work(table_net, watch):
    watched = watch(table_net)
    with pytest.raises(ValueError, match="needs at least 2 samples, found 1"):
        smoothgrad(watched, torch.rand(2, 6), 0, n_samples=(1, 5), aggregate="variance")
    assert not watched.calls
