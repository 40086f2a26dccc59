"""Confidence intervals of BLEU differences for new seeds and new sentences, by a bootstrap over sentences.

The t-interval over seeds is for new seeds on the same test set. A test set is a sample too: another draw of sentences
may favour the variant or the baseline in every seed alike, and no number of seeds shows that. So sentences are drawn
with replacement (Koehn 2004), the same ones for every cell of a study, and the variance that they add in all seeds
together is added to the variance over seeds.

A plain hierarchical bootstrap, which draws seeds too and takes percentiles, fails with few seeds: three seeds drawn
with replacement vary too little, and where seeds dominate its 95 % intervals cover the truth in 80 % of simulated
studies, with five seeds in 88 % (measured in tests/test_bootstrap.py). So seeds enter through Student's t.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from experiments.reporting.statistics import Array, Estimate, MeanDifference, paired, welch
from experiments.scoring.sentences import Counts, corpus_bleu, summands

DRAWS = 2000
CHUNK = 250
"""Draws per matrix product, so that a large test set needs little memory."""


@dataclass(frozen=True)
class Compared:
    """The seeds of a variant and of the baseline that are compared, at level 1 - alpha; paired, or as two samples.

    `least_sd` is that of `statistics.welch`.
    """

    seeds: tuple[int, ...]
    alpha: float
    least_sd: float = 0.0
    pair: bool = False


def differences(
    counts: Mapping[str, Mapping[int, Counts]],
    baseline: str,
    compared: Mapping[str, Compared],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return each variant's difference in BLEU to the baseline with its interval for new seeds and new sentences.

    `counts` has the sentence counts (M, 6) of each variant and seed. A variant without the counts of all the seeds that
    are compared, or with fewer than two of these, is left out. The same counts give the same intervals.
    """
    complete = {
        variant: own
        for variant, own in compared.items()
        if len(own.seeds) >= 2 and set(own.seeds) <= counts[variant].keys() & counts[baseline].keys()
    }
    if not complete:
        return {}
    cells = [(variant, cell_seed) for variant in (baseline, *complete) for cell_seed in counts[variant]]
    index = {cell: place for place, cell in enumerate(cells)}
    table = summands(np.stack([counts[variant][cell_seed] for variant, cell_seed in cells]))  # (C, M, 10)
    bleu, drawn = corpus_bleu(table.sum(axis=1)), drawn_bleu(table, draws, seed)  # (C,), (draws, C)
    estimates = {}
    for variant, own in complete.items():
        ours, base = ([index[name, cell_seed] for cell_seed in own.seeds] for name in (variant, baseline))
        shared = shared_variance(drawn[:, ours] - drawn[:, base])
        seeds = paired(bleu[ours], bleu[base]) if own.pair else welch(bleu[ours], bleu[base], own.least_sd)
        low, high = over_seeds_and_sentences(seeds, shared, table.shape[1], own.alpha)
        estimates[variant] = Estimate(float(seeds.mean), float(low), float(high), len(own.seeds))
    return estimates


def drawn_bleu(table: Counts, draws: int, seed: int) -> Array:
    """Return BLEU (draws, C) of C cells on resampled test sets, each of M sentences drawn from the M of (C, M, 10).

    A draw has the same sentences for every cell. Their multiplicities are multinomial, so a single matrix product sums
    the counts of all cells.
    """
    cells, sentences, width = table.shape
    flat = table.transpose(1, 0, 2).reshape(sentences, cells * width).astype(float)  # (M, C * 10)
    random, parts = np.random.default_rng(seed), []
    for start in range(0, draws, CHUNK):
        size = (min(CHUNK, draws - start),)
        multiplicity = random.multinomial(sentences, np.full(sentences, 1 / sentences), size=size)  # (draws, M)
        parts.append(corpus_bleu((multiplicity @ flat).reshape(-1, cells, width)))
    return np.concatenate(parts)


def shared_variance(drawn: ArrayLike) -> Array:
    """Return the variance of new sentences that all seeds share, from differences (..., draws, n) by draw and seed.

    This is the mean covariance of two seeds, at least zero, and the same whichever seeds of the baseline stand beside
    those of the variant. The interaction of a single seed with the sentences is left
    out: it is part of the variance over seeds and would count twice.
    """
    values = np.asarray(drawn, dtype=float)
    draws, n = values.shape[-2:]
    centred = values - values.mean(axis=-2, keepdims=True)
    together = (centred.sum(axis=-1) ** 2 - (centred**2).sum(axis=-1)).sum(axis=-1)  # both orders of each pair
    return np.maximum(together / (draws - 1) / (n * (n - 1)), 0.0)


def over_seeds_and_sentences(
    seeds: MeanDifference, shared: ArrayLike, sentences: int, alpha: float
) -> tuple[Array, Array]:
    """Return low and high (...) at level 1 - alpha for new seeds and new sentences, from the difference over seeds.

    The variance of the mean is that of the seeds plus the `shared` one (...) of sentences, and Student's t has the
    degrees of freedom of Satterthwaite (1946). These are too high where a few seeds happen to lie close, so the
    interval is never narrower than that of the seeds alone.
    """
    extra = np.asarray(shared, dtype=float)
    total = seeds.error**2 + extra
    with np.errstate(all="ignore"):
        degrees = total**2 / (seeds.error**4 / seeds.degrees + extra**2 / max(sentences - 1, 1))
    both = MeanDifference(seeds.mean, np.sqrt(total), np.where(seeds.error > 0, degrees, max(sentences - 1, 1)))
    ends = zip(both.interval(alpha), seeds.interval(alpha), (np.minimum, np.maximum), strict=True)
    low, high = (outermost(one, other) for one, other, outermost in ends)
    return low, high
