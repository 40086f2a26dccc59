"""Keeps the average of a run's weights that its config asks for; the average is scored beside the last weights.

When the training is over, the average is a second model beside the one of the last step. Until then the checkpoint
holds what it is made of, or names it, so that a resumed run has the average of the uninterrupted one: to the bit, where
steps and not minutes set the pace.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, assert_never, cast

import pytorch_lightning as pl
import torch

from experiments.common.io import replace
from experiments.training.checkpoints import is_intact, save_with_checksum
from lit_transformer.config import Averaging, AveragingConfig
from lit_transformer.errors import UserError
from lit_transformer.module import LitTransformer
from lit_transformer.training.averaging import MovingAverage, Weights, snapshot, uniform_mean
from lit_transformer.transformer import Transformer


class Averager(pl.Callback):
    """An average of the weights, kept by the first rank alone, as all have the same.

    Stand before `CheckpointWriter`, which then holds the average with the step's weights.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.after_step(cast(LitTransformer, pl_module).network, trainer.global_step, trainer.max_steps)

    def after_step(self, network: Transformer, step: int, steps: int) -> None:
        """Take note of the weights after optimiser step `step` of `steps`."""
        raise NotImplementedError

    def average(self, network: Transformer) -> Weights:
        """Return the average as a state of the network."""
        raise NotImplementedError

    def record(self) -> dict[str, Any]:
        """Return what training.json says of the average."""
        raise NotImplementedError

    def leave(self) -> None:
        """Remove what was of use on the way only."""


class LastWeights(Averager):
    """The mean of the weights at the last k of regular moments, one file per moment until the training is over.

    A checkpoint names the files that it needs; those that the two newest checkpoints name are kept, however old, for a
    run that is killed goes on from one of them. `seconds` returns the training time so far.
    """

    def __init__(self, config: AveragingConfig, folder: Path, seconds: Callable[[], float]) -> None:
        self.config = config
        self.folder = folder / "averaging"
        self.seconds = seconds
        self.steps: list[int] = []
        self.since = 0.0
        self.needed: list[int] = []  # by the newest checkpoint
        self.needed_before: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"steps": list(self.steps), "since": self.since, "needed_before": list(self.needed)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.since = list(state_dict["steps"]), state_dict["since"]
        self.needed, self.needed_before = list(self.steps), list(state_dict["needed_before"])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note which files the new checkpoint needs; files are removed only once it is written."""
        self.needed, self.needed_before = list(self.steps), self.needed

    def after_step(self, network: Transformer, step: int, steps: int) -> None:
        """Save the weights when they are due and remove the files that no checkpoint needs any more."""
        if not self._comes_due(step, steps):
            return
        replace(self._path(step), partial(save_with_checksum, dict(snapshot(network))))
        self.steps = [*self.steps, step][-self.config.last :]
        for path in self.folder.glob("*.pt"):
            if path not in map(self._path, self.steps + self.needed + self.needed_before):
                path.unlink()

    def average(self, network: Transformer) -> Weights:
        """Return the mean of the saved weights; raises UserError when one of their files is missing or damaged."""
        lost = [path for path in map(self._path, self.steps) if not (path.is_file() and is_intact(path))]
        if lost:
            where = self.folder.parent
            raise UserError(
                f"{lost[0]}, one of the checkpoints to average, is missing or damaged; delete {where} to train afresh"
            )
        return uniform_mean(torch.load(self._path(step), weights_only=True) for step in self.steps)

    def record(self) -> dict[str, Any]:
        return {"kind": self.config.kind.value, "steps": self.steps}

    def leave(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _comes_due(self, step: int, steps: int) -> bool:
        if not self.config.minutes:
            return step % self.config.every == 0
        now = self.seconds()
        if step < steps and now - self.since < 60 * self.config.minutes:
            return False
        self.since = now
        return True

    def _path(self, step: int) -> Path:
        return self.folder / f"step{step}.pt"


class SmoothedWeights(Averager):
    """The exponential moving average of the weights after every step; the checkpoint holds it."""

    def __init__(self, config: AveragingConfig) -> None:
        self.config = config
        self.moving = MovingAverage(config.decay)

    def state_dict(self) -> dict[str, Any]:
        return self.moving.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.moving.load_state_dict(state_dict)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.moving.to(pl_module.device)

    def after_step(self, network: Transformer, step: int, steps: int) -> None:
        self.moving.update(network)

    def average(self, network: Transformer) -> Weights:
        return self.moving.averaged(network)

    def record(self) -> dict[str, Any]:
        return {"kind": self.config.kind.value, "decay": self.config.decay, "steps": self.moving.updates}


def build_averager(config: AveragingConfig, folder: Path, seconds: Callable[[], float]) -> Averager | None:
    """Build what keeps the configured average, or None where there is none."""
    match config.kind:
        case Averaging.none:
            return None
        case Averaging.last:
            return LastWeights(config, folder, seconds)
        case Averaging.ema:
            return SmoothedWeights(config)
        case _:
            assert_never(config.kind)
