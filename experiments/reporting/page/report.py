"""A study's report as one HTML file that needs no network: styles, script and pictures are inline."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from experiments.reporting import at_its_best, effects
from experiments.reporting.across_corpora import CorpusAgreement, findings, grid
from experiments.reporting.figures.style import Figure
from experiments.reporting.formats import MISSING
from experiments.reporting.headline import headline
from experiments.reporting.page.sheets import Section, dark_theme, figure_context
from experiments.reporting.page.templating import template, verbatim
from experiments.reporting.provenance import provenance
from experiments.reporting.results import Results, listed
from experiments.reporting.samples import Texts, samples
from experiments.reporting.summary import Summary
from experiments.reporting.tables import FIRST, columns, notes_of
from experiments.reporting.verdicts import Verdict


def report_page(
    summary: Summary,
    results: Results,
    figures: list[Figure],
    texts: Texts | None = None,
    agreements: Sequence[tuple[CorpusAgreement, Figure]] = (),
    beside: Sequence[Section] = (),
) -> str:
    """Return the page.

    `texts` has sources and references of the splits, for the sample translations; `agreements` the comparisons with
    other corpora that share changes with this study, each with its figure; `beside` sets this run beside the published
    one, and beside what was predicted of it.
    """
    best = (at_its_best.TITLE, at_its_best.sentences(summary), at_its_best.grid(summary)) if summary.tuned else None
    found = summary.effects
    factors = (effects.TITLE, effects.sentences(found), effects.grid(found)) if found else None
    return template("report.html").render(
        summary=summary,
        headline=headline(summary),
        columns=columns(summary),
        rows=table_rows(summary),
        first=FIRST,
        figures=[figure_context(figure) for figure in figures],
        agreements=[(findings(agreement), grid(agreement), figure_context(figure)) for agreement, figure in agreements],
        beside=beside,
        best=best,
        effects=factors,
        has_texts=bool(texts),
        samples=samples(summary, results, texts or {}),
        provenance=provenance(summary, results),
        notes=notes_of(summary),
        listed=listed,
        counts=_counts(summary),
        dark=Markup(dark_theme()),
        style=verbatim("report.css"),
        script=verbatim("sort.js"),
    )


def table_rows(summary: Summary) -> list[dict[str, Any]]:
    """Return the cells of the table, each as text with the number that it sorts by."""
    rows = []
    for row in summary.rows:
        cells = []
        for column in columns(summary):
            value, text = column.value(row), column.text(row)
            sort = "" if value is None else f"{value:.9g}"
            kind = column.key or ("number" if column.numeric else "text")
            cells.append({"text": text, "sort": sort, "kind": kind, "empty": text == MISSING})
        change = row.change.replace("->", "→")
        label = row.label if row.label != row.variant.replace("_", " ") else ""
        rows.append({"cells": cells, "verdict": row.verdict.name.lower(), "change": change, "label": label})
    return rows


def _counts(summary: Summary) -> list[tuple[str, str, int]]:
    """Return each verdict that occurs with its style and its number of changes."""
    verdicts = [verdict for verdict in Verdict if verdict is not Verdict.BASELINE]
    counts = [(verdict.value, verdict.name.lower(), len(summary.with_verdict(verdict))) for verdict in verdicts]
    return [entry for entry in counts if entry[2]]
