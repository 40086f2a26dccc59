"""Rank correlations of the same changes' effects on two corpora, with bootstrap confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.reporting.statistics import LEVEL, BySeed

FEWEST = 5
"""Least number of changes for an interval: with fewer, most bootstrap samples repeat two or three."""
SAMPLES = 4000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, with its confidence interval where there are enough changes for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Ranks:
    """Spearman's rho and Kendall's tau-b over n changes; p is of Kendall's test, exact where no two changes tie."""

    n: int
    spearman: Correlation
    kendall: Correlation
    p: float


def rank_correlations(
    lower: Sequence[BySeed], upper: Sequence[BySeed], level: float = LEVEL, samples: int = SAMPLES
) -> Ranks | None:
    """Correlate the mean differences of the same changes on two corpora, each given by seed; None under three changes.

    The interval, given from FEWEST changes on, is a percentile bootstrap: every sample draws changes, and the seeds of
    each corpus, with replacement. All changes of a corpus share the draw of seeds, since a seed fixes the data of all.
    The spread of few seeds is somewhat understated, and a corpus with one seed adds none.
    """
    n = len(lower)
    assert n == len(upper), "the same changes on both corpora"
    means = [np.array([np.mean(list(change.values())) for change in corpus]) for corpus in (lower, upper)]
    if n < 3 or any(np.ptp(effects) == 0 for effects in means):
        return None
    rho, tau = stats.spearmanr(*means), stats.kendalltau(*means)
    if n < FEWEST:
        return Ranks(n, Correlation(float(rho.statistic)), Correlation(float(tau.statistic)), float(tau.pvalue))
    generator = np.random.default_rng(0)
    chosen = generator.integers(n, size=(samples, n))
    drawn = [np.take_along_axis(_resampled(corpus, samples, generator), chosen, axis=1) for corpus in (lower, upper)]
    ends = [(1 - level) / 2, (1 + level) / 2]

    def with_interval(value: float, resampled: Array) -> Correlation:
        low, high = np.quantile(resampled[np.isfinite(resampled)], ends)
        return Correlation(float(value), float(low), float(high))

    rho_interval = with_interval(rho.statistic, spearman(*drawn))
    return Ranks(n, rho_interval, with_interval(tau.statistic, kendall(*drawn)), float(tau.pvalue))


def spearman(x: ArrayLike, y: ArrayLike) -> Array:
    """Return Spearman's rho over the last axis of two (..., n): nan where either is all ties."""
    a, b = (stats.rankdata(side, axis=-1) for side in (x, y))
    a, b = (side - side.mean(axis=-1, keepdims=True) for side in (a, b))
    return _ratio((a * b).sum(axis=-1), (a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def kendall(x: ArrayLike, y: ArrayLike) -> Array:
    """Return Kendall's tau-b over the last axis of two (..., n): nan where either is all ties."""
    rows, columns = np.triu_indices(np.shape(x)[-1], 1)
    a, b = (np.sign(side[..., rows] - side[..., columns]) for side in (np.asarray(x), np.asarray(y)))
    return _ratio((a * b).sum(axis=-1), (a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def _ratio(product: Array, squares: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(product / np.sqrt(squares))


def _resampled(corpus: Sequence[BySeed], samples: int, generator: np.random.Generator) -> Array:
    """Return mean differences (samples, changes) over drawn seeds; a change without a drawn seed keeps its mean."""
    seeds = sorted({seed for change in corpus for seed in change})
    values = np.array([[change.get(seed, np.nan) for seed in seeds] for change in corpus])  # (changes, seeds)
    has = np.isfinite(values).astype(float)
    times = generator.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), size=samples).astype(float)
    counts = times @ has.T  # (samples, changes)
    sums = times @ np.nan_to_num(values).T
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nanmean(values, axis=1))
