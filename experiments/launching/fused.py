"""Seeds of one variant as one job: a fused training that scores them too, then one DVC process for all their stages.

A start of torch takes longer than a short search, and a start of DVC longer than it takes to record a cell.
"""

import sys
from collections.abc import Sequence

from experiments.config.cell import Cell, fused_folder
from experiments.launching.attempts import Job
from experiments.launching.stages import KINDS, Stages


def fused_groups(cells: Sequence[Cell], stale: set[str], most: int) -> list[list[Cell]]:
    """Return the cells whose training is stale in groups of up to `most` seeds of a variant.

    A seed that is left alone is in none; its own stages train and score it.
    """
    groups = []
    for variant in dict.fromkeys(cell.variant for cell in cells):
        to_train = [cell for cell in cells if cell.variant == variant and cell.stage("train") in stale]
        groups += [to_train[start : start + most] for start in range(0, len(to_train), most)]
    return [group for group in groups if len(group) > 1]


def training_job(cells: Sequence[Cell]) -> Job:
    """Return the job that trains a group as one network, and scores each."""
    first, seeds = cells[0], _seeds(cells)
    command = ["experiments.launching.together", "--study", first.study.name, "--variant", first.variant]
    name = f"{first.variant} seeds {seeds} as one"
    return Job(name, (sys.executable, "-m", *command, "--seeds", seeds), fused_folder(cells))


def recording_job(stages: Stages, cells: Sequence[Cell]) -> Job:
    """Return the job in which DVC runs the stages of a group: they find everything done, and DVC records it."""
    command = stages.command(*(cell.stage(kind) for cell in cells for kind in KINDS))
    return Job(f"{cells[0].variant} seeds {_seeds(cells)}", tuple(command), fused_folder(cells))


def _seeds(cells: Sequence[Cell]) -> str:
    return ",".join(str(cell.seed) for cell in cells)
