"""What do cheap corpora predict about expensive ones?

    python -m experiments ladder components components_multi30k

Name the studies from the cheapest corpus up. Changes of the same name are compared, each with the baseline of its own
study: do two corpora rank them alike, and do they agree on what helps? A table and the findings for every two studies
in the terminal, and a page with a figure of each. A study without results at hand is read as published.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from rich.console import Console

from experiments.common import cli
from experiments.common.io import write_text
from experiments.config.study import load_study
from experiments.reporting.across_corpora import CorpusAgreement, corpus_agreement, findings, grid
from experiments.reporting.grids import print_grid
from experiments.reporting.study_results import StudyResults, study_results
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Compare every two studies, print what the lower corpus predicts of the upper one, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY", help="folders of experiments/studies, the cheapest corpus first"
    )
    parser.add_argument("--out", type=Path, help="folder of the page (default: runs/report/ladder-STUDY-STUDY)")
    args = parser.parse_args(argv)
    if len(args.studies) < 2 or len(set(args.studies)) < len(args.studies):
        raise UserError("ladder needs two studies or more, each once; name the cheapest first")
    agreements = every_two([study_results(load_study(name)) for name in args.studies])
    path = cli.page_folder(args.out, "ladder", args.studies)
    write_text(path / "index.html", page(agreements))
    console = Console()
    for agreement in agreements:
        console.print(f"{agreement.lower.study.name} → {agreement.upper.study.name}", style="bold", highlight=False)
        print_grid(grid(agreement), console)
        for sentence in findings(agreement):
            console.print(sentence, style="dim", soft_wrap=True, highlight=False, markup=False)
        console.print()
    console.print(f"page: {path / 'index.html'}", soft_wrap=True, highlight=False)


def page(agreements: Sequence[CorpusAgreement]) -> str:
    """Return every two studies on one page that needs no network."""
    from experiments.reporting.figures.ladder import ladder_figure
    from experiments.reporting.page.sheets import Section, sheet

    sections = [
        Section(
            f"ladder-{agreement.lower.study.name}-{agreement.upper.study.name}",
            f"From {agreement.lower.study.name} to {agreement.upper.study.name}",
            grid(agreement),
            notes=findings(agreement),
            figure=ladder_figure(agreement),
        )
        for agreement in agreements
    ]
    names = dict.fromkeys(study.study.name for agreement in agreements for study in (agreement.lower, agreement.upper))
    return sheet(f"What a cheap corpus predicts: {', '.join(names)}", findings(agreements[-1])[0], sections, [])


def every_two(studies: Sequence[StudyResults]) -> list[CorpusAgreement]:
    """Compare every study with each after it; raises UserError where two share no change that both have scored."""
    agreements = [corpus_agreement(lower, upper) for lower, upper in combinations(studies, 2)]
    for agreement in agreements:
        if not agreement.changes:
            lower, upper = agreement.lower.study, agreement.upper.study
            shared = [name for name in lower.variants if name in upper.variants and name != lower.baseline]
            why = f"only {', '.join(shared)}, not scored on both" if shared else "none of the same name"
            raise UserError(f"{lower.name} and {upper.name} share no change to compare ({why})")
    return agreements
