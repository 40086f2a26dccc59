"""Keeps one command, and leaves none of its processes behind.

    python -m experiments.launching.keeper LOCK command argument ...

Whoever starts a keeper holds its standard input open. When that closes, because the starter closed it, ended or was
killed, the command's processes are asked to stop (SIGTERM: a training writes a checkpoint), and later made to. The same
happens when the keeper gets SIGTERM, SIGINT, SIGHUP or SIGUSR1, and to what a command that ended has left running. The
command starts once LOCK, a file that its predecessor may still hold while it stops, is free; the exit status is the
command's, 128 + n where signal n ended it, 143 where the keeper stopped it.
"""

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 60.0
"""Seconds for a step of training and a checkpoint."""
LAST_WORD = 10.0
LOCK_PATIENCE = PATIENCE + LAST_WORD + 20.0
STOPPED = 128 + signal.SIGTERM
HELPERS = ("wandb-core", "gpu_stats")
PR_SET_CHILD_SUBREAPER = 36


class Keeper:
    """Waits for two things at once: the end of the command, and the word to stop."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self.told = False
        self.woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._note)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        if sys.platform == "linux":  # orphans of the command come to us and not to process 1, which may not reap
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self, lock: Path, command: list[str]) -> int:
        """Run the command to its end, or to ours; return its exit status."""
        if not self._free(lock):
            return STOPPED
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        while child.poll() is None and not self.told:
            self._wait(None)
        told, code = self.told, child.poll()
        if told or code != 0 or _alive(child.pid):
            self.end(child.pid)
            child.wait()
        if told:
            return STOPPED
        assert code is not None
        return code if code >= 0 else 128 - code

    def end(self, group: int) -> None:
        """Ask the processes of a group to stop, wait for all of them, then insist; last, whoever left the group."""
        for number, seconds in ((signal.SIGTERM, self.patience), (signal.SIGKILL, LAST_WORD)):
            _send(group, number)
            deadline = time.monotonic() + seconds
            while _alive(group) and time.monotonic() < deadline:
                time.sleep(0.05)
        deadline = time.monotonic() + LAST_WORD
        while (strays := _strays()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for stray in strays:
            with suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)

    def _free(self, lock: Path) -> bool:
        """Wait until nobody holds the lock; False where we are told to stop meanwhile."""
        deadline = time.monotonic() + LOCK_PATIENCE
        lock.parent.mkdir(parents=True, exist_ok=True)
        with open(lock, "a", encoding="utf-8") as handle:
            while not self.told and time.monotonic() < deadline:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except OSError:
                    self._wait(0.2)
        return not self.told  # whoever still holds it is named by the command

    def _wait(self, seconds: float | None) -> None:
        ready, _, _ = select.select([0, self.woken], [], [], seconds)
        if self.woken in ready:
            os.read(self.woken, 4096)
        if 0 in ready and not os.read(0, 4096):
            self.told = True

    def _note(self, number: int, frame: object) -> None:
        self.told = True


def _send(group: int, number: signal.Signals) -> None:
    """Signal the processes of a group; W&B's helpers are spared SIGTERM: the run still has to tell them its last."""
    if number == signal.SIGKILL:
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        return
    import psutil

    for process in psutil.process_iter(["name"]):
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.info["name"] not in HELPERS:
                os.kill(process.pid, number)


def _alive(group: int) -> bool:
    """Say whether a process of the group still runs; reaps those that do not."""
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


if __name__ == "__main__":
    sys.exit(Keeper().run(Path(sys.argv[1]), sys.argv[2:]))
