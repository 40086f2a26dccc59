"""Do two rungs of the ladder put the same changes into the same order? Rank correlations with honest intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.reporting.statistics import LEVEL, BySeed

FEWEST = 5
"""Changes from which a resampling of them says anything: of fewer, most samples repeat two or three."""
SAMPLES = 4000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, with its interval where there are enough changes for one."""

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
    """Correlate the mean differences of the same changes on two rungs, each given by seed; None under three changes.

    The interval is a percentile bootstrap: every sample draws changes, and the seeds of each rung, with replacement.
    All changes of a rung see the same draw of seeds, since a seed fixes the data of all. From FEWEST changes on; the
    spread of few seeds is somewhat understated, and a rung with one seed adds none.
    """
    n = len(lower)
    assert n == len(upper), "the same changes on both rungs"
    means = [np.array([np.mean(list(change.values())) for change in rung]) for rung in (lower, upper)]
    if n < 3 or any(np.ptp(own) == 0 for own in means):
        return None
    rho, tau = stats.spearmanr(*means), stats.kendalltau(*means)
    if n < FEWEST:
        return Ranks(n, Correlation(float(rho.statistic)), Correlation(float(tau.statistic)), float(tau.pvalue))
    generator = np.random.default_rng(0)
    chosen = generator.integers(n, size=(samples, n))
    drawn = [np.take_along_axis(_resampled(rung, samples, generator), chosen, axis=1) for rung in (lower, upper)]
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = []
    for value, own in ((rho.statistic, spearman(*drawn)), (tau.statistic, kendall(*drawn))):
        low, high = np.quantile(own[np.isfinite(own)], ends)
        found.append(Correlation(float(value), float(low), float(high)))
    return Ranks(n, found[0], found[1], float(tau.pvalue))


def spearman(one: ArrayLike, other: ArrayLike) -> Array:
    """Return Spearman's rho over the last axis of two (..., n): nan where one of them is all ties."""
    a, b = (stats.rankdata(side, axis=-1) for side in (one, other))
    a, b = (side - side.mean(axis=-1, keepdims=True) for side in (a, b))
    return _ratio((a * b).sum(axis=-1), (a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def kendall(one: ArrayLike, other: ArrayLike) -> Array:
    """Return Kendall's tau-b over the last axis of two (..., n): nan where one of them is all ties."""
    rows, columns = np.triu_indices(np.shape(one)[-1], 1)
    a, b = (np.sign(side[..., rows] - side[..., columns]) for side in (np.asarray(one), np.asarray(other)))
    return _ratio((a * b).sum(axis=-1), (a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def _ratio(product: Array, squares: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(product / np.sqrt(squares))


def _resampled(rung: Sequence[BySeed], samples: int, generator: np.random.Generator) -> Array:
    """Return mean differences (samples, changes) over drawn seeds; a change that has none of a draw keeps its mean."""
    seeds = sorted({seed for change in rung for seed in change})
    values = np.array([[change.get(seed, np.nan) for seed in seeds] for change in rung])  # (changes, seeds)
    has = np.isfinite(values).astype(float)
    times = generator.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), size=samples).astype(float)
    counts = times @ has.T  # (samples, changes)
    sums = times @ np.nan_to_num(values).T
    own = np.nanmean(values, axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), own)
