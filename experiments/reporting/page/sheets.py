"""A page of tables and pictures about more than one study, in the style of a report; it needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from experiments.reporting.figures.drawing import DARK, Figure, inline
from experiments.reporting.grids import Grid
from experiments.reporting.page.templating import template, verbatim


@dataclass(frozen=True)
class Section:
    """A heading over a picture, a table and notes; `facts` sets the table as text that may wrap."""

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
        sections=[(section, drawn(section.figure) if section.figure else None) for section in sections],
        figures=[drawn(figure) for figure in figures],
        dark=Markup(dark_inks()),
        style=verbatim("report.css"),
        script=verbatim("sort.js"),
    )


def drawn(figure: Figure) -> Mapping[str, Any]:
    """Return a figure for a template, its pictures ready to stand among others."""
    narrow = Markup(inline(figure.narrow, f"{figure.name}-n")) if figure.narrow else None
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "wide": Markup(inline(figure.wide, figure.name)),
        "narrow": narrow,
    }


def dark_inks() -> str:
    """Return the rules that turn the inks of the charts for a dark page."""
    return "".join(
        f'.chart [fill="{ink}"]{{fill:{to}}}.chart [stroke="{ink}"]{{stroke:{to}}}' for ink, to in DARK.items()
    )
