"""The engine of one machine: a child process a slot, and how many slots a study has here."""

import time
from collections import deque

from experiments.common import machine
from experiments.config.study import Study
from experiments.launching.attempts import Attempt, Job, cannot_begin
from experiments.launching.engine import Ended, Started


def default_slots(study: Study) -> int:
    """One cell a core, or as many cores as it has processes; one at a time on a GPU, whose memory cells would share."""
    return 1 if gpus_here(study) else max(1, machine.cores() // study.devices)


def gpus_here(study: Study) -> int:
    """Return how many GPUs this machine offers to the cells of a study; 0 where they compute on the CPU."""
    if study.on_cpu:
        return 0
    import torch

    return torch.cuda.device_count()


class LocalEngine:
    """Runs jobs in `slots` child processes of `threads` threads each."""

    def __init__(self, slots: int, threads: int) -> None:
        self.slots = slots
        self.threads = threads
        self.waiting: deque[Job] = deque()
        self.running: dict[Job, Attempt] = {}

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def poll(self, seconds: float) -> list[Started | Ended]:
        deadline = time.monotonic() + seconds
        while True:
            events: list[Started | Ended] = [*self._ended(), *self._started()]
            if events or time.monotonic() > deadline:
                return events
            time.sleep(0.02)

    def stop(self) -> None:
        self.waiting.clear()
        for attempt in self.running.values():
            attempt.stop(wait=False)
        for attempt in self.running.values():
            attempt.stop()
        self.running.clear()

    def close(self) -> None:
        assert not self.running

    def _ended(self) -> list[Ended]:
        found = [Ended(job, end) for job, attempt in self.running.items() if (end := attempt.end())]
        for event in found:
            del self.running[event.job]
        return found

    def _started(self) -> list[Started | Ended]:
        found: list[Started | Ended] = []
        while self.waiting and len(self.running) < self.slots:
            job = self.waiting.popleft()
            try:
                self.running[job] = Attempt(job, self.threads, mark="local")
                found.append(Started(job))
            except OSError as error:
                found.append(Ended(job, cannot_begin(error)))
        return found
