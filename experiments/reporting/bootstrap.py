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

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.reporting.statistics import LEVEL, Estimate
from experiments.scoring.sentences import Counts, corpus_bleu, summands

DRAWS = 2000
CHUNK = 250
"""Draws per matrix product, so that a large test set needs little memory."""
Array = NDArray[np.float64]


def differences(
    counts: Mapping[str, Mapping[int, Counts]], baseline: str, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> dict[str, Estimate]:
    """Return each variant's difference in BLEU to the baseline with its interval for new seeds and new sentences.

    `counts` has the sentence counts (M, 6) of each variant and seed. Seeds are paired as in the t-test; a variant that
    shares fewer than two with the baseline is left out. The same counts give the same intervals.
    """
    paired = {
        variant: sorted(by_seed.keys() & counts[baseline].keys())
        for variant, by_seed in counts.items()
        if variant != baseline
    }
    paired = {variant: seeds for variant, seeds in paired.items() if len(seeds) >= 2}
    if not paired:
        return {}
    cells = [(variant, cell_seed) for variant in (baseline, *paired) for cell_seed in counts[variant]]
    index = {cell: place for place, cell in enumerate(cells)}
    table = summands(np.stack([counts[variant][cell_seed] for variant, cell_seed in cells]))  # (C, M, 10)
    bleu, drawn = corpus_bleu(table.sum(axis=1)), drawn_bleu(table, draws, seed)  # (C,), (draws, C)
    estimates = {}
    for variant, seeds in paired.items():
        ours, base = ([index[name, cell_seed] for cell_seed in seeds] for name in (variant, baseline))
        shared = shared_variance(drawn[:, ours] - drawn[:, base])
        mean, low, high = over_seeds_and_sentences(bleu[ours] - bleu[base], shared, table.shape[1], level)
        estimates[variant] = Estimate(float(mean), float(low), float(high), len(seeds))
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

    This is the mean covariance of two seeds, at least zero. The interaction of a single seed with the sentences is left
    out: it is part of the variance over seeds and would count twice.
    """
    values = np.asarray(drawn, dtype=float)
    draws, n = values.shape[-2:]
    centred = values - values.mean(axis=-2, keepdims=True)
    together = (centred.sum(axis=-1) ** 2 - (centred**2).sum(axis=-1)).sum(axis=-1)  # both orders of each pair
    return np.maximum(together / (draws - 1) / (n * (n - 1)), 0.0)


def over_seeds_and_sentences(
    differences: ArrayLike, shared: ArrayLike, sentences: int, level: float = LEVEL
) -> tuple[Array, Array, Array]:
    """Return mean, low and high for new seeds and new sentences, over the last axis of (..., n), n at least 2.

    The variance of the mean is s^2 / n over seeds plus the `shared` one (...) of sentences, and Student's t has the
    degrees of freedom of Satterthwaite (1946). These are too high where a few seeds happen to lie close, so the
    interval is never narrower than that of the seeds alone.
    """
    data, extra = np.asarray(differences, dtype=float), np.asarray(shared, dtype=float)
    n = data.shape[-1]
    assert n >= 2, "one seed has no interval"
    mean, seeds = data.mean(axis=-1), data.var(axis=-1, ddof=1) / n
    total = seeds + extra
    with np.errstate(all="ignore"):
        degrees = total**2 / (seeds**2 / (n - 1) + extra**2 / max(sentences - 1, 1))
    degrees = np.where(total > 0, degrees, n - 1)
    place = (1 + level) / 2
    half = np.maximum(stats.t.ppf(place, degrees) * np.sqrt(total), stats.t.ppf(place, n - 1) * np.sqrt(seeds))
    return mean, mean - half, mean + half
