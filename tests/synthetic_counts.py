"""Made-up counts of sentences whose true difference in BLEU, over all seeds and all sentences, is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.scoring.sentences import Counts

LENGTHS = np.arange(5, 16)
ORDERS = np.arange(1, 5)
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Spread:
    """Standard deviations, in logits of a right word: what seeds and sentences give to whom.

    `seed` is shared by all variants, `own` of a variant's seed; `sentence` shared by all cells, `taste` what a variant
    makes of a sentence in every seed, `whim` what one seed of it does.
    """

    seed: float
    own: float
    sentence: float
    taste: float
    whim: float


def true_bleu(logit: float, spread: Spread) -> float:
    """Return BLEU on endlessly many sentences, meant over endlessly many seeds: Gauss and Hermite's sums."""
    seeds = logit + np.hypot(spread.seed, spread.own) * NODES
    sentences = np.sqrt(spread.sentence**2 + spread.taste**2 + spread.whim**2) * NODES
    right = _share(seeds[:, None] + sentences)  # (seeds, sentences)
    precisions = np.stack([right**order @ WEIGHTS for order in ORDERS], axis=-1)
    return float(100 * np.exp(np.log(precisions).mean(axis=-1)) @ WEIGHTS)


def draw_counts(
    random: np.random.Generator, logits: dict[str, float], spread: Spread, seeds: int, sentences: int
) -> dict[str, dict[int, Counts]]:
    """Return a study's counts (sentences, 6) by variant and seed; every hypothesis is as long as its reference."""
    lengths = random.choice(LENGTHS, sentences)
    common = random.normal(0, spread.seed, (seeds, 1)) + random.normal(0, spread.sentence, sentences)
    found = {}
    for name, logit in logits.items():
        own = random.normal(0, spread.own, (seeds, 1)) + random.normal(0, spread.taste, sentences)
        share = _share(logit + common + own + random.normal(0, spread.whim, (seeds, sentences)))
        right = [random.binomial(lengths - order + 1, share**order) for order in ORDERS]
        sides = np.broadcast_to(lengths, (seeds, sentences))
        found[name] = dict(enumerate(np.stack([sides, sides, *right], axis=-1)))
    return found


def _share(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit))
