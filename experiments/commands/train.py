"""Train a cell of a study: `python -m experiments train --study S --variant V --seed K [key=value ...]`.

Reads data/<study>, works in runs/<study>/<variant>/seed<k>/ and, at the end, writes the cell's model, training.json,
curve.csv and probe.csv. Run the same command again after an interruption and it resumes from the last checkpoint; a run
that is complete and unchanged is not trained twice.

--variant A,B and --seed 0,1,2 train several cells, one after another; one that fails leaves the others running, and the
exit status is then not 0. --seeds 0-9 trains the cells of these seeds as one fused model instead: the same results but
for rounding, in less time (docs/scale.md). --cfg only prints what would be trained: every setting, with a mark on those
that the study, the variant and the command line set.
"""

from collections.abc import Sequence

from experiments.common import cli
from experiments.config.cell import Cell


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False, no_seed="or give --seeds", several=True)
    parser.add_argument("--seeds", type=cli.seed_range, metavar="A-B", help="several seeds as one training: 0-9 or 0,3")
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; a line at each validation remains")
    parser.add_argument("--cfg", action="store_true", help="print the resolved config and stop")
    args = parser.parse_intermixed_args(argv)
    if (args.seed is None) == (args.seeds is None):
        parser.error("give either --seed or --seeds")
    if args.seeds and len(args.variant) > 1:
        parser.error("--seeds trains the seeds of one variant as one; give one --variant")
    fused = args.seed is None
    args.seed = args.seeds if fused else args.seed
    cells = cli.parse_cells(args)
    if args.cfg:
        from experiments.config.marked import marked_yaml

        print("\n---\n".join(map(marked_yaml, cells)))
    elif fused:
        from experiments.training.fused import train_fused
        from experiments.training.run import Options

        train_fused(cells, Options(args.wandb, args.quiet))
    elif len(cells) > 1:
        from experiments.common.in_turn import run_in_turn

        run_in_turn("train", cells, ["--wandb", args.wandb, *(["--quiet"] if args.quiet else [])])
    else:
        _train(cells[0], args.wandb, args.quiet)


def _train(cell: Cell, wandb: str, quiet: bool) -> None:
    """Train a cell; one that has finished is recognised before torch and Lightning are imported."""
    from experiments.training.outputs import write_if_finished

    trainer = cell.config.trainer
    if trainer.devices * trainer.num_nodes == 1 and write_if_finished(cell):
        return
    from experiments.training.run import Options, train

    train(cell, Options(wandb, quiet))
