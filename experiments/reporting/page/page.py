"""The report as one HTML file that needs no network: style, script and pictures are inside it."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from experiments.reporting.across_corpora import CorpusAgreement, findings, grid
from experiments.reporting.figures.drawing import Figure
from experiments.reporting.headline import headline
from experiments.reporting.notes import notes_of
from experiments.reporting.page.sheets import Section, dark_inks, drawn
from experiments.reporting.page.templating import template, verbatim
from experiments.reporting.provenance import provenance
from experiments.reporting.results import Results, listed
from experiments.reporting.samples import Texts, samples
from experiments.reporting.summary import Summary, Verdict
from experiments.reporting.tables import MISSING, columns


def page(
    summary: Summary,
    results: Results,
    figures: list[Figure],
    texts: Texts | None = None,
    agreements: Sequence[tuple[CorpusAgreement, Figure]] = (),
    published: Section | None = None,
) -> str:
    """Return the page; `texts` gives sources and references of the splits, for the sample translations.

    `agreements` are the comparisons with other corpora on which changes of this study were tested, each with its
    figure; `published` sets this run beside the published one.
    """
    rows = table_rows(summary)
    return template("report.html").render(
        summary=summary,
        headline=headline(summary),
        columns=columns(summary),
        rows=rows,
        figures=[drawn(figure) for figure in figures],
        agreements=[(findings(agreement), grid(agreement), drawn(figure)) for agreement, figure in agreements],
        published=published,
        has_texts=bool(texts),
        samples=samples(summary, results, texts or {}),
        provenance=provenance(summary, results),
        notes=notes_of(summary),
        listed=listed,
        counts=_counts(summary),
        dark=Markup(dark_inks()),
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
        change = row.change.replace("->", "→")
        rows.append({"cells": cells, "verdict": row.verdict.name.lower(), "change": change})
    return rows


def _counts(summary: Summary) -> list[tuple[str, str, int]]:
    """Return verdict, its style and how many changes have it, for those that some have."""
    shown = [verdict for verdict in Verdict if verdict is not Verdict.BASELINE]
    counted = [(verdict.value, verdict.name.lower(), len(summary.with_verdict(verdict))) for verdict in shown]
    return [entry for entry in counted if entry[2]]
