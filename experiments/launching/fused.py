"""Fused trainings of a launch: seeds of one variant as one job, scored too, before DVC runs their cells' stages."""

import sys
from collections.abc import Sequence

from experiments.config.cell import Cell, fused_folder
from experiments.launching.attempts import Job


def fused_jobs(cells: Sequence[Cell], stale: set[str], most: int) -> list[Job]:
    """Return jobs that train and score the cells whose training is stale, up to `most` seeds of a variant each.

    A seed that is left alone has none; its own stage trains it.
    """
    jobs = []
    for variant in dict.fromkeys(cell.variant for cell in cells):
        to_train = [cell for cell in cells if cell.variant == variant and cell.stage("train") in stale]
        groups = [to_train[start : start + most] for start in range(0, len(to_train), most)]
        jobs += [_job(group) for group in groups if len(group) > 1]
    return jobs


def _job(cells: Sequence[Cell]) -> Job:
    seeds = ",".join(str(cell.seed) for cell in cells)
    first = cells[0]
    command = ["train", "--study", first.study.name, "--variant", first.variant, "--seeds", seeds, "--score"]
    name = f"{first.variant} seeds {seeds} as one"
    return Job(name, (sys.executable, "-m", "experiments", *command), fused_folder(cells))
