"""Cells as Ray tasks: GPUs divided, a killed worker, a stop; nothing is left behind or lost."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments.config.study import Study, parse_study
from experiments.launching.attempts import Job
from experiments.launching.cells import CellsRun, run_cells
from experiments.launching.progress import CellProgress
from experiments.launching.resources import Node
from lit_transformer.errors import UserError
from tests.shell_cells import NAMES, ROOT, STUDY, ctrl_c_once_two_run, jobs, processes, slow, wait_for

pytest.importorskip("ray", reason="the extra cluster is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def study(**trainer: Any) -> Study:
    base = {**STUDY["base"], "trainer": trainer}
    return parse_study({**STUDY, "base": base}, Path("tiny/study.yaml"))


@contextmanager
def engine(node: Node | None = None, devices: int = 1, **options: Any) -> Iterator[Any]:
    from experiments.launching.engines.ray_tasks import RayEngine

    found = RayEngine(study(devices=devices), node=node or Node(2), **options)
    try:
        yield found
    finally:
        found.close()


def run(cells: list[Job], ray_engine: Any, retries: int = 0) -> CellsRun:
    progress = CellProgress(cells)
    result = run_cells(cells, ray_engine, progress, retries)
    progress.close()
    return result


def test_cells_share_the_gpus_and_each_sees_its_own() -> None:
    line = (
        "echo $CUDA_VISIBLE_DEVICES > $CELL.gpu; echo > now.$CELL; ls now.* | wc -l >> most.txt; sleep 1; rm now.$CELL"
    )
    with engine(Node(2, gpus=2), runs_per_gpu=2) as ray_engine:
        assert (ray_engine.slots, ray_engine.share.threads, ray_engine.share.gpus) == (4, 1, 0.5)
        outcome = run(jobs(line), ray_engine)
    assert outcome.failed == {}
    assert {Path(f"{name}.gpu").read_text().strip() for name in NAMES} == {"0", "1"}
    assert 2 < max(map(int, Path("most.txt").read_text().split())) <= 4


def test_a_cell_of_two_devices_has_two_gpus() -> None:
    with engine(Node(4, gpus=4), devices=2) as ray_engine:
        assert (ray_engine.slots, ray_engine.share.threads, ray_engine.share.gpus) == (2, 1, 2.0)
        outcome = run(jobs("echo $CUDA_VISIBLE_DEVICES > $CELL.gpu"), ray_engine)
    assert outcome.failed == {}
    assert {Path(f"{name}.gpu").read_text().strip() for name in NAMES} <= {"0,1", "2,3", "1,0", "3,2"}


def test_runs_per_gpu_without_a_gpu_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="no node of this cluster has a GPU"), engine(Node(2), runs_per_gpu=2):
        pass


def test_a_killed_worker_costs_one_attempt(tmp_path: Path) -> None:
    """SIGKILL to the Ray worker: its cell's processes end after a checkpoint, and the cell runs again."""
    line = f"if [ $CELL = a-0 ] && [ ! -e a-0.pid ]; then {slow(tmp_path)}; exit 1; fi; echo $CELL >> all.txt"

    def kill() -> None:
        wait_for(Path("a-0.pid").exists, 60)
        supervisor = json.loads(Path("runs/a-0/attempt.json").read_text())["process"]
        worker = psutil.Process(supervisor).parent()
        assert worker
        assert "ray::" in " ".join(worker.cmdline())
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with engine(Node(2, gpus=2)) as ray_engine:
        outcome = run(jobs(line), ray_engine, retries=1)
    killer.join()
    assert outcome.failed == {}
    assert sorted(Path("all.txt").read_text().split()) == sorted(NAMES)
    assert Path("a-0.end").read_text() == "saved\n"
    assert processes(f"{tmp_path}/slow.sh") == []


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_stops_every_task_after_a_checkpoint(tmp_path: Path) -> None:
    ctrl_c_once_two_run(tmp_path, 60.0)
    with engine() as ray_engine, pytest.raises(UserError, match="run the same command again"):
        run(jobs(slow(tmp_path)), ray_engine)
    assert processes(f"{tmp_path}/slow.sh") == []
    assert len(list(tmp_path.glob("*.end"))) == 2


def test_no_cluster_at_the_address_is_one_line() -> None:
    from experiments.launching.engines.ray_tasks import RayEngine

    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1: no Ray cluster answers") as caught:
        RayEngine(study(), address="127.0.0.1:1")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="name the cluster as HOST:6379"):
        RayEngine(study(), address="ray://127.0.0.1:10001")


def test_a_study_of_the_cpu_takes_no_gpus() -> None:
    from experiments.launching.engines.ray_tasks import RayEngine

    with pytest.raises(UserError, match=r"sets trainer\.accelerator to cpu"):
        RayEngine(study(accelerator="cpu"), node=Node(2, gpus=2), runs_per_gpu=2)
