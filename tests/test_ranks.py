"""Rank correlations against scipy, and intervals that hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from experiments.reporting.ranks import FEWEST, kendall, rank_correlations, spearman


def by_seed(means: np.ndarray, generator: np.random.Generator, sd: float, seeds: int = 3) -> list[dict[int, float]]:
    return [{seed: float(mean + generator.normal(0, sd)) for seed in range(seeds)} for mean in means]


def test_both_correlations_are_scipys_ties_included() -> None:
    generator = np.random.default_rng(1)
    one, other = generator.integers(0, 5, (50, 8)).astype(float), generator.integers(0, 6, (50, 8)).astype(float)
    for row, values in enumerate(zip(spearman(one, other), kendall(one, other), strict=True)):
        expected = stats.spearmanr(one[row], other[row]).statistic, stats.kendalltau(one[row], other[row]).statistic
        assert values == pytest.approx(expected, abs=1e-12)


def test_all_ties_have_no_correlation() -> None:
    assert np.isnan(kendall([[1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0]])[0])
    assert np.isnan(spearman([[1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0]])[0])


def test_few_changes_get_no_interval_and_two_get_no_correlation() -> None:
    generator = np.random.default_rng(2)
    rungs = [by_seed(np.arange(float(FEWEST - 1)), generator, 0.1) for _ in range(2)]
    found = rank_correlations(*rungs)
    assert found is not None
    assert found.kendall.value == 1.0
    assert found.kendall.low is None
    assert found.p == pytest.approx(2 / 24)
    assert rank_correlations(rungs[0][:2], rungs[1][:2]) is None


def test_the_same_scores_give_the_same_interval() -> None:
    generator = np.random.default_rng(3)
    rungs = [by_seed(np.arange(8.0), generator, 2.0) for _ in range(2)]
    assert rank_correlations(*rungs) == rank_correlations(*rungs)


def test_noise_of_the_seeds_widens_the_interval() -> None:
    """Changes that keep their order in the mean, but whose seeds disagree, must not look certain."""
    quiet = [{0: float(i), 1: float(i), 2: float(i)} for i in range(8)]
    loud = [{0: float(i), 1: float(i) + 9 * (-1) ** i, 2: float(i) - 9 * (-1) ** i} for i in range(8)]
    sure, unsure = rank_correlations(quiet, quiet), rank_correlations(quiet, loud)
    assert sure is not None
    assert unsure is not None
    assert (sure.spearman.value, unsure.spearman.value) == (pytest.approx(1.0), pytest.approx(1.0))
    assert sure.spearman.low is not None
    assert unsure.spearman.low is not None
    assert sure.spearman.low == pytest.approx(1.0)
    assert unsure.spearman.low < 0.7


def test_a_seed_that_a_change_lacks_is_no_zero() -> None:
    rungs = [[{0: 100.0 + i, **({1: 100.0 + i} if i % 2 else {})} for i in range(8)] for _ in range(2)]
    found = rank_correlations(*rungs)
    assert found is not None
    assert found.kendall.low == pytest.approx(1.0)


def coverage(trials: int, changes: int, samples: int) -> float:
    """Return how often the interval holds the correlation of the population: true effects related, seeds noisy."""
    generator = np.random.default_rng(4)
    related = 0.8
    big = generator.multivariate_normal([0, 0], [[1, related], [related, 1]], size=200_000)
    sd = 0.2
    true = big + generator.normal(0, sd / np.sqrt(3), big.shape)
    truth = float(stats.spearmanr(true[:, 0], true[:, 1]).statistic)
    held = 0
    for _ in range(trials):
        effects = generator.multivariate_normal([0, 0], [[1, related], [related, 1]], size=changes)
        rungs = [by_seed(effects[:, side], generator, sd) for side in (0, 1)]
        found = rank_correlations(*rungs, samples=samples)
        assert found is not None
        assert found.spearman.low is not None
        assert found.spearman.high is not None
        held += found.spearman.low <= truth <= found.spearman.high
    return held / trials


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    assert coverage(60, 15, 300) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("changes", [8, 15, 25])
def test_coverage_over_many_trials(changes: int) -> None:
    assert 0.88 <= coverage(1000, changes, 600) <= 0.99
