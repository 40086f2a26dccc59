"""Run a study's stale cells several at once: `python -m experiments.launch --study S [--slots K] [--dry-run]`.

DVC says what is stale; the data stage runs once; then K slots take the cells one by one, each with its share of the
cores, as `dvc --wait-for-lock repro -s train@... evaluate@...`; then the variants that study.yaml names under
`ensembles` are scored, all seeds as one model; the report comes last. A failed cell leaves the others running. Ctrl-C
stops every cell at its next step; the same command goes on from there.
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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from experiments import cli, machine
from experiments.board import Board
from experiments.run_config import read_yaml
from experiments.study import ENSEMBLES, Cell, Study, load_study
from lit_transformer.errors import UserError

LOG = "log.txt"
"""What the stages of a cell print, in its run folder."""


def main() -> None:
    """Parse the command line and bring the study up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--slots", type=_positive, help="cells at once (default: one a core; one where a GPU is used)")
    parser.add_argument("--dry-run", action="store_true", help="name the stale stages and stop")
    args = parser.parse_args()
    study = load_study(args.study)
    launch(study, args.slots or default_slots(study), args.dry_run)


def default_slots(study: Study) -> int:
    """One cell a core on the CPU; one at a time on a GPU, whose memory the cells would share."""
    if study.config(study.baseline, study.seeds[0]).trainer.accelerator == "cpu":
        return machine.cores()
    import torch

    return 1 if torch.cuda.is_available() else machine.cores()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def launch(study: Study, slots: int, dry_run: bool = False) -> None:
    """Run what is stale; say so where nothing is."""
    pipeline = Pipeline.of(study)
    stale, joint = pipeline.stale(), pipeline.joint(study)
    page = study.report_folder / "index.html"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if "prepare" in stale and not dry_run:
        pipeline.call("prepare")
        stale = pipeline.stale()  # the same text again makes no cell stale
    if not (stale or (joint and joint.stale())):
        print(f"Nothing to do: every cell of {study.name} is up to date. The report: {page}")
        return
    cells = [cell for cell in _cells(study) if pipeline.touches(cell, stale)]
    print(f"{study.name}: {len(cells)} of {len(_cells(study))} cells to run, {slots} at once")
    if dry_run:
        print("\n".join(sorted(stale | (joint.stale() if joint else set()))))
        return
    board = Board(cells)
    failed = run_cells(cells, slots, pipeline, board)
    board.close()
    for cell in failed:
        print(f"FAILED {cell.variant} seed {cell.seed}: {_last_error(cell)} (see {cell.run_folder / LOG})")
    if joint:
        _join_seeds(joint, {cell.variant for cell in failed})
    pipeline.call("report")
    print(f"The page: {page.resolve()}")
    if failed:
        raise UserError(f"{len(failed)} of {len(cells)} cells failed, as said above; mend it and run the same again")


def _last_error(cell: Cell) -> str:
    """Return the last line of the cell's log in which one of our stages says what was wrong."""
    lines = (cell.run_folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else (lines[-1] if lines else "no message")


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
        own, root = study.folder / "dvc.yaml", Path("dvc.yaml")
        if own.exists():
            return cls(dvc, own)
        if read_yaml(root)["vars"] == [str(study.folder / "study.yaml")]:
            return cls(dvc, root)
        raise UserError(f"{own} is missing; copy the dvc.yaml of experiments/studies/components_multi30k there")

    def joint(self, study: Study) -> "Pipeline | None":
        """Return the stages that score all seeds of a variant as one model, where the study asks for some."""
        own = study.folder / ENSEMBLES / "dvc.yaml"
        if not study.ensembles:
            return None
        if not own.exists():
            raise UserError(f"{own} is missing; copy it from the study systems, or leave out {ENSEMBLES} in study.yaml")
        return Pipeline(self.dvc, own)

    def address(self, stage: str) -> str:
        return stage if self.file == Path("dvc.yaml") else f"{self.file}:{stage}"

    def stages(self, cell: Cell) -> list[str]:
        return [f"{kind}@{cell.variant}-{cell.seed}" for kind in ("train", "evaluate")]

    def stale(self) -> set[str]:
        """Return the names of stages that DVC would run, in this pipeline."""
        done = subprocess.run(
            [self.dvc, "--wait-for-lock", "status", "--json", str(self.file)],
            capture_output=True,
            text=True,
            env=_environment(0),
        )
        if done.returncode != 0:
            raise UserError(f"dvc status failed: {' '.join(done.stderr.split()) or 'no message'}")
        return {name.rpartition(":")[2] for name in json.loads(done.stdout)}

    def touches(self, cell: Cell, stale: set[str]) -> bool:
        return any(stage in stale for stage in self.stages(cell))

    def command(self, *stages: str) -> list[str]:
        return [self.dvc, "--wait-for-lock", "repro", "-q", "-s", *(self.address(stage) for stage in stages)]

    def call(self, stage: str) -> None:
        """Run one stage in the foreground."""
        if subprocess.run(self.command(stage), env=_environment(0)).returncode != 0:
            raise UserError(f"the stage {stage} failed; its message stands above")


def _join_seeds(joint: Pipeline, failed: set[str]) -> None:
    """Score the stale ensembles, but for variants of which a seed failed: theirs would be of fewer models."""
    for stage in sorted(joint.stale()):
        if stage.rpartition("@")[2] not in failed:
            joint.call(stage)


def _cells(study: Study) -> list[Cell]:
    """Seed by seed, so that an interrupted study holds whole comparisons."""
    return [Cell(study, variant, seed) for seed in study.seeds for variant in study.variants]


def run_cells(cells: list[Cell], slots: int, pipeline: Pipeline, board: Board) -> list[Cell]:
    """Run the cells in `slots` processes at once; return those that failed, in their order."""
    threads = max(1, machine.cores() // slots)
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
        if not stopping.is_set():
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
    (cell.run_folder / "progress.json").unlink(missing_ok=True)
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
    """Ask every process of every cell to stop, wait for all of them, then insist: no orphan stays.

    DVC leaves at once; the training behind it ends its step and writes a checkpoint first, so the group is waited for.
    """
    groups = {child.pid for child in children}
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + seconds
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        while _members(groups):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return


def _members(groups: set[int]) -> list[int]:
    """Return the processes of these process groups that still run."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with suppress(ProcessLookupError, PermissionError):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) in groups:
                found.append(process.pid)
    return found


def _environment(threads: int) -> dict[str, str]:
    """Our own Python first on the path, since stages say `python`; threads per cell where they are shared out."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment["DVC_NO_ANALYTICS"] = "1"
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return environment


if __name__ == "__main__":
    cli.run(main)
