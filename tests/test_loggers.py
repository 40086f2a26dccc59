"""TensorBoard and CSV beside W&B: every row of the history once, also after a kill and a resume."""

from pathlib import Path

import pytest

from experiments.config.run_config import LoggerKind, RunConfig, config_hash, resolve
from experiments.tracking.wandb import STEP
from experiments.training.loggers import open_loggers
from lit_transformer.errors import UserError
from tests.logger_files import csv_rows, scalars

ROWS = [
    {"train/loss": 3.0, "lr": 0.1, STEP: 50},
    {"valid/loss": 2.5, "valid/ppl": 12.2, STEP: 50},
    {"train/loss": 2.0, "lr": 0.2, STEP: 100},
    {"training/seconds": 9.0},
]


def test_a_start_writes_the_rows_of_its_checkpoint_anew(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for rows in (ROWS[:3], ROWS):  # killed after three rows, with a checkpoint of the first, then resumed
        loggers = open_loggers(list(LoggerKind), tmp_path)
        for logger in loggers:
            for number, row in enumerate(rows):
                logger.log(row, number)
        if rows is ROWS:
            for logger in loggers:
                logger.close()
    assert csv_rows(tmp_path) == [
        {"train/loss": 3.0, "lr": 0.1, "step": 50},
        {"valid/loss": 2.5, "valid/ppl": 12.2, "step": 50},
        {"train/loss": 2.0, "lr": 0.2, "step": 100},
        {"training/seconds": 9.0, "step": 100},
    ]
    assert scalars(tmp_path) == {
        "train/loss": [(50, 3.0), (100, 2.0)],
        "lr": [(50, 0.1), (100, 0.2)],
        "valid/loss": [(50, 2.5)],
        "valid/ppl": [(50, 12.2)],
        "training/seconds": [(100, 9.0)],
    }


def test_a_killed_process_leaves_the_rows_so_far(tmp_path: Path) -> None:
    (logger,) = open_loggers([LoggerKind.csv], tmp_path)
    logger.log(ROWS[0], 0)
    assert csv_rows(tmp_path) == [{"train/loss": 3.0, "lr": 0.1, "step": 50}]


def test_without_tensorboard_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where it is not installed."""
    from lightning_fabric.loggers import tensorboard

    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(tensorboard, name, False)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt -e '\.\[tensorboard\]'$"):
        open_loggers([LoggerKind.tensorboard], tmp_path)


def test_the_key_is_checked_and_changes_no_hash() -> None:
    config = resolve([{"tracking": {"loggers": ["csv", "tensorboard"]}}])
    assert config.tracking.loggers == [LoggerKind.csv, LoggerKind.tensorboard]
    assert config_hash(config, "data") == config_hash(RunConfig(), "data")
    with pytest.raises(UserError, match=r"tracking.loggers.*tensorbord"):
        resolve([{"tracking": {"loggers": ["tensorbord"]}}])
