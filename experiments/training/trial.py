"""One trial of a study's `tune`: a training like any other, of which only the validation loss is kept."""

import shutil

from data_modules.prepared import PreparedCorpus
from experiments.common import machine
from experiments.common.io import read_json, write_json
from experiments.config.cell import cell_of
from experiments.config.run_config import config_hash
from experiments.config.trials import Trial, TrialRecord, plain_record, read_trials
from experiments.training.checkpoints import BEFORE, LAST
from experiments.training.distributed import Processes
from experiments.training.outputs import MODEL
from experiments.training.run import Options, train


def run_trial(trial: Trial, options: Options) -> None:
    """Train a trial from wherever it stands, write its record, and remove its model and checkpoints.

    A trial that is done is not trained again: DVC runs it where other values are new. The processes of a run on several
    devices call this together.
    """
    assert trial.study.tune
    cell = cell_of(trial)
    if _is_done(trial):
        print(f"{trial.name}: already tried; nothing to do")
        return
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


def _is_done(trial: Trial) -> bool:
    """Return whether the trial has a record of this code, data and settings."""
    corpus = PreparedCorpus.open(trial.study.data_folder)
    return any(
        (record.value, record.rung) == (trial.value, trial.rung)
        and (record.code_hash, record.data_hash) == (machine.code_hash(), corpus.hash)
        for record in read_trials(trial.study, trial.variant, trial.seed)
    )
