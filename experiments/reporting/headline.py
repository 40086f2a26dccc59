"""The study's finding in one sentence, written from its numbers."""

from experiments.reporting.formats import number, plural
from experiments.reporting.paper import Agreement
from experiments.reporting.summary import Row, Summary, Verdict


def headline(summary: Summary) -> str:
    """Return the largest separable effect with its interval, the number of unclear changes, and what diverged."""
    if not summary.primary or summary.row(summary.baseline).n == 0:
        return f"Nothing can be compared yet: the baseline {summary.baseline} has no score."
    compared = [row for row in summary.changes if row.difference]
    if not compared:
        return f"{plural(len(summary.changes), 'change')} and no score to compare with the baseline yet."
    separable = summary.with_verdict(Verdict.BETTER, Verdict.WORSE)
    parts = [_effect(max(separable or compared, key=_size), bool(separable) or not summary.compared)]
    if summary.compared:
        unclear = len(summary.with_verdict(Verdict.UNCLEAR))
        changes = plural(summary.compared, "change")
        parts.append(f"{unclear} of {changes} are not separable from the baseline with {summary.seeds} seeds")
    else:
        parts.append("one seed shows no spread, so this is not conclusive")
    agreements = [row.agreement for row in summary.rows if row.agreement]
    if len(agreements) > 1:
        same, opposite = (agreements.count(kind) for kind in (Agreement.REPRODUCED, Agreement.CONTRADICTED))
        parts.append(
            f"of {len(agreements)} rows of the paper's Table 3, {same} are reproduced and {opposite} contradicted"
        )
    diverged = summary.with_verdict(Verdict.DIVERGED)
    if diverged:
        parts.append(f"{plural(len(diverged), 'change')} diverged in every seed")
    missing = len(summary.missing) + len(summary.unscored)
    if missing:
        parts.append(f"{plural(missing, 'cell')} of the study {'is' if missing == 1 else 'are'} missing")
    return "; ".join(parts) + "."


def _effect(row: Row, separable: bool) -> str:
    difference = row.difference
    assert difference is not None
    name = row.variant.replace("_", " ")
    single_change = ", " not in row.change
    start = f"Without {name[3:]}" if name.startswith("no ") and single_change else f"With {row.variant}"
    verb = "falls" if difference.mean < 0 else "rises"
    size = number(abs(difference.mean), 1)
    if difference.low is None or difference.high is None:
        return f"{start} BLEU {verb} by {size}"
    ends = sorted(end if difference.mean > 0 else -end for end in (difference.low, difference.high))
    interval = f"[{number(ends[0], 1)}, {number(ends[1], 1)}]"
    return f"{start} BLEU {verb} by {size} {interval}" + ("" if separable else ", the largest change, not separable")


def _size(row: Row) -> float:
    return abs(row.difference.mean) if row.difference else 0.0
