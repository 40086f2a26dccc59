"""What the probes measured inside the models, and BLEU on every test set."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import altair as alt

from experiments.reporting.figures.style import (
    BLUE,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    STRONG,
    Drawn,
    Figure,
    Rows,
    chart_data,
    panels,
    render_svg,
)
from experiments.reporting.results import Results
from experiments.reporting.statistics import estimate
from experiments.reporting.summary import Summary
from experiments.training.probe_csv import Key

ATTENTIONS = ("encoder", "decoder", "cross")
PARTS = ("embedding", "encoder", "decoder")
CSV_COLUMNS = ("variant", "step", "part", "layer", "measure", "mean", "low", "high", "n")
HEADLINE = (
    ("std of|scores|before", "score_std", True),
    ("std of|scores|after", "score_std", False),
    ("softmax|gradient|before, %", "jacobian", True),
    ("softmax|gradient|after, %", "jacobian", False),
    ("weight on|masked|keys, %", "hidden_weight", False),
)
"""Title by lines, measure, and whether before the first step, else after the last: means over a model's attentions."""
LARGEST_GRADIENT = "largest|gradient|of a step"
ATTENTION_INKS = {"encoder": BLUE, "decoder": ORANGE, "cross": PURPLE}
MOMENT_INKS = {"start": QUIET, "middle": BLUE, "end": ORANGE}
SPLIT_INKS = (BLUE, PURPLE, ORANGE)
SPLIT_SHAPES = ("circle", "diamond", "square", "triangle-up", "cross")


@dataclass(frozen=True)
class Probe:
    """Measurements of one variant by step and key, one value per seed."""

    values: dict[int, dict[Key, list[float]]]

    @cached_property
    def steps(self) -> list[int]:
        return sorted(self.values)

    def mean(self, step: int, keys: Iterable[Key]) -> float | None:
        """Return the mean over keys and seeds, None where nothing was measured."""
        values = [value for key in keys for value in self.values[step].get(key, [])]
        return sum(values) / len(values) if values else None

    def keys(self, step: int, measure: str, parts: Sequence[str] = ATTENTIONS) -> list[Key]:
        """Return the keys of a measure in some parts at a step."""
        return [key for key in self.values[step] if key[2] == measure and key[0] in parts]


def read_probes(summary: Summary, results: Results) -> dict[str, Probe]:
    """Read the probes of each variant's finished cells; where all cells diverged, those of the diverged ones."""
    probes = {}
    for row in summary.rows:
        records = results.of(row.variant)
        values: dict[int, dict[Key, list[float]]] = {}
        for record in [record for record in records if not record.diverged] or records:
            for step, key, value in record.probe():
                values.setdefault(step, {}).setdefault(key, []).append(value)
        if values:
            probes[row.variant] = Probe(values)
    return probes


def probe_csv(probes: Mapping[str, Probe]) -> str:
    """Return every measure before the first step and after the last, with its 95 % interval over seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for variant, probe in probes.items():
        for step in dict.fromkeys((probe.steps[0], probe.steps[-1])):
            for (part, layer, measure), values in probe.values[step].items():
                mean = estimate(values)
                assert mean
                ends = ["" if end is None else f"{end:.6g}" for end in (mean.low, mean.high)]
                place = "" if layer is None else layer
                writer.writerow((variant, step, part, place, measure, f"{mean.mean:.6g}", *ends, mean.n))
    return out.getvalue()


def splits_figure(summary: Summary) -> Figure | None:
    """Draw BLEU on every split; None where there are fewer than two."""
    rows = split_rows(summary)
    if len({row["split"] for row in rows}) < 2:
        return None
    caption = (
        f"BLEU of each variant on {', '.join(summary.splits)}, mean and 95 % confidence interval over seeds. All "
        f"verdicts on this page are on {summary.primary}."
    )
    wide, narrow = (render_svg(splits_chart(rows, summary, width)) for width in (520, 200))
    return Figure("splits", "The test sets side by side", caption, wide, narrow)


def headline_figure(probes: Mapping[str, Probe]) -> Figure | None:
    """Draw the measurements that explain most as a table of shades; None without probes."""
    rows = headline_rows(probes)
    if not rows:
        return None
    caption = (
        "Measured on a few fixed validation sentences, means over all attentions, heads and seeds, before the first "
        "step and after the last. Scores: their standard deviation within a row, before the softmax. Softmax gradient: "
        "the sum of p (1 - p) over a row, relative to uniform weights; 0 where one key has all the weight. Last "
        "column: the largest gradient norm of a training step, before clipping."
    )
    wide, narrow = headline_chart(rows, 88), headline_chart(rows, 58, 120)
    return Figure("inside", "Inside the models", caption, render_svg(wide), render_svg(narrow))


def softmax_figure(summary: Summary, probes: Mapping[str, Probe]) -> Figure | None:
    """Draw the softmax gradient over the training; None without probes."""
    rows = softmax_rows(summary, probes)
    if not rows:
        return None
    caption = (
        "Softmax gradient against optimiser steps: the sum of p (1 - p) over a row, where 1 is uniform weights and 0 "
        "is saturated, one key with all the weight. Means over layers, heads and seeds; rows with few keys are left "
        "out. Thin grey: the baseline's mean over its three attentions."
    )
    wide, narrow = softmax_chart(rows, summary, 4, 205), softmax_chart(rows, summary, 2, 128)
    return Figure("softmax", "How much gradient passes the softmax", caption, render_svg(wide), render_svg(narrow))


def gradients_figure(probes: Mapping[str, Probe]) -> Figure | None:
    """Draw the gradient norm of every layer; None without probes."""
    places, rows = gradient_rows(probes)
    if not rows:
        return None
    caption = (
        "Gradient norm of the loss by the weights of each part, from the embedding up, on the same sentences, mean "
        "over seeds: at the start, in the middle and at the end of training."
    )
    wide, narrow = gradients_chart(places, rows, 4, 205), gradients_chart(places, rows, 2, 128)
    return Figure("gradients", "Gradient by layer", caption, render_svg(wide), render_svg(narrow))


def splits_chart(rows: Rows, summary: Summary, width: int) -> Drawn:
    """Draw one row per variant and one point per split."""
    names = list(dict.fromkeys(row["split"] for row in rows))
    inks = [SPLIT_INKS[i % len(SPLIT_INKS)] for i in range(len(names))]
    shapes = [SPLIT_SHAPES[i % len(SPLIT_SHAPES)] for i in range(len(names))]
    legend = alt.Legend(title=None, orient="top", symbolSize=70, labelColor=INK)
    colour = alt.Color("split:N", scale=alt.Scale(domain=names, range=inks), legend=legend)
    shape = alt.Shape("split:N", scale=alt.Scale(domain=names, range=shapes))
    axis = alt.Axis(ticks=False, domain=False, labelLimit=180, offset=4)
    order = [row.variant for row in summary.rows]
    base = alt.Chart(chart_data(rows)).encode(y=alt.Y("variant:N", sort=order, title=None, axis=axis))
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


def headline_chart(rows: Rows, step: int, names: int = 180) -> Drawn:
    """Draw a table of numbers, each column shaded relative to its largest."""
    columns = [title for title, _, _ in HEADLINE] + [LARGEST_GRADIENT]
    largest = {
        title: max((abs(row["value"]) for row in rows if row["column"] == title), default=0) for title in columns
    }
    shaded = [
        row | {"share": abs(row["value"]) / largest[row["column"]] if largest[row["column"]] else 0} for row in rows
    ]
    titles = alt.Axis(
        orient="top",
        labelAngle=0,
        labelBaseline="top",
        labelPadding=46,  # the lines grow downwards from here
        ticks=False,
        domain=False,
        labelExpr="split(datum.value, '|')",
    )
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    labels = alt.Axis(ticks=False, domain=False, labelLimit=names, offset=2)
    base = alt.Chart(chart_data(shaded)).encode(
        x=alt.X("column:N", sort=columns, title=None, axis=titles),
        y=alt.Y("variant:N", sort=variants, title=None, axis=labels),
    )
    shade = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.5]), legend=None)
    rects = base.mark_rect(color=BLUE, cornerRadius=2, stroke=None).encode(opacity=shade)
    texts = base.mark_text(fontSize=11, color=STRONG).encode(text="text:N")
    return (rects + texts).properties(width=alt.Step(step), height=alt.Step(22))


def softmax_chart(rows: Rows, summary: Summary, columns: int, width: int) -> alt.FacetChart:
    """Draw one panel per variant with a line for each kind of attention."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    baseline = _baseline_mean([row for row in rows if row["variant"] == summary.baseline], variants, summary.baseline)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=3, domain=False))
    x = alt.X("step:Q", title=None, axis=alt.Axis(tickCount=3, grid=False, format="~s", labelFlush=True))
    base = alt.Chart(chart_data(rows + baseline)).encode(x=x, y=y, detail="part:N")
    lines = base.transform_filter("datum.part != 'baseline'").mark_line(strokeWidth=1.8)
    layers = alt.layer(
        base.transform_filter("datum.part == 'baseline'").mark_line(strokeWidth=1.2, color=QUIET),
        lines.encode(color=_line_colour("part", ATTENTION_INKS)),
    ).properties(width=width, height=round(width * 0.62))
    return panels(layers, "variant", variants, columns, width)


def gradients_chart(places: list[str], rows: Rows, columns: int, width: int) -> alt.FacetChart:
    """Draw one panel per variant: the parts from left to right, a line for each moment."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    labels = alt.Axis(labelAngle=-60, ticks=False, domain=False, grid=False, labelOverlap=True)
    x = alt.X("place:N", sort=places, title=None, axis=labels)
    axis = alt.Axis(tickCount=4, domain=False, format="~g", labelOverlap="greedy")
    y = alt.Y("value:Q", title=None, scale=alt.Scale(type="log"), axis=axis)
    base = alt.Chart(chart_data(rows)).encode(x=x, y=y, color=_line_colour("moment", MOMENT_INKS))
    layers = alt.layer(base.mark_line(strokeWidth=1.6), base.mark_point(filled=True, size=26, opacity=1))
    return panels(layers.properties(width=width, height=round(width * 0.62)), "variant", variants, columns, width)


def split_rows(summary: Summary) -> Rows:
    """Return BLEU of every variant on every split, with its interval over seeds."""
    rows: Rows = []
    for row in summary.rows:
        for split in summary.splits:
            bleu = row.score(split, "bleu")
            if bleu:
                values = {"bleu": bleu.mean, "low": bleu.low, "high": bleu.high}
                rows.append({"variant": row.variant, "split": split, **values})
    return rows


def headline_rows(probes: Mapping[str, Probe]) -> Rows:
    """Return one row per variant and column: means over its attentions and seeds, percentages where titled so."""
    rows: Rows = []
    for variant, probe in probes.items():
        for title, measure, at_start in HEADLINE:
            step = probe.steps[0] if at_start else probe.steps[-1]
            value = probe.mean(step, probe.keys(step, measure))
            if value is not None:
                value *= 100 if title.endswith("%") else 1
                rows.append({"variant": variant, "column": title, "value": value, "text": _short(value)})
        norms = [probe.mean(step, [("all", None, "step_gradient_largest")]) for step in probe.steps]
        largest = max((norm for norm in norms if norm is not None), default=None)
        if largest is not None:
            rows.append({"variant": variant, "column": LARGEST_GRADIENT, "value": largest, "text": _short(largest)})
    return rows


def softmax_rows(summary: Summary, probes: Mapping[str, Probe]) -> Rows:
    """Return the softmax gradient of each variant and kind of attention at each step."""
    rows: Rows = []
    for variant, probe in probes.items():
        verdict = summary.row(variant).verdict.value
        for step in probe.steps:
            for part in ATTENTIONS:
                value = probe.mean(step, probe.keys(step, "jacobian", (part,)))
                if value is not None:
                    rows.append({"variant": variant, "verdict": verdict, "step": step, "part": part, "value": value})
    return rows


def gradient_rows(probes: Mapping[str, Probe]) -> tuple[list[str], Rows]:
    """Return the parts of a model from the embedding up, and each part's gradient norm at three moments.

    The moments are the first probe, the middle one and the last. A norm of 0 has no logarithm and is left out.
    """
    parts: dict[Key, None] = {}
    rows: Rows = []
    for variant, probe in probes.items():
        moments = {"start": probe.steps[0], "middle": probe.steps[len(probe.steps) // 2], "end": probe.steps[-1]}
        for moment, step in moments.items():
            for key in probe.keys(step, "gradient", PARTS):
                parts.setdefault(key)
                norm = probe.mean(step, [key])
                if norm:
                    rows.append({"variant": variant, "moment": moment, "place": _place(key), "value": norm})
    ordered = sorted(parts, key=lambda key: (PARTS.index(key[0]), key[1] or 0))
    return [_place(key) for key in ordered], rows


def _baseline_mean(rows: Rows, variants: list[str], baseline: str) -> Rows:
    """Return the baseline's mean over its attentions, once for each other panel."""
    by_step: dict[int, list[float]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row["value"])
    line = [{"step": step, "value": sum(values) / len(values), "part": "baseline"} for step, values in by_step.items()]
    return [point | {"variant": variant} for variant in variants if variant != baseline for point in line]


def _line_colour(field: str, inks: dict[str, str]) -> alt.Color:
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=2, labelColor=INK)
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(inks), range=list(inks.values())), legend=legend)


def _place(key: Key) -> str:
    """Return a part as a label: "encoder 2"."""
    return key[0] if key[1] is None else f"{key[0]} {key[1]}"


def _short(value: float) -> str:
    """Return two significant digits, more for large numbers."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
