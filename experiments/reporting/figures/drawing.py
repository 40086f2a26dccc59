"""Charts rendered to SVG that reads well on light and dark, wide for a desk and narrow for a phone."""

import re
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from experiments.reporting.figures import charts, length_charts
from experiments.reporting.figures.chart_parts import BLUE, GRID, INK, ORANGE, PURPLE, QUIET, STRONG, TELLS
from experiments.reporting.figures.figure_data import length_lines
from experiments.reporting.figures.pareto import frontiers, pareto
from experiments.reporting.results import Results
from experiments.reporting.summary import Summary

VERSION = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
"""The version of Vega-Lite that Altair writes, as the renderer names it."""

TOLD = re.compile(rf'(<path aria-label="([^"]*)"[^>]*aria-roledescription="{TELLS}"[^>]*)/>')
CLIP = re.compile(r"\bclip\d+\b")
"""Ids that the renderer counts on from one picture to the next."""
FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
DARK = {
    INK: "#b9c0ca",
    STRONG: "#eef1f4",
    GRID: "#3a414b",
    QUIET: "#626974",
    BLUE: "#56b4e9",
    ORANGE: "#f0873c",
    PURPLE: "#d58ac7",
}
"""What an ink of the charts becomes on a dark page."""


@dataclass(frozen=True)
class Figure:
    """A picture as SVG with its caption; `narrow` is the same for a phone, or None where the wide one serves."""

    name: str
    title: str
    caption: str
    wide: str
    narrow: str | None = None


def draw(summary: Summary, results: Results) -> list[Figure]:
    """Draw every figure that the results allow."""
    makers = (_forest, _curves, _cost, _by_length, _lengths, _attention, _heads)
    return [figure for make in makers if (figure := make(summary, results))]


def svg(chart: alt.TopLevelMixin) -> str:
    """Render a chart as SVG without a background."""
    return _render(_themed(chart, "transparent"))


def png(chart: alt.TopLevelMixin) -> bytes:
    """Render a chart as PNG on white, for a README."""
    return vl_convert.vegalite_to_png(_specification(_themed(chart, "white")), vl_version=VERSION, scale=1.5)


def standalone(picture: str) -> str:
    """Return an SVG for a file of its own, whose inks follow the reader's light or dark theme."""
    dark = "".join(f'[fill="{ink}"]{{fill:{to}}}[stroke="{ink}"]{{stroke:{to}}}' for ink, to in DARK.items())
    style = f'<style>[fill="{INK}"]{{fill:#454c56}}@media(prefers-color-scheme:dark){{{dark}}}</style>'
    return re.sub(r"(<svg[^>]*>)", lambda match: match.group(1) + style, picture, count=1)


def inline(picture: str, prefix: str) -> str:
    """Return an SVG to stand among others in one page: ids made its own, size left to the page's width."""
    for name in sorted(set(re.findall(r'\bid="([^"]+)"', picture)), key=len, reverse=True):
        picture = picture.replace(f'id="{name}"', f'id="{prefix}-{name}"').replace(f"#{name})", f"#{prefix}-{name})")
    width = re.search(r'<svg[^>]*? width="([\d.]+)"', picture)
    assert width, "an SVG has a width"
    opening = f'<svg class="chart" role="img" style="max-width:{width.group(1)}px" '
    return re.sub(r'(<svg[^>]*?) width="[\d.]+" height="[\d.]+"', r"\1", picture, count=1).replace("<svg ", opening, 1)


def _render(chart: alt.TopLevelMixin) -> str:
    picture = vl_convert.vegalite_to_svg(_specification(chart), vl_version=VERSION)
    names = {name: f"clip{place}" for place, name in enumerate(dict.fromkeys(CLIP.findall(picture)))}
    picture = CLIP.sub(lambda match: names[match.group()], picture.replace('class="marks" ', "", 1))
    return TOLD.sub(r"\1><title>\2</title></path>", picture)


def _specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return the chart for the renderer; Altair has checked every part when it was made, a second check is slow."""
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


def _shade(summary: Summary) -> str:
    """Say what the band of a chart of BLEU is; empty where one seed leaves none."""
    found = summary.noise_floor
    if found is None:
        return ""
    seeds = f"what {found.n} seeds of the baseline may differ from {found.n} others"
    return f" Shaded: ±{found.half_width:.2f} BLEU, the noise floor: {seeds}."


def _forest(summary: Summary, results: Results) -> Figure | None:
    wide, narrow = charts.forest(summary, 560), charts.forest(summary, 120, brief=True)
    if wide is None or narrow is None:
        return None
    spread = "with its 95 % interval" if summary.noise else "one seed, so without an interval"
    caption = f"BLEU on {summary.primary}, each change minus the baseline, {spread}.{_shade(summary)}"
    return Figure("forest", "What each change is worth", caption, svg(wide), svg(narrow))


def _curves(summary: Summary, results: Results) -> Figure | None:
    wide, narrow = charts.curves(summary, results, 4, 205), charts.curves(summary, results, 2, 128)
    if wide is None or narrow is None:
        return None
    caption = (
        "Validation perplexity against optimiser steps: mean, and a band from the lowest to the highest seed. Height "
        "is the logarithm of the loss, so that close variants stay apart. Thin grey: the baseline. Dashed up to a "
        "cross: a run that diverged."
    )
    return Figure("curves", "Learning curves", caption, svg(wide), svg(narrow))


def _cost(summary: Summary, results: Results) -> Figure | None:
    wide, narrow = pareto(summary, results, 250, 320), pareto(summary, results, 125, 230, stacked=True)
    if wide is None or narrow is None:
        return None
    found = "; ".join(f"by {name}: {', '.join(on)}" for name, on in frontiers(summary, results))
    spread = ", with 95 % intervals" if summary.seeds > 1 else ""
    caption = (
        f"BLEU on {summary.primary} against what a variant costs{spread}. The dashed line is the frontier: the best "
        f"mean that a price buys ({found}). A step of it inside the shade is not a finding.{_shade(summary)} "
        "Hollow, at the lower edge: below the scale, with their BLEU."
    )
    return Figure("cost", "Cost against quality", caption, svg(wide), svg(narrow))


def _by_length(summary: Summary, results: Results) -> Figure | None:
    wide = length_charts.by_length(summary, results, 4, 205)
    narrow = length_charts.by_length(summary, results, 2, 128)
    if wide is None or narrow is None:
        return None
    spread = " Bars: 95 % intervals." if summary.seeds > 1 else ""
    shade = " Shaded: its noise floor at that length." if summary.noise_floor else ""
    splits = list(dict.fromkeys(entry["split"] for entry in length_lines(summary, results)[1]))
    beyond = f", longer ones on {', '.join(splits[1:])}" if splits[1:] else ""
    where = f"on {splits[0]}{beyond}"
    caption = f"BLEU by words of the sentence {where}, mean over seeds.{spread} Thin grey: the baseline.{shade}"
    return Figure("by_length", "Length against BLEU", caption, svg(wide), svg(narrow))


def _lengths(summary: Summary, results: Results) -> Figure | None:
    wide = length_charts.lengths(summary, results, 52)
    narrow = length_charts.lengths(summary, results, 42, stacked=True)
    if wide is None or narrow is None:
        return None
    caption = f"{wide[0].capitalize()} by length of the sentence in words, mean over seeds."
    return Figure("lengths", "Long sentences", caption, svg(wide[1]), svg(narrow[1]))


def _attention(summary: Summary, results: Results) -> Figure | None:
    record = next((record for record in results.of(summary.baseline) if record.attention()), None)
    content = record.attention() if record else None
    if not record or not content:
        return None
    caption = f"Cross-attention of the last layer, averaged over its heads: {record.name}, one sentence."
    wide, narrow = charts.attention(content, 24), charts.attention(content, 15)
    return Figure("attention", "Where the decoder looks", caption, svg(wide), svg(narrow))


def _heads(summary: Summary, results: Results) -> Figure | None:
    content = next((found for record in results.of(summary.baseline) if (found := record.attention())), None)
    if not content:
        return None
    caption = "The same sentence and layer, head by head; rows are the translation, columns the source."
    wide, narrow = charts.heads(content, 4, 225), charts.heads(content, 2, 150)
    return Figure("heads", "Head by head", caption, svg(wide), svg(narrow))
