"""Train one cell of a study: `python -m experiments train --study S --variant V --seed K [key=value ...]`.

Reads data/<study>, works in runs/<study>/<variant>/seed<k>/ and, at the end, writes the cell's model, training.json,
curve.csv and probe.csv. Run the same command again after an interruption and it resumes from the last checkpoint; a run
that is complete and unchanged is not trained twice.
"""

from collections.abc import Sequence

from experiments.common import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = cli.cell_parser(__doc__ or "")
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; a line at each validation remains")
    args = parser.parse_intermixed_args(argv)
    cell = cli.parse_cell(args)
    from experiments.training.run import Options, train

    train(cell, Options(args.wandb, args.quiet))
