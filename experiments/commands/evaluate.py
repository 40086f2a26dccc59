"""Score one trained cell: `python -m experiments evaluate --study S --variant V --seed K [key=value ...]`.

Translates every test split by beam search and writes scores.json, metrics.json, what BLEU counts in each sentence
(sentences.csv) and translations/. Only `decode.*` may differ from the training. Where optim.averaging keeps an average
of the weights, it is scored too: `averaged` in scores.json, translations/averaged/.

    python -m experiments evaluate --study S --variant V --ensemble [--with-variants A,B] [--averaged]

scores all trained seeds of the variant, and of others, as one model; decode.ensemble says how they are combined. That
is no cell of the study: its scores.json and translations are under runs/<study>/<variant>/ensemble/. Where study.yaml
names the variant under `ensembles`, the scores of all its seeds are kept in the study's results too, for its report.

--testset wmt14/full scores the model on a test set that sacreBLEU has fetched before, in the corpus's languages. That
is no result of the study: scores.json and the translation are under runs/<study>/<variant>/seed<k>/testsets/.

--variant A,B and --seed 0,1,2 score several cells, one after another, as `train` trains them.
"""

from collections.abc import Sequence

from experiments.common import cli
from experiments.scoring import ahead
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and evaluate."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False, no_seed="left out with --ensemble", several=True)
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--ensemble", action="store_true", help="score all trained seeds of the variant as one model")
    about = "their trained seeds join the ensemble"
    parser.add_argument("--with-variants", type=cli.names, default=[], metavar="A,B", help=about)
    parser.add_argument("--averaged", action="store_true", help="combine the averaged weights of each")
    about = "score a test set of sacreBLEU, such as wmt14/full, and not the corpus's; fetched before by sacrebleu"
    parser.add_argument("--testset", metavar="NAME", help=about)
    args = parser.parse_intermixed_args(argv)
    if args.ensemble and args.seed is not None:
        raise UserError("--ensemble takes all trained seeds; leave out --seed")
    if args.ensemble and args.tuned:
        raise UserError("--ensemble takes the seeds trained by the recipe; leave out --tuned")
    if not args.ensemble and args.seed is None:
        raise UserError("--seed is missing; give one, or --ensemble for all trained seeds as one model")
    if not args.ensemble and (args.with_variants or args.averaged):
        raise UserError("--with-variants and --averaged choose an ensemble's members; add --ensemble")
    if args.ensemble and args.testset:
        raise UserError("--testset scores one model; leave out --ensemble")
    if args.ensemble and len(args.variant) > 1:
        raise UserError("--ensemble takes one variant; add those of others by --with-variants")
    cells = cli.parse_cells(args)
    if len(cells) > 1:
        from experiments.common.in_turn import run_in_turn

        testset = ["--testset", args.testset] if args.testset else []
        run_in_turn("evaluate", cells, ["--wandb", args.wandb, *testset])
        return
    (cell,) = cells
    if args.ensemble:
        from experiments.scoring.evaluation import evaluate_ensemble

        folder = evaluate_ensemble(cell, args.with_variants, args.averaged)
        print(f"{folder}: scores.json and translations")
    elif args.testset:
        from experiments.scoring.evaluation import evaluate_testset

        print(f"{evaluate_testset(cell, args.testset)}: scores.json and the translation")
    elif not ahead.take(cell):
        from experiments.reporting.tracked import track
        from experiments.scoring.evaluation import evaluate

        track(cell, evaluate(cell), args.wandb)
