"""Cells that are a line of shell in place of DVC, run by the launcher; slow ones, and who of them still lives."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil

from experiments.launching.attempts import Job
from experiments.launching.board import Board
from experiments.launching.cells import Outcome, run_cells
from experiments.launching.local import LocalEngine

ROOT = Path(__file__).parent.parent
STUDY = {
    "name": "tiny",
    "question": "?",
    "corpus": "grammar",
    "baseline": "a",
    "seeds": [0, 1],
    "base": {"recipe": "paper", "model": {}, "data": {}, "optim": {}, "trainer": {}, "decode": {}},
    "variants": {"a": {}, "b": {}, "c": {}},
}
NAMES = [f"{variant}-{seed}" for seed in (0, 1) for variant in ("a", "b", "c")]


def jobs(line: str, names: list[str] = NAMES) -> list[Job]:
    """Jobs that run a shell line in place of DVC; $CELL names the cell."""
    return [Job(name, ("sh", "-c", f"CELL={name}; {line}"), Path("runs") / name) for name in names]


def run(line: str, slots: int = 2, retries: int = 0, names: list[str] = NAMES) -> Outcome:
    own = jobs(line, names)
    board, engine = Board(own), LocalEngine(slots, threads=1)
    outcome = run_cells(own, engine, board, retries)
    board.close()
    engine.close()
    return outcome


def processes(marker: str) -> list[psutil.Process]:
    """Every living process with these words in its command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or [])
        if marker in words and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process)
    return found


def wait_for(true, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# The grandchild takes a while to obey, as a training ends its step; its parent leaves at once, as DVC does.
SLOW = "trap 'sleep 0.5; echo saved > $CELL.end; exit' TERM; echo $$ > $CELL.pid; while :; do sleep 0.05; done # %s"


def slow(tmp_path: Path) -> str:
    (tmp_path / "slow.sh").write_text(SLOW % tmp_path)
    return f"export CELL; sh {tmp_path}/slow.sh & wait"


def ctrl_c_once_two_run(folder: Path, patience: float = 20.0, after: float = 0.0) -> None:
    """Press Ctrl-C, as it were, once two of the slow cells run; in any case, since nobody else ends what runs."""

    def press() -> None:
        try:
            wait_for(lambda: len(list(folder.glob("*.pid"))) == 2, patience)
        finally:
            time.sleep(after)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
