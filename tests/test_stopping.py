"""Checkpoints fall between two optimiser steps, wherever the signal to stop comes."""

import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from experiments.training import losses as kept
from experiments.training.callbacks import FinalValidation
from experiments.training.stopping import SIGNALS, CheckpointWriter
from lit_transformer.errors import UserError
from tests.small_training import BATCHES, OPTIM, Losses, SignalAt, endless, loader, module, trainer, weights

NEVER_VALIDATING: dict[str, Any] = {"val_check_interval": 1000, "check_val_every_n_epoch": None}


@pytest.mark.parametrize("batch", [3, 4, 5])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, accumulate: int, batch: int) -> None:
    whole, losses = module(accumulate=accumulate), Losses()
    trainer(6, callbacks=[losses], accumulate_grad_batches=accumulate, **NEVER_VALIDATING).fit(whole, endless(BATCHES))

    checkpoint, before = CheckpointWriter(tmp_path, every=100, run_hash="hash"), Losses()
    callbacks = [SignalAt(checkpoint, batch), before, checkpoint]
    stopping = trainer(6, callbacks=callbacks, accumulate_grad_batches=accumulate, **NEVER_VALIDATING)
    with pytest.raises(UserError, match="stopped at step") if batch + accumulate < 6 * accumulate else nullcontext():
        stopping.fit(module(accumulate=accumulate), endless(BATCHES))
    saved = torch.load(checkpoint.path, weights_only=True)
    position = saved["global_step"] * accumulate  # where a resumed run continues in the data
    assert batch < position <= batch + accumulate

    resumed, after = module(accumulate=accumulate), Losses()
    again = trainer(6, callbacks=[after], accumulate_grad_batches=accumulate, **NEVER_VALIDATING)
    again.fit(resumed, endless(BATCHES, position), ckpt_path=checkpoint.path, weights_only=True)
    assert before.values + after.values == losses.values
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_checkpoints_come_every_so_many_steps_and_carry_the_runs_hash(tmp_path: Path) -> None:
    steps = []

    class Watched(CheckpointWriter):
        def save(self, trainer: pl.Trainer) -> None:
            super().save(trainer)
            steps.append(trainer.global_step)

    checkpoint = Watched(tmp_path, every=2, run_hash="hash")
    lit = module(accumulate=2)
    trainer(7, callbacks=[checkpoint], accumulate_grad_batches=2, **NEVER_VALIDATING).fit(lit, endless(BATCHES))
    assert steps == [2, 4, 6]
    assert torch.load(checkpoint.path, weights_only=True)["run_hash"] == "hash"


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("steps", "validated"), [(7, [3, 6, 7]), (6, [3, 6]), (2, [2])])
def test_the_last_step_is_validated_and_its_checkpoint_comes_after(
    tmp_path: Path, steps: int, validated: list[int], accumulate: int
) -> None:
    """Once, whether or not the interval divides the steps."""
    seen: list[tuple[str, int]] = []

    class Validations(pl.Callback):
        def on_validation_start(self, trainer: pl.Trainer, lit: pl.LightningModule) -> None:
            seen.append(("validation", trainer.global_step))

    class Watched(CheckpointWriter):
        def save(self, trainer: pl.Trainer) -> None:
            super().save(trainer)
            seen.append(("checkpoint", trainer.global_step))

    callbacks = [Validations(), FinalValidation(), Watched(tmp_path, every=1000, run_hash="hash")]
    settings: dict[str, Any] = {"val_check_interval": 3 * accumulate, "check_val_every_n_epoch": None}
    running = trainer(steps, callbacks=callbacks, accumulate_grad_batches=accumulate, **settings)
    running.fit(module(accumulate=accumulate), endless(BATCHES), loader(BATCHES))
    assert seen == [(what, step) for step in validated for what in ("validation", "checkpoint")]
    assert running.global_step == steps


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_midst_of_an_accumulated_step_stops_after_it(tmp_path: Path, number: int) -> None:
    class Told(pl.Callback):
        def on_after_backward(self, trainer: pl.Trainer, lit: pl.LightningModule) -> None:
            if trainer.fit_loop.epoch_loop.batch_idx == 6:
                signal.raise_signal(number)

    before = [signal.getsignal(one) for one in SIGNALS]
    checkpoint, losses = CheckpointWriter(tmp_path, every=100, run_hash="hash"), Losses()
    running = trainer(6, callbacks=[Told(), losses, checkpoint], accumulate_grad_batches=3, **NEVER_VALIDATING)
    with pytest.raises(UserError, match="stopped at step 3 of 6"):
        running.fit(module(accumulate=3), endless(BATCHES))
    assert len(losses.values) == 9
    assert torch.load(checkpoint.path, weights_only=True)["global_step"] == 3
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_diverged_run_that_is_resumed_trains_no_further(tmp_path: Path) -> None:
    optim = replace(OPTIM, peak=1e30, warmup=0, steps=200)
    validating: dict[str, Any] = {"val_check_interval": 100, "check_val_every_n_epoch": None}

    def run(resume: Path | None) -> tuple[kept.Losses, int]:
        losses, seen = kept.Losses(), Losses()
        callbacks = [losses, seen, CheckpointWriter(tmp_path, every=100, run_hash="hash")]
        running = trainer(200, callbacks=callbacks, **validating)
        running.fit(module(optim=optim), endless(BATCHES), loader(BATCHES), ckpt_path=resume, weights_only=True)
        assert running.global_step == kept.READ_EVERY
        return losses, len(seen.values)

    first, steps = run(None)
    again, none = run(tmp_path / "last.ckpt")
    assert (steps, none) == (kept.READ_EVERY, 0)
    assert again.diverged_at == first.diverged_at
    assert first.diverged_at in (2, 3)
