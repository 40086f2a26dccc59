"""The rows of a run's history: what W&B shows. A killed and resumed run has each of them once."""

from collections.abc import Mapping
from typing import Any, cast

import pytorch_lightning as pl

from experiments.tracking.safe_run import PatientRun
from experiments.tracking.wandb import STEP
from experiments.training.losses import READ_EVERY, Losses
from lit_transformer.module import LitTransformer


class History(pl.Callback):
    """Numbers the rows, keeps them in the checkpoint, and gives them to W&B, where there is a run.

    W&B writes rows late and loses the last ones with a killed process, or has some of after the last checkpoint. So a
    resumed run gives it all rows of its checkpoint again; it knows them by number. Rows: every `READ_EVERY` steps
    the learning rate and the mean of each term of the loss over these steps; the validation's loss and perplexity; and
    what others `add`. Stand after `Losses` and before `CheckpointWriter`.
    """

    def __init__(self, losses: Losses, run: PatientRun | None = None) -> None:
        self.losses = losses
        self.run = run
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def add(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, of an optimiser step where it is one's."""
        self.rows.append({**values} if step is None else {**values, STEP: step})
        self._send(len(self.rows) - 1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number in range(len(self.rows)):
            self._send(number)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and step % READ_EVERY == 0:
            means = {f"train/{name}": value for name, value in self.losses.means(step - READ_EVERY).items()}
            self.add({**means, "lr": cast(LitTransformer, pl_module).schedule(step)}, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.add({name: float(metrics[name]) for name in ("valid/loss", "valid/ppl")}, trainer.global_step)

    def _send(self, number: int) -> None:
        if self.run:
            self.run.log(self.rows[number], number)
