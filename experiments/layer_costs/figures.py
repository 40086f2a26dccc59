"""The pictures: time, memory and operations against n and d, and paths against n, on logarithmic axes."""

from typing import Any

import altair as alt

from experiments.layer_costs.findings import MEASURES, along
from experiments.layer_costs.layers import BY_KEY, LAYERS
from experiments.layer_costs.settings import Settings
from experiments.reporting.figures.chart_parts import BLUE, INK, ORANGE, PURPLE, QUIET, STRONG
from experiments.reporting.figures.drawing import Figure, svg

LOOKS = {  # ink and dashes of each kind, told apart without colour vision
    "self_attention": (BLUE, [1, 0]),
    "fused_attention": (BLUE, [2, 3]),
    "lstm": (ORANGE, [1, 0]),
    "convolution": (STRONG, [1, 0]),
    "dilated": (STRONG, [5, 3]),
    "restricted": (PURPLE, [1, 0]),
}
Values = list[dict[str, Any]]


def draw(settings: Settings, results: dict[str, Any]) -> list[Figure]:
    """Draw every figure."""
    fixed = f"First over n at d = {settings.width}, then over d at n = {settings.length}."
    fastest = f"The fastest of {settings.repeats} passes forward and backward over one sentence, one thread. {fixed}"
    held = f"The most bytes of tensors held at once during such a pass. {fixed}"
    counted = f"Multiplications and additions of matrix products in such a pass, projections included. {fixed}"
    sentences = (
        f"Layers that every pair of tokens needs to meet, in a recurrent layer steps; kernel {settings.kernel}, "
        f"window {settings.path_window}."
    )
    pairs = [
        _pair("time", "Time", fastest, "seconds", "time", settings, results),
        _pair("memory", "Memory", held, "bytes", "memory", settings, results),
        _pair("operations", "Operations", counted, "operations", "operations", settings, results),
    ]
    paths = [
        {"layer": BY_KEY[entry["layer"]].title, "size": entry["n"], "value": entry["path"]}
        for entry in results["paths"]
    ]
    wide, narrow = (
        _panel(paths, "n", "layers or steps", width, legend=columns) for width, columns in ((560, 3), (250, 1))
    )
    return [*pairs, Figure("paths", "Longest paths", sentences, svg(wide), svg(narrow))]


def _pair(
    name: str, title: str, caption: str, unit: str, measure: str, settings: Settings, results: dict[str, Any]
) -> Figure:
    """Draw one measure along n and along d, beside each other for a desk, below each other for a phone."""
    of_n, of_d = (_values(settings, results, measure, axis) for axis in ("n", "d"))
    beside = alt.hconcat(_panel(of_n, "n", unit, 400, legend=3), _panel(of_d, "d", unit, 300), spacing=30)
    below = alt.vconcat(_panel(of_n, "n", unit, 240, legend=1), _panel(of_d, "d", unit, 240), spacing=20)
    caption = f"{caption} Dotted grey: growth with the first and the second power."
    return Figure(name, title, caption, svg(beside), svg(below))


def _values(settings: Settings, results: dict[str, Any], measure: str, axis: str) -> Values:
    return [
        {"layer": kind.title, "size": row[axis], "value": MEASURES[measure](row)}
        for kind in LAYERS
        for row in along(settings, results, kind.key, axis)
    ]


def _panel(values: Values, axis: str, unit: str, width: int, legend: int = 0) -> alt.LayerChart | alt.FacetChart:
    """Draw a line a layer. legend: its columns, or none."""
    titles = [BY_KEY[key].title for key in LOOKS if any(v["layer"] == BY_KEY[key].title for v in values)]
    looks = [LOOKS[key] for key in LOOKS if BY_KEY[key].title in titles]
    key = alt.Legend(
        title=None, orient="top", columns=legend, labelColor=INK, labelFontSize=12, symbolType="stroke",
        symbolSize=300, symbolStrokeWidth=2.2, labelLimit=240,
    ) if legend else None  # fmt: skip
    sizes = sorted({value["size"] for value in values})
    ticks = [size for size in sizes if size & (size - 1) == 0] if axis == "d" or sizes[0] % 2 == 0 else sizes
    x = alt.X(
        "size:Q",
        title=axis,
        scale=alt.Scale(type="log", domain=[sizes[0], sizes[-1]], nice=False, padding=6),
        axis=alt.Axis(values=ticks, format="d", grid=False),
    )
    y = alt.Y(
        "value:Q",
        title=unit,
        scale=alt.Scale(type="log", nice=False, padding=6),
        axis=alt.Axis(format=".1~s", tickCount=6),
    )
    base = alt.Chart(alt.Data(values=values)).encode(
        x=x,
        y=y,
        color=alt.Color("layer:N", scale=alt.Scale(domain=titles, range=[ink for ink, _ in looks]), legend=key),
    )
    dashes = alt.StrokeDash("layer:N", scale=alt.Scale(domain=titles, range=[dash for _, dash in looks]), legend=key)
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=dashes)
    points = base.mark_point(filled=True, size=26, opacity=1)
    return alt.layer(*_powers(values, sizes, x, y), lines, points).properties(
        width=width, height=290 if width > 250 else 190
    )


def _powers(values: Values, sizes: list[int], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Draw one and two powers of the size, from the middle of the lowest line's values."""
    low, high = min(v["value"] for v in values), max(v["value"] for v in values)
    drawn = []
    for power in (1, 2):
        start = low * 1.1
        ends = [{"size": size, "value": start * (size / sizes[0]) ** power} for size in (sizes[0], sizes[-1])]
        if ends[1]["value"] > high:
            ends[1] = {"size": sizes[0] * (high / start) ** (1 / power), "value": high}
        line = alt.Chart(alt.Data(values=ends)).mark_line(color=QUIET, strokeWidth=1.2, strokeDash=[2, 3])
        drawn.append(line.encode(x=x, y=y))
    return drawn
