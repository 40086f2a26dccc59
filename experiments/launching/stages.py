"""A study's DVC stages: which are stale, and the command that runs a cell's."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from experiments.config.cell import Cell, cell_of, cells_of
from experiments.config.stages import files_of, write_stages
from experiments.config.study import ENSEMBLES, TUNING, Study
from experiments.config.trials import Trial, trials_of
from experiments.launching.attempts import LOG, Attempt, Job, Verdict
from experiments.launching.signals import repeated_signals_ignored
from lit_transformer.errors import TemporaryFailure, UserError

DVC = (sys.executable, "-m", "dvc")
KINDS = ("train", "evaluate")
"""The stages of a cell, in their order."""


@dataclass(frozen=True)
class Stages:
    """The stages of one dvc.yaml; `dvc` is the command that is DVC."""

    file: Path
    dvc: tuple[str, ...] = DVC

    @classmethod
    def of(cls, study: Study) -> "Stages":
        """Return the stages of the study's cells, its dvc.yaml written where that is missing or out of date."""
        if find_spec("dvc") is None:
            raise UserError("dvc is not installed; `make ablation` installs everything, or: pip install dvc")
        files = files_of(study)
        write_stages(files)
        return cls(next(iter(files)))

    def of_ensembles(self, study: Study) -> "Stages | None":
        """Return the stages that score all seeds of a variant as one model; None where the study has no ensembles."""
        return Stages(study.folder / ENSEMBLES / "dvc.yaml", self.dvc) if study.ensembles else None

    def of_tuning(self, study: Study) -> "Stages | None":
        """Return the stages of trials and tuned cells; None where the study has no `tune`."""
        return Stages(study.folder / TUNING / "dvc.yaml", self.dvc) if study.tune else None

    def stale(self) -> set[str]:
        """Return the names of the stages that DVC would run; raise TemporaryFailure where some run at this moment."""
        return set(self._status())

    def stale_after_checkout(self) -> set[str]:
        """Return the names of the stages that DVC would run after its cache has given back what it has.

        These are the outs that dvc.lock names, of stages whose inputs are unchanged, as after `git checkout`; DVC would
        run them, since it has no run cache for outs that persist. What is not in the cache, or would take the place of
        a file that is not, stays as it is: these stages run.
        """
        restored: set[str] = set()
        while True:
            status = self._status()
            outs_changed = {name for name, changes in status.items() if _only_outs(changes)} - restored
            if not outs_changed:
                return set(status)
            targets = [self._address(name) for name in sorted(outs_changed)]
            if self._call("checkout", "-q", *targets).returncode != 0:  # DVC stops at the first that it refuses
                for target in targets:
                    self._call("checkout", "-q", target)
            restored |= outs_changed  # once each; an evaluation follows its training

    def _status(self) -> dict[str, list[Any]]:
        """Return what has changed of each stale stage, as `dvc status` has it."""
        done = self._call("status", "--json", str(self.file))
        if blocked := re.search(r"is being blocked by:\s+\(PID (\d+)\)", done.stderr):
            raise TemporaryFailure(f"process {blocked[1]} runs stages of {self.file}; wait for it or stop it")
        if done.returncode != 0:
            raise UserError(f"dvc status failed: {' '.join(done.stderr.split()) or 'no message'}{_without_git()}")
        return {name.rpartition(":")[2]: changes for name, changes in json.loads(done.stdout).items()}

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.dvc, "--wait-for-lock", *arguments]
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)

    def job(self, cell: Cell) -> Job:
        """Return a cell as engines see it: one DVC process for its stages."""
        command = self.command(*(cell.stage(kind) for kind in KINDS))
        best = ", at its best value" if cell.tuned else ""
        return Job(f"{cell.variant} seed {cell.seed}{best}", tuple(command), cell.run_folder)

    def trial_job(self, trial: Trial) -> Job:
        """Return a trial as engines see it."""
        return Job(trial.name, tuple(self.command(trial.stage)), cell_of(trial).run_folder)

    def command(self, *stages: str) -> list[str]:
        """Return the command that runs these stages where they are stale, and no others."""
        return [*self.dvc, "--wait-for-lock", "repro", "-s", *(self._address(stage) for stage in stages)]

    def run(self, stage: str, *more: str, out: TextIO | None = None) -> None:
        """Run stages in the foreground, in one process, what they print copied to `out`, else to standard output.

        Its processes end with ours, however we end. Raises UserError where a stage fails.
        """
        out = out or sys.stdout
        folder = Path("runs/stages") / re.sub(r"[/:]", "_", self._address(stage))
        command = self.command(stage, *more)
        attempt = Attempt(Job(stage, tuple(command), folder), threads=None, attempt_id="foreground")
        with open(attempt.folder / LOG, encoding="utf-8", errors="replace") as log:
            log.seek(attempt.log_start)
            try:
                while not (end := attempt.end()):
                    time.sleep(0.1)
                    out.write(log.read())
                    out.flush()
            except BaseException:
                with repeated_signals_ignored():
                    attempt.stop()
                raise
            finally:
                out.write(log.read())
                out.flush()
        if end.verdict is not Verdict.done:
            raise UserError(f"the stage {stage} failed: {end.reason}")

    def _address(self, stage: str) -> str:
        """Return the name of a stage as DVC's command line takes it."""
        return stage if self.file == Path("dvc.yaml") else f"{self.file}:{stage}"


def _only_outs(changes: list[Any]) -> bool:
    """Return whether nothing has changed of a stage but its outs."""
    return all(isinstance(change, dict) and set(change) == {"changed outs"} for change in changes)


def stale_cells(study: Study, stale: set[str], tuned: bool = False) -> list[Cell]:
    """Return the cells that have a stage among the stale ones, in the order in which they run."""
    return [cell for cell in cells_of(study, tuned) if any(cell.stage(kind) in stale for kind in KINDS)]


def every_stage(study: Study) -> tuple[set[str], set[str], set[str]]:
    """Return the names of all stages of a study as DVC has them: of its cells, of its ensembles, of its trials."""
    cells, tuned = (
        {cell.stage(kind) for cell in cells_of(study, at_best) for kind in KINDS} for at_best in (False, True)
    )
    ensembles = {f"ensemble@{variant}" for variant in study.ensembles}
    tuning = {trial.stage for trial in trials_of(study)} | tuned if study.tune else set()
    return {"prepare", *cells, "report"}, ensembles, tuning


def _without_git() -> str:
    """Return what to do where the project is a copy without its history, of which DVC was not told; else nothing."""
    settings = Path(".dvc/config.local")
    if Path(".git").exists() or (settings.is_file() and "no_scm" in settings.read_text(encoding="utf-8")):
        return ""
    return "; a copy without .git needs `git init`, or `dvc config --local core.no_scm true`"
