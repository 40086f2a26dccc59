"""What a finished training leaves, and where DVC looks for it. No torch here: a finished cell waits for no import."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from data_modules.prepared import PreparedCorpus
from experiments.common import machine
from experiments.common.io import copy_file, copy_folder, digests, only_writer, read_json
from experiments.config.cell import Cell
from experiments.config.run_config import config_hash, short_hash
from experiments.tracking.identity import files_folder

RECORD, CURVE, PROBE, MODEL = "training.json", "curve.csv", "probe.csv", "model"
"""What a finished training leaves in its run folder; copies of it are the cell's results."""
DIGESTS = "outputs.json"
"""The SHA-256 of each file of these, so that no copy is made of one that was damaged or lost since."""


def run_hash_of(own_config_hash: str) -> str:
    """Return the hash of a training: of its config and data, hashed already, and the code that trains it."""
    return short_hash([own_config_hash, machine.code_hash()])


def only_writer_of(cell: Cell, locks: ExitStack) -> None:
    """Hold the locks of a cell's folders; raise `TemporaryFailure` where another training holds one."""
    for folder in {cell.run_folder, files_folder(cell.run_folder)}:
        locks.enter_context(only_writer(folder))


def write_if_finished(cell: Cell) -> bool:
    """Write the outputs of a cell whose training has finished; return whether it has. For a run of one process."""
    corpus = PreparedCorpus.open(cell.study.data_folder)
    with ExitStack() as locks:
        only_writer_of(cell, locks)
        if not is_finished(cell, run_hash_of(config_hash(cell.config, corpus.hash))):
            return False
        write_outputs(cell)
    return True


def is_finished(cell: Cell, run_hash: str) -> bool:
    """Return whether this training has finished, and say so; a tuned cell takes the recipe's where that is the same."""
    folder = cell.run_folder
    if is_whole(folder, run_hash):
        print(f"{folder}: already trained with this config ({run_hash}); nothing to do")
        return True
    recipe = replace(cell, tuned=False).run_folder
    if not cell.tuned or not is_whole(recipe, run_hash):
        return False
    copy_folder(recipe / MODEL, folder / MODEL)
    for name in (CURVE, PROBE, RECORD, DIGESTS):
        copy_file(recipe / name, folder / name)
    print(f"{folder}: the recipe has the best value, so its model is this one; copied from {recipe}", flush=True)
    return True


def is_whole(folder: Path, run_hash: str) -> bool:
    """Return whether this training has finished there, and all that it left is still as it was written."""
    path = folder / DIGESTS
    whole = path.is_file() and read_json(path) == digests_of(folder)
    return whole and bool(read_json(folder / RECORD)["run_hash"] == run_hash)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a finished training leaves and that is there."""
    paths = [folder / RECORD, folder / CURVE, folder / PROBE, *sorted((folder / MODEL).rglob("*"))]
    return digests(paths, folder)


def write_outputs(cell: Cell) -> None:
    """Copy what the finished training left into the places where DVC looks for the cell's results."""
    folder = cell.run_folder
    for name, path in ((RECORD, cell.record_path), (CURVE, cell.curve_path), (PROBE, cell.probe_path)):
        copy_file(folder / name, path)
    if cell.model_folder != folder / MODEL:
        copy_folder(folder / MODEL, cell.model_folder)
