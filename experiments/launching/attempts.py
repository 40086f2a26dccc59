"""One try at a cell: how it is started, how it is stopped, and what its end means."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from experiments.common.io import write_json
from experiments.launching import keeper
from experiments.launching.pipeline import environment

LOG = "log.txt"
"""What the stages of a cell print, in its run folder."""
MARK = "attempt.json"
"""Who runs the cell since when: node, process, threads."""
USER_ERROR = 2
"""The exit status of a stage that refuses what the user asked for (`experiments.common.cli`)."""


@dataclass(frozen=True)
class Job:
    """A cell as an engine sees it: a name for people, a command, and the folder for its log and marks."""

    name: str
    command: tuple[str, ...]
    folder: Path


class Verdict(StrEnum):
    """What the end of a try means."""

    done = "done"
    refused = "refused"
    """A user's mistake: the next try would end in the same way."""
    crashed = "crashed"
    """Anything else, a killed process among it: another try goes on from the last checkpoint."""


@dataclass(frozen=True)
class End:
    """The end of a try, why, and the seconds for which it held its slot."""

    verdict: Verdict
    reason: str
    seconds: float


class Attempt:
    """A running try. `stop` lets the training write its checkpoint, and returns once no process of it is left.

    An OSError says that it could not begin (`cannot_begin`): the run folder cannot be written.
    """

    def __init__(self, job: Job, threads: int, mark: str, root: Path | None = None) -> None:
        root = root or Path.cwd()
        self.folder = root / job.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "progress.json").unlink(missing_ok=True)
        self.begun = time.monotonic()
        with open(self.folder / LOG, "ab") as log:
            self.log_from = log.tell()
            self.child = subprocess.Popen(
                [sys.executable, "-m", keeper.__name__, str(self.folder / ".lock"), *job.command],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(threads),
                start_new_session=True,  # Ctrl-C at the terminal reaches the launcher alone
            )
        about = {"mark": mark, "node": socket.gethostname(), "process": self.child.pid, "threads": threads}
        try:
            write_json(self.folder / MARK, {**about, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")})
        except OSError:
            self.stop()
            raise

    def end(self) -> End | None:
        """Return how the try ended, None while it runs."""
        code = self.child.poll()
        if code is None:
            return None
        if self.child.stdin:
            self.child.stdin.close()
        with open(self.folder / LOG, "rb") as log:
            log.seek(self.log_from)
            text = log.read().decode("utf-8", errors="replace")
        verdict, reason = judge(code, text)
        return End(verdict, reason, time.monotonic() - self.begun)

    def stop(self, wait: bool = True) -> None:
        """Ask for a stop; wait for the end of all processes unless told otherwise."""
        if self.child.stdin:
            self.child.stdin.close()
        if wait:
            self.child.wait()


def cannot_begin(error: OSError) -> End:
    """Return the end of a try that never began: its cell fails, and the others go on."""
    return End(Verdict.refused, f"{error.filename}: {error.strerror}", 0.0)


def judge(code: int, log: str) -> tuple[Verdict, str]:
    """Say what an exit status means, from what was printed: DVC ends with a status of its own, whatever the stage's."""
    if code == 0:
        return Verdict.done, ""
    said = [line.removeprefix("error: ") for line in log.splitlines() if line.startswith("error: ")]
    found = re.findall(r"exited with (-?\d+)", log)
    status = int(found[-1]) if found else code
    if status == USER_ERROR and said:
        # A training that somebody else told to stop holds a checkpoint, and one that found its folder taken can have
        # it later: neither was a mistake.
        passes = said[-1].startswith("stopped at step") or " is being written by process " in said[-1]
        return (Verdict.crashed if passes else Verdict.refused), said[-1]
    signal_number = -status if status < 0 else status - 128
    if 0 < signal_number < 65:
        return Verdict.crashed, f"ended by signal {signal_number}"
    lines = [line for line in log.splitlines() if line.strip()]
    return Verdict.crashed, said[-1] if said else (lines[-1] if lines else "no message")


def read_mark(folder: Path) -> str | None:
    """Return the mark of the try that last started in a run folder, None where there is none."""
    try:
        return str(json.loads((folder / MARK).read_text(encoding="utf-8"))["mark"])
    except (OSError, ValueError, KeyError):
        return None
