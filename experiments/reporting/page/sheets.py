"""Any other page of tables and figures in the style of a report; it needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from experiments.reporting.figures.style import DARK, Figure, inline
from experiments.reporting.grids import Grid
from experiments.reporting.page.templating import template, verbatim


@dataclass(frozen=True)
class Section:
    """A heading with a figure, a table and notes; `facts`: the table is text that may wrap."""

    name: str
    title: str
    grid: Grid
    notes: Sequence[str] = field(default_factory=list)
    facts: bool = False
    figure: Figure | None = None


def sheet(title: str, headline: str, sections: Sequence[Section], figures: Sequence[Figure]) -> str:
    """Return the page: the first section, the figures, then the other sections."""
    return template("sheet.html").render(
        title=title,
        headline=headline,
        sections=[(section, figure_context(section.figure) if section.figure else None) for section in sections],
        figures=[figure_context(figure) for figure in figures],
        dark=Markup(dark_theme()),
        style=verbatim("report.css"),
        script=verbatim("sort.js"),
    )


def figure_context(figure: Figure) -> Mapping[str, Any]:
    """Return the template variables of a figure, its pictures with ids of their own."""
    narrow = Markup(inline(figure.narrow, f"{figure.name}-n")) if figure.narrow else None
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "wide": Markup(inline(figure.wide, figure.name)),
        "narrow": narrow,
    }


def dark_theme() -> str:
    """Return the CSS that recolours the charts on a dark page."""
    return "".join(
        f'.chart [fill="{ink}"]{{fill:{to}}}.chart [stroke="{ink}"]{{stroke:{to}}}' for ink, to in DARK.items()
    )
