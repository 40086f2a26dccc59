"""Runs one command and leaves none of its processes behind.

    python -m experiments.launching.supervisor LOCK COMMAND [ARGUMENT ...]

Whoever starts a supervisor (`start`) holds its standard input open. When that closes, because the starter closed it,
exited or was killed, the command is stopped; so it is on SIGTERM, SIGINT, SIGHUP or SIGUSR1. Processes left running by
a command that has ended are stopped as well.

The command starts once LOCK is free and no earlier attempt is left: a predecessor may be stopping, its training or the
DVC around it. The exit status is the command's, or the one in the file $LIT_OUTCOME where the command has written that;
128 + n where signal n ended it; 143 where the supervisor stopped it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from experiments.common import outcome
from experiments.common.io import locked

PATIENCE = 60.0
"""Seconds for a training to finish its step and write a checkpoint."""
RECORDING = 20.0
"""Seconds for DVC, its stage stopped, to finish writing dvc.lock, which a signal in between would destroy."""
LAST_WORD = 10.0
"""Seconds to react to a signal that asks for nothing but the end."""
STOPPING = PATIENCE + RECORDING + 3 * LAST_WORD
"""Seconds that a supervisor takes at most to stop its command."""
STOPPED = 128 + signal.SIGTERM
ATTEMPT_LOCK = ".attempt.lock"
"""The file, beside the lock of a training, that an attempt locks until all of it has ended."""
HELPERS = ("wandb-core", "gpu_stats")
"""Processes of W&B, which end with the run that they serve and still have to send its last lines."""
PR_SET_CHILD_SUBREAPER = 36


def start(
    command: Sequence[str],
    lock: Path,
    outcome_path: Path,
    threads: int | None = None,
    root: Path | None = None,
    log: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a supervisor of a command, which ends as soon as our end of its standard input is closed.

    It gives each process of the command that many `threads`, writes all output to `log`, and takes paths relative to
    `root`, by default the current folder.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # stages say `python`
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        outcome.VARIABLE: str((root or Path.cwd()) / outcome_path),
    }
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(lock), *command],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal reaches the launcher alone
    )


class Supervisor:
    """Waits for the end of the command or for the request to stop it, whichever comes first."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self.stop_requested = False
        self.woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        if sys.platform == "linux":  # orphans of the command come to us and not to process 1, which may not reap
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self, lock: Path, command: list[str]) -> int:
        """Run the command until it ends or is stopped; return the exit status."""
        if not self._acquired(lock):
            return STOPPED
        outcome_path = os.environ.get(outcome.VARIABLE)
        if outcome_path:
            Path(outcome_path).unlink(missing_ok=True)  # only now: the predecessor may have written one until here
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[self.attempt])
        while child.poll() is None and not self.stop_requested:
            self._wait(None)
        stopped, status = self.stop_requested, child.poll()
        if stopped or status != 0 or _alive(child.pid):
            self.stop(child.pid)
            child.wait()
        if stopped:
            return STOPPED
        assert status is not None
        if status and outcome_path and (written := outcome.read_outcome(Path(outcome_path))):
            return written.status
        return status if status >= 0 else 128 - status

    def stop(self, group: int) -> None:
        """Ask the command's processes to stop, then the command, then kill; last, whatever has left the group.

        The command itself comes after its children, which it sees end: DVC may be writing dvc.lock.
        """
        self._ask_children(group)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _alive(group):
                with suppress(ProcessLookupError):
                    os.killpg(group, number)
                _wait_until(lambda: not _alive(group), LAST_WORD)
        _wait_until(lambda: not _strays(), LAST_WORD)
        for stray in _strays():
            with suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)

    def _ask_children(self, group: int) -> None:
        """Send SIGTERM once to every process of the command but itself, and to those that it starts meanwhile.

        What a process starts while it stops is left alone: its checkpoint may need it.
        """
        signalled: set[int] = set()
        now = time.monotonic()
        deadline, children_seen = now + self.patience, now
        while _alive(group) and now < deadline and now < children_seen + min(RECORDING, self.patience):
            children = _children(group)
            for process in [process for process, parent in children.items() if not {process, parent} & signalled]:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGTERM)
            signalled |= children.keys()
            time.sleep(0.05)
            now = time.monotonic()
            children_seen = now if children else children_seen

    def _acquired(self, lock: Path) -> bool:
        """Wait until no other attempt and no training is left; return False where a stop is requested meanwhile.

        A training holds `lock`; an attempt has a lock beside it, as long as we or the command live.
        """
        deadline = time.monotonic() + STOPPING + LAST_WORD
        lock.parent.mkdir(parents=True, exist_ok=True)
        self.attempt = os.open(lock.with_name(ATTEMPT_LOCK), os.O_CREAT | os.O_RDWR)
        with open(lock, "a", encoding="utf-8") as training:
            for handle in (self.attempt, training):
                while not locked(handle) and not self.stop_requested and time.monotonic() < deadline:
                    self._wait(0.2)
        return not self.stop_requested  # the command itself will name whoever holds it

    def _wait(self, seconds: float | None) -> None:
        ready, _, _ = select.select([0, self.woken], [], [], seconds)
        if self.woken in ready:
            os.read(self.woken, 4096)
        if 0 in ready and not os.read(0, 4096):
            self.stop_requested = True

    def _request_stop(self, number: int, frame: object) -> None:
        self.stop_requested = True


def _children(group: int) -> dict[int, int]:
    """Return the live processes of a group and their parents, without the group's leader and W&B's helpers."""
    import psutil

    children = {}
    for process in psutil.process_iter(["name", "ppid", "status"]):
        with suppress(ProcessLookupError, PermissionError):
            running = process.info["status"] != psutil.STATUS_ZOMBIE and process.info["name"] not in HELPERS
            if running and process.pid != group and os.getpgid(process.pid) == group:
                children[process.pid] = process.info["ppid"]
    return children


def _alive(group: int) -> bool:
    """Return whether a process of the group still runs; reaps those that do not."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _strays() -> list[int]:
    """Return what is left of our own tree of processes, whatever its group."""
    with suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                import psutil

                return [process.pid for process in psutil.Process().children(recursive=True)]
    return []


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(Supervisor().run(Path(sys.argv[1]), sys.argv[2:]))
