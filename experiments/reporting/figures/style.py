"""What the figures share: inks, scales, theme, the `Figure` class, and rendering to SVG and PNG.

A colour stands for the same verdict in every figure (palette of Okabe and Ito, readable without colour vision), and a
marker shape repeats it. Variants far from the rest must not squash them: differences are drawn on a symmetric log
scale where they span orders of magnitude.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from experiments.reporting.statistics import Estimate, Noise, NoiseFloor
from experiments.reporting.summary import Summary
from experiments.reporting.verdicts import Verdict

Rows = list[dict[str, Any]]
"""Data of a chart, one dictionary per mark."""
Drawn = alt.LayerChart | alt.FacetChart

INK, STRONG, GRID, QUIET = "#757a82", "#23282f", "#c9ccd1", "#a9aeb6"
BLUE, ORANGE, PURPLE = "#0072b2", "#d55e00", "#aa4499"
DARK = {
    INK: "#b9c0ca",
    STRONG: "#eef1f4",
    GRID: "#3a414b",
    QUIET: "#626974",
    BLUE: "#56b4e9",
    ORANGE: "#f0873c",
    PURPLE: "#d58ac7",
}
"""Each ink's counterpart on a dark page."""
FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

COLOURS = {Verdict.BETTER: BLUE, Verdict.WORSE: ORANGE, Verdict.DIVERGED: PURPLE, Verdict.BASELINE: INK}
SHAPES = {Verdict.BETTER: "triangle-up", Verdict.WORSE: "triangle-down", Verdict.BASELINE: "diamond"}
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+~r')"
DIFFERENCES = (0, 0.1, 0.3, 1, 3, 10, 30, 100)
FLOOR_OPACITY = 0.14
"""Opacity of the noise floor's band."""
TOOLTIP = "variant"
"""ARIA role description of marks whose description becomes a tooltip."""

VEGA_LITE = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
"""The Vega-Lite version that Altair writes, spelled as the renderer expects it."""
TOOLTIP_PATH = re.compile(rf'(<path aria-label="([^"]*)"[^>]*aria-roledescription="{TOOLTIP}"[^>]*)/>')
CLIP_ID = re.compile(r"\bclip\d+\b")
"""Ids that the renderer numbers on from one picture to the next."""


@dataclass(frozen=True)
class Figure:
    """A picture as SVG with its caption; `narrow` is the version for a phone, None where the wide one serves."""

    name: str
    title: str
    caption: str
    wide: str
    narrow: str | None = None


def chart_data(rows: Rows) -> alt.Data:
    """Return rows as a chart's data: as JSON text, since Altair copies a list whole for every mark that is added."""
    return alt.Data(values=json.dumps(rows, allow_nan=False), format=alt.DataFormat(type="json"))


def render_svg(chart: alt.TopLevelMixin) -> str:
    """Render a chart as SVG with a transparent background; the same chart gives the same bytes."""
    picture = vl_convert.vegalite_to_svg(_specification(_themed(chart, "transparent")), vl_version=VEGA_LITE)
    names = {name: f"clip{place}" for place, name in enumerate(dict.fromkeys(CLIP_ID.findall(picture)))}
    picture = CLIP_ID.sub(lambda match: names[match.group()], picture.replace('class="marks" ', "", 1))
    return TOOLTIP_PATH.sub(r"\1><title>\2</title></path>", picture)


def render_png(chart: alt.TopLevelMixin) -> bytes:
    """Render a chart as PNG on white, for a README."""
    return vl_convert.vegalite_to_png(_specification(_themed(chart, "white")), vl_version=VEGA_LITE, scale=1.5)


def standalone(picture: str) -> str:
    """Return a standalone SVG that follows the reader's light or dark theme."""
    dark = "".join(f'[fill="{ink}"]{{fill:{to}}}[stroke="{ink}"]{{stroke:{to}}}' for ink, to in DARK.items())
    style = f'<style>[fill="{INK}"]{{fill:#454c56}}@media(prefers-color-scheme:dark){{{dark}}}</style>'
    return re.sub(r"(<svg[^>]*>)", lambda match: match.group(1) + style, picture, count=1)


def inline(picture: str, prefix: str) -> str:
    """Return an SVG for a page with several: its ids get the prefix, and the page sets its size."""
    for name in sorted(set(re.findall(r'\bid="([^"]+)"', picture)), key=len, reverse=True):
        picture = picture.replace(f'id="{name}"', f'id="{prefix}-{name}"').replace(f"#{name})", f"#{prefix}-{name})")
    width = re.search(r'<svg[^>]*? width="([\d.]+)"', picture)
    assert width, "an SVG has a width"
    opening = f'<svg class="chart" role="img" style="max-width:{width.group(1)}px" '
    return re.sub(r'(<svg[^>]*?) width="[\d.]+" height="[\d.]+"', r"\1", picture, count=1).replace("<svg ", opening, 1)


def verdict_colour() -> alt.Color:
    """Return the colour channel of verdicts."""
    palette = [COLOURS.get(verdict, INK) for verdict in Verdict]
    return alt.Color("verdict:N", scale=alt.Scale(domain=[v.value for v in Verdict], range=palette), legend=None)


def verdict_shape() -> alt.Shape:
    """Return the shape channel of verdicts."""
    shapes = [SHAPES.get(verdict, "circle") for verdict in Verdict]
    return alt.Shape("verdict:N", scale=alt.Scale(domain=[v.value for v in Verdict], range=shapes), legend=None)


def zero_line(channel: alt.X | alt.Y) -> alt.Chart:
    """Return the line of no difference."""
    rule = alt.Chart(chart_data([{"zero": 0}])).mark_rule(color=QUIET, strokeWidth=1.2)
    return rule.encode(channel)


def band(low: float, high: float, axis: str, scale: alt.Scale | None = None) -> alt.Chart:
    """Return a shaded band from low to high on the axis "x" or "y", across the whole of the other."""
    rect = alt.Chart(chart_data([{"from": low, "to": high}])).mark_rect(color=INK, opacity=FLOOR_OPACITY, clip=True)
    options: dict[str, Any] = {"scale": scale} if scale is not None else {}
    if axis == "x":
        return rect.encode(x=alt.X("from:Q", **options), x2="to:Q")
    return rect.encode(y=alt.Y("from:Q", **options), y2="to:Q")


def floor_bands(floor: NoiseFloor | None, axis: str, scale: alt.Scale | None = None) -> list[alt.Chart]:
    """Return the band of the noise floor around zero, nothing where there is no floor."""
    return [] if floor is None else [band(-floor.half_width, floor.half_width, axis, scale)]


def floor_caption(summary: Summary) -> str:
    """Return the sentence of a caption that explains the noise floor's band; empty where one seed leaves none."""
    floor = summary.noise_floor
    if floor is None:
        return ""
    return (
        f" Shaded: the noise floor, ±{floor.half_width:.2f} BLEU, the range of differences between two means of "
        f"{floor.n} baseline seeds each."
    )


def difference_scale(values: Sequence[float], noise: Noise | None) -> tuple[alt.Scale, list[float], bool]:
    """Return a scale for BLEU differences, its ticks, and whether it is symmetric log, as where a few are far off."""
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


def pixel_height(value: float, scale: alt.Scale, height: int) -> float:
    """Return a value's height in pixels on a scale of `difference_scale`, downwards from the top."""
    content = scale.to_dict()
    constant = content.get("constant")

    def place(x: float) -> float:
        return math.copysign(math.log1p(abs(x) / constant), x) if constant else x

    low, high = (place(end) for end in content["domain"])
    return height * (high - place(value)) / (high - low)


def signed_axis(ticks: Sequence[float]) -> alt.Axis:
    """Return an axis of differences, each tick with its sign."""
    return alt.Axis(values=list(ticks), labelExpr=SIGNED, labelOverlap=True)


def linear_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Return round ticks between two values, at most `most` + 1."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def interval_ends(estimates: Sequence[Estimate]) -> list[float]:
    """Return the means and interval ends of estimates, the values that a scale must cover."""
    return [end for estimate in estimates for end in (estimate.low, estimate.mean, estimate.high) if end is not None]


def panels(layers: Drawn, field: str, values: list[str], columns: int, width: int, **header: Any) -> alt.FacetChart:
    """Repeat a chart as small multiples, one panel per value of a field."""
    heading: Any = alt.Header(title=None, labelAnchor="start", labelPadding=5, labelLimit=width + 20, **header)
    return layers.facet(facet=alt.Facet(f"{field}:N", sort=values, header=heading), columns=columns, spacing=18)


def names_beside(data: Rows, height: int, width: int = 150) -> alt.LayerChart | alt.FacetChart:
    """Return a column of names, each with a thin line from its point's height `at` to its own height `label`."""
    pixels = alt.Scale(domain=[height, 0], range=[height, 0], nice=False)
    side: dict[str, Any] = {"scale": alt.Scale(domain=[0, width], range=[0, width]), "axis": None}
    base = alt.Chart(chart_data(data)).transform_calculate(left="0", right="16", text="20")
    leaders = base.mark_rule(color=GRID).encode(
        x=alt.X("left:Q", **side), x2="right:Q", y=alt.Y("at:Q", scale=pixels, axis=None), y2="label:Q"
    )
    names = base.mark_text(align="left", color=INK, fontSize=12, limit=width - 20).encode(
        x=alt.X("text:Q", **side), y=alt.Y("label:Q", scale=pixels, axis=None), text="name:N"
    )
    return alt.layer(leaders, names).properties(width=width, height=height)


def spread_labels(heights: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Move label heights (pixels, downwards) at least `gap` apart, in order, within top and bottom where they fit."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [heights[i] for i in order]
    for i in range(len(placed)):
        placed[i] = max(placed[i], top if i == 0 else placed[i - 1] + gap)
    limit = bottom
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    result = [0.0] * len(heights)
    for i, height in zip(order, placed, strict=True):
        result[i] = height
    return result


def _specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return the chart as Vega-Lite; Altair validated every part when it was made, and a second check is slow."""
    return chart.to_dict(validate=False, context={"pre_transform": False})


def _themed(chart: alt.TopLevelMixin, background: str) -> alt.TopLevelMixin:
    ink: dict[str, Any] = {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    return chart.configure(
        background=background,
        font=FONT,
        padding=4,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(gridColor=GRID, domainColor=GRID, tickColor=GRID, gridOpacity=0.6, **ink),
        header=alt.HeaderConfig(labelColor=INK, labelFontSize=12, labelFontWeight="bold"),
    )
