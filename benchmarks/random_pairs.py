"""Batches of random sentence pairs for training benchmarks, with the lengths of image captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.batches import plan_batches
from lit_transformer.tokens import BOS, EOS, PAD, UNK

PAIRS = 5000
SOURCE_LENGTH = (13.0, 0.32)
"""Median and log standard deviation of source lengths in tokens, those of Multi30k German with 8,000 BPE ids."""
LENGTH_RATIO = 0.17
"""Log standard deviation of target over source length."""

Ids = NDArray[np.integer]
Pairs = Sequence[tuple[Ids, Ids]]
"""Source and target ids, without BOS and EOS."""


@dataclass(frozen=True)
class RandomBatches:
    """Batches of sentence pairs, and the target tokens of each, with EOS and without padding."""

    batches: list[Pairs]
    tokens: list[int]


def draw(vocab_size: int, budget: int, count: int, grouped: bool, seed: int = 0) -> RandomBatches:
    """Sample `count` batches: bucketed by length with at most `budget` padded tokens on either side, or with `grouped`
    False random pairs, as many per batch as bucketed ones have on average."""
    random = np.random.default_rng(seed)
    source = np.clip(np.round(random.lognormal(np.log(SOURCE_LENGTH[0]), SOURCE_LENGTH[1], PAIRS)), 2, 60)
    target = np.clip(np.round(source * random.lognormal(0.0, LENGTH_RATIO, PAIRS)), 2, 60)
    lengths = source.astype(np.int64), target.astype(np.int64)
    plan = plan_batches(lengths[0] + 1, lengths[1] + 1, budget, seed, epoch=0)
    if not grouped:
        plan = np.array_split(random.permutation(PAIRS), len(plan))
    sides = tuple([random.integers(UNK + 1, vocab_size, length) for length in side] for side in lengths)
    batches: list[Pairs] = [[(sides[0][pair], sides[1][pair]) for pair in batch] for batch in plan[:count]]
    return RandomBatches(batches, [sum(len(target) + 1 for _, target in batch) for batch in batches])


def pad(sentences: Sequence[Ids], bos: int | None = None, eos: int | None = EOS) -> np.ndarray:
    """Return ids (B, L), padded on the right."""
    prefix, suffix = ([] if token is None else [token] for token in (bos, eos))
    rows = [np.concatenate([prefix, ids, suffix]) for ids in sentences]
    batch = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for row, ids in zip(batch, rows, strict=True):
        row[: len(ids)] = ids
    return batch


def padded_pairs(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return src (B, S) ending in EOS, tgt_in (B, T) beginning with BOS and tgt_out (B, T) ending in EOS."""
    source, target = zip(*pairs, strict=True)
    return pad(source), pad(target, bos=BOS, eos=None), pad(target)
