"""What a person sees while many cells run: those running, those done, the time left."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from experiments.study import Cell

if TYPE_CHECKING:
    from rich.console import Group

TRAIN_SHARE = 0.8
"""How much of a cell's time its training is taken to be, in the estimate of the time left."""


@dataclass
class Board:
    """Shows cells waiting, running and done, and the time left: live on a terminal, a line a cell elsewhere."""

    cells: list[Cell]
    begun: float = field(default_factory=time.monotonic)
    running: dict[Cell, float] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        if self.live:
            self.live.start()

    def started(self, cell: Cell) -> None:
        self.running[cell] = time.monotonic()

    def finished(self, cell: Cell, well: bool) -> None:
        with self.lock:
            spent = time.monotonic() - self.running.pop(cell)
            self.done += well
            self.failed += not well
        word = "done" if well else "FAILED"
        count = f"[{self.done + self.failed}/{len(self.cells)}]"
        self.console.print(
            f"{count} {word} {cell.variant} seed {cell.seed} in {spent:.0f} s, {self._left()}", markup=False
        )

    def refresh(self) -> None:
        if self.live:
            self.live.update(self._table(), refresh=True)

    def close(self) -> None:
        if self.live:
            self.live.update("", refresh=True)
            self.live.stop()

    def _table(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for cell, since in list(self.running.items()):
            share = _share(cell)
            bar = ProgressBar(total=1.0, completed=share, width=30)
            table.add_row(f"{cell.variant} seed {cell.seed}", bar, f"{time.monotonic() - since:.0f} s")
        total = self.done + self.failed + sum(TRAIN_SHARE * _share(cell) for cell in list(self.running))
        overall = ProgressBar(total=float(len(self.cells)), completed=total, width=30)
        table.add_row(f"{self.done}/{len(self.cells)} cells", overall, self._left())
        return Group(Text(), table)

    def _left(self) -> str:
        """Estimate from the cells' progress so far."""
        progress = self.done + self.failed + sum(TRAIN_SHARE * _share(cell) for cell in list(self.running))
        if progress < 0.2:
            return "time left: measuring"
        spent = time.monotonic() - self.begun
        minutes = spent / progress * (len(self.cells) - progress) / 60
        return f"about {minutes:.0f} min left"


def _share(cell: Cell) -> float:
    """How much of its training a running cell has behind it, 0 to 1, from the progress file it keeps."""
    try:
        progress = json.loads((cell.run_folder / "progress.json").read_text())
    except (OSError, ValueError):
        return 0.0
    return float(progress["step"]) / float(progress["steps"])
