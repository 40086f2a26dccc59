"""Cost against quality: BLEU against parameters, training FLOPs and seconds, with the Pareto front of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from experiments.reporting.figures.style import (
    STRONG,
    TOOLTIP,
    Figure,
    Rows,
    band,
    chart_data,
    floor_caption,
    interval_ends,
    linear_ticks,
    names_beside,
    render_svg,
    spread_labels,
    verdict_colour,
    verdict_shape,
)
from experiments.reporting.formats import number
from experiments.reporting.results import Results
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Row, Summary
from experiments.reporting.verdicts import Verdict

POWERS = "replace(format(datum.value, '.3~e'), '+', '')"
PREFIXES = "format(datum.value, '.3~s')"


@dataclass(frozen=True)
class Cost:
    """A cost axis: its name in a sentence, its title, how a tick is written, and the cost of each variant."""

    name: str
    title: str
    tick: str
    by_variant: dict[str, Estimate]


def cost_figure(summary: Summary, results: Results) -> Figure | None:
    """Draw BLEU against each cost; None where fewer than two rows have a score and a cost."""
    rows, axes = scored_rows(summary), costs(summary, results)
    if len(rows) < 2 or not axes:
        return None
    fronts = "; ".join(f"by {cost.name}: {', '.join(cost_front(summary, cost))}" for cost in axes)
    intervals = ", with 95 % confidence intervals" if summary.seeds > 1 else ""
    within = " A step within the noise floor is not a finding." if summary.noise_floor else ""
    caption = (
        f"BLEU on {summary.primary} against the cost of a variant{intervals}. Dashed: the Pareto front, the best mean "
        f"at each cost ({fronts}).{within}{floor_caption(summary)} Hollow, at the lower edge: below the scale, with "
        "their BLEU."
    )
    wide, narrow = cost_chart(summary, axes, 250, 320), cost_chart(summary, axes, 125, 230, stacked=True)
    return Figure("cost", "Cost against quality", caption, render_svg(wide), render_svg(narrow))


def cost_chart(summary: Summary, axes: Sequence[Cost], width: int, height: int, stacked: bool = False) -> Any:
    """Draw BLEU against each cost with both intervals, the Pareto front, and the noise floor around the baseline.

    Panels are side by side, or stacked.
    """
    rows = scored_rows(summary)
    bottom, top = _bleu_domain(rows, summary)
    height = max(height, 15 * len(rows))
    lowest = lowest_on_scale([_bleu(row, summary).mean for row in rows])
    places = {row.variant: max(bottom, _bleu(row, summary).mean) for row in rows}
    plots: list[Any] = []
    for cost in axes:
        data = [_point(row, cost, summary, places, lowest) for row in rows if row.variant in cost.by_variant]
        plots.append(_panel(data, cost, summary, (bottom, top), width, height, titled=stacked or not plots))
    heights = [height * (top - places[row.variant]) / (top - bottom) for row in rows]
    labels = [
        {"name": _label(row, summary, lowest), "at": at, "label": label}
        for row, at, label in zip(rows, heights, spread_labels(heights, 15, 0, height), strict=True)
    ]
    names = names_beside(labels, height, 165 if stacked else 190)
    if stacked:
        return alt.vconcat(*(alt.hconcat(plot, names, spacing=2) for plot in plots), spacing=18)
    return alt.hconcat(*plots, names, spacing=14)


def costs(summary: Summary, results: Results) -> list[Cost]:
    """Return the costs in which the scored rows differ by more than a thousandth; all of them where none does."""
    rows = scored_rows(summary)
    devices = sorted({str(record.training["device"]) for record in results.records if record.training.get("device")})
    measured = ", ".join(["seconds of training", *devices])
    candidates = [
        Cost("parameters", "parameters", PREFIXES, _counted(rows, "parameters")),
        Cost("training FLOPs", "training FLOPs, counted", POWERS, _counted(rows, "training_flops")),
        Cost("seconds", measured, PREFIXES, {row.variant: row.seconds for row in rows if row.seconds}),
    ]
    known = [cost for cost in candidates if len(cost.by_variant) >= 2 and min(_means(cost)) > 0]
    return [cost for cost in known if max(_means(cost)) / min(_means(cost)) > 1.001] or known


def pareto_front(points: Sequence[tuple[str, float, float]]) -> list[str]:
    """Return the names of the points (name, cost, quality) that no other dominates, cheapest first.

    A point dominates another that costs at least as much and is worse, or costs more and is no better.
    """
    front: list[str] = []
    best = -float("inf")
    for name, _, quality in sorted(points, key=lambda point: (point[1], -point[2])):
        if quality > best:
            front.append(name)
            best = quality
    return front


def cost_front(summary: Summary, cost: Cost) -> list[str]:
    """Return the variants on the Pareto front of BLEU against a cost; costs equal to six digits count as equal."""
    rows = [row for row in scored_rows(summary) if row.variant in cost.by_variant]
    points = [(r.variant, float(f"{cost.by_variant[r.variant].mean:.6g}"), _bleu(r, summary).mean) for r in rows]
    return pareto_front(points)


def lowest_on_scale(scores: Sequence[float]) -> float:
    """Return the lowest score that is drawn at its height: a few far below must not squash the rest.

    The scale may span three times what the upper two thirds of the scores span.
    """
    ordered = sorted(scores, reverse=True)
    upper = ordered[: max(2, -(-2 * len(ordered) // 3))]
    bottom = ordered[0] - 3 * max(ordered[0] - upper[-1], 1.0)
    return min(score for score in ordered if score >= bottom)


def scored_rows(summary: Summary) -> list[Row]:
    """Return the rows that have BLEU on the primary split."""
    rows = [row for row in summary.rows if row.score(summary.primary, "bleu")]
    return [row for row in rows if row.verdict is not Verdict.DIVERGED]


def _panel(
    data: Rows, cost: Cost, summary: Summary, domain: tuple[float, float], width: int, height: int, titled: bool
) -> alt.LayerChart | alt.FacetChart:
    ends = [value for entry in data for value in (entry["cost"], entry["cost_low"], entry["cost_high"])]
    log = max(ends) > 4 * min(ends)
    room = 1.15 if log else 1 + 0.12 * (max(ends) / min(ends) - 1) + 0.002
    span = [min(ends) / room, max(ends) * room]
    spacing: dict[str, Any] = {"labelOverlap": "greedy", "labelSeparation": 8, "labelFlush": True}
    axis = alt.Axis(tickCount=3, labelExpr=cost.tick, grid=False, **spacing)
    scale = alt.Scale(type="log" if log else "linear", domain=span, nice=False, zero=False)
    x = alt.X("cost:Q", title=cost.title, scale=scale, axis=axis)
    ticks = alt.Axis(values=linear_ticks(*domain, most=7), labels=titled)
    title = f"BLEU, {summary.primary}" if titled else None
    y = alt.Y("bleu:Q", title=title, scale=alt.Scale(domain=list(domain), nice=False, zero=False), axis=ticks)
    base = alt.Chart(chart_data(data)).encode(x=x, y=y)
    points = base.encode(color=verdict_colour(), shape=verdict_shape(), description="tooltip:N")
    layers: list[alt.Chart] = []
    baseline_bleu = summary.row(summary.baseline).score(summary.primary, "bleu")
    if summary.noise_floor and baseline_bleu:
        half = summary.noise_floor.half_width
        layers.append(band(baseline_bleu.mean - half, baseline_bleu.mean + half, "y"))
    layers.append(_front_line(data, cost, summary, span[1]).encode(x=x, y=y))
    bars = base.mark_rule(strokeWidth=1.4, opacity=0.55, clip=True)
    if any(entry.get("low") is not None for entry in data):
        vertical = bars.transform_filter("!datum.below && isValid(datum.low)").encode(y="low:Q", y2="high:Q")
        layers.append(vertical.encode(color=verdict_colour()))
    if any(entry["cost_high"] > entry["cost_low"] for entry in data):
        horizontal = bars.transform_filter("!datum.below").encode(x="cost_low:Q", x2="cost_high:Q")
        layers.append(horizontal.encode(color=verdict_colour()))
    within, below = points.transform_filter("!datum.below"), points.transform_filter("datum.below")
    layers.append(within.mark_point(filled=True, size=80, opacity=1, ariaRoleDescription=TOOLTIP))
    layers.append(below.mark_point(filled=False, size=60, strokeWidth=1.6, opacity=1, ariaRoleDescription=TOOLTIP))
    return alt.layer(*layers).properties(width=width, height=height)


def _front_line(data: Rows, cost: Cost, summary: Summary, end: float) -> alt.Chart:
    """Return the best BLEU at each cost, as a line of steps."""
    by_variant = {entry["variant"]: entry for entry in data}
    front = [by_variant[name] for name in cost_front(summary, cost)]
    line = [{"cost": entry["cost"], "bleu": entry["bleu"]} for entry in front]
    line.append({"cost": end, "bleu": line[-1]["bleu"]})
    return alt.Chart(chart_data(line)).mark_line(
        interpolate="step-after", color=STRONG, strokeWidth=1.3, strokeDash=[5, 3]
    )


def _point(row: Row, cost: Cost, summary: Summary, places: dict[str, float], lowest: float) -> dict[str, Any]:
    bleu, price = _bleu(row, summary), cost.by_variant[row.variant]
    low, high = (price.mean, price.mean) if price.low is None or price.high is None else (price.low, price.high)
    return {
        "variant": row.variant,
        "verdict": row.verdict.value,
        "tooltip": f"{row.variant}: BLEU {number(bleu.mean)}, {cost.name} {price.mean:.4g}, {row.verdict.value}",
        "below": bleu.mean < lowest,
        "cost": price.mean,
        "cost_low": max(low, price.mean / 2),
        "cost_high": high,
        "bleu": places[row.variant],
        "low": bleu.low,
        "high": bleu.high,
    }


def _bleu_domain(rows: list[Row], summary: Summary) -> tuple[float, float]:
    """Return the ends of the BLEU axis: every mean on the scale, and intervals up to a third beyond them."""
    lowest = lowest_on_scale([_bleu(row, summary).mean for row in rows])
    on_scale = [bleu for row in rows if (bleu := _bleu(row, summary)).mean >= lowest]
    low, high = min(bleu.mean for bleu in on_scale), max(bleu.mean for bleu in on_scale)
    beyond = max(high - low, 1.0) / 3
    ends = interval_ends(on_scale)
    room = 0.05 * beyond + 0.1
    return max(min(ends), low - beyond) - room, min(max(ends), high + beyond) + room


def _label(row: Row, summary: Summary, lowest: float) -> str:
    bleu = _bleu(row, summary).mean
    return row.variant if bleu >= lowest else f"{row.variant} {number(bleu, 1)}"


def _bleu(row: Row, summary: Summary) -> Estimate:
    bleu = row.score(summary.primary, "bleu")
    assert bleu is not None, "only scored rows are drawn"
    return bleu


def _counted(rows: list[Row], name: str) -> dict[str, Estimate]:
    values = {row.variant: getattr(row, name) for row in rows}
    return {variant: Estimate(value, None, None, 1) for variant, value in values.items() if value}


def _means(cost: Cost) -> list[float]:
    return [price.mean for price in cost.by_variant.values()]
