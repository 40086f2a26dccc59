"""Lightning's W&B logger, made so that W&B can fail without stopping a training."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only


class PatientWandbLogger(WandbLogger):
    """A `WandbLogger` that warns once and falls silent when the run no longer takes what it is given."""

    def __init__(self, *, warn: Callable[[str], None], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._warn = warn
        self._broken = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._attempt(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self._attempt(super().log_hyperparams, params)

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        if self._broken:
            return
        try:
            action(*arguments)
        except Exception as error:
            self._broken = True
            self._warn(f"{type(error).__name__}: {error}; the training goes on without it")
