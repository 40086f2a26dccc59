"""Effects of factors: each with its interval, and the largest interactions as the means that they are made of."""

from textwrap import wrap
from typing import Any

import altair as alt

from experiments.reporting.effects import EffectRow, Effects
from experiments.reporting.figures.style import (
    BLUE,
    INK,
    ORANGE,
    PURPLE,
    STRONG,
    Drawn,
    Figure,
    Rows,
    chart_data,
    difference_scale,
    interval_ends,
    render_svg,
    signed_axis,
    verdict_colour,
    verdict_shape,
    zero_line,
)
from experiments.reporting.formats import bracketed
from experiments.reporting.summary import Summary

SHOWN = 6
"""The most interactions that are drawn."""
LINES = (BLUE, ORANGE, PURPLE, STRONG)
"""Inks of the levels of one factor; a fifth level has the first ink again."""


def effects_figure(summary: Summary) -> Figure | None:
    """Draw every effect with its interval; None for a study without factors, or without an effect yet."""
    effects = summary.effects
    if effects is None or not effects.rows:
        return None
    caption = (
        f"BLEU on {summary.primary}, main effects first, then interactions: how much more the second switch changes "
        "where the first is made. Intervals are those of the verdicts."
    )
    wide, narrow = (_forest(summary, effects, width, width < 200) for width in (520, 120))
    return Figure("effects", "What each switch is worth, and where", caption, render_svg(wide), render_svg(narrow))


def interactions_figure(summary: Summary) -> Figure | None:
    """Draw the largest interactions: mean BLEU by the levels of two factors; None where there is none."""
    effects = summary.effects
    if effects is None or not effects.rows:
        return None
    shown = _pairs(effects)[:SHOWN]
    panels, narrow = ([_panel(effects, row, width) for row in shown] for width in (190, 240))
    wide = _own_inks(alt.concat(*panels, columns=3, spacing=24))
    caption = (
        f"Mean BLEU on {summary.primary} over all cells with two levels, for the "
        f"{'interaction' if len(shown) == 1 else f'{len(shown)} interactions'} decided or largest: parallel lines mean "
        "that two factors do not interact."
    )
    column = _own_inks(alt.vconcat(*narrow, spacing=16))
    return Figure("interactions", "How switches interact", caption, render_svg(wide), render_svg(column))


def _own_inks(chart: alt.ConcatChart | alt.VConcatChart) -> alt.TopLevelMixin:
    """Give every panel a legend of its own."""
    return chart.resolve_scale(color="independent")


def _pairs(effects: Effects) -> list[EffectRow]:
    """Return the most important interaction of every two factors, the most important first."""
    rows: dict[tuple[str, ...], EffectRow] = {}
    for row in effects.interactions:
        rows.setdefault(tuple(row.levels), row)
    return list(rows.values())


def _lines(label: str) -> str:
    return "\n".join(wrap(label, 14, break_on_hyphens=False))


def _forest(summary: Summary, effects: Effects, width: int, narrow: bool) -> alt.HConcatChart:
    data: Rows = [
        {
            "label": row.label,
            "verdict": row.verdict.value,
            "mean": row.difference.mean,
            "low": row.difference.low,
            "high": row.difference.high,
            "text": bracketed(row.difference).partition(" [")[0] if narrow else bracketed(row.difference),
        }
        for row in effects.rows
    ]
    order = [entry["label"] for entry in data]
    scale, ticks, symlog = difference_scale(interval_ends([row.difference for row in effects.rows]), summary.noise)
    title = ("Δ BLEU" if narrow else "BLEU, effect") + (" (symmetric log)" if symlog else "")
    by_label: dict[str, Any] = {"sort": order, "scale": alt.Scale(domain=order)}
    axis = alt.Axis(ticks=False, domain=False, labelLimit=150 if narrow else 320, offset=4)
    y = alt.Y("label:N", title=None, axis=axis, **by_label)
    x = alt.X("mean:Q", scale=scale, axis=signed_axis(ticks), title=title)
    base = alt.Chart(chart_data(data)).encode(y=y)
    intervals = base.mark_rule(strokeWidth=2.2).encode(x=alt.X("low:Q"), x2="high:Q", color=verdict_colour())
    means = base.mark_point(filled=True, size=80, opacity=1).encode(x=x, color=verdict_colour(), shape=verdict_shape())
    height, room = alt.Step(22), 62 if narrow else 170
    texts = alt.Chart(chart_data(data)).mark_text(align="left", color=INK, fontSize=12, limit=room + 5)
    numbers = texts.encode(y=alt.Y("label:N", axis=None, **by_label), x=alt.value(0), text="text:N")
    plot = alt.layer(zero_line(alt.X("zero:Q")), intervals, means).properties(width=width, height=height)
    return alt.hconcat(plot, numbers.properties(width=room, height=height), spacing=10)


def _panel(effects: Effects, row: EffectRow, width: int) -> Drawn:
    """Draw the means of two factors' levels: the first factor along, a line for each level of the second."""
    along, lines = (effects.design.factor(name) for name in row.levels)
    data: Rows = [
        {
            "along": _lines(effects.labels[level]),
            "line": effects.labels[other],
            "mean": effects.margin_mean({along.name: level, lines.name: other}),
        }
        for level in along.levels
        for other in lines.levels
    ]
    names = [effects.labels[level] for level in lines.levels]
    inks = [LINES[place % len(LINES)] for place in range(len(names))]
    x = alt.X(
        "along:N",
        title=None,
        sort=[_lines(effects.labels[level]) for level in along.levels],
        axis=alt.Axis(labelAngle=0, labelLimit=width // 2, labelExpr="split(datum.value, '\\n')"),
        scale=alt.Scale(padding=0.7),
    )
    y = alt.Y("mean:Q", title="BLEU", scale=alt.Scale(zero=False, nice=True))
    legend = alt.Legend(
        title=None, orient="bottom", labelLimit=width, labelColor=INK, symbolType="stroke", direction="vertical"
    )
    colour = alt.Color("line:N", scale=alt.Scale(domain=names, range=inks), legend=legend)
    base = alt.Chart(chart_data(data)).encode(x=x, y=y, color=colour)
    heading = alt.Title(
        row.label,
        subtitle=row.verdict_text,
        color=INK,
        subtitleColor=INK,
        fontSize=12,
        anchor="start",
        limit=width + 40,
    )
    lines_and_points = alt.layer(base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=55, opacity=1))
    return lines_and_points.properties(width=width, height=150, title=heading)
