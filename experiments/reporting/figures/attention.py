"""Attention weights of one sentence: heat maps of the report, and lines in the manner of the paper's Figures 3 to 5.

In the latter, queries are below and keys above; each head has its colour, and a line's opacity is the weight.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert
from markupsafe import escape

from experiments.reporting.attention import HEAD_COLOURS, SentenceAttention
from experiments.reporting.figures.style import BLUE, FONT, INK, STRONG, Figure, Rows, chart_data, render_svg
from experiments.reporting.results import Results
from experiments.reporting.summary import Summary

STEP, ROOM, MARGIN = 24, 190, 14  # pixels: from token to token, between queries and keys, around everything
LEGEND = 66  # pixels for the name of a head
FONT_SIZE = 14
LETTER = 0.58  # width of a letter, relative to the font size; wide characters take twice that
LEAST_WEIGHT = 0.01  # smaller weights draw no line


def mean_attention_figure(summary: Summary, results: Results) -> Figure | None:
    """Draw the last layer's cross-attention of one sentence, averaged over heads; None where no cell kept it."""
    record = next((record for record in results.of(summary.baseline) if record.attention()), None)
    content = record.attention() if record else None
    if not record or not content:
        return None
    caption = f"Cross-attention of the last layer, averaged over its heads: {record.name}, one sentence."
    wide, narrow = mean_heatmap(content, 24), mean_heatmap(content, 15)
    return Figure("attention", "Cross-attention", caption, render_svg(wide), render_svg(narrow))


def heads_figure(summary: Summary, results: Results) -> Figure | None:
    """Draw the same sentence and layer with one panel per head; None where no cell kept it."""
    contents = (record.attention() for record in results.of(summary.baseline))
    content = next((content for content in contents if content), None)
    if not content:
        return None
    caption = "The same sentence and layer, head by head; rows are the translation, columns the source."
    wide, narrow = head_heatmaps(content, 4, 225), head_heatmaps(content, 2, 150)
    return Figure("heads", "Head by head", caption, render_svg(wide), render_svg(narrow))


def mean_heatmap(content: dict[str, Any], step: int) -> alt.Chart:
    """Draw the mean over heads, with tokens on both axes."""
    rows = [row for row in attention_rows(content) if row["head"] == -1]
    return _heatmap(rows, content, step, tokens=True)


def head_heatmaps(content: dict[str, Any], columns: int, width: int) -> alt.FacetChart:
    """Draw one panel per head, without tokens."""
    rows = [row | {"panel": f"head {row['head'] + 1}"} for row in attention_rows(content, 0.04) if row["head"] >= 0]
    names = sorted({row["panel"] for row in rows}, key=lambda panel: int(panel.split()[1]))
    base = _heatmap(rows, content, max(3, width // len(content["source"])), tokens=False)
    header = alt.Header(title=None, labelAnchor="start", labelPadding=4)
    return base.facet(facet=alt.Facet("panel:N", sort=names, header=header), columns=columns, spacing=12)


def attention_rows(attention: dict[str, Any], least: float = 0.02) -> Rows:
    """Return the last layer's cross-attention: head -1 is the mean over heads; weights under `least` are left out."""
    layer = attention["cross"][-1]
    rows: Rows = []
    for t in range(len(attention["target"])):
        for s in range(len(attention["source"])):
            weights = [head[t][s] for head in layer]
            for head, weight in enumerate([sum(weights) / len(layer), *weights]):
                if weight >= least:
                    rows.append({"head": head - 1, "t": t, "s": s, "weight": round(weight, 3)})
    return rows


def line_picture(
    sentence: SentenceAttention, stack: str, layer: int, heads: Sequence[int], queries: Sequence[int] | None = None
) -> str:
    """Return an SVG of some heads of one layer, all counted from 0; `queries`: only what these tokens attend to.

    The layer has attention and the heads exist. With `queries`, bars above show each head's weights one by one.
    """
    lower, upper = sentence.tokens(stack)
    weights = sentence.weights[stack][layer]
    assert weights is not None
    above, below = (MARGIN + max(map(_length, tokens)) for tokens in (upper, lower))
    bars = 6 * len(heads) + 4 if queries is not None else 0
    top = above + bars + 6
    bottom = top + ROOM
    width = 2 * MARGIN + max(STEP * max(len(upper), len(lower)), LEGEND * len(heads))
    upper_x, lower_x = (
        [width / 2 + STEP * (place - (len(tokens) - 1) / 2) for place in range(len(tokens))]
        for tokens in (upper, lower)
    )
    rows = range(len(lower)) if queries is None else queries
    marks = []
    for order, head in enumerate(heads):
        colour = f'"{HEAD_COLOURS[head % len(HEAD_COLOURS)]}"'
        for row in rows:
            for column, weight in enumerate(weights[head, row].abs().clamp(max=1).tolist()):
                if weight < LEAST_WEIGHT:
                    continue
                ends = f'x1="{lower_x[row]:.1f}" y1="{bottom}" x2="{upper_x[column]:.1f}" y2="{top}"'
                marks.append(f'<line {ends} stroke={colour} stroke-width="2" stroke-opacity="{weight:.3f}"/>')
                if bars:
                    at = f'x="{upper_x[column] - 8:.1f}" y="{top - 6 - 6 * (order + 1)}" width="16" height="5"'
                    marks.append(f'<rect {at} fill={colour} fill-opacity="{weight / len(rows):.3f}"/>')
    marks += [_token(token, x, top - bars - 6, "start", False) for token, x in zip(upper, upper_x, strict=True)]
    for place, (token, x) in enumerate(zip(lower, lower_x, strict=True)):
        marks.append(_token(token, x, bottom + 6, "end", queries is not None and place in queries))
    marks += _legend(heads, (width - LEGEND * len(heads)) / 2, bottom + 6 + below)
    height = bottom + below + 30
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}">\n' + "\n".join(marks) + "\n</svg>\n"


def line_picture_png(picture: str) -> bytes:
    """Return an SVG of `line_picture` as a PNG on white, twice as large."""
    opening, rest = picture.split("\n", 1)
    white = '<rect width="100%" height="100%" fill="#ffffff"/>'
    png: bytes = vl_convert.svg_to_png(f"{opening}\n{white}\n{rest}", scale=2)
    return png


def _heatmap(rows: Rows, content: dict[str, Any], step: int, tokens: bool) -> alt.Chart:
    source, target = ([token.replace("▁", "") for token in content[side]] for side in ("source", "target"))
    places = [list(range(len(words))) for words in (source, target)]
    axes: list[alt.Axis | None] = [None, None]
    if tokens:
        labels = [f"{words!r}[datum.value]" for words in (source, target)]
        axes = [
            alt.Axis(labelExpr=labels[0], labelAngle=-60, orient="top", ticks=False, domain=False, title="source"),
            alt.Axis(labelExpr=labels[1], ticks=False, domain=False, title="translation"),
        ]
    scale = alt.Scale(domain=[0, 1], range=[0.03, 1], type="pow", exponent=0.7)
    return (
        alt.Chart(chart_data(rows))
        .mark_rect(color=BLUE)
        .encode(
            x=alt.X("s:O", scale=alt.Scale(domain=places[0]), axis=axes[0]),
            y=alt.Y("t:O", scale=alt.Scale(domain=places[1]), axis=axes[1]),
            opacity=alt.Opacity("weight:Q", scale=scale, legend=None),
        )
        .properties(width=step * len(source), height=step * len(target))
    )


def _token(token: str, x: float, y: float, anchor: str, strong: bool) -> str:
    """Return a token written upwards."""
    weight = "bold" if strong else "normal"
    where = f'transform="translate({x + FONT_SIZE * 0.35:.1f} {y}) rotate(-90)" text-anchor="{anchor}"'
    style = f'font-size="{FONT_SIZE}" font-weight="{weight}" fill="{STRONG}"'
    return f"<text {where} {style}>{escape(_visible(token))}</text>"


def _legend(heads: Sequence[int], x: float, y: float) -> list[str]:
    """Return the colour and name of each head."""
    marks = []
    for order, head in enumerate(heads):
        left = x + LEGEND * order
        square = f'x="{left:.1f}" y="{y}" width="11" height="11" rx="2"'
        marks.append(f'<rect {square} fill="{HEAD_COLOURS[head % len(HEAD_COLOURS)]}"/>')
        marks.append(f'<text x="{left + 16:.1f}" y="{y + 10}" font-size="12" fill="{INK}">head {head + 1}</text>')
    return marks


def _visible(token: str) -> str:
    """Return the token without its word-start mark, as code points where it has no visible character.

    Control characters and surrogates, which XML forbids, become U+FFFD.
    """
    token = token.removeprefix("▁") or token
    if all(unicodedata.category(character)[0] in "MCZ" for character in token):
        return " ".join(f"U+{ord(character):04X}" for character in token)
    return "".join("\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character for character in token)


def _length(token: str) -> int:
    letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in _visible(token))
    return round(FONT_SIZE * LETTER * letters) + 4
