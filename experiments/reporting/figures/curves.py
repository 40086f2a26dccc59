"""Learning curves: validation perplexity against optimiser steps, one panel per variant."""

import math

import altair as alt

from experiments.reporting.figures.style import (
    PURPLE,
    QUIET,
    Figure,
    Rows,
    chart_data,
    panels,
    render_svg,
    verdict_colour,
)
from experiments.reporting.results import Record, Results
from experiments.reporting.summary import Summary

POINTS = 120
"""Most points of a drawn curve; curves.csv keeps all."""
PERPLEXITIES = (1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 300, 1000, 1e4, 1e5)


def curves_figure(summary: Summary, results: Results) -> Figure | None:
    """Draw the learning curves; None where no cell has one."""
    rows = curve_rows(summary, results)
    if not rows:
        return None
    caption = (
        "Validation perplexity against optimiser steps: mean over seeds, and a band from the lowest to the highest "
        "seed. The vertical axis is the logarithm of the loss, so that close variants stay apart. Thin grey: the "
        "baseline. Dashed up to a cross: a run that diverged."
    )
    wide, narrow = render_svg(curves_chart(rows, 4, 205)), render_svg(curves_chart(rows, 2, 128))
    return Figure("curves", "Learning curves", caption, wide, narrow)


def curves_chart(rows: Rows, columns: int, width: int) -> alt.FacetChart:
    """Draw the rows of `curve_rows`, the baseline in grey behind each panel's own curve."""
    losses = [row["loss"] for row in rows]
    ticks = [math.log(p) for p in PERPLEXITIES if min(losses) * 0.95 <= math.log(p) <= max(losses) * 1.05]
    axis = alt.Axis(values=ticks, labelExpr="format(exp(datum.value), '.3~g')", labelOverlap="greedy", domain=False)
    y = alt.Y("loss:Q", title=None, axis=axis, scale=alt.Scale(type="log", nice=False, padding=4))
    x = alt.X("step:Q", title=None, axis=alt.Axis(tickCount=3, grid=False, format="~s", labelFlush=True))
    kind, base = alt.datum.kind, alt.Chart(chart_data(rows)).encode(x=x, detail="line:N")
    line = base.mark_line(strokeWidth=1.8).encode(y=y)
    layers = alt.layer(
        base.transform_filter(kind == "mean")
        .mark_area(opacity=0.25)
        .encode(y=alt.Y("low:Q"), y2="high:Q", color=verdict_colour()),
        line.transform_filter(kind == "baseline").encode(color=alt.value(QUIET), strokeWidth=alt.value(1.2)),
        line.transform_filter(kind == "mean").encode(color=verdict_colour()),
        line.transform_filter(kind == "seed").encode(color=alt.value(PURPLE), strokeDash=alt.value([3, 2])),
        base.transform_filter(kind == "stop")
        .mark_point(shape="cross", angle=45, filled=True, size=80, opacity=1)
        .encode(y=y, color=alt.value(PURPLE)),
    ).properties(width=width, height=round(width * 0.62))
    names = list(dict.fromkeys(row["panel"] for row in rows))
    heading = "datum.value" if width > 150 else "split(datum.value, ' · ')"
    return panels(layers, "panel", names, columns, width, labelExpr=heading)


def curve_rows(summary: Summary, results: Results) -> Rows:
    """Return one panel per variant: the mean of its finished seeds with their range, and each diverged seed.

    The mean is drawn only at steps that every finished seed has, so that its n is the same along the line.
    """
    baseline = _mean_curve(results.of(summary.baseline))
    rows: Rows = []
    for row in summary.rows:
        records = results.of(row.variant)
        mean = _mean_curve(records)
        final = f" · ppl {math.exp(mean[-1]['loss']):.3g}" if mean else ""
        common = {"panel": f"{row.variant}{final}", "verdict": row.verdict.value}
        if row.variant != summary.baseline:
            rows += [{**common, **point, "kind": "baseline", "line": "baseline"} for point in baseline]
        rows += [{**common, **point, "kind": "mean", "line": "mean"} for point in mean]
        for record in records:
            if record.diverged:
                rows += [{**common, **point} for point in _diverged_curve(record)]
    nonempty = {row["panel"] for row in rows if row["kind"] != "baseline"}
    return [row for row in rows if row["panel"] in nonempty]


def _losses(record: Record) -> dict[int, float]:
    losses = {int(row["step"]): row["valid_loss"] for row in record.curve}
    return {step: loss for step, loss in losses.items() if math.isfinite(loss) and loss > 0}


def _mean_curve(records: list[Record]) -> Rows:
    curves = [_losses(record) for record in records if not record.diverged and record.curve]
    if not curves:
        return []
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    stride = max(1, len(steps) // POINTS)
    rows = []
    for step in (step for i, step in enumerate(steps) if i % stride == 0 or i == len(steps) - 1):
        losses = [curve[step] for curve in curves]
        rows.append({"step": step, "loss": sum(losses) / len(losses), "low": min(losses), "high": max(losses)})
    return rows


def _diverged_curve(record: Record) -> Rows:
    line = f"seed {record.seed}"
    rows: Rows = [{"step": step, "loss": loss, "kind": "seed", "line": line} for step, loss in _losses(record).items()]
    return [*rows, {**rows[-1], "kind": "stop"}] if rows else []
