"""What the charts share: inks, the colour and shape of a verdict, scales of BLEU, the band of the noise floor."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from experiments.reporting.figures.figure_data import Rows
from experiments.reporting.statistics import Noise
from experiments.reporting.summary import Verdict

INK, STRONG, GRID, QUIET = "#757a82", "#23282f", "#c9ccd1", "#a9aeb6"
BLUE, ORANGE, PURPLE = "#0072b2", "#d55e00", "#aa4499"
COLOURS = {Verdict.BETTER: BLUE, Verdict.WORSE: ORANGE, Verdict.DIVERGED: PURPLE, Verdict.BASELINE: INK}
SHAPES = {Verdict.BETTER: "triangle-up", Verdict.WORSE: "triangle-down", Verdict.BASELINE: "diamond"}
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+~r')"
DIFFERENCES = (0, 0.1, 0.3, 1, 3, 10, 30, 100)
FLOOR = 0.14
"""Opacity of the band of the noise floor."""
TELLS = "variant"
"""Role of a mark whose description is shown when a reader points at it."""


def colour() -> alt.Color:
    """Return the colour of a row's verdict."""
    verdicts = list(Verdict)
    palette = [COLOURS.get(verdict, INK) for verdict in verdicts]
    return alt.Color("verdict:N", scale=alt.Scale(domain=[v.value for v in verdicts], range=palette), legend=None)


def shape() -> alt.Shape:
    """Return the shape of a row's verdict."""
    verdicts = list(Verdict)
    shapes = [SHAPES.get(verdict, "circle") for verdict in verdicts]
    return alt.Shape("verdict:N", scale=alt.Scale(domain=[v.value for v in verdicts], range=shapes), legend=None)


def zero(channel: alt.X | alt.Y) -> alt.Chart:
    """Return the line of no difference."""
    rule = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(color=QUIET, strokeWidth=1.2)
    return rule.encode(channel)


def floor(low: float, high: float, across: str, scale: alt.Scale | None = None) -> alt.Chart:
    """Return the band of the noise floor from low to high on the axis "x" or "y", over the whole of the other."""
    band = alt.Chart(alt.Data(values=[{"from": low, "to": high}])).mark_rect(color=INK, opacity=FLOOR, clip=True)
    options: dict[str, Any] = {"scale": scale} if scale is not None else {}
    if across == "x":
        return band.encode(x=alt.X("from:Q", **options), x2="to:Q")
    return band.encode(y=alt.Y("from:Q", **options), y2="to:Q")


def difference_scale(values: Sequence[float], noise: Noise | None) -> tuple[alt.Scale, list[float], bool]:
    """Return a scale for BLEU differences, its ticks, and whether it is symmetric log: so where values span one."""
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    sizes = sorted(abs(value) for value in values if value)
    spread = sizes[-1] / max(sizes[len(sizes) // 2], 1e-9) if sizes else 1.0
    if spread < 6 or sizes[-1] < 5:
        room = 0.06 * (high - low or 1.0)
        ticks = linear_ticks(low - room, high + room)
        return alt.Scale(domain=[low - room, high + room], nice=False, zero=False), ticks, False
    constant = max(0.1, noise.alone if noise else 0.5)
    scale = alt.Scale(
        type="symlog", constant=constant, domain=[low * 1.35 - constant / 3, high * 1.35 + constant / 3], nice=False
    )
    ticks = sorted({sign * value for value in DIFFERENCES for sign in (-1, 1) if not 0 < value < constant / 2})
    return scale, [tick for tick in ticks if low * 1.35 <= tick <= high * 1.35], True


def signed_axis(ticks: Sequence[float]) -> alt.Axis:
    """Return an axis of differences, each tick with its sign."""
    return alt.Axis(values=list(ticks), labelExpr=SIGNED, labelOverlap=True)


def linear_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return at most `most` round ticks, and one more, between two values."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def names_beside(data: Rows, height: int, width: int = 150) -> alt.LayerChart | alt.FacetChart:
    """Return a column of names, each with a thin line from its point's height `at` to its own place `label`."""
    pixels = alt.Scale(domain=[height, 0], range=[height, 0], nice=False)
    side: dict[str, Any] = {"scale": alt.Scale(domain=[0, width], range=[0, width]), "axis": None}
    base = alt.Chart(alt.Data(values=data)).transform_calculate(left="0", right="16", text="20")
    leaders = base.mark_rule(color=GRID).encode(
        x=alt.X("left:Q", **side), x2="right:Q", y=alt.Y("at:Q", scale=pixels, axis=None), y2="label:Q"
    )
    names = base.mark_text(align="left", color=INK, fontSize=12, limit=width - 20).encode(
        x=alt.X("text:Q", **side), y=alt.Y("label:Q", scale=pixels, axis=None), text="name:N"
    )
    return alt.layer(leaders, names).properties(width=width, height=height)
