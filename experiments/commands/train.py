"""Train one cell of a study: `python -m experiments train --study S --variant V --seed K [key=value ...]`.

Reads data/<study>, works in runs/<study>/<variant>/seed<k>/ and, at the end, writes the cell's model, training.json,
curve.csv and probe.csv. Run the same command again after an interruption and it resumes from the last checkpoint; a run
that is complete and unchanged is not trained twice.

--seeds 0-9 trains the cells of these seeds as one fused model: the same results but for rounding, in less time
(docs/scale.md).
"""

from collections.abc import Sequence
from dataclasses import replace

from experiments.common import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False, no_seed="or give --seeds")
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; a line at each validation remains")
    parser.add_argument("--seeds", type=cli.seed_range, metavar="A-B", help="several seeds as one training: 0-9 or 0,3")
    args = parser.parse_intermixed_args(argv)
    if (args.seed is None) == (args.seeds is None):
        parser.error("give either --seed or --seeds")
    cell = cli.parse_cell(args)
    from experiments.training.run import Options, train

    if args.seeds is None:
        train(cell, Options(args.wandb, args.quiet))
    else:
        from experiments.training.fused import train_fused

        train_fused([replace(cell, seed=seed) for seed in args.seeds], Options(args.wandb, args.quiet))
