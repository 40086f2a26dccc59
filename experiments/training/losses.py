"""The loss of every training step, over all ranks: averaged for the curve and W&B, and checked for divergence."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

READ_EVERY = 50
"""Steps between two reads of the losses: each makes a GPU wait."""


class Losses(pl.Callback):
    """Keeps the terms of each step's loss and stops a run in which one is no longer finite: a result, not a crash.

    The terms stay on the device, per rank, until all ranks read them at the same steps: every `READ_EVERY` steps, at a
    validation and for a checkpoint. Place it before callbacks that need a mean. `diverged_at` is the first optimiser
    step whose loss was not finite, or at which the validation loss was not.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values: list[list[float]] = []
        self.dropped = 0  # steps whose terms are no longer in `values`
        self.diverged_at: int | None = None
        self._step: Tensor | None = None
        self._unread: list[Tensor] = []
        self._strategy: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._strategy = trainer.strategy

    def state_dict(self) -> dict[str, Any]:
        self._read()
        names, values = list(self.names), [list(row) for row in self.values]
        return {"names": names, "values": values, "dropped": self.dropped, "diverged_at": self.diverged_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.names, self.values = state_dict["names"], state_dict["values"]
        self.dropped, self.diverged_at = state_dict["dropped"], state_dict["diverged_at"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_diverged(trainer)  # a resumed run that had diverged

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store the mean terms of the step; every `READ_EVERY` steps, read them and stop a diverged run."""
        terms = outputs["terms"]
        stacked = torch.stack(list(terms.values())).float() / trainer.accumulate_grad_batches
        self._step = stacked if self._step is None else self._step + stacked
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self.names = list(terms)
        self._unread.append(self._step)
        self._step = None
        if trainer.global_step % READ_EVERY == 0:
            self._read()
            self._stop_if_diverged(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._read()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.diverged_at is None and not math.isfinite(float(trainer.callback_metrics["valid/loss"])):
            self.diverged_at = trainer.global_step
        self._stop_if_diverged(trainer)

    def means(self, after: int) -> dict[str, float]:
        """Return the mean of each term over the steps after step `after` that were read; nan where there is none."""
        rows = self.values[max(after - self.dropped, 0) :]
        if not rows:
            return dict.fromkeys(self.names, math.nan)
        return {name: sum(row[i] for row in rows) / len(rows) for i, name in enumerate(self.names)}

    def drop(self, until: int) -> None:
        """Drop the steps up to `until`, which no later mean covers."""
        count = max(until - self.dropped, 0)
        self.values, self.dropped = self.values[count:], self.dropped + count

    def _read(self) -> None:
        if not self._unread:
            return
        new = torch.stack(self._unread)  # (steps, terms)
        self._unread = []
        if self._strategy is not None:
            new = self._strategy.reduce(new, reduce_op="mean")
        self.values += new.tolist()
        first_bad = next((i for i, row in enumerate(self.values) if not all(map(math.isfinite, row))), None)
        if self.diverged_at is None and first_bad is not None:
            self.diverged_at = self.dropped + first_bad + 1

    def _stop_if_diverged(self, trainer: pl.Trainer) -> None:
        if self.diverged_at is not None:
            trainer.should_stop = True
