"""Trains seeds of one variant as one network, then scores each in the same process, for their stages to take.

    python -m experiments.launching.together --study S --variant V --seeds 0,1,2

The same as `train --seeds` and an `evaluate` for each. Not a command of its own: the code that a training depends on
knows nothing of the search.
"""

import argparse
from collections.abc import Sequence

from experiments.common import cli
from experiments.config.cell import Cell
from experiments.config.study import load_study


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--seeds", type=cli.seed_range, required=True, metavar="A-B")
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    args = parser.parse_args(argv)
    study = load_study(args.study)
    cells = [Cell(study, args.variant, seed) for seed in args.seeds]

    from experiments.reporting.tracked import track
    from experiments.scoring import ahead
    from experiments.scoring.evaluation import evaluate
    from experiments.training.fused import train_fused
    from experiments.training.run import Options

    train_fused(cells, Options(args.wandb))
    for cell in cells:
        track(cell, evaluate(cell), args.wandb)
        ahead.leave(cell)


if __name__ == "__main__":
    cli.run(main)
