"""Puts two studies, or two revisions of one, side by side: a table in the terminal and a page.

    python -m experiments compare components components_multi30k
    python -m experiments compare components@HEAD~3 components

A name alone is the files at hand; name@revision is read through git. Scores of different test sets or signatures are
never set in one column: such studies show differences to their own baselines only.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from experiments.common import cli
from experiments.common.io import write_text
from experiments.reporting.formats import MISSING, bracketed, p_value, plural, plus_minus
from experiments.reporting.grids import Grid, TableCell, print_grid
from experiments.reporting.revisions import read_side
from experiments.reporting.side_by_side import SAME, Comparison, Gap, Line, how_made, side_by_side
from experiments.reporting.statistics import ALPHA, Estimate
from lit_transformer.errors import UserError

RULE = (
    "B − A is of BLEU; ΔB − ΔA asks whether a change is worth as much on both sides, each against its own baseline. "
    "Paired: over the seeds that both have, since on one corpus a seed fixes the order of the data. Welch: seeds are "
    "not shared, so the two are independent samples. Brackets are 95 % intervals of one row each; p is of ΔB − ΔA, "
    "after Holm's correction for all rows."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print the table and the page's path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A", help="a study, or study@revision")
    parser.add_argument("b", metavar="B", help="a study, or study@revision")
    parser.add_argument("--out", type=Path, help="folder of the page (default: runs/report/compare-A-B)")
    args = parser.parse_args(argv)
    if args.a == args.b:
        raise UserError(f"A and B are both {args.a}; name two studies, or a revision of it: {args.a}@HEAD~1 {args.a}")
    with TemporaryDirectory() as folder:
        found = side_by_side(read_side(args.a, Path(folder, "a")), read_side(args.b, Path(folder, "b")))
        path = cli.page_folder(args.out, "compare", (args.a, args.b))
        write_text(path / "index.html", page(found))
    console = Console()
    console.print(f"A = {args.a} ({found.a.origin})\nB = {args.b} ({found.b.origin})", highlight=False, soft_wrap=True)
    print_grid(grid(found), console)
    for note in notes(found):
        console.print(note, style="dim", soft_wrap=True, highlight=False, markup=False)
    print_grid(made(found), console)
    console.print(f"\npage: {path / 'index.html'}", soft_wrap=True, highlight=False)


def grid(found: Comparison) -> Grid:
    """Return a row a variant: what both sides say, and where they may be compared, what lies between."""
    split = found.a.results.primary
    if found.alike:
        titles = ["variant", f"A BLEU {split}", f"B BLEU {split}", "B − A [95 %]", "ΔA", "ΔB", "ΔB − ΔA [95 %]"]
        return Grid(
            [*titles, "p (Holm)", "how"], [_whole(line, split) for line in found.lines], [False, *[True] * 7, False]
        )
    titles = ["variant", "ΔA [95 %]", "A says", "ΔB [95 %]", "B says"]
    return Grid(titles, [_apart(line) for line in found.lines], [False, True, False, True, False])


def notes(found: Comparison) -> list[str]:
    """Return what a reader must know: why columns are apart, how differences were told, what is on one side only."""
    lines = [f"Not in one column, since they differ in {reason}." for reason in found.apart]
    if found.apart:
        lines.append("So each side shows the differences to its own baseline only, on its own test set.")
    else:
        lines.append(RULE)
    for name, only in ((found.a.name, found.only_a), (found.b.name, found.only_b)):
        if only:
            lines.append(f"Only in {name}: {', '.join(only)}.")
    same = how_made(found)[1]
    return [*lines, f"The same on both sides: {', '.join(same)}."] if same else lines


def made(found: Comparison) -> Grid:
    """Return what differs in how the two sides were made."""
    rows = [[TableCell(name), TableCell(one), TableCell(other)] for name, one, other in how_made(found)[0]]
    return Grid(["what differs", "A", "B"], rows, [False] * 3)


def page(found: Comparison) -> str:
    """Return the comparison as a page that needs no network."""
    from experiments.reporting.figures.forest import two_forests
    from experiments.reporting.figures.style import Figure, render_svg
    from experiments.reporting.page.sheets import Section, sheet

    sides = [(f"A: {found.a.name}", found.a.summary), (f"B: {found.b.name}", found.b.summary)]
    variants = [line.variant for line in found.lines if line.a.difference or line.b.difference]
    wide, narrow = (two_forests(sides, variants, width, found.alike) for width in (330, 82))
    figures = []
    if wide is not None and narrow is not None:
        shade = "Shaded: the noise floor of each."
        caption = f"BLEU, each change minus the baseline of its own side, with 95 % intervals. {shade}"
        figures = [
            Figure("forests", "What each change is worth on both sides", caption, render_svg(wide), render_svg(narrow))
        ]
    sections = [
        Section("table", "The table", grid(found), notes=notes(found)),
        Section("made", "What differs in how they were made", made(found), facts=True),
    ]
    return sheet(f"{found.a.name} beside {found.b.name}", _headline(found), sections, figures)


def _headline(found: Comparison) -> str:
    count = f"{plural(len(found.lines), 'variant')} on both sides"
    if found.apart:
        return f"{count}; other test sets or measures, so each is set against its own baseline only."
    moved = [line.variant for line in found.lines if line.p_holm is not None and line.p_holm < ALPHA]
    same = sum(line.gap is not None and line.gap.how == SAME for line in found.lines)
    told = f"{', '.join(moved)} {'is' if len(moved) == 1 else 'are'} worth more or less than before" if moved else ""
    parts = [count, told or "no change is separably worth more or less on one of them"]
    return "; ".join([*parts, f"{same} are the same cells"] if same else parts) + "."


def _whole(line: Line, split: str | None) -> list[TableCell]:
    how = " / ".join(dict.fromkeys(gap.how for gap in (line.gap, line.gain) if gap))
    return [
        TableCell(line.variant),
        *(_score(row.score(split, "bleu"), row.n) for row in (line.a, line.b)),
        _gap(line.gap),
        _difference(line.a.difference),
        _difference(line.b.difference),
        _gap(line.gain),
        TableCell(p_value(line.p_holm), line.p_holm),
        TableCell(how or MISSING),
    ]


def _apart(line: Line) -> list[TableCell]:
    cells = [TableCell(line.variant)]
    for row in (line.a, line.b):
        cells += [_difference(row.difference), TableCell(row.verdict.value, verdict=row.verdict.name.lower())]
    return cells


def _score(found: Estimate | None, n: int) -> TableCell:
    return TableCell(plus_minus(found, n), found.mean if found else None)


def _difference(found: Estimate | None) -> TableCell:
    return TableCell(bracketed(found), found.mean if found else None)


def _gap(found: Gap | None) -> TableCell:
    return _difference(found.difference if found else None)
