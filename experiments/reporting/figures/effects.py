"""Effects of factors: each with its interval, and the largest interactions as the means that they are made of."""

import altair as alt

from experiments.reporting.effects import EffectRow, Effects
from experiments.reporting.figures.forest import SPLIT_LINES, estimate_row, forest, in_lines
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
    render_svg,
)
from experiments.reporting.summary import Summary

SHOWN = 6
"""The most interactions that are drawn."""
LETTERS = 14
"""In a line of a level's label."""
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


def _forest(summary: Summary, effects: Effects, width: int, narrow: bool) -> alt.HConcatChart:
    data = [{"label": row.label, **estimate_row(row.verdict, row.difference)} for row in effects.rows]
    title = "Δ BLEU" if narrow else "BLEU, effect"
    return forest(data, summary, title, width, narrow, 150 if narrow else 320)


def _panel(effects: Effects, row: EffectRow, width: int) -> Drawn:
    """Draw the means of two factors' levels: the first factor along, a line for each level of the second."""
    along, lines = (effects.design.factor(name) for name in row.levels)
    data: Rows = [
        {
            "along": in_lines(effects.labels[level], LETTERS),
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
        sort=[in_lines(effects.labels[level], LETTERS) for level in along.levels],
        axis=alt.Axis(labelAngle=0, labelLimit=width // 2, labelExpr=SPLIT_LINES),
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
