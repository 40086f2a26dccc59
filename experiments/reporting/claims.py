"""The claims of a run as another program reads them, and whether two runs of a study contradict each other."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.common.io import write_json
from experiments.config.study import Study
from experiments.reporting.at_its_best import Tuned
from experiments.reporting.effects import effect_records
from experiments.reporting.formats import plural
from experiments.reporting.results import Record, Results
from experiments.reporting.statistics import ALPHA
from experiments.reporting.summary import Row, Summary
from experiments.reporting.verdicts import CLAIMS, JudgedChange, Verdict

COUNTED = (*CLAIMS, Verdict.OPEN)
MEANS = ("bleu", "ppl")
"""The scores of a variant that people compare between experiments; all others are in the report."""


def write_verdicts(study: Study, summary: Summary, results: Results) -> None:
    """Write verdicts.json: the number of changes with each verdict, which `dvc metrics` shows, and every row whole."""
    shared = protocol(study, summary)
    rows = [{**verdict_row(row), **shared, **_origin(row, summary, results)} for row in summary.changes]
    counts = {verdict.value: len(summary.with_verdict(verdict)) for verdict in COUNTED}
    content: dict[str, Any] = {**counts, "rows": rows}
    if summary.effects:
        content["effects"] = effect_records(summary.effects)
    if summary.tuned and results.tuned:
        content["tuned"] = _tuned(summary, summary.tuned, results.tuned.cells)
    write_json(study.verdicts_path, content)


def write_metrics(study: Study, summary: Summary) -> None:
    """Write metrics.json: the means over seeds of each variant that has scores, on the split that verdicts rest on."""
    means = {
        row.variant: {name: round(score.mean, 4) for name in MEANS if (score := row.score(summary.primary, name))}
        for row in summary.rows
    }
    write_json(study.metrics_path, {variant: scores for variant, scores in means.items() if scores})


def protocol(study: Study, summary: Summary) -> dict[str, Any]:
    """Return how the verdicts of a study are given, and on what."""
    return {
        "study": study.name,
        "baseline": study.baseline,
        "corpus_level": summary.corpus_level,
        "split": summary.primary,
        "signature": summary.signature(summary.primary) if summary.primary else None,
        "test": "paired" if summary.paired else "Welch",
        "alpha": ALPHA,
        "changes": summary.compared,
        "looks": [[look.seeds, look.share] for look in study.looks],
        "margin": study.margin,
        "rule": summary.rule,
    }


def verdict_row(row: Row) -> dict[str, Any]:
    """Return a change with its verdict and what it rests on: means of the seeds compared, one p per look."""
    return {"variant": row.variant, "label": row.label, "verdict": row.verdict.value, **_evidence(row.judged)}


def _evidence(judged: JudgedChange | None) -> dict[str, Any]:
    difference = judged.difference if judged else None
    mean, baseline_mean = (judged and judged.means) or (None, None)
    return {
        "n": difference.n if difference else 0,
        "mean": mean,
        "baseline_mean": baseline_mean,
        "difference": difference.mean if difference else None,
        "interval": [difference.low, difference.high] if difference and difference.low is not None else None,
        "p": list(judged.p) if judged else [],
        "p_adjusted": judged.p_adjusted if judged else None,
        "seeds_to_decide": judged.seeds_to_decide if judged else None,
        "two_groups": judged.two_groups if judged else False,
    }


def contradictions(a: Mapping[str, Verdict], b: Mapping[str, Verdict]) -> list[str]:
    """Return the changes on which two runs claim different things; an open verdict claims nothing."""
    return [
        variant
        for variant, verdict in a.items()
        if verdict in CLAIMS and b.get(variant) in CLAIMS and b[variant] is not verdict
    ]


def agreement(a: Mapping[str, Verdict], b: Mapping[str, Verdict]) -> str:
    """Say in one line whether two runs agree in their claims, and which changes only one of them decides."""
    differing = contradictions(a, b)
    both = [variant for variant, verdict in a.items() if verdict in CLAIMS and b.get(variant) in CLAIMS]
    one = [variant for variant in a if variant in b and (a[variant] in CLAIMS) != (b[variant] in CLAIMS)]
    rest = f"; decided in one of them only: {_both_verdicts(one, a, b)}" if one else ""
    if differing:
        differ = f"the claims differ for {_both_verdicts(differing, a, b)}"
        return f"Contradiction: of {plural(len(both), 'change')} decided in both, {differ}{rest}."
    if not both:
        return f"No change is decided in both, so nothing is confirmed and nothing contradicted{rest}."
    return f"The claims agree: {plural(len(both), 'change')} decided in both, all alike{rest}."


def verdicts_of(summary: Summary) -> dict[str, Verdict]:
    """Return the verdict on each change."""
    return {row.variant: row.verdict for row in summary.changes}


def verdicts_at_best(summary: Summary) -> dict[str, Verdict]:
    """Return the verdict on each change, every row at its best value; none for a study without `tune`."""
    return {row.variant: summary.tuned.rows[row.variant].verdict for row in summary.changes} if summary.tuned else {}


def _both_verdicts(variants: Sequence[str], a: Mapping[str, Verdict], b: Mapping[str, Verdict]) -> str:
    return ", ".join(f"{variant} ({a[variant]} in A, {b[variant]} in B)" for variant in variants)


def _tuned(summary: Summary, tuned: Tuned, cells: Results) -> dict[str, Any]:
    """Return the verdicts with each row at its best value, the baseline too, and how these values were chosen."""
    rows = []
    for row in summary.changes:
        own = tuned.rows[row.variant]
        verdict: dict[str, Any] = {
            "verdict": own.verdict.value,
            "verdict_by_recipe": row.verdict.value,
            **_evidence(own.judged),
        }
        verdict["choice"] = asdict(own.choice) if own.choice else None
        rows.append({"variant": row.variant, "label": row.label, **verdict, **_origin(row, summary, cells)})
    baseline = tuned.rows[summary.baseline].choice
    return {
        **{verdict.value: sum(row["verdict"] == verdict.value for row in rows) for verdict in COUNTED},
        "tune": asdict(tuned.tune),
        "test": "paired" if tuned.paired else "Welch",
        "changes": tuned.compared,
        "baseline_choice": asdict(baseline) if baseline else None,
        "rows": rows,
    }


def _origin(row: Row, summary: Summary, results: Results) -> dict[str, str]:
    """Return the commits and machines of the cells that are compared."""
    records = [*results.of(row.variant), *results.of(summary.baseline)]
    return {name: _joined(records, key) for name, key in (("commit", "git_commit"), ("machine", "machine"))}


def _joined(records: Sequence[Record], key: str) -> str:
    return ", ".join(sorted({str(record.training[key]) for record in records if record.training.get(key)}))
