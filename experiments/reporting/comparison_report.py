"""The comparison of two studies: a table in the terminal and a page."""

from pathlib import Path

from rich.console import Console

from experiments.common.io import write_text
from experiments.reporting.claims import agreement, contradictions, verdicts_at_best, verdicts_of
from experiments.reporting.figures.forest import two_forests
from experiments.reporting.figures.style import Figure, render_svg
from experiments.reporting.formats import MISSING, bracketed, p_value, plural, plus_minus
from experiments.reporting.grids import Grid, TableCell, print_grid
from experiments.reporting.page.sheets import Section, sheet
from experiments.reporting.side_by_side import (
    SAME,
    ScoreDifference,
    StudyComparison,
    VariantComparison,
    how_made,
    side_by_side,
)
from experiments.reporting.statistics import ALPHA, Estimate
from experiments.reporting.study_results import read_study_results

RULE = (
    "B − A is the difference in BLEU; ΔB − ΔA tells whether a change is worth as much in both studies, each against "
    "its own baseline. Paired: over the seeds that both have, since on one corpus a seed fixes the order of the data. "
    "Welch: no shared seeds, so the two are independent samples. Brackets are 95 % intervals of single rows, those of "
    "ΔA and ΔB the ones that their verdicts use; p is of ΔB − ΔA, after Holm's correction for all rows."
)


def compare(a: str, b: str, folder: Path) -> bool:
    """Compare two studies, named as on the command line; print the table and write the page into a folder.

    Return whether they agree in their claims; on different corpora these are about different things.
    """
    comparison = side_by_side(read_study_results(a), read_study_results(b))
    write_text(folder / "index.html", page(comparison))
    console = Console()
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        console.print(f"{letter} = {side.name} ({side.origin})", highlight=False, soft_wrap=True, markup=False)
    print_grid(grid(comparison), console)
    for note in notes(comparison):
        console.print(note, style="dim", soft_wrap=True, highlight=False, markup=False)
    print_grid(made(comparison), console)
    console.print(f"\npage: {folder / 'index.html'}", soft_wrap=True, highlight=False)
    if comparison.a.corpus_level != comparison.b.corpus_level:
        return True
    columns = [("", verdicts_of)]
    if comparison.a.summary.tuned and comparison.b.summary.tuned:
        columns.insert(0, ("Each at its best: ", verdicts_at_best))
    agree = True
    for prefix, verdicts in columns:
        own, other = verdicts(comparison.a.summary), verdicts(comparison.b.summary)
        console.print(f"{prefix}{agreement(own, other)}", soft_wrap=True, highlight=False, markup=False)
        agree = agree and not contradictions(own, other)
    return agree


def grid(comparison: StudyComparison) -> Grid:
    """Return one row per variant: the estimates of both studies and, where they may be compared, the difference."""
    if not comparison.comparable:
        titles = ["variant", "ΔA [95 %]", "verdict A", "ΔB [95 %]", "verdict B"]
        return Grid(titles, [_effects(one) for one in comparison.variants], [False, True, False, True, False])
    split = comparison.a.results.primary
    titles = ["variant", f"A BLEU {split}", f"B BLEU {split}", "B − A [95 %]", "ΔA", "ΔB", "ΔB − ΔA [95 %]"]
    rows = [_scores(one, split) for one in comparison.variants]
    return Grid([*titles, "p (Holm)", "test"], rows, [False, *[True] * 7, False])


def notes(comparison: StudyComparison) -> list[str]:
    """Return why scores do not share a column, how differences were tested, and what only one study has."""
    lines = [f"Not in one column, since they differ in {reason}." for reason in comparison.mismatches]
    if lines:
        lines.append("So each study shows the differences to its own baseline only, on its own test set.")
    else:
        lines.append(RULE)
    for name, only in ((comparison.a.name, comparison.only_a), (comparison.b.name, comparison.only_b)):
        if only:
            lines.append(f"Only in {name}: {', '.join(only)}.")
    same = how_made(comparison)[1]
    return [*lines, f"The same in both: {', '.join(same)}."] if same else lines


def made(comparison: StudyComparison) -> Grid:
    """Return what differs in how the two studies were made."""
    rows = [[TableCell(name), TableCell(a), TableCell(b)] for name, a, b in how_made(comparison)[0]]
    return Grid(["what differs", "A", "B"], rows, [False] * 3)


def page(comparison: StudyComparison) -> str:
    """Return the comparison as a page that needs no network."""
    a, b = comparison.a, comparison.b
    sides = [(f"A: {a.name}", a.summary), (f"B: {b.name}", b.summary)]
    variants = [one.variant for one in comparison.variants if one.a.difference or one.b.difference]
    wide, narrow = (two_forests(sides, variants, width, comparison.comparable) for width in (330, 82))
    figures = []
    if wide is not None and narrow is not None:
        shade = "Shaded: the noise floor of each."
        caption = f"BLEU, each change minus the baseline of its own study, with the intervals of the verdicts. {shade}"
        figures = [
            Figure("forests", "What each change is worth in both", caption, render_svg(wide), render_svg(narrow))
        ]
    origins = [f"{letter} = {side.name} ({side.origin})." for letter, side in (("A", a), ("B", b))]
    sections = [
        Section("table", "The table", grid(comparison), notes=[*origins, *notes(comparison)]),
        Section("made", "What differs in how they were made", made(comparison), facts=True),
    ]
    return sheet(f"{a.name} beside {b.name}", _headline(comparison), sections, figures)


def _headline(comparison: StudyComparison) -> str:
    count = f"{plural(len(comparison.variants), 'variant')} in both studies"
    if not comparison.comparable:
        return f"{count}; other test sets or measures, so each is compared with its own baseline only."
    changed = [one.variant for one in comparison.variants if one.p_holm is not None and one.p_holm < ALPHA]
    same = sum(one.bleu is not None and one.bleu.test == SAME for one in comparison.variants)
    parts = [count]
    if changed:
        parts.append(f"{', '.join(changed)} {'is' if len(changed) == 1 else 'are'} worth more or less than before")
    else:
        parts.append("no change is shown to be worth more or less in one of them")
    return "; ".join([*parts, f"{same} are the same cells"] if same else parts) + "."


def _scores(one: VariantComparison, split: str | None) -> list[TableCell]:
    tests = " / ".join(dict.fromkeys(difference.test for difference in (one.bleu, one.effect) if difference))
    return [
        TableCell(one.variant),
        *(_score(row.score(split, "bleu"), row.n) for row in (one.a, one.b)),
        _between(one.bleu),
        _estimate(one.a.difference),
        _estimate(one.b.difference),
        _between(one.effect),
        TableCell(p_value(one.p_holm), one.p_holm),
        TableCell(tests or MISSING),
    ]


def _effects(one: VariantComparison) -> list[TableCell]:
    cells = [TableCell(one.variant)]
    for row in (one.a, one.b):
        cells += [_estimate(row.difference), TableCell(row.verdict_text, verdict=row.verdict.name.lower())]
    return cells


def _score(score: Estimate | None, n: int) -> TableCell:
    return TableCell(plus_minus(score, n), score.mean if score else None)


def _estimate(difference: Estimate | None) -> TableCell:
    return TableCell(bracketed(difference), difference.mean if difference else None)


def _between(difference: ScoreDifference | None) -> TableCell:
    return _estimate(difference.difference if difference else None)
