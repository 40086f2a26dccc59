"""The smallest study through Ray, with a worker killed and with a node lost: the results are the sequential ones.

To the bit, but for times. All trainings take one thread, since more of them may add floats in another order.
"""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from tests.killing import RECORD_TIMES
from tests.small_project import CELLS, FOUR_CELLS, call, copy_project, results

pytest.importorskip("ray", reason="the extra cluster is not installed")
pytestmark = pytest.mark.slow

LONGER = FOUR_CELLS.replace("steps: 160", "steps: 240").replace("checkpoint_every: 7", "checkpoint_every: 3")


def copy(folder: Path) -> Path:
    """Copy the project with the small study, its data not prepared."""
    copy_project(folder, LONGER.replace("    accelerator: cpu\n", ""))
    call(folder, "dvc", "config", "--local", "core.no_scm", "true")
    return folder


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run by DVC alone, one cell after the other."""
    folder = copy(tmp_path_factory.mktemp("sequential") / "project")
    call(folder, "dvc", "repro", "-q")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy(tmp_path / "project")


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    found = Cluster()
    yield found
    found.shutdown()


def launch(project: Path, cluster: Any, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments", "launch", "--study", "components", "--address", cluster.address]
    own = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    own["PATH"] = f"{Path(sys.executable).parent}:{own['PATH']}"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*command, *arguments], cwd=project, env=own, **pipes)


def wait_for(true: Callable[[], object], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def training(project: Path) -> list[Path]:
    """The checkpoints of cells that train at this moment."""
    found = (project / "runs/components").glob("*/seed*/last.ckpt")
    return [path for path in found if not path.with_name("training.json").exists()]


def assert_equal(project: Path, sequential: Path) -> None:
    stages = [set(yaml.safe_load((one / "dvc.lock").read_text())["stages"]) for one in (project, sequential)]
    assert stages[0] == stages[1]
    assert {f"{kind}@{variant}-{seed}" for kind in ("train", "evaluate") for variant, seed in CELLS} < stages[0]
    for cell in CELLS:
        ours, theirs = results(project, *cell), results(sequential, *cell)
        assert plain(ours / "training.json") == plain(theirs / "training.json")
        assert plain(ours / "scores.json") == plain(theirs / "scores.json")
        assert (ours / "probe.csv").read_bytes() == (theirs / "probe.csv").read_bytes()
        for split in ("test", "test_long", "test_comp"):
            name = f"translations/{split}.txt"
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()
        curves = [list(csv.DictReader((one / "curve.csv").open())) for one in (ours, theirs)]
        assert [drop(row) for row in curves[0]] == [drop(row) for row in curves[1]]
        variant, seed = cell
        path = f"runs/components/{variant}/seed{seed}/last.ckpt"
        weights = [torch.load(one / path, weights_only=True)["state_dict"] for one in (project, sequential)]
        for name, value in weights[0].items():
            assert torch.equal(value, weights[1][name]), name


def plain(path: Path) -> Any:
    return drop(json.loads(path.read_text()))


def drop(row: Any) -> Any:
    """Leave out times, and what follows from them, at every level."""
    if isinstance(row, list):
        return [drop(value) for value in row]
    return {k: drop(v) for k, v in row.items() if k not in RECORD_TIMES} if isinstance(row, dict) else row


def test_a_worker_is_killed(sequential: Path, project: Path, cluster: Any) -> None:
    """Two GPUs that are none, two runs on each; the worker of a training gets SIGKILL, and so does another training."""
    cluster.add_node(num_cpus=4, num_gpus=2, include_dashboard=False)
    child = launch(project, cluster, "--runs-per-gpu", "2")
    wait_for(lambda: training(project), child)
    first = training(project)[0]
    supervisor = psutil.Process(json.loads(first.with_name("attempt.json").read_text())["process"])
    worker = supervisor.parent()
    assert worker
    worker.kill()
    wait_for(lambda: [path for path in training(project) if path.parent != first.parent], child)
    second = next(path for path in training(project) if path.parent != first.parent)
    holder = int((second.with_name(".lock")).read_text().split()[0])
    psutil.Process(holder).kill()
    printed = child.communicate(timeout=600)[0]
    assert child.returncode == 0, printed
    assert "[4/4] done" in printed
    assert printed.count("RETRY") == 2, printed
    assert "4 at once" in printed
    assert "resuming from" in (first.with_name("log.txt")).read_text()
    assert_equal(project, sequential)


def test_a_node_is_lost(sequential: Path, project: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=1, include_dashboard=False)
    second = cluster.add_node(num_cpus=1)
    child = launch(project, cluster)
    wait_for(lambda: len(training(project)) == 2, child)
    cluster.remove_node(second, allow_graceful=False)
    printed = child.communicate(timeout=600)[0]
    assert child.returncode == 0, printed
    assert "[4/4] done" in printed
    assert printed.count("RETRY") == 1
    assert_equal(project, sequential)
