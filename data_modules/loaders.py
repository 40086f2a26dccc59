"""Loaders: planned batches of a prepared corpus, packed as they are asked for; without Lightning."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from data_modules.arrow_split import Split
from data_modules.prepared import PreparedCorpus
from data_modules.token_batches import PlannedBatch, plan_evaluation, share
from lit_transformer.batch import TranslationBatch
from lit_transformer.errors import UserError

Batches = DataLoader[TranslationBatch]


def training_loader(split: Split, plan: Iterable[PlannedBatch]) -> Batches:
    """Return a loader of planned batches, as many as the plan has."""
    return _loader(_Stream(split, plan))


def evaluation_loader(corpus: PreparedCorpus, split: str, batch_tokens: int, rank: int = 0, ranks: int = 1) -> Batches:
    """Return a split longest first, every pair exactly once over all ranks; batch.pairs holds original indexes.

    `batch_tokens` bounds a batch on either side over all ranks, padding included.
    """
    pairs = corpus.split(split)
    try:
        plan = plan_evaluation(pairs.source_lengths, pairs.target_lengths, batch_tokens, ranks)
    except UserError as error:
        raise UserError(f"split '{split}': {error}") from error
    return _loader(_CountedStream(pairs, [share(batch, pairs.target_lengths, rank, ranks) for batch in plan]))


class _Stream(IterableDataset[TranslationBatch]):
    """Planned batches, built as they are asked for.

    An IterableDataset rather than a batch sampler: its batches are already this rank's, and Lightning would put a
    DistributedSampler of its own around anything else.
    """

    def __init__(self, split: Split, plan: Iterable[PlannedBatch]) -> None:
        self.split, self.plan = split, plan

    def __iter__(self) -> Iterator[TranslationBatch]:
        for pairs, target_tokens in self.plan:
            yield TranslationBatch.from_pairs([self.split[pair] for pair in pairs], pairs.tolist(), target_tokens)


class _CountedStream(_Stream):
    """A stream that ends, and so has a length in batches."""

    plan: list[PlannedBatch]

    def __len__(self) -> int:
        return len(self.plan)


def _loader(stream: "_Stream") -> Batches:
    # A loader draws a seed from its generator when it starts; its own keeps the global one, and so dropout, untouched.
    return DataLoader(stream, batch_size=None, num_workers=0, collate_fn=_same, generator=torch.Generator())


def _same(batch: Any) -> Any:
    return batch
