"""The ladder: what do the rungs that are cheap to run predict of those above them?

    python -m experiments ladder components components_multi30k

Name the studies from the cheapest up. Changes of the same name are compared, each with the baseline of its own study:
do two rungs put them into the same order, and do they agree on what helps? A table and a sentence for every two rungs
in the terminal, and a page with a picture of each.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from rich.console import Console

from experiments.common import cli
from experiments.common.io import write_text
from experiments.config.study import load_study
from experiments.reporting.grids import print_grid
from experiments.reporting.rungs import Ladder, Rung, climb, grid, read_rung, told
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Compare every two rungs, print what the lower tells of the upper, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="folders of experiments/studies, cheap rung first")
    parser.add_argument("--out", type=Path, help="folder of the page (default: runs/report/ladder-STUDY-STUDY)")
    args = parser.parse_args(argv)
    if len(args.studies) < 2 or len(set(args.studies)) < len(args.studies):
        raise UserError("a ladder needs two studies or more, each once; name the cheapest first")
    ladders = climb_all([read_rung(load_study(name)) for name in args.studies])
    path = cli.page_folder(args.out, "ladder", args.studies)
    write_text(path / "index.html", page(ladders))
    console = Console()
    for ladder in ladders:
        console.print(f"{ladder.lower.study.name} → {ladder.upper.study.name}", style="bold", highlight=False)
        print_grid(grid(ladder), console)
        for sentence in told(ladder):
            console.print(sentence, style="dim", soft_wrap=True, highlight=False, markup=False)
        console.print()
    console.print(f"page: {path / 'index.html'}", soft_wrap=True, highlight=False)


def page(ladders: Sequence[Ladder]) -> str:
    """Return every two rungs on one page that needs no network."""
    from experiments.reporting.figures.ladder import ladder_figure
    from experiments.reporting.page.sheets import Section, sheet

    sections = [
        Section(
            f"ladder-{ladder.lower.study.name}-{ladder.upper.study.name}",
            f"From {ladder.lower.study.name} to {ladder.upper.study.name}",
            grid(ladder),
            notes=told(ladder),
            figure=ladder_figure(ladder),
        )
        for ladder in ladders
    ]
    names = dict.fromkeys(rung.study.name for ladder in ladders for rung in (ladder.lower, ladder.upper))
    return sheet(f"What a cheap rung predicts: {', '.join(names)}", told(ladders[-1])[0], sections, [])


def climb_all(rungs: Sequence[Rung]) -> list[Ladder]:
    """Compare every rung with each above it; raises UserError where two share no change that both have scored."""
    ladders = [climb(lower, upper) for lower, upper in combinations(rungs, 2)]
    for ladder in ladders:
        if not ladder.pairs:
            one, other = ladder.lower.study, ladder.upper.study
            shared = [name for name in one.variants if name in other.variants and name != one.baseline]
            why = f"only {', '.join(shared)}, not scored on both" if shared else "none of the same name"
            raise UserError(f"{one.name} and {other.name} share no change to compare ({why})")
    return ladders
