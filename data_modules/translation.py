"""TranslationDataModule: a prepared corpus as Lightning data loaders of packed batches."""

import warnings
from collections.abc import Iterator
from typing import Any

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
# And that a run resumed within an epoch could repeat batches; these loaders go on with the batch it is at.
warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")


class TranslationDataModule(pl.LightningDataModule):
    """Sentence pairs of a prepared corpus: training batches by token budget, evaluation batches with every pair once.

    The training loader is one pass over the pairs, shuffled anew each epoch. With `endless` it streams epoch after
    epoch instead, for trainings counted in optimiser steps. Either begins at the batch that the attached trainer is at,
    so that a resumed run gets exactly the batches that would have followed. A checkpoint holds what these depend on:
    resuming with another corpus or other settings is a UserError.

    Rank, world size and gradient accumulation are those of the attached trainer. A training batch carries the target
    tokens of its whole optimiser step, over all ranks and accumulated batches.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        config: DataConfig = DataConfig(),  # noqa: B008 (frozen)
        seed: int = 0,
        endless: bool = False,
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.endless = endless
        self._resumed: dict[str, Any] = {}

    @property
    def test_splits(self) -> list[str]:
        """Names of the splits other than training and validation, in the order of the test loaders."""
        return self.corpus.test_splits

    def setup(self, stage: str) -> None:
        """Check that the corpus has what `stage` reads; raises UserError when it has no test split to test on."""
        if stage in ("test", "predict") and not self.test_splits:
            raise UserError(f"corpus {self.corpus.name} has no split besides '{TRAIN}' and '{VALID}' to {stage}")

    def state_dict(self) -> dict[str, Any]:
        """Return what the stream of training batches depends on; which batch is next, the trainer's state tells."""
        return {
            "corpus": self.corpus.hash,
            "batch_tokens": self.config.batch_tokens,
            "seed": self.seed,
            "endless": self.endless,
            "devices": self._rank()[1],
            "accumulate_grad_batches": self._accumulate(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the checkpoint's state for `train_dataloader` to check; a test may read another corpus."""
        self._resumed = state_dict

    def batches_per_epoch(self) -> int:
        """Return the number of global batches of one pass over the training pairs."""
        return self._sampler().batches_per_epoch

    def train_dataloader(self) -> BatchLoader:
        """Return the batches that follow; raise UserError where a checkpoint to resume from had other ones."""
        own = self.state_dict()
        for name, value in self._resumed.items():
            if own.get(name) != value:
                raise UserError(
                    f"the checkpoint was trained with {name} {value}, now it is {own.get(name)}, so it cannot resume "
                    "exactly; make them the same, or start anew from its weights by load_from_checkpoint"
                )
        split = self.corpus.split(TRAIN)
        if self.endless:
            return batch_loader(PackedBatches(split, self._sampler(self.progress()[1])))
        sampler = self._sampler()
        return batch_loader(SizedBatches(split, _CurrentEpoch(self, sampler), sampler.batches_per_epoch))

    def progress(self) -> tuple[int, int]:
        """Return the trainer's epoch and the number of its batches that are done, 0 and 0 where none is training."""
        if self.trainer is None or not self.trainer.training:
            return 0, 0
        return self.trainer.current_epoch, self.trainer.fit_loop.batch_idx + 1

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

    def _sampler(self, position: int = 0) -> TokenBatchSampler:
        split = self.corpus.split(TRAIN)
        return TokenBatchSampler(
            split.source_lengths,
            split.target_lengths,
            self.config.batch_tokens,
            self.seed,
            *self._rank(),
            position,
            self._accumulate(),
        )

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _accumulate(self) -> int:
        return self.trainer.accumulate_grad_batches if self.trainer is not None else 1


class _CurrentEpoch:
    """The batches of the trainer's epoch that are not done; Lightning iterates the same loader once per epoch."""

    def __init__(self, data: TranslationDataModule, sampler: TokenBatchSampler) -> None:
        self.data, self.sampler = data, sampler

    def __iter__(self) -> Iterator[PlannedBatch]:
        # A generator: Lightning makes the iterator of a resumed epoch before it knows where that epoch stands.
        yield from self.sampler.epoch(*self.data.progress())
