"""Each system in its own process, so that its settings, allocator and peak memory are its own.

A worker builds its system, reports that it is ready, then runs one turn per request and returns its seconds, while the
other workers are idle.
"""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from benchmarks.rounds import Turn
from lit_transformer.errors import UserError


class Job(Protocol):
    """What a worker runs."""

    def turn(self) -> float:
        """Do the work once and return its seconds."""

    def finish(self) -> dict[str, float]:
        """Return other measurements, by name, after the last turn."""


JobFactory = Callable[[], Job]
"""Builds the job inside the worker; must be picklable: a `functools.partial` of a module's function or class."""


class Worker(NamedTuple):
    """A process that waits for requests."""

    connection: Connection
    process: Any

    def turn(self) -> float:
        """Run the work once; return its seconds."""
        return float(self._request("turn"))

    def finish(self) -> dict[str, float]:
        """Return the job's other measurements."""
        measurements: dict[str, float] = self._request("finish")
        return measurements

    def _request(self, method: str) -> Any:
        self.connection.send(method)
        return self.receive()

    def receive(self) -> Any:
        """Wait for a reply; raises UserError for an error in the worker."""
        try:
            succeeded, reply = self.connection.recv()
        except EOFError:
            self.process.join()
            raise UserError(
                f"a process ended with status {self.process.exitcode}, perhaps for lack of memory"
            ) from None
        if not succeeded:
            raise UserError(reply)
        return reply


class Workers(dict[str, Worker]):
    """Workers by system. `left_out` has those that failed to build, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, str] = {}


@contextmanager
def start_workers(factories: dict[str, JobFactory]) -> Iterator[Workers]:
    """Start one worker per system, all at once, and stop them all at the end; one that fails to build is left out."""
    spawn = multiprocessing.get_context("spawn")
    workers = Workers()
    try:
        for name, factory in factories.items():
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=partial(_serve, theirs, factory), daemon=True)
            process.start()
            theirs.close()
            workers[name] = Worker(ours, process)
        for name in factories:
            try:
                workers[name].receive()
            except UserError as error:
                print(f"{name} is left out: {error}")
                workers.pop(name).process.join()
                workers.left_out[name] = str(error).strip().splitlines()[-1]
        yield workers
    finally:
        for worker in workers.values():
            worker.connection.close()
            worker.process.join()


def turns(workers: dict[str, Worker]) -> dict[str, Turn]:
    """Return each worker's turn, by system."""
    return {name: worker.turn for name, worker in workers.items()}


def _serve(connection: Connection, factory: JobFactory) -> None:
    try:
        job = factory()
        connection.send((True, None))
        while True:
            connection.send((True, getattr(job, connection.recv())()))
    except EOFError:
        return
    except UserError as error:
        connection.send((False, str(error)))
    except Exception:
        connection.send((False, traceback.format_exc()))
