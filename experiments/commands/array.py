"""Run a study as a Slurm array, one job per cell; experiments/launching/slurm/cells.sbatch calls this.

    python -m experiments array --study S --list            # prepares the data, prints the cells to run
    python -m experiments array --study S --cell base-0

A job that receives SIGTERM, as before its time limit or when it is preempted, writes a checkpoint and requeues itself;
so does one that crashes, at most --retries times. Exit status: 0 done, 2 a user's mistake, 1 given up, 143 stopped.
"""

import argparse
import sys
from collections.abc import Sequence

from experiments.common import cli
from experiments.config.cell import cells_of
from experiments.config.study import load_study
from experiments.launching.cells import RETRIES
from experiments.launching.looks import needed
from experiments.launching.slurm import array
from experiments.launching.stages import Stages
from lit_transformer.errors import UserError, nearest


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line; list the cells, or run one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--list",
        action="store_true",
        help="print the stale cells, one per line; in a study with looks, those of the next one",
    )
    what.add_argument("--cell", metavar="VARIANT-SEED", help="run the stages of this cell")
    parser.add_argument("--retries", type=cli.at_least(0), default=RETRIES, help="restarts after a crash (%(default)s)")
    args = parser.parse_args(argv)
    study = load_study(args.study)
    stages = Stages.of(study)
    if args.list:
        stale = needed(study, stages.stale())
        if "prepare" in stale:
            stages.run("prepare", out=sys.stderr)
            stale = needed(study, stages.stale())
        for cell in stages.stale_cells(study, stale):
            print(f"{cell.variant}-{cell.seed}")
        return
    cells = {f"{cell.variant}-{cell.seed}": cell for cell in cells_of(study)}
    if args.cell not in cells:
        raise UserError(f"study {study.name} has no cell '{args.cell}'{nearest(args.cell, cells)}")
    sys.exit(array.run(stages.job(cells[args.cell]), args.retries))
