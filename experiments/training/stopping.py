"""When a run saves itself: at its own pace, and when it is told to stop."""

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed

from experiments.training.checkpoints import LAST
from lit_transformer.errors import TemporaryFailure

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What tells a run to stop: Ctrl-C, a launcher or a scheduler, and a scheduler's word before it takes the machine."""


class Agreement:
    """Whether to stop, where one process decides."""

    stop = False

    def ask(self, told: bool) -> None:
        """Tell, after a step, whether this process was told to stop."""
        self.stop = told

    def hear(self, told: bool) -> None:
        """Tell again, after a validation."""
        self.stop = told


class AgreementOfRanks(Agreement):
    """Whether to stop, where any rank may be told: all know it at the same step, and none waits for it.

    What is asked after a step is answered after the next, or after the validation in between: a few bytes that travel
    between the hosts' processors while the devices compute. Every rank makes and asks it at the same steps.
    """

    def __init__(self) -> None:
        self._group = torch.distributed.new_group(backend="gloo")
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._answer: torch.distributed.Work | None = None

    def ask(self, told: bool) -> None:
        self.hear(told)
        if not self.stop:
            self._flag.fill_(told)
            self._answer = torch.distributed.all_reduce(
                self._flag, torch.distributed.ReduceOp.MAX, self._group, async_op=True
            )

    def hear(self, told: bool) -> None:
        if self._answer is not None:
            self._answer.wait()
            self._answer = None
            self.stop = bool(self._flag)


class CheckpointWriter(pl.Callback):
    """Writes last.ckpt after each validation, every `every` steps, and when told to stop by one of `SIGNALS`.

    A checkpoint carries the run's hash. Stand after all whose state it holds. A signal is noted and obeyed between two
    steps, when the weights and the optimiser agree; of several ranks each may be told, and all stop at the same step. A
    second SIGINT interrupts at once.
    """

    def __init__(self, folder: Path, every: int, run_hash: str) -> None:
        self.path = folder / LAST
        self.every = every
        self.run_hash = run_hash
        self.stop_signal: int | None = None
        self.saved_step = -1
        self._agreement = Agreement()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run_hash"] = self.run_hash

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Now, since Lightning has set its own by now and restores at the end what was there before. Its own would stop
        # in the midst of an accumulated step, and talk to other ranks from within a signal handler.
        for number in SIGNALS:
            signal.signal(number, self._note)
        if trainer.world_size > 1:
            self._agreement = AgreementOfRanks()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint holds no half-gathered gradient, and a resumed run counts its batches in whole steps
        self._agreement.ask(self.stop_signal is not None)
        validates = trainer.val_check_interval and (batch_idx + 1) % int(trainer.val_check_interval) == 0
        if validates:
            return
        if self._agreement.stop or (step % self.every == 0 and step != self.saved_step):
            self.save(trainer)
        self._stop_if_told(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)
        self._agreement.hear(self.stop_signal is not None)
        self._stop_if_told(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint of this moment; every rank takes part, the first one writes."""
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.path)

    def _stop_if_told(self, trainer: pl.Trainer) -> None:
        """Leave by an exception: Lightning's own way out would validate first, and the curve would tell of the stop."""
        if self._agreement.stop and trainer.global_step < trainer.max_steps:
            raise TemporaryFailure(
                f"stopped at step {trainer.global_step} of {trainer.max_steps}; {self.path} holds it: "
                "run the same command again to go on"
            )

    def _note(self, number: int, frame: Any) -> None:
        if self.stop_signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop_signal = number
