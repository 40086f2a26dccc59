"""Statistics: against scipy and textbook values, at the edges, and by simulating studies whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.reporting.statistics import (
    ALPHA,
    compare,
    decisions,
    estimate,
    holm,
    noise,
    noise_floor,
    paired_p,
    power,
    sign_flip_p,
    smallest_p,
    smallest_separable,
    t_interval,
)


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
    alone = compare({0: 5.0}, {0: 4.0})
    assert alone is not None
    assert alone.p is None
    assert alone.difference.mean == 1.0


def test_nothing_gives_nothing() -> None:
    assert estimate([]) is None
    assert compare({0: 1.0}, {1: 1.0}) is None
    assert noise([{0: 1.0}], {0: 1.0}) is None
    assert holm([]).shape == (0,)


def test_seeds_are_paired_by_their_number() -> None:
    baseline = {0: 10.0, 1: 20.0, 2: 30.0, 9: 99.0}
    variant = {2: 31.0, 1: 21.1, 0: 10.9, 5: 0.0}
    found = compare(variant, baseline)
    assert found is not None
    assert found.difference.n == 3
    assert found.difference.mean == pytest.approx(1.0)
    assert found.p == pytest.approx(stats.ttest_rel([10.9, 21.1, 31.0], [10.0, 20.0, 30.0]).pvalue)


def test_two_seeds_are_enough_for_a_wide_interval() -> None:
    found = compare({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0})
    assert found is not None
    assert found.difference.half_width == pytest.approx(12.7062 * 0.5, rel=1e-4)
    assert found.p == pytest.approx(0.2048, abs=1e-4)


def test_a_difference_without_spread() -> None:
    same = compare({0: 3.0, 1: 4.0}, {0: 3.0, 1: 4.0})
    shifted = compare({0: 3.1, 1: 4.1, 2: 5.1}, {0: 3.0, 1: 4.0, 2: 5.0})
    assert same is not None
    assert same.p == 1.0
    assert same.difference.low == same.difference.high == 0.0
    assert shifted is not None
    assert shifted.p == 0.0
    assert shifted.difference.mean == pytest.approx(0.1)


def test_holm_on_a_textbook_case() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([[0.04, 0.01], [0.5, 0.5]]) == pytest.approx(np.array([[0.04, 0.02], [1.0, 1.0]]))


def test_exact_p_counts_choices_of_signs() -> None:
    """Of 1, 2, 3: only all of one sign is as extreme, 2 of 8. Of 1, 2, -3: every choice is, for the mean is 0."""
    assert sign_flip_p([1.0, 2.0, 3.0]) == pytest.approx(0.25)
    assert sign_flip_p([[1.0, 2.0, -3.0], [3.0, 2.0, -1.0]]) == pytest.approx([1.0, 0.5])
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0
    found = compare({0: 9.0, 1: 8.1, 2: 9.2}, dict.fromkeys(range(3), 5.0))
    assert found is not None
    assert found.p_exact == pytest.approx(0.25)
    assert found.p is not None
    assert found.p < 0.05


def test_the_smallest_exact_p() -> None:
    for n in (2, 3, 5, 6, 8):
        assert sign_flip_p(np.arange(1.0, n + 1)) == pytest.approx(smallest_p(n))
    assert smallest_p(3) == 0.25
    assert smallest_p(5) > 0.05 > smallest_p(6)


def test_the_exact_test_errs_as_often_as_it_says() -> None:
    """Six seeds of skewed noise, turned about zero: p reaches 1/32, no more often than that."""
    random = np.random.default_rng(5)
    noise_ = random.exponential(1.0, (4_000, 6)) * random.choice([-1.0, 1.0], (4_000, 6))
    rate = np.mean(sign_flip_p(noise_) < 0.05)
    assert abs(rate - 1 / 32) < 3 * math.sqrt(1 / 32 / 4_000)


def test_beyond_sixteen_seeds_signs_are_drawn_the_same_each_time() -> None:
    values = np.random.default_rng(1).normal(0.5, 1.0, 20)
    assert sign_flip_p(values) == sign_flip_p(values) == pytest.approx(paired_p(values, np.zeros(20)), abs=0.02)


def test_decisions_are_signs_where_p_is_small() -> None:
    assert decisions([0.01, 0.01, 0.05, 0.9], [2.0, -2.0, 2.0, -2.0]).tolist() == [1, -1, 0, 0]


@pytest.mark.parametrize(
    ("n", "alpha", "ratio"), [(3, 0.05, 0.5), (5, 0.05, 1.0), (5, 0.05 / 11, 0.5), (10, 0.05, 1.3)]
)
def test_power_is_that_of_the_noncentral_t(n: int, alpha: float, ratio: float) -> None:
    """Where scipy's distribution has a number."""
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    shift = ratio * critical
    expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    size = ratio * smallest_separable(0.7, n, alpha)
    assert power(size, 0.7, n, alpha) == pytest.approx(expected, abs=2e-4)


def test_power_is_how_often_the_test_finds_it() -> None:
    size = smallest_separable(0.7, 3)
    found = paired_p(np.random.default_rng(9).normal(2 * size, 0.7, (20_000, 3)), np.zeros((20_000, 3)))
    assert np.mean(found < ALPHA) == pytest.approx(power(2 * size, 0.7, 3), abs=0.01)
    assert power(0.0, 0.7, 3) == pytest.approx(ALPHA, abs=1e-4)
    assert 0.5 < power(size, 0.7, 3) < 0.65
    assert power(0.0, 0.7, 3, ALPHA / 500) == pytest.approx(ALPHA / 500, abs=5e-5)
    assert (power(0.0, 0.0, 3), power(0.1, 0.0, 3)) == (0.0, 1.0)


def test_smallest_separable_difference_sits_on_the_edge_of_the_test() -> None:
    edge = smallest_separable(0.2, 5)
    pattern = np.array([-1.0, 1.0, -1.0, 1.0, 0.0])
    spread = 0.2 * pattern / pattern.std(ddof=1)
    assert paired_p(spread + edge * 1.001, np.zeros(5)) < 0.05 < paired_p(spread + edge * 0.999, np.zeros(5))
    assert smallest_separable(0.2, 3) > smallest_separable(0.2, 5)
    assert smallest_separable(0.2, 5, 0.05 / 11) > edge


def test_noise_is_not_set_by_the_variant_that_fails() -> None:
    random = np.random.default_rng(3)
    baseline = dict.fromkeys(range(5), 30.0)
    steady = [{seed: 30 + random.normal(0, 0.1) for seed in range(5)} for _ in range(200)]
    wild = [{seed: random.normal(10, 8) for seed in range(5)} for _ in range(10)]
    found = noise([*steady, *wild], baseline)
    assert found is not None
    assert found.n == 5
    assert found.sd == pytest.approx(0.1, rel=0.15)
    assert found.corrected > found.alone == pytest.approx(smallest_separable(found.sd, 5))
    assert found.power[0] < 0.3 < 0.5 < found.power[1] < 0.65 < 0.95 < found.power[2]
    assert found.power_corrected[1] == pytest.approx(power(found.corrected, found.sd, 5, ALPHA / 210))


def test_noise_floor_of_known_values() -> None:
    found = noise_floor([10.0, 12.0, 11.0])
    assert found is not None
    assert (found.sd, found.n, found.pairs) == (1.0, 3, (1.0, 1.0, 2.0))
    assert found.half_width == pytest.approx(4.302653 * math.sqrt(2 / 3), rel=1e-5)
    assert noise_floor([10.0]) is None


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
