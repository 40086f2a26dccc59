"""From a few seeds to numbers with their uncertainty: t-intervals, Welch's test, Holm's correction, power, noise floor.

The seeds of a variant and those of the baseline are two samples. A seed fixes the order of the data in every variant,
but that correlates their scores hardly at all (docs/statistics.md), so pairing by seed only costs degrees of freedom;
`paired` is for the studies in which it pays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
LEVEL = 1 - ALPHA
LEAST_SD = 0.5
"""The least sd of a sample in the verdicts' Welch test, as a share of the typical sd of the study's rows."""
DRAWS = 20_000
"""Pairs of samples that are drawn to find a power."""
Array = NDArray[np.float64]
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds and its confidence interval; low and high are None for one seed, which shows no spread."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class MeanDifference:
    """Differences of two means (...), with their standard errors and degrees of freedom; nan for too few values."""

    mean: Array
    error: Array
    degrees: Array

    def p(self) -> Array:
        """Return the two-sided p of no difference; without any spread it is 1 for a difference of zero, else 0."""
        with np.errstate(all="ignore"):
            p = 2 * stats.t.sf(np.abs(self.mean) / self.error, self.degrees)
        return np.where(self.error == 0, np.where(self.mean == 0, 1.0, 0.0), p)

    def interval(self, alpha: ArrayLike = ALPHA) -> tuple[Array, Array]:
        """Return low and high of the confidence intervals at levels 1 - alpha (...)."""
        half = stats.t.ppf(1 - np.asarray(alpha) / 2, self.degrees) * self.error
        half = np.where(self.error == 0, 0.0, half)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Noise:
    """The noise of a study and the differences that its seeds can separate, in units of the score.

    sd is the typical standard deviation of a run over seeds, n the seeds of a row. `alone` is the smallest difference
    that a single uncorrected test calls separable with that sd, `corrected` the same at the strictest step of the
    study's correction. `power` is the share of studies in which a single test detects a true difference of half, once
    and twice `alone`; `power_corrected` the same for `corrected` at that strictest step.
    """

    sd: float
    n: int
    alone: float
    corrected: float
    power: tuple[float, float, float]
    power_corrected: tuple[float, float, float]


@dataclass(frozen=True)
class NoiseFloor:
    """Differences that arise without any change: n seeds of the baseline against n others.

    sd is the standard deviation of one run over the baseline's seeds; `pairs` are the absolute differences between any
    two of its runs, ascending. 95 % of the differences of two means of n such runs lie within `half_width` of zero.
    """

    sd: float
    n: int
    half_width: float
    pairs: tuple[float, ...]


def t_interval(values: ArrayLike, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Return mean, low and high over the last axis of (..., n), n at least 2 (Student's t, n - 1 degrees)."""
    data = np.asarray(values, dtype=float)
    count = data.shape[-1]
    assert count >= 2, "one value has no interval"
    mean = data.mean(axis=-1)
    half = stats.t.ppf((1 + level) / 2, count - 1) * data.std(axis=-1, ddof=1) / np.sqrt(count)
    return mean, mean - half, mean + half


def welch(variant: ArrayLike, baseline: ArrayLike, least_sd: ArrayLike = 0.0) -> MeanDifference:
    """Return variant less baseline over the last axes of (..., n) and (..., m), as two samples (Welch 1947).

    A nan is a value that is missing. The p is that of scipy.stats.ttest_ind(equal_var=False). A sample's sd enters as
    at least `least_sd` (...), and the degrees of freedom are then the fewer of the two.
    """
    (mean, variance, n), (base_mean, base_variance, m) = _moments(variant), _moments(baseline)
    n, m = np.maximum(n, 1), np.maximum(m, 1)
    least = np.asarray(least_sd, dtype=float) ** 2
    error = np.maximum(variance, least) / n + np.maximum(base_variance, least) / m
    degrees = np.fmin(
        _satterthwaite(variance / n, n, base_variance / m, m),
        _satterthwaite(np.maximum(variance, least) / n, n, np.maximum(base_variance, least) / m, m),
    )
    return _mean_difference(mean - base_mean, error, degrees)


def contrasts(weights: ArrayLike, samples: ArrayLike) -> MeanDifference:
    """Return weighted sums (..., m) of the means of samples (..., cells, n), by weights (m, cells).

    Each sample has a variance of its own; the degrees of freedom are Satterthwaite's (1946), as in `welch`. A nan is a
    value that is missing, and each sample needs two.
    """
    factors = np.asarray(weights, dtype=float)
    mean, variance, n = _moments(samples)
    parts = factors**2 * (variance / n)[..., None, :]  # (..., m, cells)
    error = parts.sum(axis=-1)
    with np.errstate(all="ignore"):
        degrees = error**2 / (parts**2 / (n - 1.0)[..., None, :]).sum(axis=-1)
    return _mean_difference((factors * mean[..., None, :]).sum(axis=-1), error, degrees)


def paired(variant: ArrayLike, baseline: ArrayLike) -> MeanDifference:
    """Return variant less baseline over the last axis of two (..., n), paired by place; a nan is missing."""
    mean, variance, n = _moments(np.asarray(variant, dtype=float) - np.asarray(baseline, dtype=float))
    with np.errstate(all="ignore"):
        return _mean_difference(mean, variance / n, np.where(n > 1, n - 1.0, np.nan))


def holm(p_values: ArrayLike, passed_on: float = 1.0) -> Array:
    """Return Holm's step-down adjusted p-values over the last axis of (..., m) (Holm 1979).

    `passed_on` is the share of its alpha that a rejected hypothesis passes on to those left: 1 is Holm's procedure.
    """
    p = np.asarray(p_values, dtype=float)
    if p.shape[-1] == 0:
        return p
    order = np.argsort(p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1) * holm_divisors(p.shape[-1], passed_on)
    ranked = np.minimum(np.maximum.accumulate(ranked, axis=-1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, ranked, axis=-1)
    return adjusted


def holm_divisors(m: int, passed_on: float = 1.0) -> Array:
    """Return what alpha is divided by at each of the m steps of `holm`, the smallest p first."""
    return np.asarray(m - passed_on * np.arange(m), dtype=np.float64)


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate | None:
    """Return the mean of one value per seed with its t-interval, or None when there is no value."""
    if not values:
        return None
    if len(values) == 1:
        return Estimate(float(values[0]), None, None, 1)
    mean, low, high = t_interval(values, level)
    return Estimate(float(mean), float(low), float(high), len(values))


def differences(variant: BySeed, baseline: BySeed) -> dict[int, float]:
    """Return variant minus baseline by seed, over the seeds that both have, ascending."""
    return {seed: variant[seed] - baseline[seed] for seed in sorted(variant.keys() & baseline.keys())}


def smallest_separable(sd: float, n: int, alpha: float = ALPHA) -> float:
    """Return the smallest difference that a t-test calls separable at level alpha, of two samples of n seeds.

    Both have the standard deviation sd of one run. Samples scatter about it: `power` says how often one finds it.
    """
    assert n >= 2, "one seed separates nothing"
    return float(stats.t.ppf(1 - alpha / 2, 2 * n - 2) * sd * np.sqrt(2 / n))


def power(difference: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Return how often n seeds find a true difference at level alpha, by the test that verdicts use.

    It is the share of `DRAWS` pairs of normal samples of standard deviation sd, always the same draws.
    """
    assert n >= 2, "one seed separates nothing"
    variant, baseline = sd * np.random.default_rng(0).normal(size=(2, DRAWS, n))
    return float((welch(variant + difference, baseline, LEAST_SD * sd).p() < alpha).mean())


def noise(rows: Sequence[Sequence[float]], strictest: float) -> Noise | None:
    """Return the noise of a study from the scores of its rows, None where they show none.

    They show some where two seeds of a row differ in at least half of the rows that have two.
    `strictest` is the level of the strictest test. The sd is that of `typical_sd`.
    """
    tested = [row for row in rows if len(row) >= 2]
    if not tested:
        return None
    n = int(np.median([len(row) for row in tested]))
    widest = max(len(row) for row in tested)
    sd = float(typical_sd(np.array([[*row, *[np.nan] * (widest - len(row))] for row in tested], dtype=float)))
    if sd == 0:
        return None
    levels = (ALPHA, strictest)
    alone, corrected = (smallest_separable(sd, n, alpha) for alpha in levels)
    powers = [
        (power(size / 2, sd, n, alpha), power(size, sd, n, alpha), power(2 * size, sd, n, alpha))
        for size, alpha in zip((alone, corrected), levels, strict=True)
    ]
    return Noise(sd, n, alone, corrected, *powers)


def typical_sd(rows: ArrayLike) -> Array:
    """Return the typical standard deviation of a run over seeds (...), from rows of scores (..., rows, n) with nans.

    It is the median of the rows' variances, divided by the median of a chi-square per degree of freedom so that it is
    consistent for normal noise. The median keeps a variant that fails, and so varies a lot, from dominating.
    """
    _, variance, n = _moments(rows)
    ratios = np.array(
        [np.nan, np.nan, *(stats.chi2.median(k - 1) / (k - 1) for k in range(2, np.max(n, initial=1) + 1))]
    )
    return np.sqrt(np.ma.filled(np.ma.median(np.ma.masked_invalid(variance / ratios[n]), axis=-1), np.nan))


def noise_floor(baseline: Sequence[float], level: float = LEVEL) -> NoiseFloor | None:
    """Return the noise floor from the scores of the baseline's seeds, None for fewer than two or where all are alike.

    Both means and the sd come from n runs of one normal population, so their difference over sd sqrt(2 / n) follows
    Student's t with n - 1 degrees of freedom.
    """
    n = len(baseline)
    if n < 2 or len(set(baseline)) == 1:
        return None
    sd = float(np.std(baseline, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * sd * np.sqrt(2 / n))
    return NoiseFloor(sd, n, half, tuple(sorted(abs(x - y) for x, y in combinations(baseline, 2))))


def _moments(values: ArrayLike) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return mean, variance (n - 1 in the denominator) and n over the last axis, without nans."""
    data = np.asarray(values, dtype=float)
    there = ~np.isnan(data)
    n = there.sum(axis=-1)
    with np.errstate(all="ignore"):
        mean = np.where(there, data, 0.0).sum(axis=-1) / n
        squares = np.where(there, (data - np.expand_dims(mean, -1)) ** 2, 0.0).sum(axis=-1)
        return mean, np.where(n > 1, squares / (n - 1.0), np.nan), n


def _satterthwaite(squares: Array, n: ArrayLike, base_squares: Array, m: ArrayLike) -> Array:
    """Return the degrees of freedom of the sum of two squared errors, nan where both are zero."""
    with np.errstate(all="ignore"):
        own, base = squares**2 / (np.asarray(n) - 1.0), base_squares**2 / (np.asarray(m) - 1.0)
        return (squares + base_squares) ** 2 / (own + base)


def _mean_difference(mean: Array, squared_error: Array, degrees: Array) -> MeanDifference:
    """Round what is zero but for floating point to zero."""
    scale = 1e-9 * np.maximum(1.0, np.abs(mean))
    error = np.sqrt(squared_error)
    return MeanDifference(np.where(np.abs(mean) <= 1e-9, 0.0, mean), np.where(error <= scale, 0.0, error), degrees)
