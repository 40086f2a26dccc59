"""TranslationDataModule: a prepared corpus as Lightning data loaders of packed batches."""

import warnings
from collections.abc import Iterator

import pytorch_lightning as pl

from data_modules.batches import (
    BatchLoader,
    PackedBatches,
    PlannedBatch,
    SizedBatches,
    TokenBatchSampler,
    batch_loader,
    evaluation_loader,
)
from data_modules.config import DataConfig
from data_modules.corpora.text import TRAIN, VALID
from data_modules.prepared import PreparedCorpus
from lit_transformer.errors import UserError

# Lightning warns that several workers could repeat the data of a stream with a length; these loaders have no workers.
warnings.filterwarnings("ignore", message="Your `IterableDataset` has `__len__` defined")


class TranslationDataModule(pl.LightningDataModule):
    """Sentence pairs of a prepared corpus: training batches by token budget, evaluation batches with every pair once.

    The training loader is one pass over the pairs, shuffled anew each epoch. With `endless` it streams epoch after
    epoch instead, for trainings counted in optimiser steps, and starts at batch number `position`, counted from the
    start of training over all ranks: set it before `fit` to resume with exactly the batches that would have followed.

    Rank, world size and gradient accumulation are those of the attached trainer. A training batch carries the target
    tokens of its whole optimiser step, over all ranks and accumulated batches.
    """

    def __init__(self, corpus: PreparedCorpus, config: DataConfig, seed: int = 0, endless: bool = False) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.endless = endless
        self.position = 0

    @property
    def test_splits(self) -> list[str]:
        """Names of the splits other than training and validation, in the order of the test loaders."""
        return [name for name in self.corpus.splits if name not in (TRAIN, VALID)]

    def setup(self, stage: str) -> None:
        """Check that the corpus has what `stage` reads; raises UserError when it has no test split to test on."""
        if stage in ("test", "predict") and not self.test_splits:
            raise UserError(f"corpus {self.corpus.name} has no split besides '{TRAIN}' and '{VALID}' to {stage}")

    def sampler(self) -> TokenBatchSampler:
        """Return this rank's training batches from `position` on."""
        split = self.corpus.split(TRAIN)
        rank, world_size = self._rank()
        return TokenBatchSampler(
            split.source_lengths,
            split.target_lengths,
            self.config.batch_tokens,
            self.seed,
            rank,
            world_size,
            self.position,
            self.trainer.accumulate_grad_batches if self.trainer is not None else 1,
        )

    def batches_per_epoch(self) -> int:
        """Return the number of global batches of one pass over the training pairs."""
        return self.sampler().batches_per_epoch

    def train_dataloader(self) -> BatchLoader:
        split, sampler = self.corpus.split(TRAIN), self.sampler()
        if self.endless:
            return batch_loader(PackedBatches(split, sampler))
        return batch_loader(SizedBatches(split, _CurrentEpoch(self, sampler), sampler.batches_per_epoch))

    def val_dataloader(self) -> BatchLoader:
        return self.evaluation_loader(VALID)

    def test_dataloader(self) -> list[BatchLoader]:
        """Return one loader per split of `test_splits`."""
        return [self.evaluation_loader(split) for split in self.test_splits]

    def predict_dataloader(self) -> list[BatchLoader]:
        """Return the test loaders; `batch.pairs` of a batch says which sentences its predictions translate."""
        return self.test_dataloader()

    def evaluation_loader(self, split: str, batch_tokens: int | None = None) -> BatchLoader:
        """Return a loader of a split, longest first, every pair exactly once over all ranks.

        `batch_tokens` bounds a padded batch on either side, over all ranks; config.batch_tokens when None.
        """
        return evaluation_loader(self.corpus, split, batch_tokens or self.config.batch_tokens, *self._rank())

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


class _CurrentEpoch:
    """The batches of the trainer's current epoch; Lightning iterates the same loader once per epoch."""

    def __init__(self, data: TranslationDataModule, sampler: TokenBatchSampler) -> None:
        self.data, self.sampler = data, sampler

    def __iter__(self) -> Iterator[PlannedBatch]:
        return self.sampler.epoch(self.data.trainer.current_epoch if self.data.trainer is not None else 0)
