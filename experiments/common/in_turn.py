"""Several cells by one command line: one after another, each in a process of its own, as if typed one by one."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from experiments.common.outcome import VARIABLE, read_outcome
from experiments.config.cell import Cell
from lit_transformer.errors import TemporaryFailure, UserError

FORWARDED = (signal.SIGTERM, signal.SIGUSR1)
"""What a scheduler sends to us alone; Ctrl-C reaches the cell's process from the terminal."""


def run_in_turn(command: str, cells: Sequence[Cell], options: Sequence[str]) -> None:
    """Run `python -m experiments COMMAND` for each cell. A cell that fails leaves the others running.

    A process has its own peak memory, threads and W&B run. Raises UserError at the end if a cell failed, and
    TemporaryFailure, once the cell has stopped, where a signal asks for that.
    """
    failed: dict[str, str] = {}
    for number, cell in enumerate(cells, start=1):
        print(f"[{number}/{len(cells)}] {command} {cell.title}", flush=True)
        if reason := _failure(command, cell, options):
            failed[cell.title] = reason
    for title, reason in failed.items():
        print(f"FAILED {title}: {reason}")
    if failed:
        raise UserError(f"{len(failed)} of {len(cells)} cells failed (see above); fix the cause and run the same again")


def _failure(command: str, cell: Cell, options: Sequence[str]) -> str:
    """Run one cell and return why it failed, nothing where it did not."""
    outcome = cell.run_folder / "in_turn.json"
    outcome.parent.mkdir(parents=True, exist_ok=True)
    outcome.unlink(missing_ok=True)
    received: list[int] = []
    child = subprocess.Popen(
        [sys.executable, "-m", "experiments", command, *cell.arguments, *options],
        env={**os.environ, VARIABLE: str(outcome.resolve())},
    )

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        status = child.wait()
    except KeyboardInterrupt:
        child.wait()  # it finishes its step and writes a checkpoint
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise TemporaryFailure(f"stopped in {cell.title}; run the same command again to go on")
    if status == 0:
        return ""
    written = read_outcome(outcome)
    return written.error if written else f"exit status {status}"
