"""TranslationDataModule: a prepared corpus as Lightning's loaders of packed batches."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from data_modules.arrow_split import Split
from data_modules.config import DataConfig
from data_modules.corpora.text import TRAIN, VALID
from data_modules.prepared import PreparedCorpus
from data_modules.token_batches import PlannedBatch, TokenBatchSampler, plan_evaluation, share
from lit_transformer.batch import TranslationBatch
from lit_transformer.errors import UserError

Batches = DataLoader[TranslationBatch]

# Lightning warns that several workers could repeat the data of a stream with a length; these loaders have no workers.
warnings.filterwarnings("ignore", message="Your `IterableDataset` has `__len__` defined")


class TranslationDataModule(pl.LightningDataModule):
    """Training batches without end, and evaluation batches with every pair exactly once.

    Training length is counted in optimiser steps, so the training loader streams epoch after epoch. It begins at
    batch number `position`, counted from the start of training over all ranks: set it before `fit` and the stream goes
    on bit for bit. Rank and world size are the trainer's once it is attached, else 0 and 1; a rank's batch carries the
    target tokens of the whole global batch.
    """

    def __init__(self, corpus: PreparedCorpus, config: DataConfig, seed: int) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.position = 0

    def sampler(self) -> TokenBatchSampler:
        """Return this rank's stream of planned training batches from `position` on."""
        split = self.corpus.split(TRAIN)
        rank, ranks = self._rank()
        lengths = split.source_lengths, split.target_lengths
        return TokenBatchSampler(*lengths, self.config.batch_tokens, self.seed, rank, ranks, self.position)

    def batches_per_epoch(self) -> int:
        """Return the optimiser steps of one pass over the training pairs."""
        return self.sampler().batches_per_epoch()

    def train_dataloader(self) -> Batches:
        return _loader(self.corpus.split(TRAIN), self.sampler())

    def val_dataloader(self) -> Batches:
        return self.test_loader(VALID)

    def test_loader(self, split: str, batch_tokens: int | None = None) -> Batches:
        """Return a split longest first, every pair exactly once over all ranks; batch.pairs holds original indexes.

        `batch_tokens` bounds a batch on either side over all ranks, padding included; config.batch_tokens when None.
        """
        pairs = self.corpus.split(split)
        rank, ranks = self._rank()
        lengths = pairs.source_lengths, pairs.target_lengths
        try:
            plan = plan_evaluation(*lengths, batch_tokens or self.config.batch_tokens, ranks)
        except UserError as error:
            raise UserError(f"split '{split}': {error}") from error
        return _loader(pairs, [share(batch, pairs.target_lengths, rank, ranks) for batch in plan])

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


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


def _loader(split: Split, plan: Iterable[PlannedBatch]) -> Batches:
    stream = _CountedStream(split, plan) if isinstance(plan, list) else _Stream(split, plan)
    # A loader draws a seed from its generator when it starts; its own keeps the global one, and so dropout, untouched.
    return DataLoader(stream, batch_size=None, num_workers=0, collate_fn=_same, generator=torch.Generator())


def _same(batch: Any) -> Any:
    return batch
