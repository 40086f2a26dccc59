"""The engine of GPUs and clusters: each try at a cell is a Ray task, which holds its share of a node.

Ray places tasks and notices nodes and workers that are lost; a task only keeps a child process (attempts.py). All nodes
see the project under the same path, on a shared file system, with the same environment. Retries are not Ray's but those
of cells.py, so that they are counted alike with and without Ray.
"""

import logging
import os
import socket
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from experiments.config.study import Study, load_study
from experiments.launching.attempts import Attempt, End, Job, Verdict, cannot_begin, read_mark
from experiments.launching.engine import Ended, Started
from experiments.launching.keeper import LAST_WORD, PATIENCE
from experiments.launching.slots import AUTO, Node, Share, share_of
from lit_transformer.errors import UserError

LOOK = 5.0
"""Seconds between looks at the cluster's nodes."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}


class RayEngine:
    """Runs jobs as tasks of a cluster: the one at `address`, else one of this machine's own `node`.

    `runs_per_gpu` is a number, AUTO for a probe on one of the cluster's GPUs, or None: one run a GPU where there are
    GPUs and the study uses them, else all cores are shared out among `slots`. No more than `slots` run at once.
    Raises UserError where there is no cluster at `address`, or none of its nodes fits.
    """

    def __init__(
        self,
        study: Study,
        address: str | None = None,
        node: Node | None = None,
        runs_per_gpu: int | str | None = None,
        slots: int | None = None,
    ) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        own: dict[str, Any] = {}
        if address:
            _refuse_silence(address)
        else:
            assert node
            own = {"num_cpus": node.cores, "num_gpus": node.gpus, "include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            where = f"--address {address}: no Ray cluster answers" if address else "Ray does not start here"
            raise UserError(f"{where} ({first}); `ray start --head` starts a cluster") from None
        self.ray: Any = ray
        self.most = slots
        try:
            self.share: Share = share_of(self._nodes(), self._runs(study, runs_per_gpu), slots, study.devices)
        except BaseException:
            self.close()
            raise
        self.waiting: deque[Job] = deque()
        self.tasks: dict[Any, Job] = {}
        self.marks: dict[Job, str] = {}
        """Of submitted jobs that have not started yet, the mark that tells it."""
        self.looked, self.seen = 0.0, 0
        options = {"num_cpus": self.share.cpus, "num_gpus": self.share.gpus, "max_retries": 0}
        self.task = self.ray.remote(**options)(run_job)

    @property
    def slots(self) -> int:
        if time.monotonic() - self.looked > LOOK:
            self.looked = time.monotonic()
            self.seen = sum(self.share.slots(node) for node in self._nodes())
        return min(self.seen, self.most or self.seen)

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def poll(self, seconds: float) -> list[Started | Ended]:
        while self.waiting and (self.most is None or len(self.tasks) < self.most):
            job = self.waiting.popleft()
            mark = self.marks[job] = uuid.uuid4().hex
            self.tasks[self.task.remote(job, Path.cwd(), self.share.threads, mark)] = job
        ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=seconds)
        if ready:  # and whatever else is ready by now
            ready, _ = self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=0)
        ends = {self.tasks[ref]: self._end(ref) for ref in ready}
        started = [job for job, mark in self.marks.items() if job in ends or read_mark(job.folder) == mark]
        for job in started:
            del self.marks[job]
        for ref in ready:
            del self.tasks[ref]
        return [*(Started(job) for job in started), *(Ended(job, end) for job, end in ends.items())]

    def stop(self) -> None:
        self.waiting.clear()
        for ref in self.tasks:
            self.ray.cancel(ref)
        if self.tasks:
            patience = PATIENCE + 2 * LAST_WORD + 5
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=patience)
        self.tasks.clear()

    def close(self) -> None:
        self.ray.shutdown()

    def _end(self, ref: Any) -> End:
        try:
            found = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            # The worker or its node is gone, with what it could have told.
            return End(Verdict.crashed, f"{type(error).__name__}: the worker or its node was lost", 0.0)
        assert isinstance(found, End)
        return found

    def _runs(self, study: Study, asked: int | str | None) -> int:
        """Return the runs for each GPU, 0 where cells compute on CPUs."""
        if study.on_cpu or (asked is None and not any(node.gpus for node in self._nodes())):
            if asked is not None:
                raise UserError(f"--runs-per-gpu: study {study.name} sets trainer.accelerator to cpu; leave one out")
            return 0
        if asked != AUTO:
            return int(asked or 1)
        if study.devices > 1 or not any(node.gpus for node in self._nodes()):
            return 1  # nothing to measure: cells have GPUs to themselves, or there is none, as `share_of` will say
        try:
            return int(self.ray.get(self.ray.remote(num_gpus=1)(probe).remote(study.name, Path.cwd())))
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise UserError(f"--runs-per-gpu auto: measuring failed ({error.cause}); give a number instead") from None

    def _nodes(self) -> list[Node]:
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return [Node(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in alive]


def _refuse_silence(address: str) -> None:
    """Raise UserError where nobody listens at an address: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise UserError(f"--address {address}: Ray's client is not part of this; name the cluster as HOST:6379")
    host, colon, port = address.rpartition(":")
    if not colon:
        return  # "auto": Ray finds the cluster of this machine, or says at once that there is none
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers ({error}); `ray start --head` starts one"
        ) from None


def probe(study: str, root: Path) -> int:
    """Return how many runs pay on a GPU of the node that this is run on."""
    from experiments.launching.gpu_probe import runs_that_pay

    os.chdir(root)
    return runs_that_pay(load_study(study))


def run_job(job: Job, root: Path, threads: int, mark: str) -> End:
    """Keep one try to its end; runs on a worker. Cancelled, it lets the training write its checkpoint first."""
    try:
        attempt = Attempt(job, threads, mark, root)
    except OSError as error:
        return cannot_begin(error)
    try:
        while not (end := attempt.end()):
            time.sleep(0.05)  # a cancellation interrupts between two looks, not a wait for the child
    except BaseException:
        attempt.stop()
        raise
    return end
