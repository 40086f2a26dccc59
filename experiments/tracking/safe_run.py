"""A W&B run that can fail without stopping a training, and that takes every row of its history once."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb


class PatientRun:
    """Takes numbered rows; warns once and falls silent when W&B no longer takes what it is given.

    The first `known` rows, which W&B has from earlier pieces of the run, are passed over.
    """

    def __init__(self, run: "wandb.Run", known: int, warn: Callable[[str], None]) -> None:
        self.run = run
        self._known = known
        self._warn = warn
        self._broken = False

    def log(self, row: Mapping[str, Any], number: int) -> None:
        """Add row `number` of the history, counted from 0 since the training began."""
        if self._broken or number < self._known:
            return
        try:
            self.run.log(dict(row), step=number, commit=True)
        except Exception as error:
            self._broken = True
            self._warn(f"{type(error).__name__}: {error}; the training goes on without it")
