"""Write a study's report: the table in the terminal, as Markdown, CSV and LaTeX, the pictures and one HTML page.

    python -m experiments report --study components

What is written under experiments/studies/<study>/report/: index.html, table.md, table.csv, table.tex, curves.csv,
probe.csv, one SVG per figure and forest.png. The same results give the same bytes. Where the study has published
results, the report sets this run beside them. Where another study tested the same changes on another corpus, the page
says what the cheaper corpus predicts of the other.
"""

import argparse
from collections.abc import Sequence

from experiments.common import cli
from experiments.config.study import load_study


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report of one study and print its table and the page's path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument(
        "--data", type=cli.user_path, help="the prepared corpus, for the sample sentences (default: the study's)"
    )
    parser.add_argument(
        "--scores", nargs="+", default=[], metavar="SCORE", help="further scores as columns, such as chrfpp ter"
    )
    args = parser.parse_args(argv)
    study = load_study(args.study)
    cli.announce(f"writing the report of {study.name}")
    from experiments.reporting.study_report import report

    report(study, args.scores, args.data)
