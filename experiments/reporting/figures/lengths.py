"""Sentence length: BLEU by length as lines, and a score by length as a heat map."""

import itertools
from typing import Any

import altair as alt

from experiments.reporting.figures.style import (
    BLUE,
    FLOOR_OPACITY,
    INK,
    QUIET,
    STRONG,
    Figure,
    Rows,
    chart_data,
    panels,
    render_svg,
    verdict_colour,
)
from experiments.reporting.results import Results
from experiments.reporting.statistics import estimate, noise_floor
from experiments.reporting.summary import Row, Summary


def length_curves_figure(summary: Summary, results: Results) -> Figure | None:
    """Draw BLEU by sentence length; None where no cell scored buckets of length."""
    words, rows = length_curve_rows(summary, results)
    if not rows:
        return None
    intervals = " Bars: 95 % confidence intervals." if summary.seeds > 1 else ""
    shade = " Shaded: the baseline's noise floor at that length." if summary.noise_floor else ""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    longer = f", longer ones on {', '.join(splits[1:])}" if splits[1:] else ""
    caption = (
        f"BLEU by sentence length in words on {splits[0]}{longer}, mean over seeds.{intervals} Thin grey: the "
        f"baseline.{shade}"
    )
    wide, narrow = (
        render_svg(length_curves_chart(words, rows, columns, width)) for columns, width in ((4, 205), (2, 128))
    )
    return Figure("by_length", "Length against BLEU", caption, wide, narrow)


def length_heatmap_figure(summary: Summary, results: Results) -> Figure | None:
    """Draw a score by variant and sentence length; None where no cell scored buckets of length."""
    title, rows = length_heatmap_rows(summary, results)
    if not rows:
        return None
    caption = f"{title[:1].upper()}{title[1:]} by sentence length in words, mean over seeds."
    wide, narrow = (length_heatmap_chart(rows, summary, 52), length_heatmap_chart(rows, summary, 42, stacked=True))
    return Figure("lengths", "Long sentences", caption, render_svg(wide), render_svg(narrow))


def length_curves_chart(words: list[str], rows: Rows, columns: int, width: int) -> alt.FacetChart:
    """Draw one panel per variant: its mean with the interval over seeds, the baseline and the noise floor."""
    labels = f"{words!r}[datum.value]"
    ticks = alt.Axis(values=list(range(len(words))), labelExpr=labels, grid=False, labelOverlap=True, labelFlush=True)
    span: dict[str, Any] = {"domain": [-0.25, len(words) - 0.75], "nice": False}
    x = alt.X("place:Q", title=None, axis=ticks, scale=alt.Scale(**span))
    top = max(row["bleu"] for row in rows) * 1.08 or 1.0
    axis = alt.Axis(tickCount=4, domain=False)
    y = alt.Y("bleu:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, top], nice=False))
    kind, base = alt.datum.kind, alt.Chart(chart_data(rows)).encode(x=x, detail="split:N")
    line = base.mark_line(strokeWidth=1.8, clip=True).encode(y=y)
    layers = alt.layer(
        base.transform_filter(kind == "floor")
        .mark_area(color=INK, opacity=FLOOR_OPACITY, clip=True)
        .encode(y=alt.Y("low:Q"), y2="high:Q"),
        line.transform_filter(kind == "baseline").encode(color=alt.value(QUIET), strokeWidth=alt.value(1.2)),
        line.transform_filter(kind == "mean").encode(color=verdict_colour()),
        base.transform_filter((kind == "mean") & "isValid(datum.low)")
        .mark_rule(strokeWidth=1.6, clip=True)
        .encode(y=alt.Y("low:Q"), y2="high:Q", color=verdict_colour()),
        base.transform_filter(kind == "mean")
        .mark_point(filled=True, size=26, opacity=1, clip=True)
        .encode(y=y, color=verdict_colour()),
    ).properties(width=width, height=round(width * 0.62))
    return panels(layers, "variant", list(dict.fromkeys(row["variant"] for row in rows)), columns, width)


def length_heatmap_chart(
    rows: Rows, summary: Summary, step: int, stacked: bool = False
) -> alt.HConcatChart | alt.VConcatChart:
    """Draw one row per variant and one block per split, side by side or stacked."""
    order = [row.variant for row in summary.rows]
    blocks: list[alt.LayerChart] = []
    for split in summary.splits:
        block = [row for row in rows if row["split"] == split]
        if not block:
            continue
        words = list(dict.fromkeys(row["words"] for row in block))
        labels = alt.Axis(ticks=False, domain=False, labelLimit=180, offset=2) if stacked or not blocks else None
        title = alt.Title(split, color=INK, fontSize=12, anchor="start")
        base = alt.Chart(chart_data(block), title=title).encode(
            x=alt.X("words:N", sort=words, title="words", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y=alt.Y("variant:N", sort=order, title=None, axis=labels),
        )
        shade = alt.Opacity("value:Q", scale=alt.Scale(domain=[0, 100], range=[0.03, 0.6]), legend=None)
        rects = base.mark_rect(color=BLUE, cornerRadius=2, stroke=None).encode(opacity=shade)
        texts = base.mark_text(fontSize=11, color=STRONG).encode(text=alt.Text("value:Q", format=".0f"))
        blocks.append((rects + texts).properties(width=alt.Step(step), height=alt.Step(22)))
    return alt.vconcat(*blocks, spacing=14) if stacked else alt.hconcat(*blocks, spacing=14)


def length_curve_rows(summary: Summary, results: Results) -> tuple[list[str], Rows]:
    """Return the lengths in words, short to long, and BLEU at each: a variant's mean, the baseline's, its noise floor.

    The lengths of the primary split come first, then the longer ones of other splits; `split` names where each is from.
    """
    split_of: dict[str, str] = {}
    for split in summary.splits:
        for words in _buckets(results, split):
            split_of.setdefault(words, split)
    ordered = sorted(split_of, key=_first_number)
    rows: Rows = []
    for row in summary.rows:
        for split in dict.fromkeys(split_of.values()):
            line = [entry for entry in _curve(row, summary, results, split) if split_of[entry["words"]] == split]
            rows += [entry | {"place": ordered.index(entry["words"]), "split": split} for entry in line]
    return ordered, rows


def length_heatmap_rows(summary: Summary, results: Results) -> tuple[str, Rows]:
    """Return exact match in percent, mean over seeds, by variant, split and length in words, and the score's name.

    Where hardly a sentence matches exactly (under 5 % everywhere), BLEU takes its place.
    """
    for key, title in (("exact_match", "exact match (%)"), ("bleu", "BLEU")):
        rows = [entry for row in summary.rows for entry in _means_by_length(row.variant, summary, results, key)]
        if key == "bleu" or max((entry["value"] for entry in rows), default=0) >= 5:
            return title, rows
    raise AssertionError("BLEU always serves")


def _by_length(variant: str, results: Results, split: str, key: str) -> dict[str, dict[int, float]]:
    """Return a score by length and seed."""
    scores: dict[str, dict[int, float]] = {}
    for record in results.of(variant):
        for bucket in record.splits.get(split, {}).get("by_length", []) if record.scored else ():
            if bucket.get(key) is not None and bucket.get("sentences"):
                scores.setdefault(bucket["words"], {})[record.seed] = float(bucket[key])
    return scores


def _buckets(results: Results, split: str) -> list[str]:
    """Return the lengths that any variant has, in the order of the file."""
    variants = dict.fromkeys(record.variant for record in results.records)
    return list(dict.fromkeys(words for variant in variants for words in _by_length(variant, results, split, "bleu")))


def _curve(row: Row, summary: Summary, results: Results, split: str) -> Rows:
    """Return a variant's BLEU by length on one split, with the baseline's and its noise floor at each length."""
    scores_by_length = _by_length(row.variant, results, split, "bleu")
    common = {"variant": row.variant, "verdict": row.verdict.value}
    rows: Rows = []
    for words, scores in scores_by_length.items():
        bleu = estimate(list(scores.values()))
        assert bleu is not None
        rows.append({**common, "words": words, "bleu": bleu.mean, "low": bleu.low, "high": bleu.high, "kind": "mean"})
    if not scores_by_length or row.variant == summary.baseline:
        return rows
    for words, scores in _by_length(summary.baseline, results, split, "bleu").items():
        mean = sum(scores.values()) / len(scores)
        rows.append({**common, "words": words, "bleu": mean, "kind": "baseline"})
        floor = noise_floor(list(scores.values()))
        if floor:
            low, high = max(0.0, mean - floor.half_width), mean + floor.half_width
            rows.append({**common, "words": words, "bleu": mean, "low": low, "high": high, "kind": "floor"})
    return rows


def _means_by_length(variant: str, summary: Summary, results: Results, key: str) -> Rows:
    rows: Rows = []
    for split in summary.splits:
        for words, scores in _by_length(variant, results, split, key).items():
            mean = sum(scores.values()) / len(scores)
            rows.append({"variant": variant, "split": split, "words": words, "value": mean})
    return rows


def _first_number(words: str) -> int:
    return int("".join(itertools.takewhile(str.isdigit, words)) or 0)
