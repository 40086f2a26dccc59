"""One trial of a study's `tune`: a training like any other, of which only the validation loss is kept."""

import shutil

from experiments.common.io import read_json, write_json
from experiments.config.cell import cell_of
from experiments.config.run_config import config_hash
from experiments.config.trials import Trial, TrialRecord, plain_record
from experiments.training.checkpoints import BEFORE, LAST
from experiments.training.distributed import Processes
from experiments.training.run import MODEL, Options, train


def run_trial(trial: Trial, options: Options) -> None:
    """Train a trial from wherever it stands, write its record, and remove its model and checkpoints.

    The processes of a run on several devices call this together.
    """
    assert trial.study.tune
    cell = cell_of(trial)
    train(cell, options)
    if not Processes.of(cell.config.trainer).first:
        return
    training = read_json(cell.record_path)
    record = TrialRecord(
        value=trial.value,
        seed=trial.seed,
        rung=trial.rung,
        key=trial.study.tune.key,
        status=training["status"],
        steps=training["steps"],
        valid_loss=None if training["status"] == "diverged" else training["valid_loss"],
        seconds=training["seconds"],
        row_hash=config_hash(trial.study.config(trial.variant, trial.seed), training["data_hash"]),
        data_hash=training["data_hash"],
        code_hash=training["code_hash"],
    )
    write_json(trial.path, plain_record(record))
    shutil.rmtree(cell.run_folder / MODEL)
    for name in (LAST, BEFORE):
        (cell.run_folder / name).unlink(missing_ok=True)
    loss = "diverged" if record.valid_loss is None else f"validation loss {record.valid_loss:.4f}"
    print(f"{trial.name}: {loss}", flush=True)
