"""The study's charts in Altair, one function a picture, each at a width that the caller gives.

One colour means one verdict everywhere (from the palette of Okabe and Ito, told apart without colour vision), and a
shape repeats it. Variants far off must not squash the rest: differences lie on a symmetric log scale where they span
one, losses on a log scale labelled as perplexity.
"""

import math
from typing import Any

import altair as alt

from experiments.reporting.figures.chart_parts import (
    BLUE,
    INK,
    PURPLE,
    QUIET,
    colour,
    difference_scale,
    floor,
    shape,
    signed_axis,
    zero,
)
from experiments.reporting.figures.figure_data import Rows, attention_rows, curve_rows, difference_row
from experiments.reporting.results import Results
from experiments.reporting.summary import Summary

PERPLEXITIES = (1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 300, 1000, 1e4, 1e5)


def forest(summary: Summary, width: int, brief: bool = False) -> alt.HConcatChart | None:
    """Draw each difference to the baseline with its interval and its number, best first; brief: no interval told."""
    rows = sorted((row for row in summary.changes if row.difference), key=lambda row: -_mean(row))
    if not rows:
        return None
    data = [difference_row(row) for row in rows]
    data += [difference_row(row) for row in summary.changes if not row.difference]
    if brief:
        data = [entry | {"text": entry["text"].partition(" [")[0]} for entry in data]
    order = [entry["variant"] for entry in data]
    ends = [entry[key] for entry in data for key in ("low", "mean", "high") if entry.get(key) is not None]
    scale, ticks, bent = difference_scale(ends, summary.noise)
    title = ("Δ BLEU" if brief else "BLEU, difference to the baseline") + (" (symmetric log)" if bent else "")
    axis = signed_axis(ticks)
    x = alt.X("mean:Q", scale=scale, axis=axis, title=title)
    own: dict[str, Any] = {"sort": order, "scale": alt.Scale(domain=order)}
    y = alt.Y(
        "variant:N",
        title=None,
        axis=alt.Axis(ticks=False, domain=False, labelLimit=140 if brief else 180, offset=4),
        **own,
    )
    points = alt.Chart(alt.Data(values=data)).transform_filter("isValid(datum.mean)").encode(y=y)
    layers = [zero(alt.X("zero:Q"))]
    if summary.noise_floor:
        half = summary.noise_floor.half_width
        layers.insert(0, floor(-half, half, "x"))
    if any(entry.get("low") is not None for entry in data):
        layers.append(points.mark_rule(strokeWidth=2.2).encode(x=alt.X("low:Q"), x2="high:Q", color=colour()))
    layers.append(points.mark_point(filled=True, size=80, opacity=1).encode(x=x, color=colour(), shape=shape()))
    step, room = alt.Step(25), 62 if brief else 170
    texts = alt.Chart(alt.Data(values=data)).mark_text(align="left", color=INK, fontSize=12, limit=room + 5)
    numbers = texts.encode(y=alt.Y("variant:N", axis=None, **own), x=alt.value(0), text="text:N")
    drawn = alt.layer(*layers).properties(width=width, height=step)
    return alt.hconcat(drawn, numbers.properties(width=room, height=step), spacing=10)


def curves(summary: Summary, results: Results, columns: int, width: int) -> alt.FacetChart | None:
    """Draw validation loss against steps, a panel a variant, the baseline in grey behind each."""
    rows = curve_rows(summary, results)
    if not rows:
        return None
    losses = [row["loss"] for row in rows]
    ticks = [math.log(p) for p in PERPLEXITIES if min(losses) * 0.95 <= math.log(p) <= max(losses) * 1.05]
    axis = alt.Axis(values=ticks, labelExpr="format(exp(datum.value), '.3~g')", labelOverlap="greedy", domain=False)
    y = alt.Y("loss:Q", title=None, axis=axis, scale=alt.Scale(type="log", nice=False, padding=4))
    x = alt.X("step:Q", title=None, axis=alt.Axis(tickCount=3, grid=False, format="~s", labelFlush=True))
    kind, base = alt.datum.kind, alt.Chart(alt.Data(values=rows)).encode(x=x, detail="line:N")
    line = base.mark_line(strokeWidth=1.8).encode(y=y)
    layers = alt.layer(
        base.transform_filter(kind == "mean")
        .mark_area(opacity=0.25)
        .encode(y=alt.Y("low:Q"), y2="high:Q", color=colour()),
        line.transform_filter(kind == "baseline").encode(color=alt.value(QUIET), strokeWidth=alt.value(1.2)),
        line.transform_filter(kind == "mean").encode(color=colour()),
        line.transform_filter(kind == "seed").encode(color=alt.value(PURPLE), strokeDash=alt.value([3, 2])),
        base.transform_filter(kind == "stop")
        .mark_point(shape="cross", angle=45, filled=True, size=80, opacity=1)
        .encode(y=y, color=alt.value(PURPLE)),
    ).properties(width=width, height=round(width * 0.62))
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    heading = "datum.value" if width > 150 else "split(datum.value, ' · ')"
    header = alt.Header(title=None, labelAnchor="start", labelPadding=5, labelLimit=width + 20, labelExpr=heading)
    return layers.facet(facet=alt.Facet("panel:N", sort=panels, header=header), columns=columns, spacing=18)


def attention(content: dict[str, Any], step: int) -> alt.Chart:
    """Draw the last layer's cross-attention of one sentence, averaged over heads."""
    rows = [row for row in attention_rows(content) if row["head"] == -1]
    return _heat(rows, content, step, tokens=True).encode(opacity=_weight())


def heads(content: dict[str, Any], columns: int, width: int) -> alt.FacetChart:
    """Draw the last layer's cross-attention of one sentence, a panel a head."""
    rows = [row | {"panel": f"head {row['head'] + 1}"} for row in attention_rows(content, 0.04) if row["head"] >= 0]
    panels = sorted({row["panel"] for row in rows}, key=lambda panel: int(panel.split()[1]))
    base = _heat(rows, content, max(3, width // len(content["source"])), tokens=False).encode(opacity=_weight())
    header = alt.Header(title=None, labelAnchor="start", labelPadding=4)
    return base.facet(facet=alt.Facet("panel:N", sort=panels, header=header), columns=columns, spacing=12)


def _heat(rows: Rows, content: dict[str, Any], step: int, tokens: bool) -> alt.Chart:
    source, target = ([token.replace("▁", "") for token in content[side]] for side in ("source", "target"))
    places = [list(range(len(words))) for words in (source, target)]
    axes: list[alt.Axis | None] = [None, None]
    if tokens:
        spoken = [f"{words!r}[datum.value]" for words in (source, target)]
        axes = [
            alt.Axis(labelExpr=spoken[0], labelAngle=-60, orient="top", ticks=False, domain=False, title="source"),
            alt.Axis(labelExpr=spoken[1], ticks=False, domain=False, title="translation"),
        ]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(color=BLUE)
        .encode(
            x=alt.X("s:O", scale=alt.Scale(domain=places[0]), axis=axes[0]),
            y=alt.Y("t:O", scale=alt.Scale(domain=places[1]), axis=axes[1]),
        )
        .properties(width=step * len(source), height=step * len(target))
    )


def _weight() -> alt.Opacity:
    return alt.Opacity(
        "weight:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 1], type="pow", exponent=0.7), legend=None
    )


def _mean(row: Any) -> float:
    return row.difference.mean if row.difference else 0.0
