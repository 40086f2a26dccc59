"""Two corpus levels against each other: the same changes' differences on the cheaper and the costlier corpus."""

from typing import Any

import altair as alt

from experiments.reporting.across_corpora import CorpusAgreement
from experiments.reporting.figures.style import (
    TOOLTIP,
    Figure,
    Rows,
    chart_data,
    difference_scale,
    floor_bands,
    interval_ends,
    names_beside,
    pixel_height,
    render_svg,
    signed_axis,
    spread_labels,
    verdict_colour,
    verdict_shape,
    zero_line,
)
from experiments.reporting.formats import bracketed
from experiments.reporting.statistics import Estimate


def ladder_figure(agreement: CorpusAgreement) -> Figure:
    """Draw the shared changes of two corpus levels against each other; there are some."""
    wide, narrow = ladder_chart(agreement, 480, 340), ladder_chart(agreement, 135, 220)
    lower, upper = agreement.lower, agreement.upper
    has_floor = lower.summary.noise_floor or upper.summary.noise_floor
    shade = " Shaded: the noise floor of each corpus that has several seeds." if has_floor else ""
    bars = " Bars: 95 % confidence intervals." if any(study.summary.compared for study in (lower, upper)) else ""
    caption = (
        f"BLEU, each change minus the baseline of its own corpus: {lower.study.name} on the horizontal axis, "
        f"{upper.study.name} on the vertical; colour and shape are the verdict on {agreement.names[1]}.{bars}{shade}"
    )
    name = f"ladder-{lower.study.name}-{upper.study.name}"
    title = "What {} predicts of {}".format(*agreement.names)
    return Figure(name, title, caption, render_svg(wide), render_svg(narrow))


def ladder_chart(agreement: CorpusAgreement, width: int, height: int) -> alt.HConcatChart:
    """Draw each shared change: its difference on the lower corpus level across, on the upper one up, with intervals."""
    lower, upper, names = agreement.lower, agreement.upper, agreement.names
    differences = [change.differences for change in agreement.changes]
    x_ends, y_ends = interval_ends([below for below, _ in differences]), interval_ends([up for _, up in differences])
    x_scale, x_ticks, _ = difference_scale(x_ends, lower.summary.noise)
    y_scale, y_ticks, _ = difference_scale(y_ends, upper.summary.noise)
    data: Rows = []
    for change, (below, above) in zip(agreement.changes, differences, strict=True):
        tooltip = f"{change.variant}: {bracketed(below)} on {names[0]}, {bracketed(above)} on {names[1]}"
        common = {"variant": change.variant, "verdict": change.upper.verdict.value, "tooltip": tooltip}
        data.append({**common, **_coordinates("x", below), **_coordinates("y", above)})
    x = alt.X("x:Q", scale=x_scale, title=f"Δ BLEU, {names[0]}", axis=signed_axis(x_ticks))
    y = alt.Y("y:Q", scale=y_scale, title=f"Δ BLEU, {names[1]}", axis=signed_axis(y_ticks))
    base = alt.Chart(chart_data(data)).encode(x=x, y=y, color=verdict_colour())
    layers = [
        *floor_bands(lower.summary.noise_floor, "x", x_scale),
        *floor_bands(upper.summary.noise_floor, "y", y_scale),
    ]
    layers += [zero_line(alt.X("zero:Q", scale=x_scale)), zero_line(alt.Y("zero:Q", scale=y_scale))]
    bars = base.mark_rule(strokeWidth=1.6, opacity=0.7)
    if any(below.low is not None for below, _ in differences):
        layers.append(bars.transform_filter("isValid(datum.x_low)").encode(x="x_low:Q", x2="x_high:Q"))
    if any(above.low is not None for _, above in differences):
        layers.append(bars.transform_filter("isValid(datum.y_low)").encode(y="y_low:Q", y2="y_high:Q"))
    points = base.mark_point(filled=True, size=85, opacity=1, ariaRoleDescription=TOOLTIP)
    layers.append(points.encode(shape=verdict_shape(), description="tooltip:N"))
    height = max(height, 15 * len(data))
    heights = [pixel_height(above.mean, y_scale, height) for _, above in differences]
    labels = [
        {"name": entry["variant"], "at": at, "label": label}
        for entry, at, label in zip(data, heights, spread_labels(heights, 15, 0, height), strict=True)
    ]
    plot = alt.layer(*layers).properties(width=width, height=height)
    return alt.hconcat(plot, names_beside(labels, height), spacing=2)


def _coordinates(axis: str, difference: Estimate) -> dict[str, Any]:
    return {axis: difference.mean, f"{axis}_low": difference.low, f"{axis}_high": difference.high}
