"""TranslationDataModule: a prepared corpus as Lightning's loaders of packed batches."""

import warnings

import pytorch_lightning as pl

from data_modules.config import DataConfig
from data_modules.corpora.text import TRAIN, VALID
from data_modules.loaders import Batches, evaluation_loader, training_loader
from data_modules.prepared import PreparedCorpus
from data_modules.token_batches import TokenBatchSampler

# Lightning warns that several workers could repeat the data of a stream with a length; these loaders have no workers.
warnings.filterwarnings("ignore", message="Your `IterableDataset` has `__len__` defined")


class TranslationDataModule(pl.LightningDataModule):
    """Training batches without end, and evaluation batches with every pair exactly once.

    Training length is counted in optimiser steps, so the training loader streams epoch after epoch. It begins at
    batch number `position`, counted from the start of training over all ranks: set it before `fit` and the stream goes
    on bit for bit. Rank and world size are the trainer's once it is attached, else 0 and 1; a training batch carries
    the target tokens of all ranks and of all `accumulate` batches of its optimiser step.
    """

    def __init__(self, corpus: PreparedCorpus, config: DataConfig, seed: int, accumulate: int = 1) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.accumulate = accumulate
        self.position = 0

    def sampler(self) -> TokenBatchSampler:
        """Return this rank's stream of planned training batches from `position` on."""
        split = self.corpus.split(TRAIN)
        rank, ranks = self._rank()
        lengths, budget = (split.source_lengths, split.target_lengths), self.config.batch_tokens
        return TokenBatchSampler(*lengths, budget, self.seed, rank, ranks, self.position, self.accumulate)

    def batches_per_epoch(self) -> int:
        """Return the global batches of one pass over the training pairs."""
        return self.sampler().batches_per_epoch()

    def train_dataloader(self) -> Batches:
        return training_loader(self.corpus.split(TRAIN), self.sampler())

    def val_dataloader(self) -> Batches:
        return self.test_loader(VALID)

    def test_loader(self, split: str, batch_tokens: int | None = None) -> Batches:
        """Return a split longest first, every pair exactly once over all ranks; batch.pairs holds original indexes.

        `batch_tokens` bounds a batch on either side over all ranks, padding included; config.batch_tokens when None.
        """
        rank, ranks = self._rank()
        return evaluation_loader(self.corpus, split, batch_tokens or self.config.batch_tokens, rank, ranks)

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
