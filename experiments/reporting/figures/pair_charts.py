"""Two studies in one picture: differences on two rungs against each other, or variant by variant side by side."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from experiments.reporting.across_corpora import CorpusAgreement
from experiments.reporting.figures.chart_parts import (
    INK,
    TELLS,
    colour,
    difference_scale,
    floor,
    names_beside,
    shape,
    signed_axis,
    zero,
)
from experiments.reporting.figures.figure_data import Rows, difference_row, moved_apart
from experiments.reporting.statistics import Estimate, NoiseFloor
from experiments.reporting.summary import Row, Summary
from experiments.reporting.tables import bracketed


def scatter(agreement: CorpusAgreement, width: int, height: int) -> alt.HConcatChart | None:
    """Draw each shared change: its difference on the lower rung across, on the upper one up, with both intervals."""
    if not agreement.changes:
        return None
    found = [pair.differences for pair in agreement.changes]
    floors = agreement.lower.summary.noise_floor, agreement.upper.summary.noise_floor
    x_scale, x_ticks, _ = difference_scale(_ends([one for one, _ in found]), agreement.lower.summary.noise)
    y_scale, y_ticks, _ = difference_scale(_ends([other for _, other in found]), agreement.upper.summary.noise)
    data: Rows = []
    across, up = agreement.lower.corpus_level, agreement.upper.corpus_level
    for pair, (one, other) in zip(agreement.changes, found, strict=True):
        told = f"{pair.variant}: {bracketed(one)} on {across}, {bracketed(other)} on {up}"
        names = {"variant": pair.variant, "verdict": pair.upper.verdict.value, "told": told}
        data.append({**names, **_three("x", one), **_three("y", other)})
    x = alt.X("x:Q", scale=x_scale, title=f"Δ BLEU, {across}", axis=signed_axis(x_ticks))
    y = alt.Y("y:Q", scale=y_scale, title=f"Δ BLEU, {up}", axis=signed_axis(y_ticks))
    base = alt.Chart(alt.Data(values=data)).encode(x=x, y=y, color=colour())
    layers = [_floor(floors[0], "x", x_scale), _floor(floors[1], "y", y_scale)]
    layers += [zero(alt.X("zero:Q", scale=x_scale)), zero(alt.Y("zero:Q", scale=y_scale))]
    bars = base.mark_rule(strokeWidth=1.6, opacity=0.7)
    if any(one.low is not None for one, _ in found):
        layers.append(bars.transform_filter("isValid(datum.x_low)").encode(x="x_low:Q", x2="x_high:Q"))
    if any(other.low is not None for _, other in found):
        layers.append(bars.transform_filter("isValid(datum.y_low)").encode(y="y_low:Q", y2="y_high:Q"))
    points = base.mark_point(filled=True, size=85, opacity=1, ariaRoleDescription=TELLS)
    layers.append(points.encode(shape=shape(), description="told:N"))
    height = max(height, 15 * len(data))
    heights = [_height(other.mean, y_scale, height) for _, other in found]
    labels = [
        {"name": entry["variant"], "at": at, "label": label}
        for entry, at, label in zip(data, heights, moved_apart(heights, 15, 0, height), strict=True)
    ]
    drawn = alt.layer(*[layer for layer in layers if layer]).properties(width=width, height=height)
    return alt.hconcat(drawn, names_beside(labels, height), spacing=2)


def two_forests(
    sides: Sequence[tuple[str, Summary]], variants: Sequence[str], width: int, alike: bool
) -> alt.HConcatChart | None:
    """Draw the differences of two studies to their own baselines, a panel each, in the order of `variants`.

    `alike` says that both are on one test set and measure, so that the panels share their scale.
    """
    rows = {name: [summary.row(variant) for variant in variants] for name, summary in sides}
    if not any(row.difference for own in rows.values() for row in own):
        return None
    ends = {name: _ends([row.difference for row in own if row.difference]) for name, own in rows.items()}
    both = [end for own in ends.values() for end in own]
    loudest = max((s.noise for _, s in sides if s.noise), key=lambda noise: noise.alone, default=None)
    panels: list[Any] = []
    for name, summary in sides:
        noise = loudest if alike else summary.noise
        scale, ticks, _ = difference_scale(both if alike else ends[name], noise)
        panels.append(_forest(name, rows[name], summary, scale, ticks, width, labels=not panels))
    return alt.hconcat(*panels, spacing=16)


def _forest(
    name: str, rows: Sequence[Row], summary: Summary, scale: alt.Scale, ticks: list[float], width: int, labels: bool
) -> alt.LayerChart | alt.FacetChart:
    data = [difference_row(row) | {"told": f"{row.variant}: {difference_row(row)['text']}"} for row in rows]
    order = [row.variant for row in rows]
    axis = alt.Axis(ticks=False, domain=False, labelLimit=140 if width < 200 else 180, offset=4) if labels else None
    y = alt.Y("variant:N", title=None, axis=axis, sort=order, scale=alt.Scale(domain=order))
    x = alt.X(
        "mean:Q", scale=scale, axis=signed_axis(ticks), title="Δ BLEU to its baseline" if width >= 200 else "Δ BLEU"
    )
    points = alt.Chart(alt.Data(values=data)).transform_filter("isValid(datum.mean)").encode(y=y)
    layers = [_floor(summary.noise_floor, "x", scale), zero(alt.X("zero:Q", scale=scale))]
    if any(entry.get("low") is not None for entry in data):
        layers.append(points.mark_rule(strokeWidth=2.2).encode(x=alt.X("low:Q"), x2="high:Q", color=colour()))
    marks = points.mark_point(filled=True, size=80, opacity=1, ariaRoleDescription=TELLS)
    layers.append(marks.encode(x=x, color=colour(), shape=shape(), description="told:N"))
    heading = alt.Title(name, color=INK, fontSize=12, anchor="start", limit=width)
    drawn = alt.layer(*[layer for layer in layers if layer], title=heading)
    return drawn.properties(width=width, height=alt.Step(24))


def _floor(found: NoiseFloor | None, across: str, scale: alt.Scale) -> alt.Chart | None:
    return floor(-found.half_width, found.half_width, across, scale) if found else None


def _ends(found: Sequence[Estimate]) -> list[float]:
    return [end for own in found for end in (own.low, own.mean, own.high) if end is not None]


def _three(name: str, found: Estimate) -> dict[str, Any]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _height(value: float, scale: alt.Scale, height: int) -> float:
    """Return a value's pixel height on a scale of `difference_scale`, downwards from the top."""
    content = scale.to_dict()
    constant = content.get("constant")

    def place(x: float) -> float:
        return math.copysign(math.log1p(abs(x) / constant), x) if constant else x

    low, high = (place(end) for end in content["domain"])
    return height * (high - place(value)) / (high - low)
