"""The verdicts of a study: better, worse, equal within a margin, or open, from BLEU by seed.

A study has looks: numbers of seeds at which verdicts are given, each with its share of alpha. At a look, the first n
seeds of a change and the first n of the baseline are compared by Welch's test, as many on both sides: with more seeds
for the baseline than for a change the test errs too often. The p of a change is the smallest p / share of its looks so
far. Whenever one stops, that is a valid p (the union bound over looks), so that seeds may be added where a verdict is
open.

Holm's correction is over the changes. In Holm's own procedure a decided change passes on all of its alpha, as its null
hypothesis is gone. Here it passes on half. A change that differs from the baseline can still be claimed wrongly, as
equal or with the wrong sign, but by an error to one side only, for which half of the two-sided alpha is enough. With u
undecided nulls among m changes, the divisor never falls below (m + u) / 2 before the first false claim, and the errors
of all false claims add up to at most u alpha / ((m + u) / 2) + (m - u) alpha / (m + u) = alpha.

With few seeds Welch's test errs too often where changes vary far more than the baseline: a change whose seeds happen to
lie close looks certain. So a sample's sd counts as at least half the typical one of the study, in the spirit of the
constant that Tusher, Tibshirani and Chu (2001) add to theirs. It makes claims only rarer.

The interval of a change is what its verdict uses: the intersection over its looks of the intervals at the level of the
change's step of Holm's procedure, so that 0 is outside exactly when the change is rejected. What is not rejected, or is
equal, has the level of the first step: it is wider, and no later verdict on another change moves it. If intervals of
two looks do not meet, one of them is wrong, and that of the last look stands. All arrays are of (..., changes, seeds).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.config.study import Look, Study
from experiments.reporting.formats import plural
from experiments.reporting.results import Results
from experiments.reporting.statistics import (
    ALPHA,
    LEAST_SD,
    Array,
    Estimate,
    MeanDifference,
    holm,
    holm_divisors,
    paired,
    typical_sd,
    welch,
)

PASSED_ON = 0.5
"""The share of its alpha that a decided change passes on to the others."""
GAP_SDS, GAP_SHARE = 5.0, 0.7
"""Two groups of seeds are this many typical sds apart at least, and this share of the row's range."""
FEWEST_IN_GROUPS = 5
"""Seeds from which the last look decides a change whose seeds fall into two groups."""
LEARNED = 1.0
"""The BLEU that a run has reached if it learned anything; where no run did, nothing is equal."""
MOST_SEEDS = 50
"""The largest number of seeds that is estimated for an open verdict."""
DIVERGED = -np.inf
"""Stands for the score of a run that diverged: finished, and without a score."""


class Verdict(StrEnum):
    """The verdict on a change, from BLEU on the primary split."""

    BASELINE = "baseline"
    BETTER = "better"
    WORSE = "worse"
    EQUAL = "equal"
    OPEN = "open"
    ONE_SEED = "one seed"
    DIVERGED = "diverged"
    NO_SCORE = "no score"
    NO_BASELINE = "no baseline"


CALLED = (Verdict.BETTER, Verdict.WORSE)
"""The verdicts on a difference that is there."""
CLAIMS = (*CALLED, Verdict.EQUAL)
"""What a verdict can claim; such a verdict stands, and its change gets no more seeds."""
DECIDED = (*CLAIMS, Verdict.OPEN, Verdict.DIVERGED)
"""Verdicts that two runs can agree on; the others say that a run cannot decide."""


@dataclass(frozen=True)
class JudgedChange:
    """A change with its verdict, compared over `seeds`, those that both have; no interval before the first look.

    `means` are its mean score and the baseline's over these seeds; the baseline may have more. `p` has the p of each
    look, None where it is not reached or does not count; `p_adjusted` is corrected for looks and changes. An open
    verdict takes about `seeds_to_decide` seeds, None where that is unknown or more than MOST_SEEDS. The interval of the
    last look is at level 1 - `alpha`, with sds of `least_sd` at least. `two_groups`: some runs seem to learn and some
    not.
    """

    verdict: Verdict
    difference: Estimate | None
    seeds: tuple[int, ...] = ()
    means: tuple[float, float] | None = None
    p: tuple[float | None, ...] = ()
    p_adjusted: float | None = None
    alpha: float | None = None
    least_sd: float = 0.0
    seeds_to_decide: int | None = None
    two_groups: bool = False

    @property
    def needs_seeds(self) -> bool:
        """Whether more seeds may still change the verdict."""
        return self.verdict not in (*CLAIMS, Verdict.DIVERGED)

    @property
    def nothing_learned(self) -> bool:
        """Whether neither the change nor the baseline has learned anything by which they could be told apart."""
        return self.means is not None and not learned(self.means)

    def text(self, n: int) -> str:
        """Return the verdict on a row of n seeds, an open one with those that it takes: "open, ~12 seeds"."""
        if self.verdict is not Verdict.OPEN:
            return self.verdict.value
        if self.two_groups:
            return f"{self.verdict}, two groups"
        if self.nothing_learned:
            return f"{self.verdict}, nothing learned"
        if self.p_adjusted is None:
            return f"{self.verdict}, {plural(n, 'seed')} yet"
        more = self.seeds_to_decide
        return f"{self.verdict}, {f'~{more}' if more else f'> {MOST_SEEDS}'} seeds"


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a study by variant, without the baseline.

    `tested` counts the changes under Holm's correction, those that diverged left out, 0 before any has a p. `paired`:
    the study's `correlation` between the scores of one seed is so high that pairing by seed pays. `seeds_wanted` says
    how many of the study's seeds, from the first, each variant needs by now.
    """

    changes: dict[str, JudgedChange]
    tested: int
    paired: bool
    correlation: float | None
    seeds_wanted: dict[str, int]


@dataclass(frozen=True)
class Conclusions:
    """What corrected tests (..., m) conclude.

    `call` is 1 for above 0, -1 for below, 0 for equal within the margin or open; `equal` tells these apart. `low` and
    `high` are at level 1 - `alpha`.
    """

    call: NDArray[np.int64]
    equal: NDArray[np.bool_]
    p_adjusted: Array
    low: Array
    high: Array
    alpha: Array


@dataclass(frozen=True)
class Decisions:
    """Verdicts on changes (...), and what they rest on. nan and infinite ends stand for changes without a p.

    `call` is 1 for better, -1 for worse, 0 for equal or open; `equal` tells these apart. `p` (..., looks) is of each
    look, nan where it was not reached; `p_adjusted` is corrected for looks and changes. `low` and `high` are at level
    1 - `alpha`, before it is divided among the looks. `difference`, `error` and `degrees` are of the last look that
    counts, the `look`-th, which compared `n` seeds with sds of `least_sd` at least. `seeds` are those of the last look
    that is reached.
    """

    call: NDArray[np.int64]
    equal: NDArray[np.bool_]
    p: Array
    p_adjusted: Array
    low: Array
    high: Array
    alpha: Array
    difference: Array
    error: Array
    degrees: Array
    least_sd: Array
    look: NDArray[np.int64]
    n: NDArray[np.int64]
    seeds: NDArray[np.int64]
    two_groups: NDArray[np.bool_]

    @property
    def open(self) -> NDArray[np.bool_]:
        return (self.call == 0) & ~self.equal


def judge(study: Study, results: Results) -> Judgement:
    """Give the verdict on every change of a study, from BLEU of the split on which it is judged."""
    rows = {variant: outcomes(study, results, variant) for variant in study.variants}
    base = rows.pop(study.baseline)
    first = study.looks[0].seeds if study.looks else len(study.seeds)
    in_play = [variant for variant, scores in rows.items() if not _diverged(scores[:first])]
    judged = {variant: _without_a_look(study, scores, base) for variant, scores in rows.items()}
    if not study.looks or not in_play:
        return Judgement(judged, 0, False, None, _seeds_wanted(study, judged, dict.fromkeys(rows, 0)))
    changes = np.stack([rows[variant] for variant in in_play])
    r = seed_correlation(changes[:, :first], base[:first])
    pair = pairing_pays(r, study.looks[0], len(in_play))
    decisions = decide(changes, base, study.looks, study.margin, pair)
    seeds = dict.fromkeys(rows, 0) | dict(zip(in_play, decisions.seeds.tolist(), strict=True))
    for place, variant in enumerate(in_play):
        if seeds[variant]:
            judged[variant] = _judged(decisions, place, study, rows[variant], base, judged[variant])
    tested = len(in_play) if np.isfinite(decisions.p_adjusted).any() else 0
    correlation = float(r) if np.isfinite(r) else None
    return Judgement(judged, tested, bool(pair), correlation, _seeds_wanted(study, judged, seeds))


def outcomes(study: Study, results: Results, variant: str) -> Array:
    """Return a variant's BLEU by the study's seeds (N,): nan for a run that is not finished, DIVERGED for that."""
    scores = results.scores(variant, results.primary, "bleu")
    scores |= {record.seed: DIVERGED for record in results.of(variant) if record.diverged}
    return np.array([scores.get(seed, np.nan) for seed in study.seeds])


def decide(
    changes: ArrayLike, baseline: ArrayLike, looks: Sequence[Look], margin: float, pair: ArrayLike = False
) -> Decisions:
    """Decide on changes (..., m, N) against a baseline (..., N), BLEU of the first N seeds in their order.

    nan stands for a run that is not finished, DIVERGED for one that diverged. `pair` (...) chooses the paired test.
    """
    scores, base = np.asarray(changes, dtype=float), np.asarray(baseline, dtype=float)[..., None, :]
    shares = np.array([look.share for look in looks])
    tests, spreads, counted, reached, compared, grouped = [], [], [], [], [], []
    for look in looks:
        own, base_own = scores[..., : look.seeds], base[..., : look.seeds]
        finished = ~np.isnan(own).any(axis=-1) & ~np.isnan(base_own).any(axis=-1)
        both = np.isfinite(own) & np.isfinite(base_own)
        rows = np.concatenate([own, np.broadcast_to(base_own, (*own.shape[:-2], 1, look.seeds))], axis=-2)
        sd = np.nan_to_num(typical_sd(np.where(np.isfinite(rows), rows, np.nan)))[..., None]
        groups = two_groups(rows, sd)
        decidable = both.sum(axis=-1) >= 2
        if look is not looks[-1] or look.seeds < FEWEST_IN_GROUPS:
            decidable = decidable & ~groups[..., :-1] & ~groups[..., -1:]
        spreads.append(np.broadcast_to(LEAST_SD * sd, finished.shape))
        tests.append(_test(np.where(both, own, np.nan), np.where(both, base_own, np.nan), spreads[-1], pair))
        reached.append(finished)
        counted.append(finished & decidable)
        compared.append(np.where(finished, both.sum(axis=-1), 0))
        grouped.append(finished & groups[..., :-1])
    counts = np.stack(counted, axis=-1)  # (..., m, looks)
    p = np.where(counts, np.stack([test.p() for test in tests], axis=-1), np.nan)
    has_p = counts.any(axis=-1)
    smallest = np.where(counts, np.minimum(p / shares, 1.0), 1.0).min(axis=-1)
    found = conclude(smallest, has_p, lambda alpha: _intersection(tests, counts, shares, alpha), margin)
    return Decisions(
        call=found.call,
        equal=found.equal,
        p=p,
        p_adjusted=np.where(has_p, found.p_adjusted, np.nan),
        low=found.low,
        high=found.high,
        alpha=found.alpha,
        difference=_last([test.mean for test in tests], counts),
        error=_last([test.error for test in tests], counts),
        degrees=_last([test.degrees for test in tests], counts),
        least_sd=_last(spreads, counts),
        look=_last([np.full(has_p.shape, place) for place in range(len(looks))], counts).astype(np.int64),
        n=_last(compared, counts).astype(np.int64),
        seeds=_last([np.full(has_p.shape, look.seeds) for look in looks], np.stack(reached, axis=-1)).astype(np.int64),
        two_groups=_last(grouped, np.stack(reached, axis=-1)).astype(bool),
    )


def conclude(
    p: Array, tested: NDArray[np.bool_] | np.bool_, interval: Callable[[Array], tuple[Array, Array]], margin: float
) -> Conclusions:
    """Conclude on hypotheses (..., m) from their p, by Holm's correction as above; `tested` are those that have one.

    `interval` returns low and high at levels 1 - alpha (..., m).
    """
    m = max(p.shape[-1], 1)
    p_adjusted = holm(p, PASSED_ON)
    first_step = np.full(p.shape, ALPHA / m)
    places = np.argsort(np.argsort(p, axis=-1, kind="stable"), axis=-1)
    own_step = ALPHA / holm_divisors(m, PASSED_ON)[places]
    wide, narrow = interval(first_step), interval(own_step)
    equal = tested & (wide[0] > -margin) & (wide[1] < margin)
    sharp = tested & (p_adjusted < ALPHA) & ~equal
    low, high = (np.where(sharp, one, other) for one, other in zip(narrow, wide, strict=True))
    call = np.where(equal, 0, np.where(low > 0, 1, np.where(high < 0, -1, 0)))
    return Conclusions(call, equal, p_adjusted, low, high, np.where(sharp, own_step, first_step))


def verdict_of(call: int, equal: bool) -> Verdict:
    """Return the verdict that a conclusion stands for."""
    return {1: Verdict.BETTER, -1: Verdict.WORSE, 0: Verdict.EQUAL if equal else Verdict.OPEN}[call]


def learned(scores: Iterable[float]) -> bool:
    """Return whether any of these BLEU, of runs or means of runs, is that of a model that has learned something."""
    return any(score >= LEARNED for score in scores)


def two_groups(rows: Array, sd: Array) -> NDArray[np.bool_]:
    """Return which rows of (..., m + 1, n), the baseline last, look as if some runs learn and some do not.

    Their largest gap is wide beside the typical sd (..., 1) of the study's rows and beside their own range, and the
    baseline is nearer to one of the groups than they are to each other; or some runs diverged and some did not.
    """
    scores = np.ma.masked_invalid(rows)
    ordered = np.ma.masked_invalid(np.sort(scores.filled(np.nan), axis=-1))  # nans last
    gap = np.diff(ordered, axis=-1).max(axis=-1).filled(0.0)
    whole_range = (scores.max(axis=-1) - scores.min(axis=-1)).filled(np.inf)
    centre = scores[..., -1:, :].mean(axis=-1, keepdims=True)
    nearest = np.abs(scores - centre).min(axis=-1).filled(np.inf)
    apart = (gap > np.maximum(GAP_SDS * sd, 1e-9)) & (gap >= GAP_SHARE * whole_range) & (nearest < gap)
    return apart | ((rows == DIVERGED).any(axis=-1) & np.isfinite(rows).any(axis=-1))


def seed_correlation(changes: ArrayLike, baseline: ArrayLike) -> Array:
    """Return the mean correlation (...) of the residuals by seed over all pairs of rows, the baseline included.

    Of changes (..., m, n) and a baseline (..., n). A row without a score for each seed, or without spread, has no part.
    """
    base = np.asarray(baseline, dtype=float)[..., None, :]
    rows = np.concatenate([np.asarray(changes, dtype=float), base], axis=-2)
    complete = np.isfinite(rows).all(axis=-1, keepdims=True)
    residuals = np.where(complete, rows, 0.0)
    residuals = residuals - residuals.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(residuals, axis=-1, keepdims=True)
    used = length > 1e-9
    units = np.where(used, residuals, 0.0) / np.where(used, length, 1.0)
    count = used.sum(axis=(-2, -1))
    with np.errstate(all="ignore"):
        return ((units.sum(axis=-2) ** 2).sum(axis=-1) - count) / (count * (count - 1.0))


def pairing_pays(r: ArrayLike, look: Look, changes: int) -> NDArray[np.bool_]:
    """Return whether pairing by seed narrows the intervals of a study whose seeds correlate by r (...) at that look.

    It does where r outweighs the degrees of freedom lost: sqrt(1 - r) t_{n-1} < t_{2n-2}, with both quantiles at the
    strictest step.
    """
    n, place = look.seeds, 1 - strictest_level(look, changes) / 2
    with np.errstate(all="ignore"):
        return np.sqrt(1 - np.asarray(r)) * stats.t.ppf(place, n - 1) < stats.t.ppf(place, 2 * n - 2)


def strictest_level(look: Look, changes: int) -> float:
    """Return the level of the first step of the correction at a look."""
    return ALPHA * look.share / max(changes, 1)


def seeds_to_decide(difference: float, error: float, degrees: float, n: int, alpha: float, margin: float) -> int | None:
    """Estimate the seeds at which a difference would be decided, if its mean and spread stay; None above MOST_SEEDS.

    `error` and `degrees` are those of n seeds; alpha is the level of the interval.
    """
    more = np.arange(n + 1, MOST_SEEDS + 1)
    half = stats.t.ppf(1 - alpha / 2, degrees * (more - 1) / (n - 1)) * error * np.sqrt(n / more)
    decided = (abs(difference) > half) | (abs(difference) + half < margin)
    return int(more[decided.argmax()]) if decided.any() else None


def _judged(
    decisions: Decisions, place: int, study: Study, scores: Array, baseline: Array, before: JudgedChange
) -> JudgedChange:
    """Return the verdict of a change that has reached a look; `before` is the one without any look."""
    p = tuple(float(value) if np.isfinite(value) else None for value in decisions.p[place])
    two_groups, n = bool(decisions.two_groups[place]), int(decisions.n[place])
    if not n:
        return replace(before, p=p, two_groups=two_groups)
    call, alpha = int(decisions.call[place]), float(decisions.alpha[place])
    mean, low, high = (float(of[place]) for of in (decisions.difference, decisions.low, decisions.high))
    verdict = verdict_of(call, bool(decisions.equal[place]))
    look = study.looks[int(decisions.look[place])]
    own, base = scores[: look.seeds], baseline[: look.seeds]
    means = _means(own, base)
    more = None
    if not learned(means):
        verdict = Verdict.OPEN
    elif verdict is Verdict.OPEN:
        error, degrees = float(decisions.error[place]), float(decisions.degrees[place])
        more = seeds_to_decide(mean, error, degrees, n, alpha * study.looks[-1].share, study.margin)
    return JudgedChange(
        verdict=verdict,
        difference=Estimate(mean, low, high, n),
        seeds=_shared(study, own, base),
        means=means,
        p=p,
        p_adjusted=float(decisions.p_adjusted[place]),
        alpha=alpha * look.share,
        least_sd=float(decisions.least_sd[place]),
        seeds_to_decide=more,
        two_groups=two_groups,
    )


def _without_a_look(study: Study, scores: Array, baseline: Array) -> JudgedChange:
    """Return a change before its first look, with its difference over the seeds that it shares with the baseline."""
    if not np.isfinite(scores).any():
        return JudgedChange(Verdict.DIVERGED if _diverged(scores) else Verdict.NO_SCORE, None)
    seeds = _shared(study, scores, baseline)
    if not seeds:
        return JudgedChange(Verdict.NO_BASELINE, None)
    own, base = _means(scores, baseline)
    difference = Estimate(own - base, None, None, len(seeds))
    return JudgedChange(Verdict.ONE_SEED if len(seeds) == 1 else Verdict.OPEN, difference, seeds, (own, base))


def _shared(study: Study, scores: Array, baseline: Array) -> tuple[int, ...]:
    """Return the seeds that both have a score for."""
    both = np.isfinite(scores) & np.isfinite(baseline)
    return tuple(seed for seed, shared in zip(study.seeds, both, strict=False) if shared)


def _means(scores: Array, baseline: Array) -> tuple[float, float]:
    """Return the means of both over the runs that both have a score for."""
    both = np.isfinite(scores) & np.isfinite(baseline)
    return float(scores[both].mean()), float(baseline[both].mean())


def _diverged(scores: Array) -> bool:
    """Return whether every run that is finished diverged, and one is."""
    finished = scores[~np.isnan(scores)]
    return bool(finished.size) and bool((finished == DIVERGED).all())


def _seeds_wanted(study: Study, judged: Mapping[str, JudgedChange], seeds: Mapping[str, int]) -> dict[str, int]:
    """Return the seeds that each variant needs: those of its look, and of the next one while its verdict is open.

    The baseline needs as many as any change.
    """
    looks = [look.seeds for look in study.looks] or [len(study.seeds)]
    wanted = {
        variant: next((n for n in looks if n > seeds[variant]), looks[-1]) if row.needs_seeds else seeds[variant]
        for variant, row in judged.items()
    }
    wanted = {variant: max(n, looks[0]) for variant, n in wanted.items()}
    most = max(wanted.values(), default=looks[0])
    return {variant: wanted.get(variant, most) for variant in study.variants}


def _test(variant: Array, baseline: Array, least_sd: Array, pair: ArrayLike) -> MeanDifference:
    chosen = np.asarray(pair)[..., None]
    if not chosen.any():
        return welch(variant, baseline, least_sd)
    two, one = welch(variant, baseline, least_sd), paired(variant, baseline)
    return MeanDifference(two.mean, np.where(chosen, one.error, two.error), np.where(chosen, one.degrees, two.degrees))


def _intersection(
    tests: Sequence[MeanDifference], counts: NDArray[np.bool_], shares: Array, alpha: Array
) -> tuple[Array, Array]:
    """Return what the intervals at alpha (..., m) of the looks that count have in common, else the last one."""
    ends = [test.interval(alpha * share) for test, share in zip(tests, shares, strict=True)]
    lows = np.where(counts, np.stack([low for low, _ in ends], axis=-1), -np.inf)
    highs = np.where(counts, np.stack([high for _, high in ends], axis=-1), np.inf)
    low, high = lows.max(axis=-1), highs.min(axis=-1)
    apart = low > high
    last_low, last_high = (_last([end[side] for end in ends], counts) for side in (0, 1))
    return np.where(apart, last_low, low), np.where(apart, last_high, high)


def _last(by_look: Sequence[ArrayLike], counts: NDArray[np.bool_]) -> Array:
    """Return the value (..., m) of the last look that counts (..., m, looks); nan, or 0, where none does."""
    values = np.stack([np.asarray(value) for value in by_look], axis=-1)
    place = counts.shape[-1] - 1 - counts[..., ::-1].argmax(axis=-1)
    picked = np.take_along_axis(values, place[..., None], axis=-1)[..., 0]
    return np.where(counts.any(axis=-1), picked, np.nan if values.dtype.kind == "f" else 0)
