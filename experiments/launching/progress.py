"""The progress display: live on a terminal, elsewhere one line per finished cell."""

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.launching.attempts import Job

if TYPE_CHECKING:
    from rich.console import Console

TRAIN_SHARE = 0.8
"""The assumed share of training in a cell's time, for the estimate of the time left."""
WINDOW = 3600.0
"""Seconds over which speeds are averaged."""


class CellProgress:
    """A row per running cell, and one for all of them: bar, step, loss, speed and time left."""

    def __init__(
        self, jobs: Sequence[Job], console: "Console | None" = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = console or Console()
        self.clock = clock
        self.total = len(jobs)
        self.done = self.failed = 0
        self.running: dict[Job, Any] = {}
        """Of each running cell, the task of the display."""
        self.display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
            speed_estimate_period=WINDOW,
            get_time=clock,
            disable=not self.console.is_terminal,
        )
        self.overall = self.display.add_task(f"{self.total} cells", total=float(self.total), detail="")
        self.display.start()

    def started(self, job: Job) -> None:
        """Add a cell of which an attempt has started."""
        self.running[job] = self.display.add_task(job.name, total=None, detail=detail({}))

    def retry(self, job: Job, reason: str) -> None:
        """Report a crash after which another attempt follows."""
        self._remove(job)
        self._print(f"RETRY {job.name} later, from its last checkpoint: {reason}")

    def finished(self, job: Job, success: bool) -> None:
        """Report a cell that has ended for good."""
        seconds = self._remove(job)
        self.done += success
        self.failed += not success
        self._update_overall()
        count = f"[{self.done + self.failed}/{self.total}]"
        self._print(f"{count} {'done' if success else 'FAILED'} {job.name} in {seconds:.0f} s, {self.time_left()}")

    def refresh(self) -> None:
        """Read the progress of running cells, and redraw on a terminal."""
        for job, task in self.running.items():
            progress = read_progress(job)
            if progress:
                self.display.update(task, total=progress["steps"], completed=progress["step"])
            self.display.update(task, detail=detail(progress))
        self._update_overall()
        self.display.refresh()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.display.stop()

    def time_left(self) -> str:
        """Return the estimate of the time until the last cell ends."""
        seconds = self._task(self.overall).time_remaining
        return "time left unknown" if seconds is None else f"about {seconds / 60:.0f} min left"

    def _update_overall(self) -> None:
        waiting = self.total - self.done - self.failed - len(self.running)
        counts = f"{waiting} waiting, {len(self.running)} running, {self.done} done, {self.failed} failed"
        trained = sum(TRAIN_SHARE * share(read_progress(job)) for job in self.running)
        self.display.update(self.overall, completed=self.done + self.failed + trained, detail=counts)

    def _remove(self, job: Job) -> float:
        """Remove a cell's row; return the seconds for which it was shown."""
        task = self.running.pop(job, None)
        if task is None:
            return 0.0
        seconds = self._task(task).elapsed or 0.0
        self.display.remove_task(task)
        return float(seconds)

    def _task(self, task: Any) -> Any:
        return next(shown for shown in self.display.tasks if shown.id == task)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def read_progress(job: Job) -> dict[str, Any]:
    """Return the last progress that the training wrote: step, steps, loss, target_tokens_per_second; empty before."""
    try:
        return dict(json.loads((job.folder / "progress.json").read_text()))
    except (OSError, ValueError):
        return {}


def share(progress: dict[str, Any]) -> float:
    """Return the share of its training that a cell has completed, 0 to 1."""
    return float(progress["step"]) / float(progress["steps"]) if progress else 0.0


def detail(progress: dict[str, Any]) -> str:
    """Return what is shown of a running cell beside its bar."""
    if not progress:
        return "starting or scoring"
    step, steps, loss = progress["step"], progress["steps"], progress["loss"]
    if step >= steps:
        return "scoring"
    shown_loss = "loss not finite" if loss is None else f"loss {loss:.3f}"
    return f"step {step:,}/{steps:,}  {shown_loss}  {progress['target_tokens_per_second']:,.0f} tokens/s"
