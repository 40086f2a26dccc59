"""Cells that were scored by the process that trained them: their own `evaluate` takes these results, once.

Starting a process for every evaluation takes as long as a short search. Imports no torch.
"""

from data_modules.prepared import PreparedCorpus
from experiments.common import machine
from experiments.common.io import digests, read_json, write_json
from experiments.config.cell import Cell
from experiments.config.run_config import short_hash, to_dict
from experiments.config.stages import SCORING_CODE

MARK = "scored.json"
"""In the run folder: what a cell was scored with, and the SHA-256 of each file that its evaluation left."""


def leave(cell: Cell) -> None:
    """Say that a cell has just been scored, for its `evaluate` to take; nothing for overrides, which have no stage."""
    if not cell.overrides:
        write_json(cell.run_folder / MARK, _found(cell))


def take(cell: Cell) -> bool:
    """Return whether the results of such an evaluation are there, whole, and what `evaluate` would find now."""
    mark = cell.run_folder / MARK
    if cell.overrides or not mark.is_file():
        return False
    left = read_json(mark)
    mark.unlink()
    if left != _found(cell):
        return False
    print(f"{cell.title}: scored by the process that trained it; nothing to do")
    return True


def _found(cell: Cell) -> dict[str, object]:
    inputs = [*sorted(cell.model_folder.rglob("*")), cell.record_path]
    outputs = [*sorted(cell.translations_folder.rglob("*")), cell.scores_path, cell.metrics_path, cell.sentences_path]
    corpus = PreparedCorpus.open(cell.study.data_folder)
    scored_with = [to_dict(cell.config), corpus.hash, machine.code_hash(SCORING_CODE), digests(inputs)]
    return {"scored_with": short_hash(scored_with), "files": digests(outputs)}
