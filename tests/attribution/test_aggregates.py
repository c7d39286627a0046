"""Each aggregate against numpy and scipy on the same gradients, and at the values where a careless
formula breaks."""

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.attribution.aggregates import (
    AGGREGATES,
    GeometricMean,
    Mean,
    Median,
    TrimmedMean,
    Variance,
    make_accumulator,
)
from helpers.attribution.smoothgrad import smoothgrad
from helpers.noise import noise_field

REFERENCE = {
    "mean": lambda g: g.mean(0),
    "mean_abs": lambda g: np.abs(g).mean(0),
    "mean_square": lambda g: (g**2).mean(0),
    "variance": lambda g: g.var(0, ddof=1),
    "median": lambda g: np.median(g, axis=0),
    "trimmed_mean": lambda g: stats.trim_mean(g, 0.1, axis=0),
    "geometric_mean": lambda g: stats.gmean(np.abs(g) + 1e-8, axis=0),
}


def combine(aggregate, gradients):
    accumulator = make_accumulator(aggregate, len(gradients))
    for gradient in gradients:
        accumulator.update(torch.as_tensor(gradient))
    return accumulator.result()


def test_every_aggregate_has_a_reference_here():
    assert REFERENCE.keys() == AGGREGATES.keys()


@pytest.mark.parametrize("name", REFERENCE)
# odd, even, and on both sides of each 10 %
@pytest.mark.parametrize("n", [2, 3, 7, 9, 10, 11, 19, 20, 50])
def test_an_aggregate_is_what_numpy_or_scipy_makes_of_the_same_gradients(name, n):
    gradients = np.random.default_rng(n).standard_normal((n, 2, 3, 4))
    np.testing.assert_allclose(
        combine(name, gradients).numpy(), REFERENCE[name](gradients), rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("name", REFERENCE)
def test_smoothgrad_hands_every_gradient_to_the_aggregate(name):
    # f = Σ x³/3, so the gradients are (x + σ δᵢ)²; σ = 0.5 × (4 − 0).
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(1, 6)
    found = smoothgrad(
        lambda z: (z**3 / 3).sum(1, keepdim=True),
        x,
        0,
        n_samples=12,
        noise=0.5,
        input_range=(0, 4),
        seed=5,
        aggregate=name,
    )
    gradients = np.stack([(x.numpy() + 2 * noise_field((6,), 5, i)) ** 2 for i in range(12)])
    np.testing.assert_allclose(found.numpy(), REFERENCE[name](gradients), rtol=1e-10)


def test_one_pass_gives_every_aggregate_its_own_map():
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(1, 6)

    def model(z):
        return (z**3).sum(1, keepdim=True)

    together = smoothgrad(model, x, 0, n_samples=9, seed=1, aggregate=list(AGGREGATES))
    assert list(together) == list(AGGREGATES)
    for name, found in together.items():
        assert torch.equal(found, smoothgrad(model, x, 0, n_samples=9, seed=1, aggregate=name))
    labelled = smoothgrad(
        model, x, 0, n_samples=9, seed=1, aggregate={"a": "median", "b": TrimmedMean(0.25)}
    )
    assert list(labelled) == ["a", "b"] and torch.equal(labelled["a"], together["median"])


def test_trimming_a_quarter_off_each_end():
    # 8 values, 2 off each end: the mean of 3, 4, 5, 6.
    values = [torch.tensor([v]) for v in (4.0, 100.0, 1.0, 6.0, 3.0, -50.0, 5.0, 8.0)]
    assert combine(TrimmedMean(0.25), values).item() == 4.5


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    # torch.median alone would give the lower one, 2.
    assert combine("median", [torch.tensor([v]) for v in (10.0, 1.0, 2.0, 4.0)]).item() == 3.0
    assert combine("median", [torch.tensor([v]) for v in (10.0, 1.0, 2.0)]).item() == 2.0


def test_order_statistics_are_taken_at_each_pixel_for_itself():
    gradients = [torch.tensor([1.0, 30.0]), torch.tensor([2.0, 10.0]), torch.tensor([3.0, 20.0])]
    assert combine("median", gradients).tolist() == [2.0, 20.0]


# --- variance
# -------------------------------------------------------------------------------------------------


def test_variance_survives_a_gradient_a_million_times_its_spread():
    # f = 1000 x + x²/2, so g = 1000 + x and Var g is that of the noise, σ² = 1e-4, on top of g² =
    # 1e6. In float32 a number near 1000 is rounded to 6.1e-5, 0.6 % of σ; but one near 1e6 to 0.06,
    # so Σg² − (Σg)²/n would be noise of 600 times σ².
    x = torch.linspace(0, 1, 50).reshape(1, 50)
    found = smoothgrad(
        lambda z: (1000 * z + z**2 / 2).sum(1, keepdim=True),
        x,
        0,
        n_samples=40,
        noise=0.01,
        aggregate="variance",
    )
    noise = np.stack([0.01 * noise_field((50,), 0, i) for i in range(40)])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].numpy(), noise.var(0, ddof=1), rtol=2e-2)
    # 5 standard errors
    np.testing.assert_allclose(found.mean().item(), 1e-4, rtol=5 * np.sqrt(2 / (39 * 50)))


def test_variance_loses_nothing_to_rounding_where_even_the_running_mean_would():
    # Near 1e6 float32 has steps of 0.06: differences of gradients are exact, but a mean held there
    # is off by half a step.
    rng = np.random.default_rng(0)
    gradients = (1e6 + rng.standard_normal((20, 500))).astype(np.float32)
    np.testing.assert_allclose(
        combine("variance", gradients).numpy(),
        gradients.astype(np.float64).var(0, ddof=1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("level", [0.0, 1e-20, 1.0, 1e6, 1e15])
def test_variance_is_never_negative_and_zero_for_equal_gradients(level):
    rng = np.random.default_rng(0)
    noisy = [
        torch.from_numpy(level * (1 + 1e-7 * rng.standard_normal(2000))).float() for _ in range(30)
    ]
    assert (combine("variance", noisy) >= 0).all()
    assert (combine("variance", [torch.full((3,), level * 1.1)] * 7) == 0).all()


def test_variance_of_a_linear_model_is_exactly_zero():
    # Its gradient is the same everywhere.
    weights = torch.linspace(-3, 3, 10)
    assert (
        smoothgrad(lambda z: z @ weights[:, None], torch.rand(2, 10), 0, aggregate="variance") == 0
    ).all()


@pytest.mark.parametrize("name", ["mean_abs", "mean_square", "variance", "geometric_mean"])
def test_unsigned_aggregates_are_never_negative_and_the_signed_ones_turn_with_the_gradient(name):
    gradients = np.random.default_rng(0).standard_normal((8, 100))
    assert (combine(name, gradients) >= 0).all()
    torch.testing.assert_close(combine(name, -gradients), combine(name, gradients))
    for signed in set(AGGREGATES) - {"mean_abs", "mean_square", "variance", "geometric_mean"}:
        torch.testing.assert_close(combine(signed, -gradients), -combine(signed, gradients))


# --- geometric mean
# -------------------------------------------------------------------------------------------------


def test_one_exact_zero_does_not_decide_the_geometric_mean():
    # |g| = 4, 4, 4, 0 and ε = 1e-4: (4.0001³ × 1e-4)^(1/4) = 0.28285, not 0.
    found = combine(
        GeometricMean(1e-4), [torch.tensor([g], dtype=torch.float64) for g in (4.0, -4.0, 4.0, 0.0)]
    )
    assert found.item() == pytest.approx((4.0001**3 * 1e-4) ** 0.25, rel=1e-12)


def test_the_geometric_mean_takes_magnitudes_and_stays_finite():
    assert combine(
        "geometric_mean", [torch.tensor([-2.0]), torch.tensor([8.0])]
    ).item() == pytest.approx(4, rel=1e-6)
    # ε, as documented
    assert combine("geometric_mean", [torch.zeros(1)] * 5).item() == pytest.approx(1e-8, rel=1e-4)
    # a product would underflow: 1e-800
    tiny = combine("geometric_mean", [torch.tensor([1e-4])] * 200)
    assert tiny.item() == pytest.approx(1e-4, rel=1e-3)


# --- half precision
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_thousand_half_precision_gradients_are_added_up_in_float32(name, dtype):
    # Half of them 0.75, half 1.25: in the precision of bfloat16 a sum stays at 256, and their
    # squares' mean, 1.0625, is none of its numbers.
    gradients = [torch.tensor([v], dtype=dtype) for v in (0.75, 1.25)] * 500
    found = combine(name, gradients)
    expected = REFERENCE[name](np.array([0.75, 1.25] * 500)[:, None])
    assert found.dtype == torch.float32 and found.item() == pytest.approx(expected.item(), rel=1e-5)


# --- accumulators
# -------------------------------------------------------------------------------------------------


def held(accumulator):
    """The tensor values that an accumulator holds."""
    values = [
        v
        for value in vars(accumulator).values()
        for v in (value if isinstance(value, list) else [value])
    ]
    return sum(value.numel() for value in values if isinstance(value, torch.Tensor))


@pytest.mark.parametrize(
    ("name", "maps"),
    [("mean", 1), ("mean_abs", 1), ("mean_square", 1), ("geometric_mean", 1), ("variance", 3)],
)
def test_memory_does_not_grow_with_the_number_of_samples(name, maps):
    accumulator = make_accumulator(name, 100)
    for _ in range(100):
        accumulator.update(torch.rand(10))
        assert held(accumulator) <= maps * 10
    # no whole chunks
    assert all(
        value._base is None
        for value in vars(accumulator).values()
        if isinstance(value, torch.Tensor)
    )


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_accumulator_neither_keeps_nor_changes_the_gradient_it_is_given(name):
    gradients = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    accumulator = make_accumulator(name, 5)
    for gradient in gradients:
        mine = gradient.clone()
        accumulator.update(mine)
        assert torch.equal(mine, gradient)
        mine.zero_()  # a buffer that is used again
    torch.testing.assert_close(accumulator.result(), combine(name, list(gradients)))


@pytest.mark.parametrize("name", AGGREGATES)
def test_a_result_read_midway_is_not_changed_by_what_follows(name):
    gradients = list(torch.rand(6, 4, generator=torch.Generator().manual_seed(0)))
    accumulator = make_accumulator(name, 6)
    for gradient in gradients[:3]:
        accumulator.update(gradient)
    midway = accumulator.result()
    before = midway.clone()
    for gradient in gradients[3:]:
        accumulator.update(gradient)
    assert torch.equal(midway, before) and torch.equal(midway, combine(name, gradients[:3]))
    torch.testing.assert_close(accumulator.result(), combine(name, gradients))


class Largest:
    """An accumulator of one's own."""

    def __init__(self):
        self.value = None

    def update(self, gradient):
        self.value = gradient.clone() if self.value is None else torch.maximum(self.value, gradient)

    def result(self):
        return self.value


def test_an_accumulator_of_ones_own_works_and_holds_no_state_between_calls():
    mine = Largest()
    x = torch.zeros(1, 4, dtype=torch.float64)
    for _ in range(2):  # f = x²/2: the gradient is the noisy point
        found = smoothgrad(
            lambda z: (z**2 / 2).sum(1, keepdim=True), x, 0, n_samples=6, noise=1, aggregate=mine
        )
        assert np.array_equal(
            found[0].numpy(), np.max([noise_field((4,), 0, i) for i in range(6)], axis=0)
        )
        assert mine.value is None


def test_an_accumulator_object_with_a_transform():
    gradients = np.random.default_rng(0).standard_normal((7, 5))
    np.testing.assert_allclose(
        combine(Mean(torch.relu), gradients).numpy(), gradients.clip(0).mean(0)
    )
    assert isinstance(make_accumulator(Median(), 3), Median)


# --- errors
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["variance", Variance()], ids=["name", "object"])
def test_the_variance_of_one_sample_is_an_error(aggregate):
    def model(z):
        return z**2

    with pytest.raises(ValueError, match="needs at least 2 samples, found 1"):
        smoothgrad(model, torch.ones(1, 1), 0, n_samples=1, aggregate=aggregate)


def test_an_unknown_aggregate_lists_the_nearest():
    with pytest.raises(ValueError, match="unknown aggregate 'medain'; did you mean 'median'"):
        make_accumulator("medain", 5)
    with pytest.raises(
        ValueError,
        match="unknown aggregate 'xyzzy'; known: mean, mean_abs, mean_square, variance, median",
    ):
        make_accumulator("xyzzy", 5)


@pytest.mark.parametrize("bad", [None, 3, torch.mean])
def test_what_is_neither_a_name_nor_an_accumulator_is_an_error(bad):
    with pytest.raises(
        TypeError, match=r"aggregate must be one of mean, .*an object with update and result, found"
    ):
        make_accumulator(bad, 5)
