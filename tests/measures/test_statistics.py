"""Intervals, claims and corrections on cases worked out by hand, and how often they err where the
truth is known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.measures.statistics import (
    Estimate,
    SeedEstimate,
    check_claim,
    compare,
    count_for_reliability,
    equivalence,
    holm,
    log_log_slope,
    mean_over_pictures,
    mean_over_seeds,
    not_worse_than_best,
    paired_difference,
    share_of_pictures,
    spearman_brown,
)


def normal(*shape, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 1, shape)


class TestMeans:
    def test_near_the_t_interval_and_seeded(self):
        values = normal(300, mean=0.2)
        found = mean_over_pictures(values)
        low, high = stats.t.interval(0.95, 299, values.mean(), stats.sem(values))
        assert found.mean == pytest.approx(values.mean()) and found.n == 300
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
        assert mean_over_pictures(values) == found != mean_over_pictures(values, seed=1)
        assert mean_over_pictures(torch.from_numpy(values).requires_grad_()) == found

    def test_no_spread(self):
        assert mean_over_pictures([0.25] * 5) == (0.25, 0.25, 0.25, 5)

    @pytest.mark.parametrize("kept", [0, 3, 20])
    def test_a_share_has_wilson_s_interval(self, kept):
        low, high = stats.binomtest(kept, 20).proportion_ci(method="wilson")
        assert share_of_pictures(kept / 20, 20) == pytest.approx((kept / 20, low, high, 20))

    @pytest.mark.parametrize(
        "values", [[1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]], [], 3.0]
    )
    def test_refused(self, values):
        with pytest.raises(ValueError, match="at least two finite values"):
            mean_over_pictures(values)

    def test_across_seeds_is_the_t_interval_of_their_means(self):
        values = normal(3, 40) + np.array([0.1, 0.2, 0.6])[:, None]
        found, means = mean_over_seeds(values), values.mean(1)
        low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
        assert found.across == pytest.approx((means.mean(), low, high, 3))
        assert math.isnan(mean_over_seeds(values[:1]).across.low)

    @pytest.mark.parametrize(
        ("law", "mean"),
        [
            (lambda rng, n: rng.exponential(size=n), 1),
            (lambda rng, n: rng.lognormal(size=n), math.exp(0.5)),
            (lambda rng, n: rng.chisquare(1, n), 1),
            (lambda rng, n: rng.beta(0.5, 3, n), 1 / 7),
            (lambda rng, n: -rng.exponential(size=n), -1),
            (lambda rng, n: np.where(rng.random(n) < 0.7, 1, rng.random(n)), 0.85),
        ],
    )
    @pytest.mark.parametrize("n", [10, 20])
    def test_few_pictures_are_covered_on_skewed_laws_too(self, law, mean, n):
        rng, covered = np.random.default_rng(5), 0
        for _ in range(1000):
            found = mean_over_pictures(law(rng, n))
            covered += found.low <= mean <= found.high
        assert covered >= 930

    def test_few_pictures_that_are_nearly_all_the_same_have_an_interval_with_ends(self):
        found = mean_over_pictures([1.0] * 19 + [0.4])
        assert 0.4 < found.low < 0.97 < found.high < 1.1

    @pytest.mark.parametrize("n", [30, 300])
    def test_from_30_pictures_it_is_scipys_bca(self, n):
        values = np.random.default_rng(0).exponential(size=(2, n))
        found = mean_over_seeds(values, seed=3).seeds
        for one, row in zip(found, values, strict=True):
            scipys = stats.bootstrap((row,), np.mean, n_resamples=2000, rng=3).confidence_interval
            assert (one.low, one.high) == pytest.approx(tuple(scipys), abs=1e-6)
            assert one == pytest.approx(mean_over_pictures(row, seed=3), abs=1e-6)

    def test_below_10_pictures_there_is_the_mean_alone(self):
        found = mean_over_pictures(np.arange(9.0))
        assert found.mean == 4 and math.isnan(found.low) and str(found) == "4.000"
        assert check_claim("c", found, above=0, shipped=False) == "undecided"

    def test_seeds_are_averaged_within_a_picture_and_not_pooled(self):
        pictures = normal(100)
        values = np.stack([pictures - 0.3, pictures, pictures + 0.3])
        found = mean_over_seeds(values)
        assert found.overall.n == 100 and found.overall.mean == pytest.approx(pictures.mean())
        assert [one.mean for one in found.seeds] == pytest.approx(
            [pictures.mean() + shift for shift in (-0.3, 0, 0.3)]
        )
        pooled = mean_over_pictures(values.reshape(-1))
        assert found.overall.high - found.overall.low > 1.5 * (pooled.high - pooled.low)
        assert "training seeds" in str(found) and f"{found.seeds[2].mean:.3f}" in str(found)
        with pytest.raises(ValueError, match=r"\(S, N\)"):
            mean_over_seeds(pictures)


class TestPairedDifference:
    def test_pairing_narrows(self):
        first = normal(200)
        second = first + 0.05 * normal(200, seed=1) - 0.1
        found = paired_difference(first, torch.from_numpy(second))
        assert (
            found == mean_over_pictures(first - second)
            and 0.09 < found.low < 0.1 < found.high < 0.115
        )
        seeds = paired_difference(np.stack([first, first + 1]), np.stack([second, second]))
        assert isinstance(seeds, SeedEstimate)
        assert seeds.seeds[1].mean - seeds.seeds[0].mean == pytest.approx(1)

    def test_of_yes_and_no(self):
        assert paired_difference(
            torch.tensor([True, True, False]), torch.tensor([False, True, False])
        ).mean == pytest.approx(1 / 3)

    def test_unpaired(self):
        with pytest.raises(ValueError, match="one shape"):
            paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


class TestCheckClaim:
    @pytest.mark.parametrize(
        ("low", "high", "side", "verdict"),
        [
            (0.1, 0.3, {"above": 0}, "supported"),
            (-0.1, 0.3, {"above": 0}, "undecided"),
            (0.0, 0.3, {"above": 0}, "undecided"),
            (-0.3, -0.1, {"above": 0}, "unsupported"),
            (-0.3, -0.1, {"below": 0}, "supported"),
            (0.1, 0.3, {"below": 0}, "unsupported"),
            (0.1, 0.3, {"below": 0.2}, "undecided"),
        ],
    )
    def test_verdicts(self, low, high, side, verdict, capsys):
        estimate = Estimate((low + high) / 2, low, high, 10)
        assert check_claim("it rains", estimate, **side, shipped=False) == verdict
        assert capsys.readouterr().out.startswith(f"{verdict}: it rains")
        if verdict == "supported":
            assert check_claim("it rains", estimate, **side) == verdict
        else:
            with pytest.raises(AssertionError, match=f"{verdict}: it rains"):
                check_claim("it rains", estimate, **side)

    @pytest.mark.parametrize(
        ("means", "interval", "verdict"),
        [
            ((0.1, 0.3), (0.1, 0.3), "supported"),
            ((-0.1, 0.5), (0.1, 0.3), "undecided"),
            ((0.0, 0.4), (0.1, 0.3), "undecided"),
            ((-0.1, -0.3), (-0.3, -0.1), "unsupported"),
            ((0.1, -0.5), (-0.3, -0.1), "undecided"),
            ((0.1, 0.3), (-0.1, 0.5), "undecided"),
        ],
    )
    def test_every_seed_must_agree(self, means, interval, verdict):
        seeds = tuple(Estimate(mean, mean - 1, mean + 1, 10) for mean in means)
        low, high = interval
        estimate = SeedEstimate(Estimate((low + high) / 2, low, high, 10), seeds)
        assert check_claim("c", estimate, above=0, shipped=False) == verdict
        mirrored = SeedEstimate(
            Estimate(-(low + high) / 2, -high, -low, 10),
            tuple(Estimate(-e.mean, -e.high, -e.low, 10) for e in seeds),
        )
        assert check_claim("c", mirrored, below=0, shipped=False) == verdict

    @pytest.mark.parametrize("sides", [{}, {"above": 0, "below": 1}])
    def test_one_side(self, sides):
        with pytest.raises(ValueError, match="either"):
            check_claim("c", Estimate(0.2, 0.1, 0.3, 10), **sides)


class TestHolm:
    def test_by_hand(self):
        # Sorted 0.01 × 4, 0.015 × 3, 0.03 × 2, 0.04 × 1 → 0.04, 0.045, 0.06, and 0.06 again, since
        # never less.
        assert holm({"a": 0.03, "b": 0.01, "c": 0.04, "d": 0.015}) == pytest.approx(
            {"a": 0.06, "b": 0.04, "c": 0.06, "d": 0.045}
        )
        assert list(holm({"b": 0.5, "a": 0.1})) == ["b", "a"]
        assert holm({"a": 0.6, "b": 0.9}) == {"a": 1, "b": 1} and holm({"a": 0.2}) == {"a": 0.2}

    @pytest.mark.parametrize("p", [{"a": 1.1}, {"a": -0.1}, {"a": math.nan}, {}])
    def test_refused(self, p):
        with pytest.raises(ValueError):
            holm(p)


class TestCompare:
    def test_the_paired_t_test_and_holm(self):
        family = {"none": normal(100), "some": normal(100, mean=0.3, seed=1)}
        found = compare(family)
        p = {name: stats.ttest_1samp(values, 0).pvalue for name, values in family.items()}
        assert {name: one.p for name, one in found.items()} == pytest.approx(p)
        assert {name: one.adjusted for name, one in found.items()} == pytest.approx(holm(p))
        assert found["some"].adjusted < 0.05 < found["none"].adjusted
        assert found["some"].estimate == mean_over_pictures(family["some"]) and "Holm" in str(
            found["some"]
        )

    def test_by_hand(self):
        # Mean 2, variance 1, n = 3: t = 2 √3; for 2 degrees of freedom p = 1 − t / √(2 + t²).
        t = 2 * math.sqrt(3)
        assert compare({"x": [1.0, 2.0, 3.0]})["x"].p == pytest.approx(1 - t / math.sqrt(2 + t * t))

    def test_seeds_are_no_pictures(self):
        values = normal(100, mean=0.1)
        found = compare({"x": np.stack([values, values, values])})["x"]
        assert (
            found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
            and len(found.estimate.seeds) == 3
        )

    def test_no_spread(self):
        found = compare({"same": [0.0] * 5, "shifted": [0.1] * 5})
        assert found["same"].p == 1 and found["shifted"].p == 0


class TestEquivalence:
    def test_verdicts(self):
        differences = normal(400, seed=3) / 10  # standard error 0.005
        differences -= differences.mean()
        assert equivalence(differences, 0.02).verdict == "equivalent"
        assert equivalence(differences, 0.005).verdict == "undecided"
        assert equivalence(differences + 0.1, 0.02).verdict == "different"
        assert equivalence(differences - 0.1, 0.02).verdict == "different"
        assert equivalence(differences + 0.02, 0.02).verdict == "undecided"

    def test_is_the_90_percent_interval(self):
        values = normal(300)
        found = equivalence(values, 1)
        low, high = stats.t.interval(0.90, 299, values.mean(), stats.sem(values))
        assert found.estimate[1:3] == pytest.approx((low, high), abs=0.01)
        assert "90 %" in str(found) and found.bound == 1
        assert equivalence(np.stack([values, -values]), 1).estimate[:3] == (0, 0, 0)

    @pytest.mark.parametrize("bound", [0, -1, math.nan, math.inf])
    def test_refused(self, bound):
        with pytest.raises(ValueError, match="bound"):
            equivalence([0.0, 1.0], bound)


class TestNotWorseThanBest:
    def test_pairing_decides(self):
        pictures = 10 * normal(200)
        noise = normal(4, 200, seed=1) / 10
        values = {
            "bad": pictures - 1 + noise[0],
            "best": pictures + noise[1],
            "tie": pictures + noise[2],
            "near": pictures - 0.1 + noise[3],
        }
        assert not_worse_than_best(values) == ["best", "tie"]
        assert not_worse_than_best(values, margin=0.2) == ["best", "tie", "near"]
        assert not_worse_than_best(values, higher_is_better=False) == ["bad"]
        assert not_worse_than_best({k: np.stack([v, v]) for k, v in values.items()}) == [
            "best",
            "tie",
        ]

    def test_ends(self):
        values = normal(10)
        assert not_worse_than_best({"a": values}) == ["a"]
        assert not_worse_than_best({"a": values, "b": values}) == ["a", "b"]
        assert not_worse_than_best({"a": values, "b": values + 1}) == ["b"]
        with pytest.raises(ValueError, match="same pictures"):
            not_worse_than_best({"a": values, "b": values[:5]})
        with pytest.raises(ValueError, match="same pictures"):
            not_worse_than_best({})
        with pytest.raises(ValueError, match="margin"):
            not_worse_than_best({"a": values}, margin=-1)

    def test_the_truly_best_is_in_95_times_of_100(self):
        """Ten settings, all equally good, so that each is truly best: any of them may be missed 5 %
        of the time, no more."""
        rng = np.random.default_rng(0)
        missed = [
            0 not in not_worse_than_best(dict(enumerate(rng.normal(size=(10, 40)))))
            for _ in range(400)
        ]
        assert 0 < sum(missed) <= 26  # 5 % of 400 is 20


class TestLogLogSlope:
    def test_power_laws(self):
        counts = [3, 5, 10, 50]
        values = np.stack([7 * np.array(counts) ** -0.5, 0.1 * np.array(counts) ** 2.0])
        assert log_log_slope(counts, values).tolist() == pytest.approx([-0.5, 2])
        assert log_log_slope(range(1, 3), [[1, 4]]).tolist() == pytest.approx([2])

    def test_least_squares(self):
        counts, values = [2, 3, 7], np.exp(normal(4, 3))
        expected = [np.polyfit(np.log(counts), np.log(row), 1)[0] for row in values]
        assert log_log_slope(counts, values).tolist() == pytest.approx(expected)

    def test_error_of_a_mean(self):
        """Nested means of normal draws fall like n^−½, within the interval over pictures."""
        draws = np.cumsum(normal(60, 50, 400), axis=1)
        counts = np.arange(3, 51)
        rms = np.sqrt(((draws[:, counts - 1] / counts[:, None]) ** 2).mean(2))
        found = mean_over_pictures(log_log_slope(counts, rms))
        assert found.low < -0.5 < found.high and found.high - found.low < 0.05

    @pytest.mark.parametrize(
        ("counts", "values"),
        [
            ([1, 2], [[1.0, 0.0]]),
            ([1, 2], [[1.0, -1.0]]),
            ([1, 2], [[1.0, math.nan]]),
            ([1, 1], [[1.0, 2.0]]),
            ([0, 1], [[1.0, 2.0]]),
            ([1, 2, 3], [[1.0, 2.0]]),
            ([1], [[1.0]]),
        ],
    )
    def test_refused(self, counts, values):
        with pytest.raises(ValueError):
            log_log_slope(counts, values)


class TestReliability:
    def test_by_hand(self):
        assert spearman_brown([0.5, 1, 0, -0.2]).tolist() == pytest.approx([2 / 3, 1, 0, -0.5])
        assert spearman_brown(0.6, 3) == pytest.approx(1.8 / 2.2) and spearman_brown(
            0.75, 0.5
        ) == pytest.approx(0.6)
        assert math.isnan(spearman_brown(-1.0)) and math.isnan(spearman_brown(-0.6, 3))

    def test_count_by_hand_and_inverse(self):
        assert count_for_reliability(0.5, 10) == pytest.approx(90)  # 10 × 0.9 × 0.5 / (0.5 × 0.1)
        assert count_for_reliability([0, -0.5, 1], 10).tolist() == [math.inf, math.inf, 0]
        n = count_for_reliability(0.62, 25, 0.8)
        assert spearman_brown(0.62, n / 25) == pytest.approx(0.8)

    def test_against_a_known_truth(self):
        """Signal of variance 1 under noise of variance 4: n samples have the reliability 1 / (1 + 4
        / n)."""
        signal, noise = normal(1, 200_000), 2 * normal(10, 200_000, seed=1)
        halves = [signal[0] + noise[i::2].mean(0) for i in range(2)]
        r = np.corrcoef(halves)[0, 1]
        assert spearman_brown(r) == pytest.approx(1 / 1.4, abs=0.01)
        assert count_for_reliability(r, 5) == pytest.approx(36, rel=0.03)

    @pytest.mark.parametrize("r", [1.01, -2, math.nan])
    def test_refused(self, r):
        for call in (lambda: spearman_brown(r), lambda: count_for_reliability(r, 5)):
            with pytest.raises(ValueError, match="correlation"):
                call()

    def test_bad_settings(self):
        with pytest.raises(ValueError, match="factor"):
            spearman_brown(0.5, 0)
        for settings in ({"n": 0}, {"n": 5, "target": 1}):
            with pytest.raises(ValueError, match="target"):
                count_for_reliability(0.5, **settings)
