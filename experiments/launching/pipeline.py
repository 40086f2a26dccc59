"""A study's stages as DVC knows them: which are stale, and the command that runs a cell's."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from experiments.config.cell import Cell
from experiments.config.run_config import read_yaml
from experiments.config.study import ENSEMBLES, Study
from experiments.launching import keeper, quick_dvc
from lit_transformer.errors import UserError

DVC = (sys.executable, "-m", quick_dvc.__name__)


@dataclass(frozen=True)
class Pipeline:
    """The study's dvc.yaml, and the command that is `dvc` for it."""

    file: Path
    dvc: tuple[str, ...] = DVC

    @classmethod
    def of(cls, study: Study) -> "Pipeline":
        """Find the study's stages: its own dvc.yaml, or the root's for the default study."""
        if find_spec("dvc") is None:
            raise UserError("dvc is not installed; `make ablation` installs everything, or: pip install dvc")
        own, root = study.folder / "dvc.yaml", Path("dvc.yaml")
        if own.exists():
            return cls(own)
        if read_yaml(root)["vars"] == [str(study.folder / "study.yaml")]:
            return cls(root)
        raise UserError(f"{own} is missing; copy the dvc.yaml of experiments/studies/components_multi30k there")

    def joint(self, study: Study) -> "Pipeline | None":
        """Return the stages that score all seeds of a variant as one model, where the study asks for some."""
        own = study.folder / ENSEMBLES / "dvc.yaml"
        if not study.ensembles:
            return None
        if not own.exists():
            raise UserError(f"{own} is missing; copy it from the study systems, or leave out {ENSEMBLES} in study.yaml")
        return Pipeline(own, self.dvc)

    def address(self, stage: str) -> str:
        """Return the name of a stage as DVC's command line takes it."""
        return stage if self.file == Path("dvc.yaml") else f"{self.file}:{stage}"

    def stages(self, cell: Cell) -> list[str]:
        """Return the names of a cell's stages, in their order."""
        return [f"{kind}@{cell.variant}-{cell.seed}" for kind in ("train", "evaluate")]

    def stale(self) -> set[str]:
        """Return the names of stages that DVC would run, in this pipeline."""
        done = subprocess.run(
            [*self.dvc, "--wait-for-lock", "status", "--json", str(self.file)],
            capture_output=True,
            text=True,
            env=environment(),
        )
        if done.returncode != 0:
            raise UserError(f"dvc status failed: {' '.join(done.stderr.split()) or 'no message'}")
        return {name.rpartition(":")[2] for name in json.loads(done.stdout)}

    def touches(self, cell: Cell, stale: set[str]) -> bool:
        """Say whether a stage of the cell is among the stale ones."""
        return any(stage in stale for stage in self.stages(cell))

    def command(self, *stages: str, quiet: bool = True) -> list[str]:
        """Return the command that runs these stages where they are stale, and no others."""
        addresses = [self.address(stage) for stage in stages]
        return [*self.dvc, "--wait-for-lock", "repro", *(["-q"] if quiet else []), "-s", *addresses]

    def call(self, stage: str, out: TextIO | None = None) -> None:
        """Run one stage in the foreground; `out` takes what it prints, in place of our standard output.

        Its processes end with ours, however we end: a keeper sees to it.
        """
        lock = Path("runs") / f".{self.address(stage).replace(os.sep, '_').replace(':', '_')}.lock"
        command = [sys.executable, "-m", keeper.__name__, str(lock), *self.command(stage)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, env=environment(), start_new_session=True
        ) as child:
            try:
                code = child.wait()
            except BaseException:
                assert child.stdin
                child.stdin.close()
                child.wait()
                raise
        if code != 0:
            raise UserError(f"the stage {stage} failed; its message stands above")


def environment(threads: int | None = None) -> dict[str, str]:
    """Our own Python first on the path, since stages say `python`; threads a cell where they are shared out."""
    found = dict(os.environ)
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', '')}"
    found["DVC_NO_ANALYTICS"] = "1"
    if threads is not None:
        found["OMP_NUM_THREADS"] = str(threads)
    return found
