"""What a run tells of itself while it trains: its curve, and its progress."""

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from torch import Tensor

from experiments.common.io import write_json, write_text
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
    """Counts work and time, and writes a row of curve.csv at each validation; its state travels in the checkpoint.

    `seconds` is training time: validation and start-up are left out, checkpoints in between are not, nor are the steps
    that a killed run took after its last checkpoint. train_loss is the mean of the loss that training lowers, over the
    steps since the row before; learning_rate is that of the row's step. Work is that of all ranks, counted together at
    a validation and for a checkpoint; in between the others' is taken to be like this rank's. Stand after `Losses`.
    """

    def __init__(self, path: Path, losses: Losses, steps_per_epoch: Callable[[], float]) -> None:
        self.path = path
        self.losses = losses
        self.steps_per_epoch = steps_per_epoch
        self.rows: list[dict[str, float]] = []
        self.work = [0, 0, 0, 0, 0]
        self.seconds = 0.0
        self.since = 0.0
        self.pending: Tensor | None = None
        self.mean_loss = math.nan
        self._strategy: Any = None
        self._ranks = 1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._strategy, self._ranks = trainer.strategy, trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return {"rows": self.rows, "work": list(self.work), "seconds": self.training_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.work, self.seconds = state_dict["rows"], state_dict["work"], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(batch, TranslationBatch)
        src, tgt = batch.src_layout.lengths, batch.tgt_layout.lengths
        counts = work_sums(cast(LitTransformer, pl_module).network.config, src, tgt)
        self.pending = counts if self.pending is None else self.pending + counts

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        self.mean_loss = sum(self.losses.means(int(self.rows[-1]["step"]) if self.rows else 0).values())
        self.losses.forget(step - step % READ_EVERY)
        self._settle()
        self.seconds, self.since = self.training_seconds(), 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
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
        self.since = time.perf_counter()

    def total_work(self) -> Work:
        """Return the work of all steps so far."""
        own = [0] * len(self.work) if self.pending is None else self.pending.tolist()
        return Work(*(done + self._ranks * new for done, new in zip(self.work, own, strict=True)))

    def training_seconds(self) -> float:
        """Return the training time so far, those of a resumed run's earlier pieces included."""
        return self.seconds + (time.perf_counter() - self.since if self.since else 0.0)

    def _settle(self) -> None:
        """Count the ranks' work together: every rank comes here at the same step."""
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


class Progress(pl.Callback):
    """Prints a line at each validation, and keeps progress.json up to date for whoever watches many runs.

    Its loss is a late batch's, null where it is none; its speed is in non-pad target tokens of training time.
    """

    def __init__(self, folder: Path, curve: Curve, steps: int) -> None:
        self.path = folder / "progress.json"
        self.curve = curve
        self.steps = steps
        self.written = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if trainer.is_global_zero and now - self.written > 2.0:
            self.written = now
            self._write(trainer, float(sum(outputs["terms"].values())))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._write(trainer, self.curve.mean_loss)  # a watcher sees that only the scores are to come

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
        if not trainer.is_global_zero:
            return
        row = self.curve.rows[-1]
        speed = row["target_tokens"] / max(row["seconds"], 1e-9)
        print(
            f"step {row['step']:>6.0f}/{self.steps}  train loss {row['train_loss']:.3f}  "
            f"valid ppl {row['valid_ppl']:.3f}  {speed:,.0f} target tokens/s",
            flush=True,
        )
