"""The report as one HTML file that needs no network: style, script and pictures are inside it."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from experiments.figures import DARK, Figure, inline
from experiments.headline import headline
from experiments.provenance import provenance
from experiments.results import Results, listed
from experiments.samples import Texts, samples
from experiments.summary import Summary, Verdict
from experiments.tables import MISSING, columns, notes_of
from experiments.templating import template, verbatim


def page(summary: Summary, results: Results, figures: list[Figure], texts: Texts | None = None) -> str:
    """Return the page; `texts` gives sources and references of the splits, for the sample translations."""
    rows = table_rows(summary)
    return template("report.html").render(
        summary=summary,
        headline=headline(summary),
        columns=columns(summary),
        rows=rows,
        figures=[_drawn(figure) for figure in figures],
        has_texts=bool(texts),
        samples=samples(summary, results, texts or {}),
        provenance=provenance(summary, results),
        notes=notes_of(summary),
        listed=listed,
        counts=_counts(summary),
        dark=Markup(_dark_inks()),
        style=verbatim("report.css"),
        script=verbatim("sort.js"),
    )


def table_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return the table's cells as text with the number that each sorts by."""
    rows = []
    for row in summary.rows:
        cells = []
        for column in columns(summary):
            value, text = column.value(row), column.text(row)
            sorts_by = "" if value is None else f"{value:.9g}"
            kind = column.key or ("number" if column.numeric else "text")
            cells.append({"text": text, "sort": sorts_by, "kind": kind, "empty": text == MISSING})
        rows.append({"cells": cells, "verdict": row.verdict.name.lower()})
    return rows


def _counts(summary: Summary) -> list[tuple[str, str, int]]:
    """Return verdict, its style and how many changes have it, for those that some have."""
    shown = [verdict for verdict in Verdict if verdict is not Verdict.BASELINE]
    counted = [(verdict.value, verdict.name.lower(), len(summary.with_verdict(verdict))) for verdict in shown]
    return [entry for entry in counted if entry[2]]


def _drawn(figure: Figure) -> Mapping[str, Any]:
    narrow = Markup(inline(figure.narrow, f"{figure.name}-n")) if figure.narrow else None
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "wide": Markup(inline(figure.wide, figure.name)),
        "narrow": narrow,
    }


def _dark_inks() -> str:
    return "".join(
        f'.chart [fill="{ink}"]{{fill:{to}}}.chart [stroke="{ink}"]{{stroke:{to}}}' for ink, to in DARK.items()
    )
