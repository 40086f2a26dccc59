"""Which cells a study needs by now: those of the first look, then further seeds of the rows whose verdict is open."""

from experiments.config.cell import Cell, cells_of
from experiments.config.study import Study
from experiments.config.trials import trials_of
from experiments.launching.stages import KINDS


def needed(study: Study, stale: set[str], tuned: bool = False) -> set[str]:
    """Return the stale stages without those of cells that no open verdict needs by now.

    A stale cell's old result does not count: it is about to be replaced. `tuned` cells, and their trials, follow
    verdicts of their own.
    """
    cells = cells_of(study, tuned)
    fresh = [cell for cell in cells if not _stages(cell) & stale]
    wanted = _wanted(study, fresh)
    unneeded = [cell for cell in cells if study.seeds.index(cell.seed) >= wanted[cell.variant]]
    stale = stale.difference(*map(_stages, unneeded))
    if not tuned:
        return stale
    places = {(cell.variant, cell.seed) for cell in unneeded}
    return stale - {trial.stage for trial in trials_of(study) if (trial.variant, trial.seed) in places}


def _wanted(study: Study, fresh: list[Cell]) -> dict[str, int]:
    """Return how many of the study's seeds each variant needs, from the first, given the results of these cells."""
    if len(study.looks) < 2:
        return dict.fromkeys(study.variants, len(study.seeds))
    from experiments.reporting.results import checked, read_records  # the statistics take a second to import
    from experiments.reporting.verdicts import judge

    return judge(study, checked(study, read_records(fresh), {})).seeds_wanted


def _stages(cell: Cell) -> set[str]:
    return {cell.stage(kind) for kind in KINDS}
