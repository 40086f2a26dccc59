"""Statistics: against scipy and textbook values, at the edges, and by simulating studies whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.reporting.statistics import (
    ALPHA,
    LEAST_SD,
    differences,
    estimate,
    holm,
    holm_divisors,
    noise,
    noise_floor,
    paired,
    power,
    smallest_separable,
    t_interval,
    typical_sd,
    welch,
)

NAN = math.nan


def test_interval_of_known_values() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    low, high = stats.t.interval(0.95, 2, loc=2.0, scale=stats.sem([1.0, 2.0, 3.0]))
    assert (found.mean, found.n) == (2.0, 3)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = estimate([7.5])
    assert found is not None
    assert (found.mean, found.low, found.high, found.n, found.half_width) == (7.5, None, None, 1, None)
    alone = welch([5.0], [4.0])
    assert alone.mean == 1.0
    assert np.isnan(alone.p())


def test_nothing_gives_nothing() -> None:
    assert estimate([]) is None
    assert differences({0: 1.0}, {1: 1.0}) == {}
    assert noise([[1.0], [1.0], []], ALPHA) is None
    assert holm([]).shape == (0,)


def test_seeds_are_matched_by_their_number() -> None:
    baseline = {0: 10.0, 1: 20.0, 2: 30.0, 9: 99.0}
    variant = {2: 31.0, 1: 21.1, 0: 10.9, 5: 0.0}
    assert differences(variant, baseline) == pytest.approx({0: 0.9, 1: 1.1, 2: 1.0})


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (5, 3), (8, 8)])
def test_welch_is_scipys(n: int, m: int) -> None:
    random = np.random.default_rng(n + m)
    variant, baseline = random.normal(27.0, 1.5, (50, n)), random.normal(26.5, 0.5, (50, m))
    found = welch(variant, baseline)
    expected = stats.ttest_ind(variant, baseline, axis=-1, equal_var=False)
    assert found.p() == pytest.approx(expected.pvalue)
    for alpha in (0.05, 0.001):
        interval = expected.confidence_interval(1 - alpha)
        low, high = found.interval(alpha)
        assert low == pytest.approx(interval.low)
        assert high == pytest.approx(interval.high)


def test_the_paired_test_is_scipys() -> None:
    random = np.random.default_rng(4)
    variant, baseline = random.normal(27.0, 1.5, (50, 4)), random.normal(26.5, 0.5, (50, 4))
    found, expected = paired(variant, baseline), stats.ttest_rel(variant, baseline, axis=-1)
    assert found.p() == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.9)
    assert found.interval(0.1)[0] == pytest.approx(interval.low)
    assert found.interval(0.1)[1] == pytest.approx(interval.high)


def test_a_missing_value_is_left_out() -> None:
    one, other = welch([1.0, NAN, 2.0, 4.0], [0.0, 1.0, NAN, NAN]), welch([1.0, 2.0, 4.0], [0.0, 1.0])
    for own, expected in ((one.mean, other.mean), (one.error, other.error), (one.degrees, other.degrees)):
        assert own == pytest.approx(expected)
    pairs = paired([1.0, NAN, 2.0, 4.0], [0.0, 9.0, 1.5, 1.0])
    assert pairs.p() == pytest.approx(stats.ttest_rel([1.0, 2.0, 4.0], [0.0, 1.5, 1.0]).pvalue)


def test_a_difference_without_spread() -> None:
    same, shifted = paired([3.0, 4.0], [3.0, 4.0]), paired([3.1, 4.1, 5.1], [3.0, 4.0, 5.0])
    assert same.p() == 1.0
    assert same.interval() == (0.0, 0.0)
    assert shifted.p() == 0.0
    assert shifted.mean == pytest.approx(0.1)
    assert welch([2.0, 2.0], [2.0, 2.0]).p() == 1.0
    assert welch([2.5, 2.5], [2.0, 2.0]).p() == 0.0
    one_sided = welch([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])  # a variant that never learns anything
    assert one_sided.degrees == pytest.approx(2)
    assert one_sided.p() == pytest.approx(stats.ttest_1samp([1.0, 2.0, 3.0], 0).pvalue)


def test_holm_on_a_textbook_case() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([[0.04, 0.01], [0.5, 0.5]]) == pytest.approx(np.array([[0.04, 0.02], [1.0, 1.0]]))


def test_less_passed_on_lies_between_holm_and_bonferroni() -> None:
    p = np.random.default_rng(0).uniform(0, 0.2, (200, 7))
    half = holm(p, 0.5)
    assert (holm(p) <= half).all()
    assert (half <= holm(p, 0.0)).all()
    assert holm(p, 0.0) == pytest.approx(np.minimum(7 * p, 1))
    assert holm_divisors(4, 0.5).tolist() == [4.0, 3.5, 3.0, 2.5]
    assert holm([0.01, 0.04, 0.03, 0.005], 0.5) == pytest.approx([0.035, 0.1, 0.09, 0.02])


@pytest.mark.parametrize(("alpha", "ratio"), [(0.05, 0.5), (0.05, 1.0), (0.05 / 11, 0.5), (0.05 / 11, 1.3)])
def test_power_of_many_seeds_is_that_of_the_noncentral_t(alpha: float, ratio: float) -> None:
    """With 60 the sds are known so well that Welch's test is the pooled one, and no floor is touched."""
    critical = stats.t.ppf(1 - alpha / 2, 118)
    expected = stats.nct.sf(critical, 118, ratio * critical) + stats.nct.cdf(-critical, 118, ratio * critical)
    assert power(ratio * smallest_separable(0.7, 60, alpha), 0.7, 60, alpha) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("alpha", [ALPHA, ALPHA / 11])
def test_power_is_how_often_the_test_finds_it(n: int, alpha: float) -> None:
    """Of other draws; the floor of the sds makes it less than that of Welch's test alone, never more."""
    size = smallest_separable(0.7, n, alpha)
    runs, base = np.random.default_rng(9).normal(0.0, 0.7, (2, 20_000, n))
    for times in (0.5, 1.0, 2.0):
        found = power(times * size, 0.7, n, alpha)
        assert found == pytest.approx((welch(runs + times * size, base, LEAST_SD * 0.7).p() < alpha).mean(), abs=0.015)
        alone = stats.ttest_ind(runs + times * size, base, axis=-1, equal_var=False).pvalue < alpha
        assert found <= alone.mean() + 0.015
    assert power(0.0, 0.7, n, alpha) <= alpha
    assert (power(0.0, 0.0, n), power(0.1, 0.0, n)) == (0.0, 1.0)


def test_smallest_separable_difference_sits_on_the_edge_of_the_test() -> None:
    edge = smallest_separable(0.2, 5)
    pattern = np.array([-1.0, 1.0, -1.0, 1.0, 0.0])
    spread = 0.2 * pattern / pattern.std(ddof=1)
    assert welch(spread + edge * 1.001, spread).p() < 0.05 < welch(spread + edge * 0.999, spread).p()
    assert smallest_separable(0.2, 3) > smallest_separable(0.2, 5)
    assert smallest_separable(0.2, 5, 0.05 / 11) > edge


def test_noise_is_not_set_by_the_variant_that_fails() -> None:
    random = np.random.default_rng(3)
    steady = [random.normal(30, 0.1, 5).tolist() for _ in range(200)]
    wild = [random.normal(10, 8, 5).tolist() for _ in range(10)]
    found = noise([*steady, *wild, [1.0]], ALPHA / 210)
    assert found is not None
    assert found.n == 5
    assert found.sd == pytest.approx(0.1, rel=0.15)
    assert found.corrected > found.alone == pytest.approx(smallest_separable(found.sd, 5))
    assert found.power == tuple(power(ratio * found.alone, found.sd, 5) for ratio in (0.5, 1, 2))
    assert found.power[0] < 0.3 < found.power[1] < 0.65 < 0.95 < found.power[2]
    assert found.power_corrected[1] == pytest.approx(power(found.corrected, found.sd, 5, ALPHA / 210))


def test_the_typical_sd_is_of_rows_of_any_length() -> None:
    rows = np.random.default_rng(2).normal(0, 2.0, (1, 4_000, 5))
    rows[:, ::2, 3:] = NAN
    rows[:, ::7, 1:] = NAN
    assert typical_sd(rows) == pytest.approx([2.0], rel=0.05)
    assert np.isnan(typical_sd([[1.0, NAN], [NAN, NAN]]))


def test_noise_floor_of_known_values() -> None:
    found = noise_floor([10.0, 12.0, 11.0])
    assert found is not None
    assert (found.sd, found.n, found.pairs) == (1.0, 3, (1.0, 1.0, 2.0))
    assert found.half_width == pytest.approx(4.302653 * math.sqrt(2 / 3), rel=1e-5)
    assert noise_floor([10.0]) is None
    assert noise_floor([10.0, 10.0]) is None


@pytest.mark.parametrize("seeds", [3, 5])
def test_differences_from_nothing_stay_on_the_noise_floor(seeds: int) -> None:
    """The baseline against another group of as many of its own seeds, 2,000 times: 95 % inside."""
    random = np.random.default_rng(seeds)
    inside = 0
    for _ in range(2_000):
        own, other = random.normal(25.0, 0.3, size=(2, seeds))
        found = noise_floor(own.tolist())
        assert found is not None
        inside += abs(own.mean() - other.mean()) <= found.half_width
    assert 0.935 <= inside / 2_000 <= 0.965


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_cover_the_truth_in_simulated_studies(seeds: int) -> None:
    studies = np.random.default_rng(seeds).normal(25.0, 0.3, size=(20_000, seeds))
    _, low, high = t_interval(studies)
    assert 0.93 <= np.mean((low <= 25.0) & (high >= 25.0)) <= 0.97


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_intervals_of_differences_cover_the_truth(seeds: int) -> None:
    """Equal spread at every number of seeds; with unequal spread Welch's is an approximation."""
    random = np.random.default_rng(seeds)
    for ratio, band in ((1.0, (0.94, 0.97)), (0.5, (0.94, 0.97)), (0.1, (0.94, 0.96))):
        variant, baseline = random.normal(1.0, ratio, (40_000, seeds)), random.normal(0.0, 1.0, (40_000, seeds))
        low, high = welch(variant, baseline).interval()
        assert band[0] <= np.mean((low <= 1.0) & (high >= 1.0)) <= band[1], (seeds, ratio)
