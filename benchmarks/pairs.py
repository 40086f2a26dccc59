"""Sentence pairs for benchmarks of training: drawn, as long as captions of pictures are, and cut into batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_modules.batches import plan_batches
from lit_transformer.batch import BOS, EOS, PAD, UNK

PAIRS = 5000
WORDS = (13.0, 0.32)
"""Median and spread (of the logarithm) of a source sentence's tokens, as of Multi30k German in 8,000 pieces."""
APART = 0.17
"""Spread of the logarithm of target over source length."""

Ids = np.ndarray[tuple[int], np.dtype[np.int64]]
Pairs = Sequence[tuple[Ids, Ids]]
"""Source and target ids, without BOS and EOS."""


@dataclass(frozen=True)
class Drawn:
    """Batches of pairs, and the target tokens of each, EOS counted and padding not."""

    batches: list[Pairs]
    tokens: list[int]


def draw(vocab_size: int, budget: int, count: int, grouped: bool, seed: int = 0) -> Drawn:
    """Draw `count` batches. Grouped by length, of at most `budget` padded tokens on either side; or any pairs together,
    as many a batch as grouped ones have on average."""
    random = np.random.default_rng(seed)
    source = np.clip(np.round(random.lognormal(np.log(WORDS[0]), WORDS[1], PAIRS)), 2, 60)
    target = np.clip(np.round(source * random.lognormal(0.0, APART, PAIRS)), 2, 60)
    lengths = source.astype(np.int64), target.astype(np.int64)
    plan = plan_batches(lengths[0] + 1, lengths[1] + 1, budget, seed, epoch=0)
    if not grouped:
        plan = np.array_split(random.permutation(PAIRS), len(plan))
    sides = tuple([random.integers(UNK + 1, vocab_size, length) for length in side] for side in lengths)
    batches: list[Pairs] = [[(sides[0][pair], sides[1][pair]) for pair in batch] for batch in plan[:count]]
    return Drawn(batches, [sum(len(target) + 1 for _, target in batch) for batch in batches])


def padded(sentences: Sequence[Ids], first: int | None = None, last: int | None = EOS) -> np.ndarray:
    """Return a rectangle of ids (B, L), padded on the right."""
    before, behind = ([] if mark is None else [mark] for mark in (first, last))
    rows = [np.concatenate([before, ids, behind]) for ids in sentences]
    rectangle = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for row, ids in zip(rectangle, rows, strict=True):
        row[: len(ids)] = ids
    return rectangle


def padded_pairs(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return src (B, S) ending in EOS, tgt_in (B, T) beginning with BOS and tgt_out (B, T) ending in EOS."""
    source, target = zip(*pairs, strict=True)
    return padded(source), padded(target, BOS, None), padded(target)
