"""Training-curve, history and progress callbacks."""

import csv
import io
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
from torch import Tensor

from experiments.common.io import write_json, write_text
from experiments.tracking.wandb import STEP
from experiments.training.losses import READ_EVERY, Losses
from lit_transformer.batch import TranslationBatch
from lit_transformer.flops import Work, work_sums
from lit_transformer.module import LitTransformer

CURVE_COLUMNS = (
    "step",
    "epoch",
    "target_tokens",
    "seconds",
    "learning_rate",
    "train_loss",
    "valid_loss",
    "valid_ppl",
)


class Curve(pl.Callback):
    """Counts work and time, and writes a row of curve.csv at each validation; its state is part of the checkpoint.

    `seconds` is training time: without start-up and validation, with checkpoints; steps that a resumed run repeats
    count once. train_loss is the mean training objective over the steps since the row before; learning_rate is that of
    the row's step. Work is summed over ranks at a validation and for a checkpoint; in between, the other ranks are
    assumed to have done as much as this one. Place it after `Losses`.
    """

    def __init__(self, path: Path, losses: Losses, steps_per_epoch: Callable[[], float]) -> None:
        self.path = path
        self.losses = losses
        self.steps_per_epoch = steps_per_epoch
        self.rows: list[dict[str, float]] = []
        self.work = [0, 0, 0, 0, 0]
        self.seconds = 0.0
        self.since = 0.0
        self.share = 1.0  # of the time that passes: in a fused training its members share it
        self.pending: Tensor | None = None  # this rank's work since the ranks were last summed
        self.mean_loss = math.nan
        self._strategy: Any = None
        self._ranks = 1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._strategy, self._ranks = trainer.strategy, trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        self._sum_ranks()
        return {"rows": self.rows, "work": list(self.work), "seconds": self.training_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.work, self.seconds = state_dict["rows"], state_dict["work"], state_dict["seconds"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.rows and trainer.is_global_zero:  # those of a checkpoint; their file may have been lost since
            self._write()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.restart()

    def restart(self) -> None:
        """Count the time from now on as training."""
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's `work_sums` to this rank's pending work."""
        assert isinstance(batch, TranslationBatch)
        src, tgt = batch.src_layout.lengths, batch.tgt_layout.lengths
        counts = work_sums(cast(LitTransformer, pl_module).network.config, src, tgt)
        self.pending = counts if self.pending is None else self.pending + counts

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        self.mean_loss = sum(self.losses.means(int(self.rows[-1]["step"]) if self.rows else 0).values())
        self.losses.drop(step - step % READ_EVERY)
        self._sum_ranks()
        self.seconds, self.since = self.training_seconds(), 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append a row to the curve; the first rank writes curve.csv."""
        metrics = trainer.callback_metrics
        self.rows.append(
            {
                "step": trainer.global_step,
                "epoch": round(trainer.global_step / self.steps_per_epoch(), 4),
                "target_tokens": self.work[1],
                "seconds": round(self.seconds, 3),
                "learning_rate": cast(LitTransformer, pl_module).schedule(trainer.global_step),
                "train_loss": self.mean_loss,
                "valid_loss": float(metrics["valid/loss"]),
                "valid_ppl": float(metrics["valid/ppl"]),
            }
        )
        if trainer.is_global_zero:
            self._write()
        self.restart()

    def total_work(self) -> Work:
        """Return the work of all steps so far."""
        pending = [0] * len(self.work) if self.pending is None else self.pending.tolist()
        return Work(*(done + self._ranks * new for done, new in zip(self.work, pending, strict=True)))

    def training_seconds(self) -> float:
        """Return the training time so far, including that before a resumed run was interrupted."""
        return self.seconds + (self.share * (time.perf_counter() - self.since) if self.since else 0.0)

    def _sum_ranks(self) -> None:
        """Sum the pending work over ranks; every rank calls this at the same step."""
        if self.pending is None:
            return
        new = self.pending if self._ranks == 1 else self._strategy.reduce(self.pending, reduce_op="sum")
        self.work = [done + more for done, more in zip(self.work, new.tolist(), strict=True)]
        self.pending = None

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


class FinalValidation(pl.Callback):
    """Lets Lightning validate the last step where trainer.validate_every does not divide optim.steps.

    A Trainer that should stop validates first. Place it before `CheckpointWriter`.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True


class RowLog(Protocol):
    """Where the rows of a history go: W&B, TensorBoard, a CSV file."""

    def log(self, row: Mapping[str, float], number: int) -> None:
        """Add row `number`, counted from 0; a resumed training logs all rows of its checkpoint again."""


class History(pl.Callback):
    """Numbers the rows of a run's history, keeps them in the checkpoint, and logs them to its `outputs`.

    W&B writes rows late: it loses the last ones of a killed process, or has rows from after the last checkpoint. So a
    resumed run logs all rows of its checkpoint again, and W&B knows them by number. There is a row every `READ_EVERY`
    steps, with the learning rate and the mean of each term of the loss over these steps; a row per validation, with its
    loss and perplexity and the values of `more`; and whatever others `add`. Place it after `Losses` and before
    `CheckpointWriter`.
    """

    def __init__(self, losses: Losses, more: Callable[[], Mapping[str, float]] = dict) -> None:
        self.losses = losses
        self.more = more
        self.outputs: list[RowLog] = []
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def add(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Add a row; `step` is the optimiser step that the values belong to, if any."""
        self.rows.append({**values} if step is None else {**values, STEP: step})
        self._log(len(self.rows) - 1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number in range(len(self.rows)):
            self._log(number)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the learning rate and the mean of each term of the loss every `READ_EVERY` optimiser steps."""
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and step % READ_EVERY == 0:
            means = {f"train/{name}": value for name, value in self.losses.means(step - READ_EVERY).items()}
            self.add({**means, "lr": cast(LitTransformer, pl_module).schedule(step)}, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        losses = {name: float(metrics[name]) for name in ("valid/loss", "valid/ppl")}
        self.add({**losses, **self.more()}, trainer.global_step)

    def _log(self, number: int) -> None:
        for output in self.outputs:
            output.log(self.rows[number], number)


class Progress(pl.Callback):
    """Prints a line at each validation, and keeps progress.json up to date for a launcher that watches many runs.

    Its loss is that of a recent batch, null where it is not finite; its speed counts non-pad target tokens per second
    of training time.
    """

    def __init__(self, folder: Path, curve: Curve, steps: int) -> None:
        self.path = folder / "progress.json"
        self.curve = curve
        self.steps = steps
        self.written = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write progress.json on the first rank, at most every two seconds."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self.written > 2.0:
            self.written = now
            self._write(trainer, float(sum(outputs["terms"].values())))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._write(trainer, self.curve.mean_loss)  # the launcher sees that only the evaluation is left

    def _write(self, trainer: pl.Trainer, loss: float) -> None:
        speed = self.curve.total_work().tgt / max(self.curve.training_seconds(), 1e-9)
        progress = {
            "step": trainer.global_step,
            "steps": self.steps,
            "loss": round(loss, 4) if math.isfinite(loss) else None,
            "target_tokens_per_second": round(speed, 1),
        }
        write_json(self.path, progress)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print step, mean training loss, validation perplexity and speed in one line."""
        if not trainer.is_global_zero:
            return
        row = self.curve.rows[-1]
        speed = row["target_tokens"] / max(row["seconds"], 1e-9)
        print(
            f"step {row['step']:>6.0f}/{self.steps}  train loss {row['train_loss']:.3f}  "
            f"valid ppl {row['valid_ppl']:.3f}  {speed:,.0f} target tokens/s",
            flush=True,
        )
