"""Checkpoints fall between two optimiser steps, wherever the signal to stop comes."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from experiments.stopping import Checkpoint
from lit_transformer.errors import UserError
from tests.small_training import BATCHES, Losses, endless, module, trainer, weights

NEVER_VALIDATING: dict[str, Any] = {"val_check_interval": 1000, "check_val_every_n_epoch": None}


class SignalAt(pl.Callback):
    """Tells a checkpoint to stop during the given batch, as a signal would."""

    def __init__(self, checkpoint: Checkpoint, batch: int) -> None:
        self.checkpoint, self.batch = checkpoint, batch

    def on_train_batch_start(self, trainer: pl.Trainer, lit: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            self.checkpoint.stop_signal = 15


@pytest.mark.parametrize("batch", [3, 4, 5])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, accumulate: int, batch: int) -> None:
    whole, losses = module(), Losses()
    trainer(6, callbacks=[losses], accumulate_grad_batches=accumulate, **NEVER_VALIDATING).fit(whole, endless(BATCHES))

    checkpoint, before = Checkpoint(tmp_path, every=100, run_hash="hash"), Losses()
    callbacks = [SignalAt(checkpoint, batch), before, checkpoint]
    stopping = trainer(6, callbacks=callbacks, accumulate_grad_batches=accumulate, **NEVER_VALIDATING)
    with pytest.raises(UserError, match="stopped at step") if batch + accumulate < 6 * accumulate else nullcontext():
        stopping.fit(module(), endless(BATCHES))
    saved = torch.load(checkpoint.path, weights_only=True)
    position = saved["global_step"] * accumulate  # where a resumed run takes up the data
    assert batch < position <= batch + accumulate

    resumed, after = module(), Losses()
    again = trainer(6, callbacks=[after], accumulate_grad_batches=accumulate, **NEVER_VALIDATING)
    again.fit(resumed, endless(BATCHES, position), ckpt_path=checkpoint.path, weights_only=True)
    assert before.values + after.values == losses.values
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_checkpoints_come_every_so_many_steps_and_carry_the_runs_hash(tmp_path: Path) -> None:
    steps = []

    class Watched(Checkpoint):
        def save(self, trainer: pl.Trainer) -> None:
            super().save(trainer)
            steps.append(trainer.global_step)

    checkpoint = Watched(tmp_path, every=2, run_hash="hash")
    trainer(7, callbacks=[checkpoint], accumulate_grad_batches=2, **NEVER_VALIDATING).fit(module(), endless(BATCHES))
    assert steps == [2, 4, 6]
    assert torch.load(checkpoint.path, weights_only=True)["run_hash"] == "hash"
