"""One attempt at a job, a cell's command under a supervisor, and how it ended."""

import json
import os
import socket
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from experiments.common.io import write_json
from experiments.common.outcome import read_outcome
from experiments.launching import supervisor
from lit_transformer.errors import UserError

LOG = "log.txt"
"""Output of the cell's stages, in its run folder."""
ATTEMPT = "attempt.json"
"""The last attempt that started in a run folder: its id, node, process and threads."""
OUTCOME = "outcome.json"
"""What a command that failed wrote (`experiments.common.outcome`)."""
LOCK = ".lock"
"""Held by the training that writes the run folder (`experiments.common.io.only_writer`)."""
TAIL = 4096
"""Bytes at the end of a log in which its last line is looked for."""


@dataclass(frozen=True)
class Job:
    """A cell as engines see it: its name, the command that runs it, and its run folder."""

    name: str
    command: tuple[str, ...]
    folder: Path


class Verdict(StrEnum):
    """How an attempt ended."""

    done = "done"
    user_error = "user_error"
    """The next attempt would end in the same way."""
    crashed = "crashed"
    """Anything else, killed and interrupted processes included: another attempt resumes from the last checkpoint."""


@dataclass(frozen=True)
class End:
    """The end of an attempt, the reason of a failure, and the seconds for which it held its slot."""

    verdict: Verdict
    reason: str
    seconds: float


class Attempt:
    """A running attempt, each process of which gets `threads`, or all cores where that is None.

    Raises OSError where the run folder cannot be written (`cannot_start`).
    """

    def __init__(self, job: Job, threads: int | None, attempt_id: str, root: Path | None = None) -> None:
        self.folder = (root or Path.cwd()) / job.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "progress.json").unlink(missing_ok=True)
        self.started = time.monotonic()
        with open(self.folder / LOG, "ab") as log:
            self.log_start = log.tell()
            self.process = supervisor.start(job.command, self.folder / LOCK, self.folder / OUTCOME, threads, root, log)
        about = {"id": attempt_id, "node": socket.gethostname(), "process": self.process.pid, "threads": threads}
        try:
            write_json(self.folder / ATTEMPT, {**about, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")})
        except OSError:
            self.stop()
            raise

    def end(self) -> End | None:
        """Return how the attempt ended, None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        self._close()
        verdict = {0: Verdict.done, UserError.status: Verdict.user_error}.get(status, Verdict.crashed)
        return End(verdict, self._reason(status) if status else "", time.monotonic() - self.started)

    def stop(self, wait: bool = True) -> None:
        """Stop the attempt after a checkpoint; unless `wait` is False, return once none of its processes is left."""
        self._close()
        if wait:
            self.process.wait()

    def _close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()

    def _reason(self, status: int) -> str:
        """Return the error that the command wrote, else the signal that ended it, else the last line of its log."""
        if written := read_outcome(self.folder / OUTCOME):
            return written.error
        if 128 < status < 128 + 65:
            return f"ended by signal {status - 128}"
        with open(self.folder / LOG, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self.log_start, size - TAIL))
            lines = log.read().decode("utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {status}, no output")


def cannot_start(error: OSError) -> End:
    """Return the end of an attempt that never started: its cell fails, and the others go on."""
    return End(Verdict.user_error, f"{error.filename}: {error.strerror}", 0.0)


def last_attempt(folder: Path) -> str | None:
    """Return the id of the attempt that last started in a run folder, None where there is none."""
    try:
        return str(json.loads((folder / ATTEMPT).read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError):
        return None
