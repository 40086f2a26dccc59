"""A study's table and the notes under it, for the terminal, Markdown, CSV, LaTeX and the page."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from experiments.reporting import effects
from experiments.reporting.at_its_best import Tuned, TunedRow, sentences
from experiments.reporting.extras import ExtraColumn, extra_columns, extra_notes
from experiments.reporting.formats import (
    MINUS,
    MISSING,
    bracketed,
    interval,
    millions,
    number,
    p_value,
    percent,
    perplexity,
    plus_minus,
    power_of_ten,
    speed,
)
from experiments.reporting.grids import Grid, TableCell, markdown_grid, print_grid, print_plain, without_tags
from experiments.reporting.paper import AGREEMENT_RULE, LABEL, TABLE3_TEST_SET
from experiments.reporting.results import AVERAGED, grouped, listed
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import RULE_WIDE, Row, Summary
from experiments.reporting.verdicts import LEARNED, Verdict

FIRST = 5
"""The columns that answer a study's question; a page hides the others behind a toggle."""
WRAPS = ("change", "status")
WIDE = "[95 %] seeds and sentences"
DIGITS = {"bits_per_character": 3, "brevity_penalty": 3, "length_ratio": 3}
STYLES = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.DIVERGED: "magenta"}
AVERAGED_NOTE = "Averaged: scores of the averaged weights. Differences and verdicts use the weights of the last step."
COUNTS_CHARACTERS = (
    "BLEU counts characters here: sacreBLEU knows no words of the language, or a setting says so. chrF says more, and "
    "no such number compares with one of words."
)
NOTHING_LEARNED = (
    f"The baseline has learned nothing that BLEU shows (every seed is under {LEARNED:g}), so no change is compared "
    "with a working model: give the study more steps."
)
TITLES = {
    "bleu": "BLEU",
    "bleu_intl": "BLEU intl",
    "bleu_own": "BLEU (corpus's own)",
    "bleu_paper": "BLEU (paper's)",
    "chrf": "chrF",
    "chrfpp": "chrF++",
    "ter": "TER",
    "ppl": "PPL",
    "ppl_word": "PPL per word",
    "bits_per_character": "bits per character",
    "exact_match": "exact match, %",
    "brevity_penalty": "brevity penalty",
    "length_ratio": "length ratio",
}


@dataclass(frozen=True)
class Column:
    """A column: its title, the text and the sort value of a row; a narrow terminal drops high priorities first."""

    title: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None] = lambda row: None
    numeric: bool = True
    priority: int = 0
    key: str = ""


def columns(summary: Summary) -> list[Column]:
    """Return the columns of a study's table, in the order they are shown."""
    split = summary.primary or "test"
    shown = [
        Column("variant", lambda row: row.variant, numeric=False, key="variant"),
        Column("what changed", lambda row: row.change.replace("->", "→"), numeric=False, priority=3, key="change"),
        _score_column("bleu", split, 0),
        Column("Δ BLEU [interval]", lambda row: bracketed(row.difference), lambda row: _mean(row.difference)),
        Column("verdict", lambda row: row.verdict_text, numeric=False, key="verdict"),
        Column("p (corrected)", lambda row: p_value(row.p_adjusted), lambda row: row.p_adjusted, priority=2),
    ]
    shown += _tuned_columns(summary.tuned, split) if summary.tuned else []
    shown += [_score_column(name, split, 9) for name in summary.shown]
    shown += [_score_column("bleu", name, 9) for name in summary.splits[1:]]
    if interval_widens(summary):
        shown.append(Column(WIDE, lambda row: interval(row.difference_wide), priority=10))
    shown += [
        _score_column("ppl", split, 4),
        Column("parameters", lambda row: millions(row.parameters), lambda row: row.parameters, priority=5),
        Column(
            "training FLOPs (arithmetic)",
            lambda row: power_of_ten(row.training_flops),
            lambda row: row.training_flops,
            priority=6,
        ),
        Column(
            "fastest tokens/s",
            lambda row: speed(row.tokens_per_second),
            lambda row: row.tokens_per_second,
            priority=7,
        ),
    ]
    if any(row.published is not None for row in summary.rows):
        title = f"Δ BLEU {LABEL} ({TABLE3_TEST_SET})"
        shown += [
            Column(title, lambda row: number(row.published, 1, sign=True), lambda row: row.published, priority=8),
            Column(f"against the {LABEL}", lambda row: row.agreement or MISSING, numeric=False, priority=2),
        ]
    shown += [_extra_column(summary, extra) for extra in extra_columns(summary.extras, split)]
    if any(row.n != summary.seeds or row.status for row in summary.rows):
        shown.append(Column("n", lambda row: str(row.n), lambda row: row.n, priority=1))
        shown.append(Column("seeds left out", lambda row: row.status, numeric=False, priority=5, key="status"))
    return shown


def _tuned_columns(tuned: Tuned, split: str) -> list[Column]:
    """Return the columns of the rows at their best values."""

    def best(row: Row) -> TunedRow:
        return tuned.rows[row.variant]

    return [
        Column(
            f"BLEU {split} at its best",
            lambda row: plus_minus(best(row).bleu, best(row).n),
            lambda row: _mean(best(row).bleu),
            priority=4,
        ),
        Column(
            "Δ BLEU at its best [interval]",
            lambda row: bracketed(best(row).difference),
            lambda row: _mean(best(row).difference),
            priority=1,
        ),
        Column("verdict at its best", lambda row: best(row).verdict_text, numeric=False, priority=1, key="best"),
        Column(f"best {tuned.tune.key}", lambda row: best(row).value_text, numeric=False, priority=3, key="best"),
        Column("PPL of the values beside it", lambda row: best(row).sensitivity, numeric=False, priority=6, key="best"),
    ]


def title_of(score: str) -> str:
    """Return the column title of a score; one without a title is shown under its name."""
    plain = score.removeprefix(AVERAGED)
    return TITLES.get(plain, plain) + (" averaged" if plain != score else "")


def notes_of(summary: Summary) -> list[str]:
    """Return the notes under the table: corpus level, seeds, signatures, rules, noise, and missing cells.

    Those on best values, which have a section of their own on the page, are not among them.
    """
    seeds = "one seed, so no interval and no test" if summary.seeds == 1 else f"{summary.seeds} seeds per row"
    notes = [NOTHING_LEARNED] if summary.nothing_learned else []
    notes.append(
        f"Evidence: {summary.corpus_level}, {seeds} unless noted otherwise; ± is the 95 % confidence interval of a row "
        "alone (Student's t), [ ] the one that the verdict uses."
    )
    by_signature = grouped((summary.signature(split), split) for split in summary.splits)
    notes += [f"BLEU on {', '.join(splits)}: {signature}" for signature, splits in by_signature.items()]
    notes += [_repeats(split, counts) for split, counts in summary.repeats.items() if any(counts.values())]
    if any("tok:char" in signature for signature in by_signature):
        notes.append(COUNTS_CHARACTERS)
    notes += [
        f"{title_of(name)} on {summary.primary}: {summary.signature(summary.primary or '', name)}"
        for name in summary.shown
    ]
    if any(name.startswith(AVERAGED) for name in summary.shown):
        notes.append(AVERAGED_NOTE)
    if summary.rule:
        notes.append(summary.rule)
    if any(row.difference_wide for row in summary.rows):
        same = "" if interval_widens(summary) else " Here none is wider by 0.01 BLEU, so only the first is shown."
        notes.append(RULE_WIDE + same)
    if any(row.agreement for row in summary.rows):
        notes.append(AGREEMENT_RULE)
    notes += extra_notes(summary.extras)
    notes += _notes_of_noise(summary)
    if summary.missing:
        notes.append(f"Not trained ({len(summary.missing)}): {listed(summary.missing)}")
    if summary.unscored:
        notes.append(f"Trained but not evaluated ({len(summary.unscored)}): {listed(summary.unscored)}")
    return notes


def interval_widens(summary: Summary) -> bool:
    """Return whether new sentences widen any row's interval visibly; with few seeds, the spread of seeds dominates."""
    return any(
        row.difference_wide.half_width - row.difference.half_width >= 0.005
        for row in summary.rows
        if row.difference_wide and row.difference and row.difference_wide.half_width and row.difference.half_width
    )


def markdown(summary: Summary) -> str:
    """Return the table as Markdown, with its notes."""
    table = markdown_table(columns(summary), summary.rows)
    notes = "\n".join(f"* {without_tags(note)}" for note in _all_notes(summary))
    text = f"# {summary.study}\n\n{without_tags(summary.question)}\n\n{table}\n\n{notes}\n"
    return text + (effects.markdown(summary.effects) if summary.effects else "")


def markdown_table(shown: Sequence[Column], rows: Sequence[Row]) -> str:
    """Return some columns of a table as Markdown."""
    cells = [[TableCell(column.text(row)) for column in shown] for row in rows]
    return markdown_grid(Grid([column.title for column in shown], cells, [column.numeric for column in shown]))


def comma_separated(summary: Summary) -> str:
    """Return every number unrounded as CSV, one row per variant; an estimate has columns for mean, low, high and n.

    Every score of every split is included with its signature; a row without one has empty cells.
    """
    records = []
    for row in summary.rows:
        record: dict[str, object] = {"variant": row.variant, "change": row.change, "verdict": row.verdict.value}
        record |= {"parameters": row.parameters, "training_flops": row.training_flops}
        record |= {"fastest_target_tokens_per_second": row.tokens_per_second}
        for split, signatures in summary.signatures.items():
            for name, signature in signatures.items():
                record |= _parts(f"{name}_{split}", row.score(split, name))
                record[f"{name}_{split}_signature"] = signature
        record |= _parts("bleu_difference", row.difference)
        wide = row.difference_wide
        record |= {f"bleu_difference_wide_{end}": getattr(wide, end) if wide else None for end in ("low", "high")}
        record |= {"p_corrected": row.p_adjusted, "seeds_to_decide": row.judged and row.judged.seeds_to_decide}
        record |= {"two_groups": row.judged and row.judged.two_groups, "margin": summary.margin}
        record |= _tuned_parts(summary.tuned.rows[row.variant]) if summary.tuned else {}
        record |= {"seeds_left_out": row.status, "corpus_level": summary.corpus_level}
        record |= {f"bleu_difference_{LABEL}": row.published, f"against_{LABEL}": row.agreement}
        record |= {extra.name: extra.of(summary.extras, row.variant) for extra in extra_columns(summary.extras, "")}
        records.append(record)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def latex(summary: Summary) -> str:
    """Return the table as LaTeX for the booktabs package."""
    shown = [column for column in columns(summary) if column.key != "status"]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in shown)}}}",
        "\\toprule",
        " & ".join(_escape(column.title) for column in shown) + " \\\\",
        "\\midrule",
    ]
    lines += [" & ".join(_escape(column.text(row)) for column in shown) + " \\\\" for row in summary.rows]
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines + [f"% {note}" for note in _all_notes(summary)]) + "\n"


def terminal(summary: Summary, console: Console) -> None:
    """Print the table: fitted to a terminal's width, elsewhere plain and complete."""
    shown = columns(summary)
    if not console.is_terminal:
        rows = [[column.title for column in shown], *([column.text(row) for column in shown] for row in summary.rows)]
        print_plain(rows, [column.numeric for column in shown], console)
    else:
        console.print(_fitted(summary, shown, console.width))
    for note in _all_notes(summary):
        console.print(note, style="dim", soft_wrap=not console.is_terminal, highlight=False, markup=False)
    if summary.effects:
        console.print(f"\n{effects.TITLE}", highlight=False)
        print_grid(effects.grid(summary.effects), console)
        for note in effects.sentences(summary.effects):
            console.print(note, style="dim", soft_wrap=not console.is_terminal, highlight=False, markup=False)


def _score_column(name: str, split: str, priority: int) -> Column:
    plain = name.removeprefix(AVERAGED)
    text = perplexity if plain.startswith("ppl") else partial(plus_minus, digits=DIGITS.get(plain, 2))
    return Column(
        f"{title_of(name)} {split}",
        lambda row: text(row.score(split, name), row.n),
        lambda row: _mean(row.score(split, name)),
        priority=priority,
    )


def _extra_column(summary: Summary, extra: ExtraColumn) -> Column:
    text = power_of_ten if extra.digits is None else partial(number, digits=extra.digits)
    return Column(
        extra.title,
        lambda row: text(extra.of(summary.extras, row.variant)),
        lambda row: extra.of(summary.extras, row.variant),
        priority=8,
    )


def _all_notes(summary: Summary) -> list[str]:
    return [*notes_of(summary), *(sentences(summary) if summary.tuned else [])]


def _notes_of_noise(summary: Summary) -> list[str]:
    notes, noise, floor = [], summary.noise, summary.noise_floor
    if noise:
        notes.append(
            f"Power: runs that differ in their seed alone vary by {noise.sd:.2f} BLEU (standard deviation, median over "
            f"rows), so {noise.n} seeds find a difference of {noise.corrected:.2f} BLEU in "
            f"{percent(round(noise.power_corrected[1], 2))} of studies and one of {2 * noise.corrected:.2f} in "
            f"{percent(round(noise.power_corrected[2], 2))}, with the correction at its strictest; without any "
            f"correction, one of {noise.alone:.2f} in {percent(round(noise.power[1], 2))}."
        )
    if floor:
        notes.append(
            f"Noise floor: the baseline against itself. Two means of {floor.n} seeds each differ by less than "
            f"{floor.half_width:.2f} BLEU in 95 % of cases; any two of its runs here differ by {floor.pairs[0]:.2f} to "
            f"{floor.pairs[-1]:.2f}."
        )
    return notes


def _repeats(split: str, counts: Mapping[str, int]) -> str:
    return (
        f"Pairs of {split} that are in the training data too, where a model may remember them: {counts['in_train']}; "
        f"pairs that repeat another: {counts['repeated']}."
    )


def _mean(estimate: Estimate | None) -> float | None:
    return estimate.mean if estimate else None


def _parts(name: str, estimate: Estimate | None) -> dict[str, float | int | None]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{name}_n": 0}
    mean, low, high, n = estimate.mean, estimate.low, estimate.high, estimate.n
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": n}


def _tuned_parts(row: TunedRow) -> dict[str, object]:
    choice, judged = row.choice, row.judged
    return {
        "best_value": choice and choice.value,
        "best_value_at_edge": choice and choice.at_edge,
        "best_verdict": row.verdict.value,
        **_parts("best_bleu", row.bleu),
        **_parts("best_bleu_difference", row.difference),
        "best_p_corrected": judged and judged.p_adjusted,
        "best_neighbours": row.sensitivity,
    }


def _fitted(summary: Summary, shown: list[Column], width: int) -> RichTable:
    """Drop columns of low priority until the table fits; the change and the seeds left out may wrap."""
    fitting = list(shown)
    while sum(_text_width(column, summary) + 2 for column in fitting) > width:
        dropped = max(fitting, key=lambda column: column.priority)
        if dropped.priority == 0:
            break
        fitting.remove(dropped)
    hidden = [column.title for column in shown if column not in fitting]
    caption = Text(f"columns that do not fit: {', '.join(hidden)}") if hidden else None
    table = RichTable(box=None, caption=caption, caption_justify="left")
    for column in fitting:
        wraps = column.key in WRAPS
        table.add_column(Text(column.title), justify="right" if column.numeric else "left", no_wrap=not wraps)
    for row in summary.rows:
        table.add_row(*(Text(column.text(row)) for column in fitting), style=STYLES.get(row.verdict, ""))
    return table


def _text_width(column: Column, summary: Summary) -> int:
    longest = max(len(column.title), *(len(column.text(row)) for row in summary.rows))
    return min(longest, 24) if column.key in WRAPS else longest


def _escape(text: str) -> str:
    for plain, escaped in (("_", "\\_"), ("%", "\\%"), ("&", "\\&"), ("#", "\\#"), ("~", "$\\sim$"), ("→", "$\\to$")):
        text = text.replace(plain, escaped)
    return text.replace("Δ", "$\\Delta$").replace("±", "$\\pm$").replace(MINUS, "$-$").replace("<", "$<$")
