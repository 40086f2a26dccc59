"""The study's charts in Altair, one function a picture, each at a width that the caller gives.

One colour means one verdict everywhere (from the palette of Okabe and Ito, told apart without colour vision), and a
shape repeats it. Variants far off must not squash the rest: differences lie on a symmetric log scale where they span
one, losses on a log scale labelled as perplexity.
"""

import math
from typing import Any

import altair as alt

from experiments.figure_data import Rows, attention_rows, curve_rows, difference_row, length_rows, moved_apart
from experiments.results import Results
from experiments.summary import Summary, Verdict

INK, STRONG, GRID, QUIET = "#757a82", "#23282f", "#c9ccd1", "#a9aeb6"
BLUE, ORANGE, PURPLE = "#0072b2", "#d55e00", "#aa4499"
COLOURS = {Verdict.BETTER: BLUE, Verdict.WORSE: ORANGE, Verdict.DIVERGED: PURPLE, Verdict.BASELINE: INK}
SHAPES = {Verdict.BETTER: "triangle-up", Verdict.WORSE: "triangle-down", Verdict.BASELINE: "diamond"}
PERPLEXITIES = (1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 300, 1000, 1e4, 1e5)
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+~r')"
DIFFERENCES = (0, 0.1, 0.3, 1, 3, 10, 30, 100)


def forest(summary: Summary, width: int) -> alt.HConcatChart | None:
    """Draw each difference to the baseline with its interval and its number, best first."""
    rows = sorted((row for row in summary.changes if row.difference), key=lambda row: -_mean(row))
    if not rows:
        return None
    data = [difference_row(row) for row in rows]
    data += [difference_row(row) for row in summary.changes if not row.difference]
    order = [entry["variant"] for entry in data]
    ends = [entry[key] for entry in data for key in ("low", "mean", "high") if entry.get(key) is not None]
    scale, ticks, title = _difference_scale(ends, summary)
    axis = alt.Axis(values=ticks, labelExpr=SIGNED, labelOverlap=True)
    x = alt.X("mean:Q", scale=scale, axis=axis, title=title)
    own: dict[str, Any] = {"sort": order, "scale": alt.Scale(domain=order)}
    y = alt.Y("variant:N", title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=180, offset=4), **own)
    points = alt.Chart(alt.Data(values=data)).transform_filter("isValid(datum.mean)").encode(y=y)
    layers = [_zero(alt.X("zero:Q"))]
    if summary.noise:
        floor = alt.Data(values=[{"from": -summary.noise.alone, "to": summary.noise.alone}])
        layers.insert(0, alt.Chart(floor).mark_rect(color=INK, opacity=0.14).encode(x=alt.X("from:Q"), x2="to:Q"))
    if any(entry.get("low") is not None for entry in data):
        layers.append(points.mark_rule(strokeWidth=2.2).encode(x=alt.X("low:Q"), x2="high:Q", color=_colour()))
    layers.append(points.mark_point(filled=True, size=80, opacity=1).encode(x=x, color=_colour(), shape=_shape()))
    step = alt.Step(25)
    texts = alt.Chart(alt.Data(values=data)).mark_text(align="left", color=INK, fontSize=12, limit=175)
    numbers = texts.encode(y=alt.Y("variant:N", axis=None, **own), x=alt.value(0), text="text:N")
    drawn = alt.layer(*layers).properties(width=width, height=step)
    return alt.hconcat(drawn, numbers.properties(width=170, height=step), spacing=10)


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
        .encode(y=alt.Y("low:Q"), y2="high:Q", color=_colour()),
        line.transform_filter(kind == "baseline").encode(color=alt.value(QUIET), strokeWidth=alt.value(1.2)),
        line.transform_filter(kind == "mean").encode(color=_colour()),
        line.transform_filter(kind == "seed").encode(color=alt.value(PURPLE), strokeDash=alt.value([3, 2])),
        base.transform_filter(kind == "stop")
        .mark_point(shape="cross", angle=45, filled=True, size=80, opacity=1)
        .encode(y=y, color=alt.value(PURPLE)),
    ).properties(width=width, height=round(width * 0.62))
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    heading = "datum.value" if width > 150 else "split(datum.value, ' · ')"
    header = alt.Header(title=None, labelAnchor="start", labelPadding=5, labelLimit=width + 20, labelExpr=heading)
    return layers.facet(facet=alt.Facet("panel:N", sort=panels, header=header), columns=columns, spacing=18)


def cost(summary: Summary, width: int, height: int = 340) -> alt.HConcatChart | None:
    """Draw the difference to the baseline against counted training FLOPs, names in a column beside."""
    own = summary.row(summary.baseline).training_flops
    rows = [row for row in summary.rows if row.difference or row.verdict is Verdict.BASELINE]
    if len(rows) < 2 or not own:
        return None
    data: Rows = [difference_row(row) | {"mean": _mean(row), "cost": (row.training_flops or own) / own} for row in rows]
    scale, ticks, title = _difference_scale([entry["mean"] for entry in data], summary)
    heights = [_height(entry["mean"], scale, height) for entry in data]
    for entry, at, label in zip(data, heights, moved_apart(heights, 16, 0, height), strict=True):
        entry |= {"at": at, "label": label}
    ratios = [entry["cost"] for entry in data]
    span = [min(0.95, *ratios) * 0.98, max(1.02, *ratios) * 1.02]
    x = alt.X(
        "cost:Q",
        title="training FLOPs, baseline = 1",
        scale=alt.Scale(type="log" if span[1] > 3 * span[0] else "linear", domain=span, nice=False),
        axis=alt.Axis(tickCount=5, format=".3~r", grid=False, labelOverlap=True),
    )
    y = alt.Y("mean:Q", scale=scale, title=title, axis=alt.Axis(values=ticks, labelExpr=SIGNED))
    base = alt.Chart(alt.Data(values=data))
    points = base.mark_point(filled=True, size=90, opacity=0.9).encode(x=x, y=y, color=_colour(), shape=_shape())
    pixels = alt.Scale(domain=[height, 0], range=[height, 0], nice=False)
    across = alt.Scale(domain=[0, 150], range=[0, 150])
    base = base.transform_calculate(left="0", right="16", text="20")
    side: dict[str, Any] = {"scale": across, "axis": None}
    leaders = base.mark_rule(color=GRID).encode(
        x=alt.X("left:Q", **side), x2="right:Q", y=alt.Y("at:Q", scale=pixels, axis=None), y2="label:Q"
    )
    names = base.mark_text(align="left", color=INK, fontSize=12).encode(
        x=alt.X("text:Q", **side), y=alt.Y("label:Q", scale=pixels, axis=None), text="variant:N"
    )
    drawn = alt.layer(_zero(alt.Y("zero:Q")), points).properties(width=width, height=height)
    return alt.hconcat(drawn, alt.layer(leaders, names).properties(width=150, height=height), spacing=2)


def lengths(
    summary: Summary, results: Results, step: int, stacked: bool = False
) -> tuple[str, alt.HConcatChart | alt.VConcatChart] | None:
    """Draw a score by sentence length, a row a variant, a block a split, and say which score it is."""
    title, rows = length_rows(summary, results)
    if not rows:
        return None
    order = [row.variant for row in summary.rows]
    blocks: list[alt.LayerChart] = []
    for split in summary.splits:
        own = [row for row in rows if row["split"] == split]
        words = list(dict.fromkeys(row["words"] for row in own))
        labels = alt.Axis(ticks=False, domain=False, labelLimit=180, offset=2) if stacked or not blocks else None
        base = alt.Chart(alt.Data(values=own), title=alt.Title(split, color=INK, fontSize=12, anchor="start")).encode(
            x=alt.X(
                "words:N",
                sort=words,
                title="words",
                axis=alt.Axis(labelAngle=0, ticks=False, domain=False),
            ),
            y=alt.Y("variant:N", sort=order, title=None, axis=labels),
        )
        shade = alt.Opacity("value:Q", scale=alt.Scale(domain=[0, 100], range=[0.03, 0.6]), legend=None)
        cells = base.mark_rect(color=BLUE, cornerRadius=2, stroke=None).encode(opacity=shade)
        texts = base.mark_text(fontSize=11, color=STRONG).encode(text=alt.Text("value:Q", format=".0f"))
        if own:
            blocks.append((cells + texts).properties(width=alt.Step(step), height=alt.Step(22)))
    return title, alt.vconcat(*blocks, spacing=14) if stacked else alt.hconcat(*blocks, spacing=14)


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


def _zero(channel: alt.X | alt.Y) -> alt.Chart:
    rule = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(color=QUIET, strokeWidth=1.2)
    return rule.encode(channel)


def _colour() -> alt.Color:
    verdicts = list(Verdict)
    palette = [COLOURS.get(verdict, INK) for verdict in verdicts]
    return alt.Color("verdict:N", scale=alt.Scale(domain=[v.value for v in verdicts], range=palette), legend=None)


def _shape() -> alt.Shape:
    verdicts = list(Verdict)
    shapes = [SHAPES.get(verdict, "circle") for verdict in verdicts]
    return alt.Shape("verdict:N", scale=alt.Scale(domain=[v.value for v in verdicts], range=shapes), legend=None)


def _difference_scale(values: list[float], summary: Summary) -> tuple[alt.Scale, list[float], str]:
    """Return a scale for BLEU differences, its ticks and its title: linear, or symmetric log where values span one."""
    low, high = min(0.0, *values), max(0.0, *values)
    sizes = sorted(abs(value) for value in values if value)
    spread = sizes[-1] / max(sizes[len(sizes) // 2], 1e-9) if sizes else 1.0
    title = "BLEU, difference to the baseline"
    if spread < 6 or sizes[-1] < 5:
        room = 0.06 * (high - low or 1.0)
        ticks = _linear_ticks(low - room, high + room)
        return alt.Scale(domain=[low - room, high + room], nice=False, zero=False), ticks, title
    constant = max(0.1, summary.noise.alone if summary.noise else 0.5)
    scale = alt.Scale(
        type="symlog", constant=constant, domain=[low * 1.35 - constant / 3, high * 1.35 + constant / 3], nice=False
    )
    ticks = sorted({sign * value for value in DIFFERENCES for sign in (-1, 1) if not 0 < value < constant / 2})
    return scale, [tick for tick in ticks if low * 1.35 <= tick <= high * 1.35], f"{title} (symmetric log)"


def _linear_ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 8))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 8)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _height(value: float, scale: alt.Scale, height: int) -> float:
    """Return a value's pixel height on a scale made by `_difference_scale`, downwards from the top."""
    content = scale.to_dict()
    constant = content.get("constant")

    def place(x: float) -> float:
        return math.copysign(math.log1p(abs(x) / constant), x) if constant else x

    low, high = (place(x) for x in content["domain"])
    return height * (high - place(value)) / (high - low)
