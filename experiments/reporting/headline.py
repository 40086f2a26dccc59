"""The study's finding in one sentence, written from its numbers."""

from experiments.reporting.at_its_best import changed_verdicts
from experiments.reporting.effects import EffectRow, Effects
from experiments.reporting.formats import listing, number, plural
from experiments.reporting.paper import Agreement
from experiments.reporting.summary import Row, Summary
from experiments.reporting.verdicts import CALLED, Verdict

NAMED = 3
"""The most changes that the sentence names."""


def headline(summary: Summary) -> str:
    """Return which changes matter most, how many are equal, open and diverged, and what is missing."""
    if not summary.primary or summary.row(summary.baseline).n == 0:
        return f"Nothing can be compared yet: the baseline {summary.baseline} has no score."
    compared = [row for row in summary.changes if row.difference]
    if not compared:
        return f"{plural(len(summary.changes), 'change')} and no score to compare with the baseline yet."
    parts = [_largest(summary, compared)]
    if summary.effects and summary.effects.rows:
        parts = _effects(summary.effects)
    elif summary.compared:
        parts += _counts(summary)
    elif summary.seeds == 1:
        parts.append("one seed shows no spread, so this is not conclusive")
    else:
        parts.append("no change has the seeds of a verdict yet")
    agreements = [row.agreement for row in summary.rows if row.agreement]
    if len(agreements) > 1:
        same, opposite = (agreements.count(kind) for kind in (Agreement.REPRODUCED, Agreement.CONTRADICTED))
        parts.append(
            f"of {len(agreements)} rows of the paper's Table 3, {same} are reproduced and {opposite} contradicted"
        )
    if summary.tuned and (changed := changed_verdicts(summary)):
        parts.append(f"each at its best {summary.tuned.tune.key}, other verdicts for {listing(changed)}")
    diverged = summary.with_verdict(Verdict.DIVERGED)
    if diverged:
        parts.append(f"{plural(len(diverged), 'change')} diverged in every seed")
    missing = len(summary.missing) + len(summary.unscored)
    if missing:
        parts.append(f"{plural(missing, 'cell')} of the study {'is' if missing == 1 else 'are'} missing")
    return "; ".join(parts) + "."


def _largest(summary: Summary, compared: list[Row]) -> str:
    """Name the changes that are worth most, by size; without a verdict of that kind, the largest difference."""
    different = sorted(summary.with_verdict(*CALLED), key=_size, reverse=True)[:NAMED]
    if different:
        return f"BLEU changes most with {listing([_named(row) for row in different])}"
    largest = f"the largest difference is that of {_named(max(compared, key=_size))}"
    return f"No change is better or worse than the baseline; {largest}" if summary.compared else _capital(largest)


def _effects(effects: Effects) -> list[str]:
    """Name the main effects and interactions that are worth most, and count those that are decided."""
    decided = sorted((row for row in effects.rows if row.verdict in CALLED), key=lambda row: -abs(row.difference.mean))
    kinds = (("effect", False), ("interaction", True))
    named = {kind: [row for row in decided if row.is_interaction is pair][:NAMED] for kind, pair in kinds}
    parts = [
        f"the largest {plural(len(rows), kind).partition(' ')[2]}: {listing([_effect(row) for row in rows])}"
        for kind, rows in named.items()
        if rows
    ]
    count = f"{len(decided)} of {plural(len(effects.rows), 'effect')} decided"
    return [_capital(part) if place == 0 else part for place, part in enumerate([*parts, count])]


def _effect(row: EffectRow) -> str:
    return f"{row.label} ({number(row.difference.mean, 1, sign=True)})"


def _counts(summary: Summary) -> list[str]:
    """Say how many of the tested changes are equal to the baseline, and how many open."""
    equal, undecided = (len(summary.with_verdict(verdict)) for verdict in (Verdict.EQUAL, Verdict.OPEN))
    counts = [
        f"{count} {'is' if count == 1 else 'are'} {what}"
        for count, what in ((equal, f"equal within {summary.margin:g} BLEU"), (undecided, "open"))
        if count
    ]
    return [f"of {plural(summary.compared, 'change')}, {listing(counts)}"] if counts else []


def _named(row: Row) -> str:
    assert row.difference is not None
    return f"{row.label} ({number(row.difference.mean, 1, sign=True)})"


def _size(row: Row) -> float:
    return abs(row.difference.mean) if row.difference else 0.0


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
