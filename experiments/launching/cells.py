"""The loop over cells, the same for every engine: retries what crashed, stops everything on Ctrl-C."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.launching.attempts import Job, Verdict
from experiments.launching.engines import Ended, Engine
from experiments.launching.progress import CellProgress
from experiments.launching.signals import repeated_signals_ignored
from lit_transformer.errors import UserError

RETRIES = 2
"""Default number of further attempts at a cell that crashes."""


@dataclass
class CellsRun:
    """The jobs that failed, with their reasons, and the seconds that slots were available and used."""

    failed: dict[Job, str] = field(default_factory=dict)
    available: float = 0.0
    used: float = 0.0

    @property
    def occupancy(self) -> float:
        """The share of the slots' time in which a cell ran, from the first start to the last end."""
        return min(1.0, self.used / self.available) if self.available else 0.0


def run_cells(jobs: Sequence[Job], engine: Engine, progress: CellProgress, retries: int) -> CellsRun:
    """Run every job; retry one that crashes up to `retries` times, each time after all that are waiting.

    Raises UserError on Ctrl-C. Whatever it raises, every process of every cell has ended by then.
    """
    result, attempts, remaining = CellsRun(), Counter[Job](), set(jobs)
    try:
        for job in jobs:
            engine.submit(job)
        last: float | None = None
        while remaining:
            events = engine.poll(1.0)
            now = time.monotonic()
            result.available += engine.slots * (now - last) if last else 0.0
            for event in events:
                last = last or now
                if not isinstance(event, Ended):
                    progress.started(event.job)
                    continue
                job, end = event.job, event.end
                result.used += end.seconds
                attempts[job] += 1
                if end.verdict is Verdict.crashed and attempts[job] <= retries:
                    progress.retry(job, end.reason)
                    engine.submit(job)
                    continue
                remaining.remove(job)
                if end.verdict is not Verdict.done:
                    result.failed[job] = end.reason
                progress.finished(job, end.verdict is Verdict.done)
            last = now if last else None
            progress.refresh()
    except BaseException as error:
        progress.close()
        with repeated_signals_ignored():
            _stop(engine)
        if isinstance(error, KeyboardInterrupt):
            raise UserError("stopped; running cells wrote a checkpoint: run the same command again to resume") from None
        raise
    return result


def _stop(engine: Engine) -> None:
    """Stop every cell, however often Ctrl-C is pressed meanwhile: supervisors kill what does not stop in time."""
    while True:
        try:
            return engine.stop()
        except KeyboardInterrupt:
            print("already stopping: trainings are writing their checkpoints", flush=True)
