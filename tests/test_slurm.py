"""The smallest study through a real Slurm of this machine's own: as an array of cells, and by Ray in an allocation.

Needs Debian's packages slurm-wlm and munge, and root, as slurmd does.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.small_project import CELLS, FOUR_CELLS, ROOT, call

SLURM = "experiments/launching/slurm"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)), reason="no Slurm, or not root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    script = ROOT / "experiments/launching/slurm/localhost.sh"
    subprocess.run(["bash", "-c", f"source {script} start {folder}"], check=True, stdin=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield
    del os.environ["SLURM_CONF"]
    pids = [int(path.read_text()) for path in folder.glob("*.pid")]
    subprocess.run(["bash", "-c", f"source {script} stop {folder}"], check=True)
    assert len(pids) == 4
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with the small study, which finds this interpreter as its environment."""
    copy = tmp_path / "project"
    skip = shutil.ignore_patterns(".git", ".venv", "runs", "data", "wandb", "results", "report", "tmp", "*cache")
    shutil.copytree(ROOT, copy, ignore=skip)
    (copy / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (copy / "runs").mkdir()
    (copy / "experiments/studies/components/study.yaml").write_text(FOUR_CELLS)
    (copy / "dvc.lock").unlink(missing_ok=True)
    call(copy, "dvc", "config", "--local", "core.no_scm", "true")
    return copy


def wait(project: Path, job: str) -> str:
    """Return what the job has printed, once it has left the queue."""
    deadline = time.monotonic() + 1800
    while call(project, "squeue", "--noheader", "--jobs", job, check=False).stdout:
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(1)
    return "".join(path.read_text() for path in sorted(project.glob(f"runs/slurm-{job}*.txt")))


def recorded(project: Path) -> set[str]:
    return set(yaml.safe_load((project / "dvc.lock").read_text())["stages"])


STAGES = {f"{kind}@{variant}-{seed}" for kind in ("train", "evaluate") for variant, seed in CELLS}


def test_an_array_of_cells(slurm: None, project: Path) -> None:
    module = ["python", "-m", "experiments", "array", "--study", "components", "--list"]
    cells = call(project, *module).stdout
    assert cells.split() == ["base-0", "h1-0", "base-1", "h1-1"]
    (project / "cells.txt").write_text(cells)
    submit = [
        "sbatch",
        "--parsable",
        "--array=0-3%2",
        f"{SLURM}/cells.sbatch",
        "components",
        "cells.txt",
    ]
    printed = wait(project, call(project, *submit).stdout.strip())
    assert printed.count("done in") == 4, printed
    assert recorded(project) >= STAGES
    assert call(project, *module).stdout == ""


def test_ray_inside_an_allocation(slurm: None, project: Path) -> None:
    pytest.importorskip("ray")
    submit = [
        "sbatch",
        "--parsable",
        "--nodes=2",
        "--cpus-per-task=1",
        f"{SLURM}/ray.sbatch",
        "components",
    ]
    printed = wait(project, call(project, *submit).stdout.strip())
    assert "4 of 4 cells to run, 2 at once" in printed
    assert "[4/4] done" in printed
    assert recorded(project) == {*STAGES, "prepare", "report"}
    assert not list(project.glob("runs/.ray-token-*"))
