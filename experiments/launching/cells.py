"""The loop over cells, whatever engine runs them: tries again what crashed, counts how busy the slots were."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.launching.attempts import Job, Verdict
from experiments.launching.board import Board
from experiments.launching.engine import Ended, Engine
from experiments.launching.signals import told_once
from lit_transformer.errors import UserError


@dataclass
class Outcome:
    """What became of the jobs: the failed ones with their reasons, and the time that slots had and were used, in s."""

    failed: dict[Job, str] = field(default_factory=dict)
    offered: float = 0.0
    used: float = 0.0

    @property
    def occupancy(self) -> float:
        """The share of the slots' time in which a cell ran, from the first start to the last end."""
        return min(1.0, self.used / self.offered) if self.offered else 0.0


def run_cells(jobs: Sequence[Job], engine: Engine, board: Board, retries: int) -> Outcome:
    """Run every job; one that crashes is tried again up to `retries` times, after all that wait.

    Raises UserError on Ctrl-C. Whatever it raises, every process of every cell has ended by then.
    """
    outcome, tries, open_jobs = Outcome(), Counter[Job](), set(jobs)
    try:
        for job in jobs:
            engine.submit(job)
        since: float | None = None
        while open_jobs:
            events = engine.poll(1.0)
            now = time.monotonic()
            outcome.offered += engine.slots * (now - since) if since else 0.0
            for event in events:
                since = since or now
                if not isinstance(event, Ended):
                    board.started(event.job)
                    continue
                job, end = event.job, event.end
                outcome.used += end.seconds
                tries[job] += 1
                if end.verdict is Verdict.crashed and tries[job] <= retries:
                    board.again(job, end.reason)
                    engine.submit(job)
                    continue
                open_jobs.remove(job)
                if end.verdict is not Verdict.done:
                    outcome.failed[job] = end.reason
                board.finished(job, end.verdict is Verdict.done)
            since = now if since else None
            board.refresh()
    except BaseException as error:
        board.close()
        with told_once():
            _stop(engine)
        if isinstance(error, KeyboardInterrupt):
            said = "stopped; running cells wrote a checkpoint: run the same command again to go on"
            raise UserError(said) from None
        raise
    return outcome


def _stop(engine: Engine) -> None:
    """Stop every cell, however often Ctrl-C is pressed meanwhile: a keeper insists after a minute or so."""
    while True:
        try:
            return engine.stop()
        except KeyboardInterrupt:
            print("stopping already: trainings write their checkpoints", flush=True)
