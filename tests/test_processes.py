"""Who starts the processes of a run, by the config and the environment; and what they do together."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from experiments.config.run_config import TrainerConfig
from experiments.training import distributed as processes
from experiments.training.distributed import Processes
from lit_transformer.errors import UserError
from tests.killing import ROOT, assert_same, left, trained, write_project

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
STEP = {"SLURM_STEP_NUM_TASKS": "4"}


@pytest.fixture(autouse=True)
def started_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in (*TORCHRUN, "NODE_RANK", processes.STARTED_BY):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("devices", "nodes", "environment", "kind", "rank", "others_wait"),
    [
        (1, 1, {}, "Lightning", 0, False),
        (2, 1, {}, "Lightning", 0, False),
        (2, 2, {"NODE_RANK": "1"}, "Lightning", 2, False),
        (2, 1, {"LOCAL_RANK": "1"}, "Lightning", 1, True),
        (2, 2, TORCHRUN, "TorchElastic", 3, True),
        (1, 1, {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, "Lightning", 0, False),
        (2, 2, {**SLURM, **STEP}, "SLURM", 3, True),
        (1, 1, {**SLURM, **STEP}, "Lightning", 0, False),  # a cell that stands in somebody's step
        (2, 1, {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, "Lightning", 0, False),
        (4, 1, SLURM, "Lightning", 0, False),  # in a batch script, without srun
    ],
)
def test_the_processes_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
    devices: int,
    nodes: int,
    environment: dict[str, str],
    kind: str,
    rank: int,
    others_wait: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = Processes.of(TrainerConfig(devices=devices, num_nodes=nodes))
    assert type(found.environment).__name__ == f"{kind}Environment"
    assert (found.count, found.rank, found.others_wait) == (devices * nodes, rank, others_wait)
    assert found.first == (rank == 0)


@pytest.mark.parametrize(
    ("devices", "nodes", "environment", "message"),
    [
        (1, 1, TORCHRUN, "torchrun started 4 processes, and trainer.devices x trainer.num_nodes is 1 x 1"),
        (4, 2, TORCHRUN, "torchrun started 4 processes, .* is 4 x 2; make them the same"),
        (2, 2, {}, "is 2 x 2, and this is no torchrun and no srun of 4 tasks"),
        (4, 1, {**SLURM, **STEP, "SLURM_NTASKS_PER_NODE": ""}, "^Slurm: .*--ntasks-per-node"),
    ],
)
def test_what_does_not_fit_is_said(
    monkeypatch: pytest.MonkeyPatch, devices: int, nodes: int, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        if value:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        Processes.of(TrainerConfig(devices=devices, num_nodes=nodes))


def test_the_strategy_is_one_that_this_program_knows() -> None:
    with pytest.raises(UserError, match=r"trainer\.strategy is 'fsdp'; it must be one of auto, ddp, "):
        TrainerConfig(strategy="fsdp")


def test_a_process_of_a_run_does_not_outlive_the_one_that_started_it() -> None:
    child = (
        "import os, time; from experiments.training.distributed import _die_with_parent; "
        "_die_with_parent(int(os.environ['PARENT'])); print('here', flush=True); time.sleep(20); print('still')"
    )
    parent = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], env={{**os.environ, "PARENT": str(os.getpid())}})
time.sleep(60)
"""
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert running.stdout is not None
    assert running.stdout.readline() == "here\n"
    running.kill()
    running.wait()
    assert running.stdout.read() == ""  # ends when the last process that holds it is gone
    late = subprocess.run([sys.executable, "-c", child], env={**os.environ, "PARENT": "1"}, cwd=ROOT)
    assert late.returncode == 1  # its parent was gone already


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    write_project(root)
    return root


def run_folder(project: Path) -> Path:
    (folder,) = (project / "runs/killed").glob("base+*/seed3")
    return folder


def test_a_process_that_is_gone_is_a_line_and_every_other_error_stays(capsys: pytest.CaptureFixture[str]) -> None:
    lost = RuntimeError("[third_party/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:30188")
    two = Processes(2, 1, LightningEnvironment())
    with pytest.raises(SystemExit) as left_by, two.together():
        raise lost
    assert left_by.value.code == 1  # a crash: a launcher tries it again
    assert capsys.readouterr().err.startswith(
        "error: rank 1: another process of this run is gone; run the same command"
    )
    with pytest.raises(RuntimeError, match="shapes"), two.together():
        raise RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="closed by peer"), Processes(1, 0, LightningEnvironment()).together():
        raise lost


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_leaves_the_other_with_a_line(project: Path, rank: int) -> None:
    command = [sys.executable, str(ROOT / "tests/killing.py"), "--study", "killed", "--variant", "base", "--seed", "5"]
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "KILLED_ROOT": str(project), "KILLED_RANK": str(rank)}
    own["KILLED_AT"] = json.dumps([["on_train_batch_end", 9, 100]])
    own["KILLED_BY"] = str(int(signal.SIGKILL))
    command += ["trainer.devices=2", "--wandb", "disabled"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own})
    line = (
        "error: rank 0: another process of this run is gone; run the same command again to go on from the checkpoint\n"
    )
    assert done.stderr == (line if rank else "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_two_ranks_of_which_one_is_told_to_stop_do_so_together(project: Path, number: int) -> None:
    arguments = ["trainer.devices=2", "--wandb", "disabled"]
    assert trained(project, "base", *arguments) == [0]
    whole = left(run_folder(project))
    for rank in (0, 1):
        run_folder(project).rename(project / "whole")
        moment = ("on_train_batch_end", 30, 40)
        assert trained(project, "base", *arguments, moments=[moment], rank=rank, by=number) == [75, 0]
        assert_same(left(run_folder(project)), whole)
        subprocess.run(["rm", "-r", str(project / "whole")], check=True)


@pytest.mark.slow
def test_torchrun_starts_the_ranks_of_a_run(project: Path) -> None:
    arguments = ["--study", "killed", "--variant", "base", "--seed", "4", "--wandb", "disabled", "trainer.devices=2"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "tests/killing.py"), *arguments]
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "KILLED_ROOT": str(project), "KILLED_AT": "[null]"}
    outputs = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own, "KILLED_RANK": "0"})
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    (folder,) = (project / "runs/killed").glob("base+*/seed4")
    record = json.loads((folder / "training.json").read_text())
    assert (record["devices"], record["steps"]) == (2, 24)
    assert len(re.findall("24 steps in", outputs[0])) == 1
    assert re.fullmatch(r".*: already trained with this config \(\w+\); nothing to do\n", outputs[1])


@pytest.mark.slow
def test_a_diverged_run_of_two_ranks_is_a_result(project: Path) -> None:
    arguments = ["--wandb", "disabled", "optim.peak=1e30", "optim.warmup=0"]
    for devices in (1, 2):
        assert trained(project, "everything", *arguments, f"trainer.devices={devices}") == [0]
    folders = [path.parent for path in (project / "runs/killed").glob("everything+*/seed3/training.json")]
    records = [json.loads((folder / "training.json").read_text()) for folder in folders]
    assert [record["status"] for record in records] == ["diverged"] * 2
    assert sorted(record["devices"] for record in records) == [1, 2]
    assert [record["diverged_at"] for record in records] == [2, 2]
