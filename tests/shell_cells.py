"""Cells that run a line of shell in place of DVC, slow ones among them, and which of their processes still run."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil

from experiments.launching.attempts import Job
from experiments.launching.cells import CellsRun, run_cells
from experiments.launching.engines.processes import ProcessEngine
from experiments.launching.progress import CellProgress

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


def run(line: str, slots: int = 2, retries: int = 0, names: list[str] = NAMES) -> CellsRun:
    cells = jobs(line, names)
    progress, engine = CellProgress(cells), ProcessEngine(slots, threads=1)
    result = run_cells(cells, engine, progress, retries)
    progress.close()
    engine.close()
    return result


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


# The grandchild takes a while to stop, as a training ends its step, and starts a process for it; its parent waits.
SLOW = "trap 'sleep 1 && echo saved > $CELL.end; exit' TERM; echo $$ > $CELL.pid; while :; do sleep 0.05; done # %s"


def slow(tmp_path: Path) -> str:
    (tmp_path / "slow.sh").write_text(SLOW % tmp_path)
    return f"export CELL; sh {tmp_path}/slow.sh & wait"


def ctrl_c_once_two_run(folder: Path, patience: float = 20.0, after: float = 0.0) -> None:
    """Send SIGINT once two of the slow cells run; or when that fails, since nothing else stops them."""

    def press() -> None:
        try:
            wait_for(lambda: len(list(folder.glob("*.pid"))) == 2, patience)
        finally:
            time.sleep(after)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
