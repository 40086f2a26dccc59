"""Checkpoints at a regular pace and at a signal, after which a run stops: at the same step on every rank."""

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed

from experiments.training.checkpoints import LAST
from lit_transformer.errors import TemporaryFailure

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What stops a run: Ctrl-C, a launcher or scheduler, and a scheduler's warning before it takes the machine back."""


class StopFlag:
    """Whether to stop, for a run of one process."""

    stop = False

    def start_vote(self, signalled: bool) -> None:
        """Record after a step whether this process was signalled."""
        self.stop = signalled

    def finish_vote(self, signalled: bool) -> None:
        """Record it again after a validation."""
        self.stop = signalled


class SharedStopFlag(StopFlag):
    """Whether to stop, for a run of several ranks: a signal to any of them stops all at the same step.

    A vote that starts after a step ends after the next step, or after the validation in between: an all-reduce of four
    bytes between the hosts' processors while the devices compute, so that no device waits. Every rank creates and calls
    it at the same steps.
    """

    def __init__(self) -> None:
        self._group = torch.distributed.new_group(backend="gloo")
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._pending: torch.distributed.Work | None = None

    def start_vote(self, signalled: bool) -> None:
        """Finish the previous vote, then start the next all-reduce without waiting for it."""
        self.finish_vote(signalled)
        if not self.stop:
            self._flag.fill_(signalled)
            self._pending = torch.distributed.all_reduce(
                self._flag, torch.distributed.ReduceOp.MAX, self._group, async_op=True
            )

    def finish_vote(self, signalled: bool) -> None:
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
            self.stop = bool(self._flag)


class CheckpointWriter(pl.Callback):
    """Writes last.ckpt after each validation, every `every` steps, and before it stops the run at one of `SIGNALS`.

    A checkpoint holds the run's hash. Place it after all callbacks whose state it saves. A signal takes effect between
    two steps, when weights and optimiser state match; any rank may receive it, and all stop at the same step. A second
    SIGINT interrupts at once.
    """

    def __init__(self, folder: Path, every: int, run_hash: str) -> None:
        self.path = folder / LAST
        self.every = every
        self.run_hash = run_hash
        self.stop_signal: int | None = None
        self.saved_step = -1
        self._flag = StopFlag()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run_hash"] = self.run_hash

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers of `SIGNALS` and, for several ranks, the flag that they share."""
        # Here, since Lightning has installed its own handlers by now and restores the earlier ones at the end. Its own
        # would stop within an accumulated step, and communicate with other ranks from inside a signal handler.
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        if trainer.world_size > 1:
            self._flag = SharedStopFlag()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every `every` optimiser steps and before a stop; a step with a validation saves after it."""
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint holds no accumulated gradient, and a resumed run counts its batches in whole steps
        self._flag.start_vote(self.stop_signal is not None)
        due = trainer.val_check_interval and (batch_idx + 1) % int(trainer.val_check_interval) == 0
        if due or trainer.should_stop:
            return
        if self._flag.stop or (step % self.every == 0 and step != self.saved_step):
            self.save(trainer)
        self._stop_if_signalled(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)
        self._flag.finish_vote(self.stop_signal is not None)
        self._stop_if_signalled(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write a checkpoint of this step; every rank takes part, rank 0 writes."""
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.path)

    def _stop_if_signalled(self, trainer: pl.Trainer) -> None:
        """Leave by an exception: Lightning's `should_stop` would validate first, and the curve would show the stop."""
        if self._flag.stop and trainer.global_step < trainer.max_steps:
            raise TemporaryFailure(
                f"stopped at step {trainer.global_step} of {trainer.max_steps}; {self.path} holds it: "
                "run the same command again to go on"
            )

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.stop_signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop_signal = number
