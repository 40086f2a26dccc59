"""Run a study as a Slurm array, one job per cell; experiments/launching/slurm/cells.sbatch calls this.

    python -m experiments array --study S --list            # prepares the data, prints the cells to run
    python -m experiments array --study S --cell base-0

In a study with `tune` the list holds the cells, then the trials of a rung, then the cells at their best values: list
and submit again when the array has ended, until the list is empty.

A job that receives SIGTERM, as before its time limit or when it is preempted, writes a checkpoint and requeues itself;
so does one that crashes, at most --retries times. Exit status: 0 done, 2 a user's mistake, 1 given up, 143 stopped.
"""

import argparse
import sys
from collections.abc import Sequence

from experiments.common import cli
from experiments.config.cell import Cell, cells_of
from experiments.config.study import Study, load_study
from experiments.config.trials import trials_of
from experiments.launching.attempts import Job
from experiments.launching.cells import RETRIES
from experiments.launching.looks import needed
from experiments.launching.slurm import array
from experiments.launching.stages import Stages, stale_cells
from experiments.launching.tuning import next_trials
from lit_transformer.errors import UserError, nearest


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line; list the cells, or run one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--list",
        action="store_true",
        help="print the stale cells, one per line; in a study with looks or trials, those of the next step",
    )
    what.add_argument("--cell", metavar="VARIANT-SEED", help="run the stages of this cell")
    parser.add_argument("--retries", type=cli.at_least(0), default=RETRIES, help="restarts after a crash (%(default)s)")
    args = parser.parse_args(argv)
    study = load_study(args.study)
    stages = Stages.of(study)
    if args.list:
        print("".join(f"{name}\n" for name in _due(study, stages)), end="")
        return
    jobs = _jobs(study, stages)
    if args.cell not in jobs:
        raise UserError(f"study {study.name} has no cell '{args.cell}'{nearest(args.cell, jobs)}")
    sys.exit(array.run(jobs[args.cell], args.retries))


def _due(study: Study, stages: Stages) -> list[str]:
    """Return the names of what is to run next, the data prepared and trials that are stopped written down."""
    stale = needed(study, stages.stale())
    if "prepare" in stale:
        stages.run("prepare", out=sys.stderr)
        stale = needed(study, stages.stale())
    cells = stale_cells(study, stale)
    tuning = stages.of_tuning(study)
    if cells or tuning is None:
        return [_name(cell) for cell in cells]
    while True:
        stale = needed(study, tuning.stale(), tuned=True)
        to_train, stopped = next_trials(study, stale)
        if stopped:
            tuning.run(*(trial.stage for trial in stopped), out=sys.stderr)
        if to_train:
            return [trial.stage for trial in to_train]
        if not stopped:
            return [_name(cell) for cell in stale_cells(study, stale, tuned=True)]


def _jobs(study: Study, stages: Stages) -> dict[str, Job]:
    """Return everything that may be due, by its name."""
    jobs = {_name(cell): stages.job(cell) for cell in cells_of(study)}
    if tuning := stages.of_tuning(study):
        jobs |= {trial.stage: tuning.trial_job(trial) for trial in trials_of(study)}
        jobs |= {_name(cell): tuning.job(cell) for cell in cells_of(study, tuned=True)}
    return jobs


def _name(cell: Cell) -> str:
    return f"{cell.row}-{cell.seed}"
