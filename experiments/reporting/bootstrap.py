"""How a difference in BLEU would move with other seeds and other sentences: an interval for both.

The t-interval over seeds speaks of new seeds on this very test set. A test set is a sample too: another draw of
sentences may favour the variant or the baseline, in every seed alike, and no number of seeds shows that. Here sentences
are drawn anew with repetition (Koehn 2004), the same ones for every cell of a study, and what they move in all seeds
together is added to what the seeds show.

Drawing seeds too and taking percentiles, the plain hierarchical bootstrap, is no way out with few seeds: three of them
drawn with repetition vary too little, and where seeds matter most its 95 % intervals hold the truth in 80 % of
simulated studies, with five in 88 % (tests/test_bootstrap.py measures it). So seeds enter through Student's t.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from experiments.reporting.statistics import LEVEL, Estimate
from experiments.scoring.sentences import Counts, corpus_bleu, summands

DRAWS = 2000
CHUNK = 250
"""Draws that are held at once, so that a large test set needs little memory."""
Array = NDArray[np.float64]


def differences(
    counts: Mapping[str, Mapping[int, Counts]], baseline: str, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> dict[str, Estimate]:
    """Return each variant's difference in BLEU to the baseline, its interval for new seeds and new sentences.

    `counts` has the sentences (M, 6) of each variant and seed. Seeds are paired as the t-test pairs them; a variant
    that shares fewer than two with the baseline is left out. The same counts give the same intervals.
    """
    paired = {
        variant: sorted(own.keys() & counts[baseline].keys()) for variant, own in counts.items() if variant != baseline
    }
    paired = {variant: seeds for variant, seeds in paired.items() if len(seeds) >= 2}
    if not paired:
        return {}
    cells = [(variant, one) for variant in (baseline, *paired) for one in counts[variant]]
    place = {cell: index for index, cell in enumerate(cells)}
    table = summands(np.stack([counts[variant][one] for variant, one in cells]))  # (C, M, 10)
    whole, drawn = corpus_bleu(table.sum(axis=1)), drawn_bleu(table, draws, seed)  # (C,), (draws, C)
    found = {}
    for variant, seeds in paired.items():
        own, other = ([place[name, one] for one in seeds] for name in (variant, baseline))
        shared = shared_variance(drawn[:, own] - drawn[:, other])
        mean, low, high = over_seeds_and_sentences(whole[own] - whole[other], shared, table.shape[1], level)
        found[variant] = Estimate(float(mean), float(low), float(high), len(seeds))
    return found


def drawn_bleu(table: Counts, draws: int, seed: int) -> Array:
    """Return BLEU (draws, C) of C cells on as many test sets, each of M sentences drawn from the M of (C, M, 10).

    A draw has the same sentences for every cell. How often each is drawn is multinomial, so that one matrix product
    adds up all cells.
    """
    cells, sentences, width = table.shape
    flat = table.transpose(1, 0, 2).reshape(sentences, cells * width).astype(float)  # (M, C * 10)
    random, parts = np.random.default_rng(seed), []
    for start in range(0, draws, CHUNK):
        size = (min(CHUNK, draws - start),)
        often = random.multinomial(sentences, np.full(sentences, 1 / sentences), size=size)  # (draws, M)
        parts.append(corpus_bleu((often @ flat).reshape(-1, cells, width)))
    return np.concatenate(parts)


def shared_variance(drawn: ArrayLike) -> Array:
    """Return what new sentences move in all seeds together, from differences (..., draws, n) by draw and seed.

    That is the mean covariance of two seeds. A seed's own answer to the sentences is left out: it is part of what makes
    seeds differ, and would count twice. Never below zero.
    """
    values = np.asarray(drawn, dtype=float)
    draws, n = values.shape[-2:]
    centred = values - values.mean(axis=-2, keepdims=True)
    together = (centred.sum(axis=-1) ** 2 - (centred**2).sum(axis=-1)).sum(axis=-1)  # both orders of every pair
    return np.maximum(together / (draws - 1) / (n * (n - 1)), 0.0)


def over_seeds_and_sentences(
    differences: ArrayLike, shared: ArrayLike, sentences: int, level: float = LEVEL
) -> tuple[Array, Array, Array]:
    """Return mean, low and high for new seeds and new sentences, over the last axis of (..., n), n at least 2.

    The variance of the mean is s^2 / n over seeds plus the `shared` one (...) of sentences, and Student's t is taken at
    the degrees of freedom of Satterthwaite (1946). These come out too high where the few seeds happen to lie close, so
    that the interval is never let be narrower than that of the seeds alone.
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
