"""What do cheap corpora predict about expensive ones?

    python -m experiments ladder components components_multi30k

Name the studies from the cheapest corpus up. Changes of the same name are compared, each with the baseline of its own
study: do two corpora, or two lengths of training, rank them alike, and do they agree on what helps? A table and the
findings for every two studies in the terminal, and a page with a figure of each. A study without results at hand is
read as published.

    python -m experiments ladder table3_grammar table3_multi30k --predict

Before the second study is run: writes what the first predicts of each change, sign and interval, to
experiments/studies/table3_multi30k/predictions/table3_grammar.json, which belongs in git. Rows with results are
refused. Afterwards the first command, and the report of the second study, also show how good the predictions were.
"""

import argparse
from collections.abc import Sequence

from experiments.common import cli
from experiments.config.study import load_study
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Compare every two studies, print what the lower corpus predicts of the upper one, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY", help="folders of experiments/studies, the cheapest corpus first"
    )
    parser.add_argument(
        "--out", type=cli.user_path, help="folder of the page (default: runs/report/ladder-STUDY-STUDY)"
    )
    parser.add_argument("--predict", action="store_true", help="write down what the first study predicts of the second")
    args = parser.parse_args(argv)
    if len(args.studies) < 2 or len(set(args.studies)) < len(args.studies):
        raise UserError("ladder needs two studies or more, each once; name the cheapest first")
    if args.predict and (len(args.studies) > 2 or args.out):
        raise UserError("--predict takes two studies, the cheap one and the one that it predicts, and no --out")
    studies = [load_study(name) for name in args.studies]
    cli.announce(f"{'reading' if args.predict else 'comparing'} {', '.join(args.studies)}")
    from experiments.reporting.ladder_report import compare_corpora, predict_corpus

    if args.predict:
        predict_corpus(*studies)
        return
    compare_corpora(studies, cli.page_folder(args.out, "ladder", args.studies))
