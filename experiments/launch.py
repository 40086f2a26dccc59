"""Run a study's stale cells several at once: `python -m experiments.launch --study S [--slots K] [--dry-run]`.

DVC says what is stale; the data stage runs once; then K slots take the cells one by one, each with its share of the
cores, as `dvc --wait-for-lock repro -s train@... evaluate@...`; the report comes last. A failed cell leaves the others
running. Ctrl-C stops every cell at its next step; the same command goes on from there.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from experiments import cli
from experiments.study import Cell, Study, load_study
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from rich.console import Group

TRAIN_SHARE = 0.8
"""How much of a cell's time its training is taken to be, in the estimate of the time left."""


def main() -> None:
    """Parse the command line and bring the study up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--slots", type=int, default=0, help="cells at once (default: one a core)")
    parser.add_argument("--dry-run", action="store_true", help="name the stale stages and stop")
    args = parser.parse_args()
    study = load_study(args.study)
    launch(study, args.slots or len(os.sched_getaffinity(0)), args.dry_run)


def launch(study: Study, slots: int, dry_run: bool = False) -> None:
    """Run what is stale; say so where nothing is."""
    pipeline = Pipeline.of(study)
    stale = pipeline.stale()
    page = study.report_folder / "index.html"
    if not stale:
        print(f"Nothing to do: every cell of {study.name} is up to date. The report: {page}")
        return
    cells = [cell for cell in _cells(study) if pipeline.touches(cell, stale) or "prepare" in stale]
    print(f"{study.name}: {len(cells)} of {len(_cells(study))} cells to run, {slots} at once")
    if dry_run:
        print("\n".join(sorted(stale)))
        return
    if "prepare" in stale:
        pipeline.call("prepare", log=None)
    board = Board(cells)
    failed = run_cells(cells, slots, pipeline, board)
    board.close()
    pipeline.call("report", log=None)
    if failed:
        names = ", ".join(f"{cell.variant}-{cell.seed}" for cell in failed)
        raise UserError(f"{len(failed)} cells failed ({names}); see {failed[0].run_folder / LOG}, then run this again")


LOG = "log.txt"


@dataclass(frozen=True)
class Pipeline:
    """The study's dvc.yaml, and the `dvc` beside this interpreter."""

    dvc: str
    file: Path

    @classmethod
    def of(cls, study: Study) -> "Pipeline":
        """Find the study's stages: its own dvc.yaml, or the root's for the default study."""
        beside = Path(sys.executable).with_name("dvc")
        dvc = str(beside) if beside.exists() else shutil.which("dvc")
        if dvc is None:
            raise UserError("dvc is not installed; `make ablation` installs everything, or: pip install dvc")
        own = study.folder / "dvc.yaml"
        return cls(dvc, own if own.exists() else Path("dvc.yaml"))

    def address(self, stage: str) -> str:
        return stage if self.file == Path("dvc.yaml") else f"{self.file}:{stage}"

    def stages(self, cell: Cell) -> list[str]:
        return [f"{kind}@{cell.variant}-{cell.seed}" for kind in ("train", "evaluate")]

    def stale(self) -> set[str]:
        """Return the names of stages that DVC would run, in this pipeline."""
        done = subprocess.run(
            [self.dvc, "status", "--json", str(self.file)], capture_output=True, text=True, env=_environment(0)
        )
        if done.returncode != 0:
            raise UserError(f"dvc status failed: {done.stderr.strip().splitlines()[-1]}")
        return {name.rpartition(":")[2] for name in json.loads(done.stdout)}

    def touches(self, cell: Cell, stale: set[str]) -> bool:
        return any(stage in stale for stage in self.stages(cell))

    def command(self, *stages: str) -> list[str]:
        return [self.dvc, "--wait-for-lock", "repro", "-q", "-s", *(self.address(stage) for stage in stages)]

    def call(self, stage: str, log: IO[str] | None) -> None:
        """Run one stage in the foreground."""
        status = subprocess.run(self.command(stage), stdout=log, stderr=log, env=_environment(0)).returncode
        if status != 0:
            raise UserError(f"the stage {stage} failed; its message stands above")


def _cells(study: Study) -> list[Cell]:
    """Seed by seed, so that an interrupted study holds whole comparisons."""
    return [Cell(study, variant, seed) for seed in study.seeds for variant in study.variants]


def run_cells(cells: list[Cell], slots: int, pipeline: Pipeline, board: "Board") -> list[Cell]:
    """Run the cells in `slots` processes at once; return those that failed, in their order."""
    threads = max(1, len(os.sched_getaffinity(0)) // slots)
    children: dict[int, subprocess.Popen[str]] = {}
    starting, stopping = threading.Lock(), threading.Event()

    def work(cell: Cell) -> bool:
        with starting:
            if stopping.is_set():
                return False
            child = _start(cell, pipeline, threads)
            children[child.pid] = child
        board.started(cell)
        well = child.wait() == 0
        del children[child.pid]
        board.finished(cell, well)
        return well

    with ThreadPoolExecutor(slots) as pool:
        running = {pool.submit(work, cell): cell for cell in cells}
        try:
            while wait(running, timeout=1.0).not_done:
                board.refresh()
        except KeyboardInterrupt:
            with starting:
                stopping.set()
            _stop(list(children.values()))
            board.close()
            raise UserError("stopped; running cells wrote a checkpoint: run the same command again to go on") from None
    return [cell for done, cell in running.items() if not done.result()]


def _start(cell: Cell, pipeline: Pipeline, threads: int) -> subprocess.Popen[str]:
    cell.run_folder.mkdir(parents=True, exist_ok=True)
    log = open(cell.run_folder / LOG, "a", encoding="utf-8")  # noqa: SIM115 - the child owns it
    with log:
        return subprocess.Popen(
            pipeline.command(*pipeline.stages(cell)),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=_environment(threads),
            start_new_session=True,
        )


def _stop(children: list[subprocess.Popen[str]], patience: float = 60.0) -> None:
    """Ask every process of every cell to stop, wait, then insist: no orphan stays."""
    for child in children:
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + patience
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _environment(threads: int) -> dict[str, str]:
    """Our own Python first on the path, since stages say `python`; threads per cell where they are shared out."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment["DVC_NO_ANALYTICS"] = "1"
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return environment


@dataclass
class Board:
    """Shows cells waiting, running and done, and the time left: live on a terminal, a line a cell elsewhere."""

    cells: list[Cell]
    begun: float = field(default_factory=time.monotonic)
    running: dict[Cell, float] = field(default_factory=dict)
    done: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        if self.live:
            self.live.start()

    def started(self, cell: Cell) -> None:
        self.running[cell] = time.monotonic()

    def finished(self, cell: Cell, well: bool) -> None:
        spent = time.monotonic() - self.running.pop(cell)
        self.done += well
        self.failed += not well
        word = "done" if well else "FAILED"
        count = f"[{self.done + self.failed}/{len(self.cells)}]"
        self.console.print(
            f"{count} {word} {cell.variant} seed {cell.seed} in {spent:.0f} s, {self._left()}", markup=False
        )

    def refresh(self) -> None:
        if self.live:
            self.live.update(self._table(), refresh=True)

    def close(self) -> None:
        if self.live:
            self.live.update("", refresh=True)
            self.live.stop()

    def _table(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for cell, since in list(self.running.items()):
            share = _share(cell)
            bar = ProgressBar(total=1.0, completed=share, width=30)
            table.add_row(f"{cell.variant} seed {cell.seed}", bar, f"{time.monotonic() - since:.0f} s")
        total = self.done + self.failed + sum(TRAIN_SHARE * _share(cell) for cell in list(self.running))
        overall = ProgressBar(total=float(len(self.cells)), completed=total, width=30)
        table.add_row(f"{self.done}/{len(self.cells)} cells", overall, self._left())
        return Group(Text(), table)

    def _left(self) -> str:
        """Estimate from the cells' progress so far."""
        progress = self.done + self.failed + sum(TRAIN_SHARE * _share(cell) for cell in list(self.running))
        if progress < 0.2:
            return "time left: measuring"
        spent = time.monotonic() - self.begun
        minutes = spent / progress * (len(self.cells) - progress) / 60
        return f"about {minutes:.0f} min left"


def _share(cell: Cell) -> float:
    """How much of its training a running cell has behind it, 0 to 1, from the progress file it keeps."""
    try:
        progress = json.loads((cell.run_folder / "progress.json").read_text())
    except (OSError, ValueError):
        return 0.0
    return float(progress["step"]) / float(progress["steps"])


if __name__ == "__main__":
    cli.run(main)
