"""Forest plots: each change's difference to the baseline with its interval, of one study or of two side by side."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import altair as alt

from experiments.reporting.figures.style import (
    INK,
    TOOLTIP,
    Figure,
    Rows,
    chart_data,
    difference_scale,
    floor_bands,
    floor_caption,
    interval_ends,
    render_svg,
    signed_axis,
    verdict_colour,
    verdict_shape,
    zero_line,
)
from experiments.reporting.formats import bracketed
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Row, Summary
from experiments.reporting.verdicts import Verdict

LINE, LINE_NARROW = 40, 22
"""Letters in a line of a change's label, of which two have room."""
SPLIT_LINES = "split(datum.value, '\\n')"
"""What shows the lines of a label on an axis."""


def forest_figure(summary: Summary) -> Figure | None:
    """Draw what each change is worth; None where nothing is compared with the baseline."""
    wide, narrow = forest_chart(summary, 560), forest_chart(summary, 120, narrow=True)
    if wide is None or narrow is None:
        return None
    spread = "with the interval of its verdict" if summary.compared else "one seed, so without an interval"
    caption = f"BLEU on {summary.primary}, each change minus the baseline, {spread}.{floor_caption(summary)}"
    return Figure("forest", "What each change is worth", caption, render_svg(wide), render_svg(narrow))


def forest_chart(summary: Summary, width: int, narrow: bool = False) -> alt.HConcatChart | None:
    """Draw each difference with its interval, best first, and its numbers beside; narrow: without the interval's."""
    rows = sorted((row for row in summary.changes if row.difference), key=lambda row: -_mean(row))
    if not rows:
        return None
    data = [
        forest_row(row) | {"label": in_lines(row.label, LINE_NARROW if narrow else LINE, 2)}
        for row in [*rows, *(row for row in summary.changes if not row.difference)]
    ]
    title = "Δ BLEU" if narrow else "BLEU, difference to the baseline"
    behind = floor_bands(summary.noise_floor, "x")
    return forest(data, summary, title, width, narrow, 140 if narrow else 250, behind)


def forest(
    data: Rows,
    summary: Summary,
    title: str,
    width: int,
    narrow: bool,
    label_limit: int,
    behind: Sequence[alt.Chart] = (),
) -> alt.HConcatChart:
    """Draw estimates in their order, as `estimate_row` returns them with a `label`, and their numbers beside.

    narrow: without the interval's numbers. `behind` are layers under the estimates.
    """
    if narrow:
        data = [entry | {"text": entry["text"].partition(" [")[0]} for entry in data]
    order = [entry["label"] for entry in data]
    ends = [entry[end] for entry in data for end in ("low", "mean", "high") if entry.get(end) is not None]
    scale, ticks, symlog = difference_scale(ends, summary.noise)
    x = alt.X("mean:Q", scale=scale, axis=signed_axis(ticks), title=title + (" (symmetric log)" if symlog else ""))
    by_label: dict[str, Any] = {"sort": order, "scale": alt.Scale(domain=order)}
    axis = alt.Axis(
        ticks=False, domain=False, labelLimit=label_limit, offset=4, labelExpr=SPLIT_LINES, labelLineHeight=12
    )
    y = alt.Y("label:N", title=None, axis=axis, **by_label)
    layers = [*behind, zero_line(alt.X("zero:Q")), *_estimates(data, x, y)]
    height, room = alt.Step(25), 62 if narrow else 170
    texts = alt.Chart(chart_data(data)).mark_text(align="left", color=INK, fontSize=12, limit=room + 5)
    numbers = texts.encode(y=alt.Y("label:N", axis=None, **by_label), x=alt.value(0), text="text:N")
    plot = alt.layer(*layers).properties(width=width, height=height)
    return alt.hconcat(plot, numbers.properties(width=room, height=height), spacing=10)


def two_forests(
    sides: Sequence[tuple[str, Summary]], variants: Sequence[str], width: int, comparable: bool
) -> alt.HConcatChart | None:
    """Draw the differences of two studies to their own baselines, one panel each, in the order of `variants`.

    `comparable`: both are on one test set and measure, so the panels share their scale.
    """
    rows = {name: [summary.row(variant) for variant in variants] for name, summary in sides}
    if not any(row.difference for side in rows.values() for row in side):
        return None
    ends = {name: interval_ends([row.difference for row in side if row.difference]) for name, side in rows.items()}
    all_ends = [end for side in ends.values() for end in side]
    largest_noise = max((s.noise for _, s in sides if s.noise), key=lambda noise: noise.alone, default=None)
    plots: list[Any] = []
    for name, summary in sides:
        noise = largest_noise if comparable else summary.noise
        scale, ticks, _ = difference_scale(all_ends if comparable else ends[name], noise)
        plots.append(_panel(name, rows[name], summary, scale, ticks, width, labels=not plots))
    return alt.hconcat(*plots, spacing=16)


def forest_row(row: Row) -> dict[str, Any]:
    """Return the data of one variant: its verdict, and its difference with the interval as numbers and as text."""
    return {"variant": row.variant, **estimate_row(row.verdict, row.difference)}


def estimate_row(verdict: Verdict, difference: Estimate | None) -> dict[str, Any]:
    """Return the data of one estimate: its verdict, and the estimate as numbers and as text."""
    text = bracketed(difference) if difference else verdict.value
    numbers = {"mean": difference.mean, "low": difference.low, "high": difference.high} if difference else {}
    return {"verdict": verdict.value, "text": text, **numbers}


def in_lines(label: str, letters: int, most: int | None = None) -> str:
    """Return a label in lines of so many letters, for SPLIT_LINES; what `most` lines cannot hold is left out."""
    return "\n".join(wrap(label, letters, break_on_hyphens=False, max_lines=most, placeholder=" …"))


def _panel(
    name: str, rows: Sequence[Row], summary: Summary, scale: alt.Scale, ticks: list[float], width: int, labels: bool
) -> alt.LayerChart | alt.FacetChart:
    data = [forest_row(row) for row in rows]
    data = [entry | {"tooltip": f"{entry['variant']}: {entry['text']}"} for entry in data]
    order = [row.variant for row in rows]
    axis = alt.Axis(ticks=False, domain=False, labelLimit=140 if width < 200 else 180, offset=4) if labels else None
    y = alt.Y("variant:N", title=None, axis=axis, sort=order, scale=alt.Scale(domain=order))
    title = "Δ BLEU to its baseline" if width >= 200 else "Δ BLEU"
    x = alt.X("mean:Q", scale=scale, axis=signed_axis(ticks), title=title)
    layers = [*floor_bands(summary.noise_floor, "x", scale), zero_line(alt.X("zero:Q", scale=scale))]
    layers += _estimates(data, x, y, tooltip=True)
    heading = alt.Title(name, color=INK, fontSize=12, anchor="start", limit=width)
    return alt.layer(*layers, title=heading).properties(width=width, height=alt.Step(24))


def _estimates(data: Rows, x: alt.X, y: alt.Y, tooltip: bool = False) -> list[alt.Chart]:
    """Return the intervals, where there are some, and the means."""
    points = alt.Chart(chart_data(data)).transform_filter("isValid(datum.mean)").encode(y=y)
    layers = []
    if any(entry.get("low") is not None for entry in data):
        intervals = points.mark_rule(strokeWidth=2.2)
        layers.append(intervals.encode(x=alt.X("low:Q"), x2="high:Q", color=verdict_colour()))
    marker: dict[str, Any] = {"filled": True, "size": 80, "opacity": 1}
    if tooltip:
        means = points.mark_point(**marker, ariaRoleDescription=TOOLTIP).encode(description="tooltip:N")
    else:
        means = points.mark_point(**marker)
    return [*layers, means.encode(x=x, color=verdict_colour(), shape=verdict_shape())]


def _mean(row: Row) -> float:
    return row.difference.mean if row.difference else 0.0
