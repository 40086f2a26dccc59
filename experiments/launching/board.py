"""What a person sees while many cells run: those waiting, running, done and failed, and the time left."""

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.launching.attempts import Job

if TYPE_CHECKING:
    from rich.console import Group

TRAIN_SHARE = 0.8
"""How much of a cell's time its training is taken to be, in the estimate of the time left."""


@dataclass
class Watched:
    """A running cell: since when, and the first step that was seen, from which its speed is reckoned."""

    since: float
    first: tuple[float, float] | None = None
    """(step, time)"""

    def left(self, step: float, steps: float, now: float) -> float | None:
        """Return the seconds of training left, None while the speed is unknown."""
        if self.first is None:
            self.first = (step, now)
        gone, spent = step - self.first[0], now - self.first[1]
        return (steps - step) * spent / gone if gone > 0 else None


@dataclass
class Board:
    """Shows cells waiting, running and done, and the time left: live on a terminal, a line a cell elsewhere."""

    jobs: list[Job]
    begun: float = field(default_factory=time.monotonic)
    running: dict[Job, Watched] = field(default_factory=dict)
    done: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        if self.live:
            self.live.start()

    def started(self, job: Job) -> None:
        """A try of the cell has its slot."""
        self.running[job] = Watched(time.monotonic())

    def again(self, job: Job, reason: str) -> None:
        """A try crashed, and another will follow."""
        self.running.pop(job, None)
        self._print(f"AGAIN {job.name} later, from its last checkpoint: {reason}")

    def finished(self, job: Job, well: bool) -> None:
        """The cell has ended for good."""
        watched = self.running.pop(job, None)
        spent = time.monotonic() - watched.since if watched else 0.0
        self.done += well
        self.failed += not well
        count = f"[{self.done + self.failed}/{len(self.jobs)}]"
        self._print(f"{count} {'done' if well else 'FAILED'} {job.name} in {spent:.0f} s, {self._left()}")

    def refresh(self) -> None:
        """Draw anew, on a terminal."""
        if self.live:
            self.live.update(self.table(), refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.live:
            self.live.update("", refresh=True)
            self.live.stop()

    def table(self) -> "Group":
        """Return a row a running cell, and one of totals."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for job, watched in self.running.items():
            progress = read_progress(job)
            bar = ProgressBar(total=1.0, completed=share(progress), width=20)
            table.add_row(job.name, bar, *details(progress, watched, time.monotonic()))
        overall = ProgressBar(total=float(len(self.jobs)), completed=self._behind(), width=20)
        waiting = len(self.jobs) - self.done - self.failed - len(self.running)
        counts = f"{waiting} waiting, {len(self.running)} running, {self.done} done, {self.failed} failed"
        return Group(Text(), table, _row(counts, overall, self._left()))

    def _behind(self) -> float:
        """How many cells are behind us, running ones in part."""
        return self.done + self.failed + sum(TRAIN_SHARE * share(read_progress(job)) for job in self.running)

    def _left(self) -> str:
        """Estimate from the cells' progress so far."""
        behind = self._behind()
        if behind < 0.2:
            return "time left: measuring"
        spent = time.monotonic() - self.begun
        return f"about {spent / behind * (len(self.jobs) - behind) / 60:.0f} min left"

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def read_progress(job: Job) -> dict[str, Any]:
    """Return what the cell's training said last: step, steps, loss, target_tokens_per_second; empty before it did."""
    try:
        return dict(json.loads((job.folder / "progress.json").read_text()))
    except (OSError, ValueError):
        return {}


def share(progress: dict[str, Any]) -> float:
    """Return how much of its training a cell has behind it, 0 to 1."""
    return float(progress["step"]) / float(progress["steps"]) if progress else 0.0


def details(progress: dict[str, Any], watched: Watched, now: float) -> list[str]:
    """Return the columns of a running cell: step, loss, speed, and the time left or spent."""
    spent = f"{now - watched.since:.0f} s"
    if not progress:
        return ["starting or scoring", "", "", spent]
    step, steps, loss = progress["step"], progress["steps"], progress["loss"]
    if step >= steps:
        return ["scoring", "", "", spent]
    left = watched.left(step, steps, now)
    return [
        f"step {step:,}/{steps:,}",
        "loss not finite" if loss is None else f"loss {loss:.3f}",
        f"{progress['target_tokens_per_second']:,.0f} tokens/s",
        f"{spent}, speed unknown" if left is None else f"{left:.0f} s left",
    ]


def _row(*columns: Any) -> Any:
    from rich.table import Table

    row = Table.grid(padding=(0, 2))
    row.add_row(*columns)
    return row
