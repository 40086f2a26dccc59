"""A training that is killed, at any moment, and started again leaves what one that was never killed leaves."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.killing import HISTORY_TIMES, Moment, assert_same, left, trained, write_project
from tests.logger_files import csv_rows, scalars
from tests.wandb_server import wandb_server

TRAINING_CALLS = 800_000
"""About the calls of one training, from its set-up to its end."""
WRITING_CALLS = 27_000
"""About the calls that write one checkpoint."""
TIMES = ("_timestamp", "_runtime", "training/seconds", "training/target_tokens_per_second", *HISTORY_TIMES)


@pytest.fixture
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same project twice: one for trainings that are left alone, one for those that are killed."""
    found = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    for root in found:
        write_project(root)
    return found


def run_folder(root: Path, variant: str) -> Path:
    (folder,) = (root / "runs/killed").glob(f"{variant}*/seed3")
    return folder


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that the server has when every piece of a run was sent, but for times."""
    pieces = sorted((folder / "wandb").glob("offline-run-*"))
    with wandb_server() as server:
        own = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40, "WANDB_ERROR_REPORTING": "false"}
        command = [sys.executable, "-m", "wandb", "sync", *map(str, pieces)]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, env={**os.environ, **own})
        (run,) = server.runs.values()
    return [{key: value for key, value in row.items() if key not in TIMES} for row in run.history]


def test_three_kills_leave_no_trace(projects: tuple[Path, Path]) -> None:
    """bfloat16, dropout, clipping, accumulated batches, averaged weights: killed anywhere, writing, and validating."""
    dice = random.Random(20)
    moments: list[Moment] = [
        ("on_fit_start", 1, dice.randint(1, TRAINING_CALLS // 2)),
        ("save_with_checksum", 2, dice.randint(1, WRITING_CALLS)),
        ("validation_step", 1, dice.randint(1, 5000)),
    ]
    whole, killed = projects
    assert trained(whole, "everything") == [0]
    assert trained(killed, "everything", moments=moments) == [-9, -9, -9, 0]
    one, other = (run_folder(root, "everything") for root in projects)
    assert_same(left(one), left(other))
    rows = history(one)
    assert_same(rows, history(other))
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert [row["trainer/global_step"] for row in rows if "train/loss" in row] == [4, 8, 12, 16, 20, 24]
    assert [row["trainer/global_step"] for row in rows if "valid/loss" in row] == [12, 24]
    own_rows = [{key: value for key, value in row.items() if key not in TIMES} for row in csv_rows(one)]
    assert own_rows == [{key: value for key, value in row.items() if key not in TIMES} for row in csv_rows(other)]
    assert len(own_rows) == len(rows)
    events = scalars(one)
    assert [step for step, _ in events["train/loss"]] == [4, 8, 12, 16, 20, 24]
    assert [step for step, _ in events["valid/loss"]] == [12, 24]
    killed_events = scalars(other)
    assert events.keys() == killed_events.keys()
    assert all(events[tag] == killed_events[tag] for tag in events if tag not in TIMES)
    validations = [row for row in rows if "valid/loss" in row]
    assert all(row["train/gradient_norm"] > 0 for row in validations)
    assert "training/parameters" in rows[-1]


@pytest.mark.slow
def test_many_kills_leave_no_trace(projects: tuple[Path, Path]) -> None:
    dice, kills = random.Random(21), 0
    arguments = ["optim.steps=48", "--wandb", "disabled"]
    for variant in ("base", "moving", "batch_norm", "everything"):
        moments = [("on_fit_start", 1, dice.randint(1, TRAINING_CALLS // 6)) for _ in range(7)]
        assert trained(projects[0], variant, *arguments) == [0]
        kills += trained(projects[1], variant, *arguments, moments=moments).count(-9)
        one, other = (run_folder(root, f"{variant}+") for root in projects)
        assert_same(left(one), left(other))
    assert kills >= 20


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["everything", "batch_norm"])
def test_two_ranks_of_which_either_is_killed_leave_no_trace(projects: tuple[Path, Path], variant: str) -> None:
    dice = random.Random(22)
    arguments = ["trainer.devices=2"]
    assert trained(projects[0], variant, *arguments) == [0]
    one = run_folder(projects[0], f"{variant}+")
    killed_folder = projects[1] / one.relative_to(projects[0])
    rows = history(one)
    for rank in (0, 1):
        moments: list[Moment] = [
            ("on_fit_start", 1, dice.randint(1, TRAINING_CALLS // 3)),
            ("on_train_batch_end", 9, dice.randint(1, 3000)),
        ]
        statuses = trained(projects[1], variant, *arguments, moments=moments, rank=rank)
        assert statuses[-1] == 0
        assert 0 not in statuses[:-1]
        assert rank or set(statuses[:-1]) == {-9}
        assert_same(left(one), left(killed_folder))
        assert_same(rows, history(killed_folder))
        shutil.rmtree(killed_folder)
