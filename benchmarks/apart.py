"""A system in a process of its own: its settings, its allocator and its peak memory are then its own as well.

A process builds what it is told to, says that it is ready, and does its work each time it is asked to, answering with
the seconds that it took. Others rest meanwhile.
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


class Work(Protocol):
    """What happens in the process."""

    def turn(self) -> float:
        """Do the work once and return its seconds."""

    def finish(self) -> dict[str, float]:
        """Return other figures, by name, once the turns are over."""


Begin = Callable[[], Work]
"""Runs in the process; must be picklable: a `functools.partial` of a function of a module."""


class Process(NamedTuple):
    """A process that waits for its turns."""

    connection: Connection
    process: Any

    def turn(self) -> float:
        """Let it do its work once; return the seconds."""
        return float(self._ask("turn"))

    def finish(self) -> dict[str, float]:
        """Ask for its other figures."""
        figures: dict[str, float] = self._ask("finish")
        return figures

    def _ask(self, what: str) -> Any:
        self.connection.send(what)
        return self.answer()

    def answer(self) -> Any:
        """Wait for its word; what went wrong there is raised here."""
        try:
            well, said = self.connection.recv()
        except EOFError:
            self.process.join()
            raise UserError(
                f"a process ended with status {self.process.exitcode}, perhaps for lack of memory"
            ) from None
        if not well:
            raise UserError(said)
        return said


@contextmanager
def processes(begin: dict[str, Begin]) -> Iterator[dict[str, Process]]:
    """Start a process for each system, and end them all; one that cannot begin is left out, with a line."""
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, Process] = {}
    try:
        for name, build in begin.items():
            here, there = spawn.Pipe()
            child = spawn.Process(target=partial(_serve, there, build), daemon=True)
            child.start()
            there.close()
            process = Process(here, child)
            try:
                process.answer()
            except UserError as error:
                print(f"{name} is left out: {error}")
                child.join()
            else:
                found[name] = process
        yield found
    finally:
        for process in found.values():
            process.connection.close()
            process.process.join()


def turns(running: dict[str, Process]) -> dict[str, Turn]:
    """Return the turn of each process."""
    return {name: process.turn for name, process in running.items()}


def _serve(connection: Connection, begin: Begin) -> None:
    try:
        work = begin()
        connection.send((True, None))
        while True:
            connection.send((True, getattr(work, connection.recv())()))
    except EOFError:
        return
    except UserError as error:
        connection.send((False, str(error)))
    except Exception:
        connection.send((False, traceback.format_exc()))
