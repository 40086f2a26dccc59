"""TensorBoard and CSV beside W&B: Lightning's loggers, with the rows of a run's history."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from experiments.config.run_config import LoggerKind
from experiments.tracking.wandb import STEP
from lit_transformer.errors import UserError


class LoggerFiles:
    """One logger's files, <run folder>/<kind>: each row of the history once, at its optimiser step.

    A start of a training writes them anew, since a resumed one logs all rows of its checkpoint again. A row without a
    step, the last one, is logged at the step of the row before.
    """

    def __init__(self, kind: LoggerKind, folder: Path) -> None:
        shutil.rmtree(folder / kind.value, ignore_errors=True)
        self.step = 0
        self.logger: TensorBoardLogger | CSVLogger
        if kind is LoggerKind.csv:
            self.logger = CSVLogger(folder, name="", version=kind.value, flush_logs_every_n_steps=1)
        else:
            self.logger = TensorBoardLogger(folder, name="", version=kind.value, default_hp_metric=False)

    def log(self, row: Mapping[str, float], number: int) -> None:
        """Add a row of the history."""
        self.step = int(row.get(STEP, self.step))
        self.logger.log_metrics({name: value for name, value in row.items() if name != STEP}, self.step)

    def close(self) -> None:
        self.logger.finalize("success")


def open_loggers(kinds: Sequence[LoggerKind], folder: Path) -> list[LoggerFiles]:
    """Start the loggers of a training. Raises UserError where TensorBoard is not installed."""
    try:
        return [LoggerFiles(kind, folder) for kind in dict.fromkeys(kinds)]
    except ModuleNotFoundError:
        raise UserError(
            "tracking.loggers names tensorboard, which is not installed: "
            "pip install -c constraints.txt -e '.[tensorboard]'"
        ) from None
