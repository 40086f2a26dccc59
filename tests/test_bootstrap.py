"""Intervals for new seeds and new sentences: by hand, and by simulating studies whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.reporting.bootstrap import (
    Compared,
    differences,
    drawn_bleu,
    over_seeds_and_sentences,
    shared_variance,
)
from experiments.reporting.statistics import ALPHA, Estimate, paired, welch
from experiments.scoring.sentences import Counts, corpus_bleu, summands
from tests.synthetic_counts import Spread, draw_counts, true_bleu

LOGITS = {"base": 1.5, "variant": 1.3}
SEEDS_VARY = Spread(seed=0.1, own=0.1, sentence=0.5, taste=0.0, whim=0.0)
BOTH_VARY = Spread(seed=0.1, own=0.06, sentence=0.5, taste=0.5, whim=0.3)
SENTENCES_VARY = Spread(seed=0.1, own=0.02, sentence=0.5, taste=0.8, whim=0.3)
SPREADS = {"seeds vary": SEEDS_VARY, "both vary": BOTH_VARY, "sentences vary": SENTENCES_VARY}
ALONE = {
    "seeds vary": Spread(seed=0.0, own=0.12, sentence=0.5, taste=0.0, whim=0.0),
    "both vary": Spread(seed=0.0, own=0.06, sentence=0.5, taste=0.5, whim=0.3),
    "sentences vary": Spread(seed=0.0, own=0.03, sentence=0.5, taste=0.8, whim=0.3),
}
"""The same where the variants of a seed share nothing, as measured: the case of Welch's test."""


def study(seeds: int = 3, sentences: int = 60, spread: Spread = BOTH_VARY, seed: int = 0) -> dict:
    return draw_counts(np.random.default_rng(seed), LOGITS, spread, seeds, sentences)


def bleu_of(own: dict[int, Counts]) -> np.ndarray:
    return corpus_bleu(summands(np.stack(list(own.values()))).sum(axis=1))


def compared(
    counts: dict[str, dict[int, Counts]], variant: str = "variant", alpha: float = ALPHA, pair: bool = False
) -> dict[str, Compared]:
    """Return the seeds that a variant shares with the baseline, as a verdict would compare them."""
    return {variant: Compared(tuple(sorted(counts[variant].keys() & counts["base"].keys())), alpha, pair=pair)}


def wide(counts: dict[str, dict[int, Counts]], pair: bool = False, **options: int) -> Estimate:
    return differences(counts, "base", compared(counts, pair=pair), **options)["variant"]


@pytest.mark.parametrize("pair", [False, True])
def test_the_difference_is_that_of_the_scores_and_the_interval_at_least_that_of_the_seeds(pair: bool) -> None:
    counts = study(spread=SENTENCES_VARY)
    found = wide(counts, pair)
    seeds = (paired if pair else welch)(bleu_of(counts["variant"]), bleu_of(counts["base"]))
    (low, high), mean = seeds.interval(), seeds.mean
    assert found.n == 3
    assert found.mean == pytest.approx(mean)
    assert found.low is not None
    assert found.high is not None
    assert found.low - 1e-9 <= low < high <= found.high + 1e-9
    assert wide(counts, pair) == found, "the same counts give the same interval"
    assert wide(counts, pair, seed=1).low != found.low
    narrow = differences(counts, "base", compared(counts, alpha=0.5, pair=pair))["variant"]
    assert found.low < narrow.low < narrow.high < found.high


def test_only_seeds_that_are_compared_count_and_two_are_needed() -> None:
    counts = study(seeds=4)
    counts["variant"] = {seed: counts["variant"][seed] for seed in (1, 3)}
    counts["lonely"] = {2: counts["base"][2], 9: counts["base"][0]}
    counts["old"] = {}
    every = {name: own for variant in ("variant", "lonely", "old") for name, own in compared(counts, variant).items()}
    found = differences(counts, "base", every)
    assert list(found) == ["variant"]
    assert differences(counts, "base", {"variant": Compared((1, 2, 3), ALPHA)}) == {}, "a seed without counts"
    base = {seed: counts["base"][seed] for seed in (1, 3)}
    assert found["variant"].mean == pytest.approx(np.mean(bleu_of(counts["variant"]) - bleu_of(base)))
    assert differences({"base": {}, "variant": counts["variant"]}, "base", every) == {}


def test_a_variant_that_translates_like_the_baseline_has_no_spread_at_all() -> None:
    counts = study()
    same = {"base": counts["base"], "same": counts["base"]}
    found = differences(same, "base", compared(same, "same", pair=True))["same"]
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


def test_draws_are_of_whole_sentences_the_same_for_every_cell() -> None:
    """Drawn by hand with the same generator: each sentence as often as the multinomial says."""
    counts = study()
    table = summands(np.stack([*counts["base"].values(), *counts["variant"].values()]))
    often = np.random.default_rng(5).multinomial(60, np.full(60, 1 / 60), size=4)
    by_hand = [[corpus_bleu(np.repeat(cell, times, axis=0).sum(axis=0)) for cell in table] for times in often]
    assert drawn_bleu(table, 4, 5) == pytest.approx(np.array(by_hand), rel=1e-12)
    assert drawn_bleu(table, 600, 5).shape == (600, 6)


def test_shared_variance_is_the_mean_covariance_of_two_seeds() -> None:
    values = np.random.default_rng(0).normal(size=(50, 4)) + np.random.default_rng(1).normal(size=(50, 1))
    covariance = np.cov(values, rowvar=False)
    expected = (covariance.sum() - np.trace(covariance)) / 12
    assert shared_variance(values) == pytest.approx(expected)
    assert shared_variance(np.stack([values, 2 * values])) == pytest.approx([expected, 4 * expected])
    against = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert shared_variance(against) == 0.0, "a covariance below zero is noise"


def test_interval_by_hand() -> None:
    """Differences 1, 2, 3: a variance of the mean of 1/3 on 2 degrees. With 1/3 more on 99: 2/3 on 7.92."""
    seeds, mean = paired([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), 2.0
    low, high = over_seeds_and_sentences(seeds, 0.0, 100, ALPHA)
    assert (seeds.mean, high - mean) == (2.0, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))
    degrees = (2 / 3) ** 2 / ((1 / 9) / 2 + (1 / 9) / 99)
    assert degrees == pytest.approx(7.84, abs=0.01)
    low, high = over_seeds_and_sentences(seeds, 1 / 3, 100, ALPHA)
    alone = 4.302653 / math.sqrt(3)
    assert high - mean == pytest.approx(max(stats.t.ppf(0.975, degrees) * math.sqrt(2 / 3), alone), rel=1e-6)
    low, high = over_seeds_and_sentences(seeds, 10.0, 100, ALPHA)
    assert high - mean == pytest.approx(mean - low)
    assert high - mean == pytest.approx(1.98 * math.sqrt(10 + 1 / 3), rel=0.01)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_for_any_share_of_the_sentences(seeds: int, ratio: float) -> None:
    """20,000 studies with normal noise; `ratio` is the variance of sentences over that of the mean of seeds."""
    random = np.random.default_rng(seeds)
    own = random.normal(0.0, math.sqrt(seeds), size=(20_000, seeds))
    shared = random.normal(0.0, math.sqrt(ratio), size=(20_000, 1))
    seeds_alone = paired(7.0 + own + shared, np.zeros((20_000, seeds)))
    low, high = over_seeds_and_sentences(seeds_alone, np.full(20_000, ratio), 500, ALPHA)
    assert 0.93 <= np.mean((low <= 7.0) & (high >= 7.0)) <= 0.97


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_of_two_samples_for_any_share_of_the_sentences(seeds: int, ratio: float) -> None:
    """The variance of the mean of seeds is one, half of it from either sample."""
    random = np.random.default_rng(seeds)
    own, base = random.normal(0.0, math.sqrt(seeds / 2), size=(2, 20_000, seeds))
    shared = random.normal(0.0, math.sqrt(ratio), size=(20_000, 1))
    difference = welch(7.0 + own + shared, base)
    low, high = over_seeds_and_sentences(difference, np.full(20_000, ratio), 500, ALPHA)
    assert 0.94 <= np.mean((low <= 7.0) & (high >= 7.0)) <= 0.975


def coverage(spread: Spread, seeds: int, studies: int, sentences: int, draws: int, pair: bool) -> dict[str, float]:
    """Return how often three intervals hold the true difference: the reports', percentiles, and the seeds' alone."""
    random, inside = np.random.default_rng(17), np.zeros(3)
    truth = true_bleu(LOGITS["variant"], spread) - true_bleu(LOGITS["base"], spread)
    for number in range(studies):
        counts = draw_counts(random, LOGITS, spread, seeds, sentences)
        found = wide(counts, pair, draws=draws, seed=number)
        alone = (paired if pair else welch)(bleu_of(counts["variant"]), bleu_of(counts["base"])).interval()
        for place, (low, high) in enumerate([(found.low, found.high), percentiles(counts, draws, number), alone]):
            inside[place] += low <= truth <= high
    return dict(zip(("reported", "percentiles", "seeds alone"), inside / studies, strict=True))


def percentiles(counts: dict[str, dict[int, Counts]], draws: int, seed: int) -> tuple[float, float]:
    """Return the plain hierarchical bootstrap's interval: seeds drawn with repetition, and sentences for all."""
    seeds = len(counts["base"])
    drawn = drawn_bleu(summands(np.stack([*counts["variant"].values(), *counts["base"].values()])), draws, seed)
    difference = drawn[:, :seeds] - drawn[:, seeds:]
    chosen = np.random.default_rng(seed).integers(0, seeds, size=(draws, seeds))
    low, high = np.percentile(np.take_along_axis(difference, chosen, axis=1).mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize(("seeds", "spread"), [(3, "seeds vary"), (5, "sentences vary")])
def test_coverage_in_a_few_studies_of_counted_sentences(seeds: int, spread: str, pair: bool) -> None:
    """Two hundred studies: 93 to 97 % give or take three standard errors. The plain bootstrap fails them."""
    studies = 200
    found = coverage((SPREADS if pair else ALONE)[spread], seeds, studies, 100, 200, pair)
    margin = 3 * math.sqrt(0.95 * 0.05 / studies)
    assert 0.93 - margin <= found["reported"] <= min(1.0, 0.97 + margin)
    wrong = found["percentiles" if spread == "seeds vary" else "seeds alone"]
    assert wrong < 0.85, "the simulation must tell a wrong interval from a right one"


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", SPREADS)
def test_coverage_in_many_studies_of_counted_sentences(seeds: int, spread: str, pair: bool) -> None:
    studies = 2_000
    found = coverage((SPREADS if pair else ALONE)[spread], seeds, studies, 200, 300, pair)
    print(f"\n{spread}, {seeds} seeds: {found}")
    margin = 2 * math.sqrt(0.95 * 0.05 / studies)
    assert 0.93 - margin <= found["reported"] <= 0.97 + margin
    if spread == "seeds vary":
        assert found["percentiles"] < 0.9
    else:
        assert found["seeds alone"] < 0.93
