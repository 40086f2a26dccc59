"""Long sentences: BLEU by length of the sentence as lines, a score by length as a table of shades."""

from typing import Any

import altair as alt

from experiments.reporting.figures.chart_parts import BLUE, FLOOR, INK, QUIET, STRONG, colour
from experiments.reporting.figures.figure_data import length_lines, length_rows
from experiments.reporting.results import Results
from experiments.reporting.summary import Summary


def by_length(summary: Summary, results: Results, columns: int, width: int) -> alt.FacetChart | None:
    """Draw BLEU by length of the sentence, a panel a variant: its seeds' interval, the baseline, the noise floor."""
    words, rows = length_lines(summary, results)
    if not rows:
        return None
    labels = f"{words!r}[datum.value]"
    every = alt.Axis(values=list(range(len(words))), labelExpr=labels, grid=False, labelOverlap=True, labelFlush=True)
    span: dict[str, Any] = {"domain": [-0.25, len(words) - 0.75], "nice": False}
    x = alt.X("place:Q", title=None, axis=every, scale=alt.Scale(**span))
    top = max(entry["bleu"] for entry in rows) * 1.08 or 1.0
    axis = alt.Axis(tickCount=4, domain=False)
    y = alt.Y("bleu:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, top], nice=False))
    kind, base = alt.datum.kind, alt.Chart(alt.Data(values=rows)).encode(x=x, detail="split:N")
    line = base.mark_line(strokeWidth=1.8, clip=True).encode(y=y)
    layers = alt.layer(
        base.transform_filter(kind == "floor")
        .mark_area(color=INK, opacity=FLOOR, clip=True)
        .encode(y=alt.Y("low:Q"), y2="high:Q"),
        line.transform_filter(kind == "baseline").encode(color=alt.value(QUIET), strokeWidth=alt.value(1.2)),
        line.transform_filter(kind == "mean").encode(color=colour()),
        base.transform_filter((kind == "mean") & "isValid(datum.low)")
        .mark_rule(strokeWidth=1.6, clip=True)
        .encode(y=alt.Y("low:Q"), y2="high:Q", color=colour()),
        base.transform_filter(kind == "mean")
        .mark_point(filled=True, size=26, opacity=1, clip=True)
        .encode(y=y, color=colour()),
    ).properties(width=width, height=round(width * 0.62))
    panels = list(dict.fromkeys(entry["variant"] for entry in rows))
    header = alt.Header(title=None, labelAnchor="start", labelPadding=5, labelLimit=width + 20)
    return layers.facet(facet=alt.Facet("variant:N", sort=panels, header=header), columns=columns, spacing=18)


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
