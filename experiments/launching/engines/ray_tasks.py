"""The engine of GPUs and clusters: each attempt at a cell is a Ray task, which holds its share of a node.

Ray places tasks and notices lost nodes and workers; a task only waits for a child process (attempts.py). All nodes see
the project under the same path, on a shared file system, with the same environment. Retries are those of cells.py and
not Ray's, so that they are counted in the same way with and without Ray.
"""

import logging
import os
import socket
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from experiments.config.study import Study
from experiments.launching.attempts import Attempt, End, Job, Verdict, cannot_start, last_attempt
from experiments.launching.engines import Ended, Started
from experiments.launching.resources import Node, Share, share_of
from experiments.launching.supervisor import STOPPING
from lit_transformer.errors import UserError

NODES_EVERY = 5.0
"""Seconds between queries for the cluster's nodes."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}


class RayEngine:
    """Runs jobs as tasks of the cluster at `address`, else of a cluster of its own with the one `node`.

    `runs_per_gpu` None stands for one run per GPU where there are GPUs and the study uses them; else all cores are
    divided among `slots`. No more than `slots` run at once. Raises UserError where there is no cluster at `address`, or
    none of its nodes fits.
    """

    def __init__(
        self,
        study: Study,
        address: str | None = None,
        node: Node | None = None,
        runs_per_gpu: int | None = None,
        slots: int | None = None,
    ) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        local: dict[str, Any] = {}
        if address:
            _check_reachable(address)
        else:
            assert node
            local = {"num_cpus": node.cores, "num_gpus": node.gpus, "include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            where = f"--address {address}: no Ray cluster answers" if address else "Ray does not start here"
            raise UserError(f"{where} ({first}); `ray start --head` starts a cluster") from None
        self.ray: Any = ray
        self.max_slots = slots
        try:
            self.share: Share = share_of(self._nodes(), self._runs(study, runs_per_gpu), slots, study.devices)
        except BaseException:
            self.close()
            raise
        self.waiting: deque[Job] = deque()
        self.tasks: dict[Any, Job] = {}
        self.starting: dict[Job, str] = {}
        """Submitted jobs that have not started yet, and the attempt's id, which the run folder names once it has."""
        self.nodes_at, self.cluster_slots = 0.0, 0
        options = {"num_cpus": self.share.cpus, "num_gpus": self.share.gpus, "max_retries": 0}
        self.task = self.ray.remote(**options)(run_job)

    @property
    def slots(self) -> int:
        if time.monotonic() - self.nodes_at > NODES_EVERY:
            self.nodes_at = time.monotonic()
            self.cluster_slots = sum(self.share.slots(node) for node in self._nodes())
        return min(self.cluster_slots, self.max_slots or self.cluster_slots)

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def poll(self, seconds: float) -> list[Started | Ended]:
        """Submit waiting jobs as tasks and return what started and ended; waits at most `seconds` for an end."""
        while self.waiting and (self.max_slots is None or len(self.tasks) < self.max_slots):
            job = self.waiting.popleft()
            attempt_id = self.starting[job] = uuid.uuid4().hex
            self.tasks[self.task.remote(job, Path.cwd(), self.share.threads, attempt_id)] = job
        ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=seconds)
        if ready:  # and whatever else is ready by now
            ready, _ = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)
        ends = {self.tasks[ref]: self._end(ref) for ref in ready}
        started = [
            job for job, attempt_id in self.starting.items() if job in ends or last_attempt(job.folder) == attempt_id
        ]
        for job in started:
            del self.starting[job]
        for ref in ready:
            del self.tasks[ref]
        return [*(Started(job) for job in started), *(Ended(job, end) for job, end in ends.items())]

    def stop(self) -> None:
        """Cancel every task and wait for all of them, at most `STOPPING` + 5 seconds."""
        self.waiting.clear()
        for ref in self.tasks:
            self.ray.cancel(ref)
        if self.tasks:
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=STOPPING + 5)
        self.tasks.clear()

    def close(self) -> None:
        self.ray.shutdown()

    def _end(self, ref: Any) -> End:
        try:
            end = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:  # the exit status went with the worker
            return End(Verdict.crashed, f"{type(error).__name__}: the worker or its node was lost", 0.0)
        assert isinstance(end, End)
        return end

    def _runs(self, study: Study, runs_per_gpu: int | None) -> int:
        """Return the runs per GPU, 0 where cells compute on CPUs."""
        if study.on_cpu and runs_per_gpu is not None:
            raise UserError(f"--runs-per-gpu: study {study.name} sets trainer.accelerator to cpu; leave one out")
        if study.on_cpu or (runs_per_gpu is None and not any(node.gpus for node in self._nodes())):
            return 0
        return runs_per_gpu or 1

    def _nodes(self) -> list[Node]:
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return [Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in alive]


def _check_reachable(address: str) -> None:
    """Raise UserError where nothing listens at an address: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise UserError(f"--address {address}: Ray Client is not supported; name the cluster as HOST:6379")
    host, colon, port = address.rpartition(":")
    if not colon:
        return  # "auto": Ray finds the cluster of this machine, or says at once that there is none
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers ({error}); `ray start --head` starts one"
        ) from None


def run_job(job: Job, root: Path, threads: int, attempt_id: str) -> End:
    """Run one attempt to its end, on a worker. Cancelled, it lets the training write its checkpoint first."""
    try:
        attempt = Attempt(job, threads, attempt_id, root)
    except OSError as error:
        return cannot_start(error)
    try:
        while not (end := attempt.end()):
            time.sleep(0.05)  # a cancellation interrupts between two polls, not a wait for the child
    except BaseException:
        attempt.stop()
        raise
    return end
