"""The cells of a study as engines run them: which are stale, and the command of each."""

from experiments.config.cell import Cell
from experiments.config.study import Study
from experiments.launching.attempts import Job
from experiments.launching.pipeline import Pipeline

RETRIES = 2
"""Further tries at a cell that crashes, unless the user says otherwise."""


def stale_cells(study: Study, pipeline: Pipeline, stale: set[str]) -> list[Cell]:
    """Return the cells that have a stale stage, in the order in which they run."""
    return [cell for cell in study.cells() if pipeline.touches(cell, stale)]


def job_of(cell: Cell, pipeline: Pipeline) -> Job:
    """Return a cell as engines see it."""
    command = tuple(pipeline.command(*pipeline.stages(cell), quiet=False))  # its words tell how a stage ended
    return Job(f"{cell.variant} seed {cell.seed}", command, cell.run_folder)
