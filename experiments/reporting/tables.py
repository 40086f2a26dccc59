"""The study's table, once, as text cells; written for the terminal, Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table as RichTable

from experiments.reporting.grids import print_plain
from experiments.reporting.notes import notes_of, title_of, widened
from experiments.reporting.paper import LABEL, TABLE3_TEST_SET
from experiments.reporting.results import AVERAGED
from experiments.reporting.statistics import Estimate, smallest_p
from experiments.reporting.summary import Row, Summary, Verdict
from experiments.reporting.systems import Extra, extras

WRAPS = ("change", "status")
WIDE = "[95 %] for new sentences too"
MISSING = "–"
MINUS = "−"
DIGITS = {"bits_per_character": 3, "brevity_penalty": 3, "length_ratio": 3}
STYLES = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.DIVERGED: "magenta"}


@dataclass(frozen=True)
class Column:
    """A column: its title, the text of a row, the number it sorts by, and how soon a narrow terminal drops it."""

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
    ]
    shown += [_score("bleu", split, 0)]
    shown += [
        Column("Δ BLEU [95 %]", lambda row: bracketed(row.difference), lambda row: _mean(row.difference)),
        Column("p (Holm)", lambda row: p_value(row.p_holm), lambda row: row.p_holm, priority=2),
        Column("verdict", lambda row: row.verdict.value, numeric=False, key="verdict"),
    ]
    shown += [_score(name, split, 9) for name in summary.shown]
    shown += [_score("bleu", name, 9) for name in summary.splits[1:]]
    if widened(summary):
        shown.append(Column(WIDE, lambda row: interval(row.difference_wide), priority=10))
    shown += [
        _score("ppl", split, 4),
        Column("parameters", lambda row: count(row.parameters), lambda row: row.parameters, priority=5),
        Column(
            "training FLOPs (arithmetic)",
            lambda row: flops(row.training_flops),
            lambda row: row.training_flops,
            priority=6,
        ),
        Column(
            "target tokens/s",
            lambda row: speed(row.tokens_per_second, row.n),
            lambda row: _mean(row.tokens_per_second),
            priority=7,
        ),
    ]
    if any(row.published is not None for row in summary.rows):
        title = f"Δ BLEU {LABEL} ({TABLE3_TEST_SET})"
        shown += [
            Column(title, lambda row: number(row.published, 1, sign=True), lambda row: row.published, priority=8),
            Column(f"against the {LABEL}", lambda row: row.agreement or MISSING, numeric=False, priority=2),
        ]
    shown += [_beside(summary, extra) for extra in extras(summary.beside, split)]
    if any(row.n != summary.seeds or row.status for row in summary.rows):
        shown.append(Column("n", lambda row: str(row.n), lambda row: row.n, priority=1))
        shown.append(Column("seeds left out", lambda row: row.status, numeric=False, priority=5, key="status"))
    return shown


def _score(name: str, split: str, priority: int) -> Column:
    plain = name.removeprefix(AVERAGED)
    text = perplexity if plain.startswith("ppl") else partial(plus_minus, digits=DIGITS.get(plain, 2))
    return Column(
        f"{title_of(name)} {split}",
        lambda row: text(row.score(split, name), row.n),
        lambda row: _mean(row.score(split, name)),
        priority=priority,
    )


def _beside(summary: Summary, extra: Extra) -> Column:
    text = flops if extra.digits is None else partial(number, digits=extra.digits)
    return Column(
        extra.title,
        lambda row: text(extra.of(summary.beside, row.variant)),
        lambda row: extra.of(summary.beside, row.variant),
        priority=8,
    )


def markdown(summary: Summary) -> str:
    """Return the table as Markdown, with its notes."""
    shown = columns(summary)
    lines = ["| " + " | ".join(column.title for column in shown) + " |"]
    lines.append("|" + "|".join("--:" if column.numeric else ":--" for column in shown) + "|")
    for row in summary.rows:
        lines.append("| " + " | ".join(column.text(row).replace("|", "\\|") for column in shown) + " |")
    notes = "\n".join(f"* {note}" for note in notes_of(summary))
    return f"# {summary.study}\n\n{summary.question}\n\n" + "\n".join(lines) + f"\n\n{notes}\n"


def comma_separated(summary: Summary) -> str:
    """Return every number unrounded, one row a variant, an estimate as mean, low, high and n.

    Every score of every split is there, each with its signature; a row without one has empty cells.
    """
    records = []
    for row in summary.rows:
        record: dict[str, object] = {"variant": row.variant, "change": row.change, "verdict": row.verdict.value}
        record |= {"parameters": row.parameters, "training_flops": row.training_flops}
        record |= _parts("target_tokens_per_second", row.tokens_per_second)
        for split, signatures in summary.signatures.items():
            for name, signature in signatures.items():
                record |= _parts(f"{name}_{split}", row.score(split, name))
                record[f"{name}_{split}_signature"] = signature
        record |= _parts("bleu_difference", row.difference)
        wide = row.difference_wide
        record |= {f"bleu_difference_wide_{end}": getattr(wide, end) if wide else None for end in ("low", "high")}
        record |= {"p": row.p, "p_holm": row.p_holm, "p_exact": row.p_exact}
        record |= {"p_exact_smallest": smallest_p(row.difference.n) if row.difference and row.p is not None else None}
        record |= {"seeds_left_out": row.status, "rung": summary.rung}
        record |= {f"bleu_difference_{LABEL}": row.published, f"against_{LABEL}": row.agreement}
        record |= {extra.name: extra.of(summary.beside, row.variant) for extra in extras(summary.beside, "")}
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
    return "\n".join(lines + [f"% {note}" for note in notes_of(summary)]) + "\n"


def terminal(summary: Summary, console: Console) -> None:
    """Print the table: to a terminal as wide as it is, elsewhere plain and whole."""
    shown = columns(summary)
    if not console.is_terminal:
        rows = [[column.title for column in shown], *([column.text(row) for column in shown] for row in summary.rows)]
        print_plain(rows, [column.numeric for column in shown], console)
    else:
        console.print(_fitted(summary, shown, console.width))
    for note in notes_of(summary):
        console.print(note, style="dim", soft_wrap=not console.is_terminal, highlight=False, markup=False)


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Return a rounded number with a true minus sign; a rounded zero has no sign."""
    if value is None:
        return MISSING
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def plus_minus(found: Estimate | None, expected: int, digits: int = 2) -> str:
    """Return "27.31 ± 0.25"; one seed stands alone, and an n other than the row's is printed."""
    if found is None:
        return MISSING
    half = found.half_width
    text = number(found.mean, digits) + (f" ± {number(half, digits)}" if half is not None else "")
    return text if found.n == expected else f"{text} (n={found.n})"


def perplexity(found: Estimate | None, expected: int) -> str:
    """Return a perplexity with its interval, with more digits the closer it is to one."""
    if found is None:
        return MISSING
    return plus_minus(found, expected, 3 if found.mean < 10 else 2 if found.mean < 1000 else 0)


def bracketed(found: Estimate | None) -> str:
    """Return "−52.30 [−54.50, −50.10]"; one seed stands alone."""
    if found is None:
        return MISSING
    mean = number(found.mean, sign=True)
    return mean if found.low is None else f"{mean} {interval(found)}"


def interval(found: Estimate | None) -> str:
    """Return "[−54.50, −50.10]"."""
    if found is None or found.low is None:
        return MISSING
    return f"[{number(found.low, sign=True)}, {number(found.high, sign=True)}]"


def speed(found: Estimate | None, expected: int) -> str:
    """Return target tokens per second with its interval."""
    if found is None:
        return MISSING
    half = f" ± {found.half_width:,.0f}" if found.half_width is not None else ""
    return f"{found.mean:,.0f}{half}" + (f" (n={found.n})" if expected and found.n != expected else "")


def count(value: float | None) -> str:
    """Return a number of parameters in millions."""
    return MISSING if value is None else f"{value / 1e6:.2f} M"


def flops(value: float | None) -> str:
    """Return FLOPs with one digit after the point."""
    return MISSING if value is None else f"{value:.1e}".replace("e+", "e")


def many(number: int, thing: str) -> str:
    """Return a number of things: "1 cell", "2 cells"."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def p_value(value: float | None) -> str:
    """Return a p-value with two significant digits."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _mean(found: Estimate | None) -> float | None:
    return found.mean if found else None


def _parts(name: str, found: Estimate | None) -> dict[str, float | int | None]:
    mean, low, high, n = (found.mean, found.low, found.high, found.n) if found else (None, None, None, 0)
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": n}


def _fitted(summary: Summary, shown: list[Column], width: int) -> RichTable:
    """Drop the least needed columns until the table fits; what changed and what was left out may wrap."""
    kept = list(shown)
    while sum(_needed(column, summary) + 2 for column in kept) > width:
        least = max(kept, key=lambda column: column.priority)
        if least.priority == 0:
            break
        kept.remove(least)
    hidden = [column.title for column in shown if column not in kept]
    caption = f"not shown for want of width: {', '.join(hidden)}" if hidden else None
    table = RichTable(box=None, caption=caption, caption_justify="left")
    for column in kept:
        wraps = column.key in WRAPS
        table.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=not wraps)
    for row in summary.rows:
        table.add_row(*(column.text(row) for column in kept), style=STYLES.get(row.verdict, ""))
    return table


def _needed(column: Column, summary: Summary) -> int:
    longest = max(len(column.title), *(len(column.text(row)) for row in summary.rows))
    return min(longest, 24) if column.key in WRAPS else longest


def _escape(text: str) -> str:
    for plain, escaped in (("_", "\\_"), ("%", "\\%"), ("&", "\\&"), ("#", "\\#"), ("→", "$\\to$")):
        text = text.replace(plain, escaped)
    return text.replace("Δ", "$\\Delta$").replace("±", "$\\pm$").replace(MINUS, "$-$").replace("<", "$<$")
