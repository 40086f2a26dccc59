"""What happens around the training steps of a run: the curve, checkpoints, divergence, signals, progress."""

import csv
import io
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from experiments.files import replace, write_json, write_text
from lit_transformer.batch import TranslationBatch
from lit_transformer.errors import UserError
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
CHECKPOINT = "last.ckpt"


class Curve(pl.Callback):
    """Counts work and time, and writes a row of curve.csv at each validation; its state travels in the checkpoint.

    `seconds` is training time: validation and start-up are left out, checkpoints in between are not. train_loss is the
    mean of the loss that training lowers, over the steps since the row before; learning_rate is that of the row's step.
    """

    def __init__(self, path: Path, batches_per_epoch: Callable[[], float]) -> None:
        self.path = path
        self.batches_per_epoch = batches_per_epoch
        self.rows: list[dict[str, float]] = []
        self.work = [0, 0, 0, 0, 0]
        self.seconds = 0.0
        self.since = 0.0
        self.pending: Tensor | None = None
        self.losses: Tensor | None = None
        self.steps = 0
        self.mean_loss = math.nan

    def state_dict(self) -> dict[str, Any]:
        loss = 0.0 if self.losses is None else float(self.losses)
        return {
            "rows": self.rows,
            "work": self._settled_work(),
            "seconds": self.training_seconds(),
            "loss": loss,
            "steps": self.steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.work, self.seconds = state_dict["rows"], state_dict["work"], state_dict["seconds"]
        self.losses, self.steps = torch.tensor(state_dict["loss"]), state_dict["steps"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(batch, TranslationBatch)
        src, tgt = batch.src_layout.lengths, batch.tgt_layout.lengths
        counts = work_sums(cast(LitTransformer, pl_module).network.config, src, tgt)
        self.pending = counts if self.pending is None else self.pending + counts
        loss = outputs["loss"].detach()
        self.losses = loss if self.losses is None else self.losses + loss
        self.steps += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning hands out each batch's loss divided by the batches of a step
        factor = trainer.accumulate_grad_batches / max(self.steps, 1)
        self.mean_loss = math.nan if self.losses is None else float(self.losses) * factor
        self.seconds, self.since = self.training_seconds(), 0.0
        self.losses, self.steps = None, 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        work = self._settled_work()
        self.rows.append(
            {
                "step": trainer.global_step,
                "epoch": round(trainer.global_step / self.batches_per_epoch(), 4),
                "target_tokens": work[1],
                "seconds": round(self.seconds, 3),
                "learning_rate": cast(LitTransformer, pl_module).schedule(trainer.global_step),
                "train_loss": self.mean_loss,
                "valid_loss": float(metrics["valid/loss"]),
                "valid_ppl": float(metrics["valid/ppl"]),
            }
        )
        self._write()
        self.since = time.perf_counter()

    def total_work(self) -> Work:
        """Return the work of all steps so far."""
        return Work(*self._settled_work())

    def training_seconds(self) -> float:
        """Return the training time so far, those of a resumed run's earlier pieces included."""
        return self.seconds + (time.perf_counter() - self.since if self.since else 0.0)

    def _settled_work(self) -> list[int]:
        if self.pending is not None:
            self.work = [done + new for done, new in zip(self.work, self.pending.tolist(), strict=True)]
            self.pending = None
        return list(self.work)

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


class Checkpoint(pl.Callback):
    """Writes last.ckpt whole or not at all: after each validation, every `every` steps, and when told to stop.

    A checkpoint carries the run's hash. Stand after `Curve`, whose row it holds. SIGINT and SIGTERM are noted and
    obeyed between two steps, when the weights and the optimiser agree; a second SIGINT interrupts at once.
    """

    def __init__(self, folder: Path, every: int, run_hash: str) -> None:
        self.path = folder / CHECKPOINT
        self.every = every
        self.run_hash = run_hash
        self.stop_signal: int | None = None
        self.saved_step = -1

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run_hash"] = self.run_hash

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint holds no half-gathered gradient, and a resumed run counts its batches in whole steps
        validates = trainer.val_check_interval and (batch_idx + 1) % int(trainer.val_check_interval) == 0
        if validates:
            return
        if self.stop_signal is not None or (step % self.every == 0 and step != self.saved_step):
            self.save(trainer)
        self._stop_if_told(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)
        self._stop_if_told(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint of this moment."""
        self.saved_step = trainer.global_step
        replace(self.path, lambda beside: trainer.save_checkpoint(beside))

    def _stop_if_told(self, trainer: pl.Trainer) -> None:
        """Leave by an exception: Lightning's own way out would validate first, and the curve would tell of the stop."""
        if self.stop_signal is not None and trainer.global_step < trainer.max_steps:
            raise UserError(
                f"stopped at step {trainer.global_step} of {trainer.max_steps}; {self.path} holds it: "
                "run the same command again to go on"
            )

    def _note(self, number: int, frame: Any) -> None:
        if self.stop_signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop_signal = number


class Divergence(pl.Callback):
    """Stops a run whose loss is no longer finite and remembers the step: a result, not a crash.

    The loss is read every `every` steps, so that a GPU is not made to wait at each one.
    """

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self.step: int | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0 and not math.isfinite(float(outputs["loss"])):
            self._stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not math.isfinite(float(trainer.callback_metrics["valid/loss"])):
            self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        self.step = trainer.global_step
        trainer.should_stop = True


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
        if now - self.written > 2.0:
            self.written = now
            # Lightning hands out each batch's loss divided by the batches of a step
            self._write(trainer, float(outputs["loss"]) * trainer.accumulate_grad_batches)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
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
        row = self.curve.rows[-1]
        speed = row["target_tokens"] / max(row["seconds"], 1e-9)
        print(
            f"step {row['step']:>6.0f}/{self.steps}  train loss {row['train_loss']:.3f}  "
            f"valid ppl {row['valid_ppl']:.3f}  {speed:,.0f} target tokens/s",
            flush=True,
        )
