"""The study's finding in one sentence, written from its numbers."""

from experiments.reporting.against_paper import Agreement
from experiments.reporting.summary import Row, Summary, Verdict
from experiments.reporting.tables import many, number


def headline(summary: Summary) -> str:
    """Say the largest separable effect with its interval, how many changes cannot be told apart, and what diverged."""
    if not summary.primary or summary.row(summary.baseline).n == 0:
        return f"Nothing can be compared yet: the baseline {summary.baseline} has no score."
    compared = [row for row in summary.changes if row.difference]
    if not compared:
        return f"{many(len(summary.changes), 'change')} and no score to compare with the baseline yet."
    found = summary.with_verdict(Verdict.BETTER, Verdict.WORSE)
    parts = [_effect(max(found or compared, key=_size), bool(found) or not summary.compared)]
    if summary.compared:
        unclear = len(summary.with_verdict(Verdict.UNCLEAR))
        changes = many(summary.compared, "change")
        parts.append(f"{unclear} of {changes} cannot be told from the baseline with {summary.seeds} seeds")
    else:
        parts.append("one seed shows no spread, so this settles nothing")
    agreements = [row.agreement for row in summary.rows if row.agreement]
    if len(agreements) > 1:
        same, opposite = (agreements.count(kind) for kind in (Agreement.REPRODUCED, Agreement.CONTRADICTED))
        parts.append(
            f"of {len(agreements)} rows of the paper's Table 3, {same} are reproduced and {opposite} contradicted"
        )
    diverged = summary.with_verdict(Verdict.DIVERGED)
    if diverged:
        parts.append(f"{many(len(diverged), 'change')} diverged in every seed")
    gone = len(summary.missing) + len(summary.unscored)
    if gone:
        parts.append(f"{many(gone, 'cell')} of the study {'is' if gone == 1 else 'are'} missing")
    return "; ".join(parts) + "."


def _effect(row: Row, stands: bool) -> str:
    found = row.difference
    assert found is not None
    name = row.variant.replace("_", " ")
    several = ", " in row.change
    start = f"Without {name.removeprefix('no ')}" if name.startswith("no ") and not several else f"With {row.variant}"
    verb = "falls" if found.mean < 0 else "rises"
    size = number(abs(found.mean), 1)
    if found.low is None or found.high is None:
        return f"{start} BLEU {verb} by {size}"
    ends = sorted(end if found.mean > 0 else -end for end in (found.low, found.high))
    interval = f"[{number(ends[0], 1)}, {number(ends[1], 1)}]"
    return f"{start} BLEU {verb} by {size} {interval}" + ("" if stands else ", the largest change, not separable")


def _size(row: Row) -> float:
    return abs(row.difference.mean) if row.difference else 0.0
