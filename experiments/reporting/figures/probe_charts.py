"""Charts of what the probes saw, and of BLEU on every split, as figures of the report."""

from typing import Any

import altair as alt

from experiments.reporting.figures import probe_data
from experiments.reporting.figures.chart_parts import BLUE, GRID, INK, ORANGE, PURPLE, QUIET, STRONG
from experiments.reporting.figures.drawing import Figure, svg
from experiments.reporting.figures.figure_data import Rows
from experiments.reporting.figures.probe_data import HEADLINE, LARGEST_STEP, Seen
from experiments.reporting.summary import Summary

LINES = {"encoder": BLUE, "decoder": ORANGE, "cross": PURPLE}
WHEN = {"at first": QUIET, "half-way": BLUE, "at last": ORANGE}
INKS = (BLUE, PURPLE, ORANGE)
Drawn = alt.LayerChart | alt.FacetChart


def draw(summary: Summary, measured: dict[str, Seen]) -> list[Figure]:
    """Draw every figure that there is something for: BLEU by split, and what the probes saw."""
    makers = (_splits(summary), _headline(measured), _softmax(summary, measured), _gradients(measured))
    return [figure for figure in makers if figure]


def _splits(summary: Summary) -> Figure | None:
    rows = probe_data.split_rows(summary)
    if len({row["split"] for row in rows}) < 2:
        return None
    caption = (
        f"BLEU of each variant on {', '.join(summary.splits)}, mean and 95 % interval over seeds; what is said of a "
        f"change elsewhere on this page is of {summary.primary} alone."
    )
    wide, narrow = (svg(splits(rows, summary, width)) for width in (520, 200))
    return Figure("splits", "The test sets side by side", caption, wide, narrow)


def _headline(measured: dict[str, Seen]) -> Figure | None:
    rows = probe_data.headline_rows(measured)
    if not rows:
        return None
    caption = (
        "Measured on a few fixed sentences of validation, means over all attentions, heads and seeds, before the first "
        "step and after the last. Spread: the standard deviation of the scores within a row, before the softmax. "
        "Gradient through softmax: the sum of p (1 - p) over a row, as a part of what equal weights have; 0 where one "
        "key has all. The last column is of training, before gradients are clipped."
    )
    return Figure("inside", "Inside the models", caption, svg(table(rows, 88)), svg(table(rows, 58, 120)))


def _softmax(summary: Summary, measured: dict[str, Seen]) -> Figure | None:
    rows = probe_data.softmax_rows(summary, measured)
    if not rows:
        return None
    caption = (
        "What is left of a gradient behind the softmax against optimiser steps: the sum of p (1 - p) over a row, where "
        "1 is equal weights and 0 one key with all the weight, saturated. Means over layers, heads and seeds; rows of "
        "few keys do not count. Thin grey: the baseline's mean over the three."
    )
    wide, narrow = svg(softmax(rows, summary, 4, 205)), svg(softmax(rows, summary, 2, 128))
    return Figure("softmax", "How much gradient the softmax lets through", caption, wide, narrow)


def _gradients(measured: dict[str, Seen]) -> Figure | None:
    places, rows = probe_data.gradient_rows(measured)
    if not rows:
        return None
    caption = (
        "The norm of the loss's gradient by the weights of each part, from the embedding up, on the same sentences, "
        "mean over seeds: before the first step, half-way and at the end of training."
    )
    wide, narrow = svg(gradients(places, rows, 4, 205)), svg(gradients(places, rows, 2, 128))
    return Figure("gradients", "Gradient by layer", caption, wide, narrow)


def splits(rows: Rows, summary: Summary, width: int) -> Drawn:
    """Draw a row a variant, a point a split."""
    order = [row.variant for row in summary.rows]
    names = list(dict.fromkeys(row["split"] for row in rows))
    inks = [INKS[i % len(INKS)] for i in range(len(names))]
    legend = alt.Legend(title=None, orient="top", symbolSize=70, labelColor=INK)
    colour = alt.Color("split:N", scale=alt.Scale(domain=names, range=inks), legend=legend)
    shapes = ["circle", "diamond", "square", "triangle-up", "cross"]
    shape = alt.Shape(
        "split:N", scale=alt.Scale(domain=names, range=[shapes[i % len(shapes)] for i in range(len(names))])
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("variant:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=180, offset=4))
    )
    ends = [row[key] for row in rows for key in ("bleu", "low", "high") if row[key] is not None]
    room = 0.02 * (max(ends) - min(ends)) or 1.0
    scale = alt.Scale(domain=[max(0.0, min(ends)) - room, min(100.0, max(ends)) + room], nice=False)
    x = alt.X("bleu:Q", title="BLEU", scale=scale)
    return alt.layer(
        base.mark_rule(color=GRID).encode(x=alt.X("min(bleu):Q"), x2="max(bleu):Q"),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2, clip=True)
        .encode(x=alt.X("low:Q"), x2="high:Q", color=colour),
        base.mark_point(filled=True, size=70, opacity=1).encode(x=x, color=colour, shape=shape),
    ).properties(width=width, height=alt.Step(25))


def table(rows: Rows, step: int, names: int = 180) -> Drawn:
    """Draw a table of numbers, each column shaded by its own largest."""
    columns = [title for title, _, _ in HEADLINE] + [LARGEST_STEP]
    largest = {
        title: max((abs(row["value"]) for row in rows if row["column"] == title), default=0) for title in columns
    }
    shaded = [
        row | {"share": abs(row["value"]) / largest[row["column"]] if largest[row["column"]] else 0} for row in rows
    ]
    lines = alt.Axis(
        orient="top",
        labelAngle=0,
        labelBaseline="top",
        labelPadding=46,  # the lines grow downwards from here
        ticks=False,
        domain=False,
        labelExpr="split(datum.value, '|')",
    )
    base = alt.Chart(alt.Data(values=shaded)).encode(
        x=alt.X("column:N", sort=columns, title=None, axis=lines),
        y=alt.Y(
            "variant:N",
            sort=list(dict.fromkeys(row["variant"] for row in rows)),
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=names, offset=2),
        ),
    )
    shade = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.5]), legend=None)
    cells = base.mark_rect(color=BLUE, cornerRadius=2, stroke=None).encode(opacity=shade)
    texts = base.mark_text(fontSize=11, color=STRONG).encode(text="text:N")
    return (cells + texts).properties(width=alt.Step(step), height=alt.Step(22))


def softmax(rows: Rows, summary: Summary, columns: int, width: int) -> alt.FacetChart:
    """Draw a panel a variant, a line for each kind of attention."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    reference = _reference([row for row in rows if row["variant"] == summary.baseline], variants, summary.baseline)
    colour = _legend("part", LINES)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=3, domain=False))
    x = alt.X("step:Q", title=None, axis=alt.Axis(tickCount=3, grid=False, format="~s", labelFlush=True))
    base = alt.Chart(alt.Data(values=rows + reference)).encode(x=x, y=y, detail="part:N")
    layers = alt.layer(
        base.transform_filter("datum.part == 'baseline'").mark_line(strokeWidth=1.2, color=QUIET),
        base.transform_filter("datum.part != 'baseline'").mark_line(strokeWidth=1.8).encode(color=colour),
    ).properties(width=width, height=round(width * 0.62))
    return _panels(layers, variants, columns, width)


def gradients(places: list[str], rows: Rows, columns: int, width: int) -> alt.FacetChart:
    """Draw a panel a variant: the parts from left to right, a line for each moment."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    labels = alt.Axis(labelAngle=-60, ticks=False, domain=False, grid=False, labelOverlap=True)
    x = alt.X("place:N", sort=places, title=None, axis=labels)
    axis = alt.Axis(tickCount=4, domain=False, format="~g", labelOverlap="greedy")
    y = alt.Y("value:Q", title=None, scale=alt.Scale(type="log"), axis=axis)
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=_legend("when", WHEN))
    layers = alt.layer(base.mark_line(strokeWidth=1.6), base.mark_point(filled=True, size=26, opacity=1))
    return _panels(layers.properties(width=width, height=round(width * 0.62)), variants, columns, width)


def _reference(own: Rows, variants: list[str], baseline: str) -> Rows:
    """Return the baseline's mean over its attentions, once for each other panel."""
    steps: dict[int, list[float]] = {}
    for row in own:
        steps.setdefault(row["step"], []).append(row["value"])
    line = [{"step": step, "value": sum(values) / len(values), "part": "baseline"} for step, values in steps.items()]
    return [point | {"variant": variant} for variant in variants if variant != baseline for point in line]


def _legend(field: str, inks: dict[str, str]) -> alt.Color:
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=2, labelColor=INK)
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(inks), range=list(inks.values())), legend=legend)


def _panels(layers: Drawn, variants: list[str], columns: int, width: int) -> alt.FacetChart:
    header: Any = alt.Header(title=None, labelAnchor="start", labelPadding=5, labelLimit=width + 20)
    return layers.facet(facet=alt.Facet("variant:N", sort=variants, header=header), columns=columns, spacing=18)
