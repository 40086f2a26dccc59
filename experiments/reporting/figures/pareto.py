"""Cost against quality: which variants no other beats at their price, in parameters, arithmetic and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from experiments.reporting.figures.chart_parts import STRONG, TELLS, colour, floor, linear_ticks, names_beside, shape
from experiments.reporting.figures.figure_data import Rows, moved_apart
from experiments.reporting.results import Results
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Row, Summary, Verdict
from experiments.reporting.tables import number

POWERS = "replace(format(datum.value, '.3~e'), '+', '')"
PREFIXES = "format(datum.value, '.3~s')"


@dataclass(frozen=True)
class Cost:
    """A price of a variant: its name in a sentence, the title of its axis, how a tick reads, and each row's price."""

    name: str
    title: str
    tick: str
    of: dict[str, Estimate]


def costs(summary: Summary, results: Results) -> list[Cost]:
    """Return the prices at which the scored rows differ by more than a thousandth; all of them where none does."""
    rows = _scored(summary)
    devices = sorted({str(record.training["device"]) for record in results.records if record.training.get("device")})
    measured = ", ".join(["seconds of training", *devices])
    found = [
        Cost("parameters", "parameters", PREFIXES, _counted(rows, "parameters")),
        Cost("training FLOPs", "training FLOPs, counted", POWERS, _counted(rows, "training_flops")),
        Cost("seconds", measured, PREFIXES, {row.variant: row.seconds for row in rows if row.seconds}),
    ]
    known = [cost for cost in found if len(cost.of) >= 2 and min(own.mean for own in cost.of.values()) > 0]
    return [cost for cost in known if _span(cost) > 1.001] or known


def frontier(points: Sequence[tuple[str, float, float]]) -> list[str]:
    """Return the names of the points (name, cost, quality) that no other beats, cheap ones first.

    One point beats another that costs at least as much and is worse, or costs more and is no better.
    """
    kept: list[str] = []
    best = -float("inf")
    for name, _, quality in sorted(points, key=lambda point: (point[1], -point[2])):
        if quality > best:
            kept.append(name)
            best = quality
    return kept


def frontiers(summary: Summary, results: Results) -> list[tuple[str, list[str]]]:
    """Return each price with the variants on its frontier."""
    return [(cost.name, _frontier(summary, cost)) for cost in costs(summary, results)]


def shown_from(scores: Sequence[float]) -> float:
    """Return the lowest score that is drawn at its height: a few far below must not squash the rest.

    The scores may span three times what the upper two thirds of them span.
    """
    ordered = sorted(scores, reverse=True)
    upper = ordered[: max(2, -(-2 * len(ordered) // 3))]
    bottom = ordered[0] - 3 * max(ordered[0] - upper[-1], 1.0)
    return min(score for score in ordered if score >= bottom)


def pareto(summary: Summary, results: Results, width: int, height: int, stacked: bool = False) -> Any:
    """Draw BLEU against each price with both intervals, the frontier and the noise floor about the baseline.

    Panels stand side by side, or one over another; None where fewer than two rows have a score and a price.
    """
    rows, prices = _scored(summary), costs(summary, results)
    if len(rows) < 2 or not prices:
        return None
    bottom, top = _domain(rows, summary)
    height = max(height, 15 * len(rows))
    lowest = shown_from([_bleu(row, summary).mean for row in rows])
    places = {row.variant: max(bottom, _bleu(row, summary).mean) for row in rows}
    panels: list[Any] = []
    for cost in prices:
        data = [_point(row, cost, summary, places, lowest) for row in rows if row.variant in cost.of]
        titled = stacked or not panels
        panels.append(_panel(data, cost, summary, (bottom, top), width, height, titled))
    heights = [height * (top - places[row.variant]) / (top - bottom) for row in rows]
    labels = [
        {"name": _label(row, summary, lowest), "at": at, "label": label}
        for row, at, label in zip(rows, heights, moved_apart(heights, 15, 0, height), strict=True)
    ]
    names = names_beside(labels, height, 165 if stacked else 190)
    if stacked:
        return alt.vconcat(*(alt.hconcat(panel, names, spacing=2) for panel in panels), spacing=18)
    return alt.hconcat(*panels, names, spacing=14)


def _panel(
    data: Rows, cost: Cost, summary: Summary, domain: tuple[float, float], width: int, height: int, titled: bool
) -> alt.LayerChart | alt.FacetChart:
    ends = [value for entry in data for value in (entry["cost"], entry["cost_low"], entry["cost_high"])]
    wide = max(ends) > 4 * min(ends)
    room = 1.15 if wide else 1 + 0.12 * (max(ends) / min(ends) - 1) + 0.002
    span = [min(ends) / room, max(ends) * room]
    apart: dict[str, Any] = {"labelOverlap": "greedy", "labelSeparation": 8, "labelFlush": True}
    axis = alt.Axis(tickCount=3, labelExpr=cost.tick, grid=False, **apart)
    scale = alt.Scale(type="log" if wide else "linear", domain=span, nice=False, zero=False)
    x = alt.X("cost:Q", title=cost.title, scale=scale, axis=axis)
    ticks = alt.Axis(values=linear_ticks(*domain, most=7), labels=titled)
    title = f"BLEU, {summary.primary}" if titled else None
    y = alt.Y("bleu:Q", title=title, scale=alt.Scale(domain=list(domain), nice=False, zero=False), axis=ticks)
    base = alt.Chart(alt.Data(values=data)).encode(x=x, y=y)
    points = base.encode(color=colour(), shape=shape(), description="told:N")
    layers: list[alt.Chart] = []
    own = summary.row(summary.baseline).score(summary.primary, "bleu")
    if summary.noise_floor and own:
        half = summary.noise_floor.half_width
        layers.append(floor(own.mean - half, own.mean + half, "y"))
    layers.append(_steps(data, cost, summary, span[1]).encode(x=x, y=y))
    if any(entry.get("low") is not None for entry in data):
        bars = base.mark_rule(strokeWidth=1.4, opacity=0.55, clip=True)
        layers.append(bars.transform_filter("!datum.below && isValid(datum.low)").encode(y="low:Q", y2="high:Q"))
        layers[-1] = layers[-1].encode(color=colour())
    if any(entry["cost_high"] > entry["cost_low"] for entry in data):
        across = base.mark_rule(strokeWidth=1.4, opacity=0.55, clip=True)
        layers.append(across.transform_filter("!datum.below").encode(x="cost_low:Q", x2="cost_high:Q", color=colour()))
    within, below = points.transform_filter("!datum.below"), points.transform_filter("datum.below")
    layers.append(within.mark_point(filled=True, size=80, opacity=1, ariaRoleDescription=TELLS))
    layers.append(below.mark_point(filled=False, size=60, strokeWidth=1.6, opacity=1, ariaRoleDescription=TELLS))
    return alt.layer(*layers).properties(width=width, height=height)


def _steps(data: Rows, cost: Cost, summary: Summary, end: float) -> alt.Chart:
    """Return the best quality that a price buys, as a line of steps."""
    found = {entry["variant"]: entry for entry in data}
    on = [found[name] for name in _frontier(summary, cost)]
    line = [{"cost": entry["cost"], "bleu": entry["bleu"]} for entry in on]
    line.append({"cost": end, "bleu": line[-1]["bleu"]})
    return alt.Chart(alt.Data(values=line)).mark_line(
        interpolate="step-after", color=STRONG, strokeWidth=1.3, strokeDash=[5, 3]
    )


def _point(row: Row, cost: Cost, summary: Summary, places: dict[str, float], lowest: float) -> dict[str, Any]:
    own, price = _bleu(row, summary), cost.of[row.variant]
    low, high = (price.mean, price.mean) if price.low is None or price.high is None else (price.low, price.high)
    told = f"{row.variant}: BLEU {number(own.mean)}, {cost.name} {price.mean:.4g}, {row.verdict.value}"
    entry: dict[str, Any] = {
        "variant": row.variant,
        "verdict": row.verdict.value,
        "told": told,
        "below": own.mean < lowest,
    }
    entry |= {"cost": price.mean, "cost_low": max(low, price.mean / 2), "cost_high": high}
    return entry | {"bleu": places[row.variant], "low": own.low, "high": own.high}


def _domain(rows: list[Row], summary: Summary) -> tuple[float, float]:
    """Return the ends of the axis of BLEU: every mean that is shown, and intervals up to a third beyond them."""
    lowest = shown_from([_bleu(row, summary).mean for row in rows])
    shown = [own for row in rows if (own := _bleu(row, summary)).mean >= lowest]
    low, high = min(own.mean for own in shown), max(own.mean for own in shown)
    beyond = max(high - low, 1.0) / 3
    lows = [own.low if own.low is not None else own.mean for own in shown]
    highs = [own.high if own.high is not None else own.mean for own in shown]
    room = 0.05 * beyond + 0.1
    return max(min(lows), low - beyond) - room, min(max(highs), high + beyond) + room


def _frontier(summary: Summary, cost: Cost) -> list[str]:
    rows = [row for row in _scored(summary) if row.variant in cost.of]
    means = {row.variant: (float(f"{cost.of[row.variant].mean:.6g}"), _bleu(row, summary).mean) for row in rows}
    return frontier([(name, *place) for name, place in means.items()])


def _label(row: Row, summary: Summary, lowest: float) -> str:
    own = _bleu(row, summary).mean
    return row.variant if own >= lowest else f"{row.variant} {number(own, 1)}"


def _scored(summary: Summary) -> list[Row]:
    rows = [row for row in summary.rows if row.score(summary.primary, "bleu")]
    return [row for row in rows if row.verdict is not Verdict.DIVERGED]


def _bleu(row: Row, summary: Summary) -> Estimate:
    found = row.score(summary.primary, "bleu")
    assert found is not None, "only scored rows are drawn"
    return found


def _counted(rows: list[Row], name: str) -> dict[str, Estimate]:
    values = {row.variant: getattr(row, name) for row in rows}
    return {variant: Estimate(value, None, None, 1) for variant, value in values.items() if value}


def _span(cost: Cost) -> float:
    means = [own.mean for own in cost.of.values()]
    return max(means) / min(means)
