"""The engine of one machine: one child process per slot."""

import time
from collections import deque

from experiments.launching.attempts import Attempt, Job, cannot_start
from experiments.launching.engines import Ended, Started


class ProcessEngine:
    """Runs jobs in `slots` child processes of `threads` threads each."""

    def __init__(self, slots: int, threads: int) -> None:
        self.slots = slots
        self.threads = threads
        self.waiting: deque[Job] = deque()
        self.running: dict[Job, Attempt] = {}

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def poll(self, seconds: float) -> list[Started | Ended]:
        """Start jobs in free slots and return what started and ended; waits at most `seconds` for the first event."""
        deadline = time.monotonic() + seconds
        while True:
            events: list[Started | Ended] = [*self._ended(), *self._started()]
            if events or time.monotonic() > deadline:
                return events
            time.sleep(0.02)

    def stop(self) -> None:
        """Signal every attempt at once, then wait for each: it stops after a checkpoint."""
        self.waiting.clear()
        for attempt in self.running.values():
            attempt.stop(wait=False)
        for attempt in self.running.values():
            attempt.stop()
        self.running.clear()

    def close(self) -> None:
        assert not self.running

    def _ended(self) -> list[Ended]:
        ended = [Ended(job, end) for job, attempt in self.running.items() if (end := attempt.end())]
        for event in ended:
            del self.running[event.job]
        return ended

    def _started(self) -> list[Started | Ended]:
        events: list[Started | Ended] = []
        while self.waiting and len(self.running) < self.slots:
            job = self.waiting.popleft()
            try:
                self.running[job] = Attempt(job, self.threads, attempt_id="local")
                events.append(Started(job))
            except OSError as error:
                events.append(Ended(job, cannot_start(error)))
        return events
