"""From a few seeds to a verdict: t-intervals, paired tests, Holm's correction, power and the noise floor.

A seed fixes the order of the data in every variant, so a variant is compared with its baseline seed by seed: noise that
both share cancels in the difference.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
LEVEL = 1 - ALPHA
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
class Comparison:
    """The mean difference of a variant to its baseline over shared seeds, with p-values of two paired tests.

    `p` is from the t-test, `p_exact` from the sign-flip test; both None for one seed.
    """

    difference: Estimate
    p: float | None
    p_exact: float | None = None


@dataclass(frozen=True)
class Noise:
    """The noise of a study and the differences that its seeds can separate, in units of the score.

    sd is the typical standard deviation of a paired difference over n seeds. `alone` is the smallest difference that a
    single uncorrected test calls separable with that sd, `corrected` the same at the strictest step of Holm's
    correction. `power` is the share of studies in which a single test detects a true difference of half, once and
    twice `alone`; `power_corrected` the same for `corrected` at that strictest step.
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
    Runs of different seeds share nothing, so a difference paired by seed may vary less.
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


def paired_p(variant: ArrayLike, baseline: ArrayLike) -> Array:
    """Return the two-sided p of the paired t-test over the last axis of two (..., n), n at least 2.

    A difference that is the same in every seed has no spread: p is 1 when it is zero, else 0.
    """
    difference = np.asarray(variant, dtype=float) - np.asarray(baseline, dtype=float)
    flat = np.ptp(difference, axis=-1) <= 1e-9 * np.maximum(1.0, np.abs(difference).max(axis=-1))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy warns about differences without spread
        p = stats.ttest_rel(variant, baseline, axis=-1).pvalue
    constant = np.where(np.abs(difference).max(axis=-1) <= 1e-9, 1.0, 0.0)
    return np.where(flat, constant, p)


def sign_flip_p(differences: ArrayLike) -> Array:
    """Return the exact two-sided p of paired differences over the last axis of (..., n), n at least 2.

    Under the null hypothesis each difference is as likely to have the other sign: p is the share of all 2^n choices of
    signs whose mean is as extreme. It assumes no normal noise and is at least `smallest_p(n)`. Beyond 16 seeds, 2^16
    choices are drawn with a fixed seed.
    """
    values = np.asarray(differences, dtype=float)
    test = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**16,
        axis=-1,
        random_state=np.random.default_rng(0),
    )
    return np.asarray(test.pvalue)


def smallest_p(n: int) -> float:
    """Return the smallest p that the exact test over n seeds can reach: 0.25 with 3, below 0.05 from 6 on."""
    return 2.0 ** (1 - n)


def holm(p_values: ArrayLike) -> Array:
    """Return Holm's step-down adjusted p-values over the last axis of (..., m) (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    m = p.shape[-1]
    if m == 0:
        return p
    order = np.argsort(p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1) * np.arange(m, 0, -1)
    ranked = np.minimum(np.maximum.accumulate(ranked, axis=-1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, ranked, axis=-1)
    return adjusted


def decisions(p_adjusted: ArrayLike, mean_differences: ArrayLike) -> NDArray[np.int64]:
    """Return 1 where a change is better, -1 where it is worse, 0 where it is not separable from the baseline."""
    separable = np.asarray(p_adjusted, dtype=float) < ALPHA
    return np.where(separable, np.sign(np.asarray(mean_differences, dtype=float)), 0.0).astype(np.int64)


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


def compare(variant: BySeed, baseline: BySeed, level: float = LEVEL) -> Comparison | None:
    """Compare two scores by seed, over the seeds that both have; None when they share none."""
    by_seed = differences(variant, baseline)
    difference = estimate(list(by_seed.values()), level)
    if difference is None:
        return None
    if difference.n == 1:
        return Comparison(difference, None)
    ours, base = (np.array([scores[seed] for seed in by_seed]) for scores in (variant, baseline))
    return Comparison(difference, float(paired_p(ours, base)), float(sign_flip_p(ours - base)))


def smallest_separable(sd: float, n: int, alpha: float = ALPHA) -> float:
    """Return the smallest mean difference that a paired t-test over n seeds calls separable at level alpha.

    sd is the standard deviation of a paired difference. A true difference of this size is detected somewhat more
    often than not: see `power`.
    """
    assert n >= 2, "one seed separates nothing"
    return float(stats.t.ppf(1 - alpha / 2, n - 1) * sd / np.sqrt(n))


def power(difference: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Return the power of a paired t-test over n seeds at level alpha for a true difference of that size.

    This is the mass of the noncentral t beyond the critical values, computed as the mean of a normal tail over the
    quantiles of the observed sd's chi distribution: scipy's noncentral t is nan at some of Holm's levels.
    """
    assert n >= 2, "one seed separates nothing"
    if sd == 0:
        return float(difference != 0)
    critical, shift = stats.t.ppf(1 - alpha / 2, n - 1), difference / sd * np.sqrt(n)
    spread = np.sqrt(stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, n - 1) / (n - 1))
    return float(np.mean(stats.norm.cdf(shift - critical * spread) + stats.norm.cdf(-shift - critical * spread)))


def noise(variants: Sequence[BySeed], baseline: BySeed, level: float = LEVEL) -> Noise | None:
    """Return the noise of a study, from the paired differences of the variants that share two or more seeds with it.

    The sd is the median variance over variants, divided by the median of a chi-square per degree of freedom so that it
    is consistent for normal noise. The median keeps a variant that fails, and so varies a lot, from dominating.
    """
    by_variant = [differences(scores, baseline) for scores in variants]
    tested = [list(by_seed.values()) for by_seed in by_variant if len(by_seed) >= 2]
    if not tested:
        return None
    n = int(np.median([len(values) for values in tested]))
    variances = [np.var(values, ddof=1) / _median_ratio(len(values)) for values in tested]
    sd = float(np.sqrt(np.median(variances)))
    levels = (1 - level, (1 - level) / len(tested))
    alone, corrected = (smallest_separable(sd, n, alpha) for alpha in levels)
    powers = [
        (power(size / 2, sd, n, alpha), power(size, sd, n, alpha), power(2 * size, sd, n, alpha))
        for size, alpha in zip((alone, corrected), levels, strict=True)
    ]
    return Noise(sd, n, alone, corrected, *powers)


def noise_floor(baseline: Sequence[float], level: float = LEVEL) -> NoiseFloor | None:
    """Return the noise floor from the scores of the baseline's seeds, None for fewer than two.

    Both means and the sd come from n runs of one normal population, so their difference over sd sqrt(2 / n) follows
    Student's t with n - 1 degrees of freedom.
    """
    n = len(baseline)
    if n < 2:
        return None
    sd = float(np.std(baseline, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * sd * np.sqrt(2 / n))
    return NoiseFloor(sd, n, half, tuple(sorted(abs(x - y) for x, y in combinations(baseline, 2))))


def _median_ratio(n: int) -> float:
    return float(stats.chi2.median(n - 1) / (n - 1))
