"""The reader's own run of a study beside the published one: do the verdicts agree?"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.reporting.formats import MISSING, bracketed, plural
from experiments.reporting.grids import Grid, TableCell, markdown_grid
from experiments.reporting.provenance import provenance
from experiments.reporting.published import OLDER_RULE, Published, PublishedRow
from experiments.reporting.results import Results
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Row, Summary, summarise
from experiments.reporting.verdicts import DECIDED, Verdict

TITLE = "Beside the published run"


@dataclass(frozen=True)
class PublishedPair:
    """A change in the published run and in this one."""

    published: PublishedRow
    row: Row

    @property
    def decided(self) -> bool:
        """Whether both runs have a verdict."""
        return self.published.verdict in DECIDED and self.row.verdict in DECIDED

    @property
    def agrees(self) -> bool:
        return self.published.verdict is self.row.verdict


@dataclass(frozen=True)
class AgainstPublished:
    """The changes that both runs have. `identical` is true where the cells at hand are the published ones."""

    published: Published
    origin: str
    pairs: list[PublishedPair]
    only_here: list[str]
    only_published: list[str]
    same_data: bool
    identical: bool

    @property
    def decided(self) -> list[PublishedPair]:
        return [pair for pair in self.pairs if pair.decided]

    @property
    def differing(self) -> list[PublishedPair]:
        return [pair for pair in self.decided if not pair.agrees]


def compare(published: Published, summary: Summary, results: Results) -> AgainstPublished:
    """Pair the changes of this run with those of the published one."""
    rows = {row.variant: row for row in published.rows if row.verdict is not Verdict.BASELINE}
    here = {row.variant: row for row in summary.changes}
    facts = dict(provenance(summarise(published.study, published.results), published.results).facts)
    parts = [
        f"commit {facts.get('Commit of the code', 'unknown')}",
        f"trained between {facts.get('Trained between', 'unknown dates')}",
        f"on {facts.get('Machine', 'an unknown machine')}",
        f"published on {published.published_at}",
    ]
    return AgainstPublished(
        published=published,
        origin=", ".join(parts),
        pairs=[PublishedPair(rows[variant], row) for variant, row in here.items() if variant in rows],
        only_here=[variant for variant in here if variant not in rows],
        only_published=[variant for variant in rows if variant not in here],
        same_data=_data(results) == _data(published.results),
        identical=_cells(results) == _cells(published.results),
    )


def verdicts(found: AgainstPublished) -> str:
    """Say in one sentence in how many rows the verdicts agree, and which differ."""
    decided, differing = found.decided, found.differing
    if found.identical:
        return "The results at hand are the published ones."
    if not decided:
        return "No row has a verdict in both runs."
    text = f"Verdicts agree in {len(decided) - len(differing)} of {plural(len(decided), 'row')}"
    if not differing:
        return text + "."
    names = (f"{pair.row.variant} ({pair.published.verdict}, here {pair.row.verdict})" for pair in differing)
    return f"{text}; they differ in {', '.join(names)}."


def sentences(found: AgainstPublished) -> list[str]:
    """Return where the published run comes from, how far the verdicts agree, and what cannot be compared."""
    lines = [f"Published run: {found.origin}.", verdicts(found)]
    if found.published.rule == OLDER_RULE:
        lines.append(f"The published verdicts were given by an earlier rule: {OLDER_RULE}.")
    if not found.same_data:
        lines.append("The prepared corpus is not the published one, so differences may come from the data.")
    undecided = [pair.row.variant for pair in found.pairs if not pair.decided]
    if undecided:
        lines.append(f"Without a verdict in one of the two runs: {', '.join(undecided)}.")
    for where, names in (("here", found.only_here), ("in the published run", found.only_published)):
        if names:
            lines.append(f"Only {where}: {', '.join(names)}.")
    return lines


def grid(found: AgainstPublished) -> Grid:
    """Return one row per change: difference and verdict as published, and here."""
    titles = ["variant", "Δ BLEU published [95 %]", "verdict published", "Δ BLEU here [95 %]", "verdict here", "agree"]
    rows = []
    for pair in found.pairs:
        agree = ("yes" if pair.agrees else "no") if pair.decided else MISSING
        rows.append(
            [
                TableCell(pair.row.variant),
                *_difference(pair.published.difference, pair.published.verdict),
                *_difference(pair.row.difference, pair.row.verdict),
                TableCell(agree),
            ]
        )
    return Grid(titles, rows, [False, True, False, True, False, False])


def markdown(found: AgainstPublished) -> str:
    """Return the section for table.md."""
    return f"\n## {TITLE}\n\n{' '.join(sentences(found))}\n\n{markdown_grid(grid(found))}\n"


def _difference(difference: Estimate | None, verdict: Verdict) -> Sequence[TableCell]:
    mean = difference.mean if difference else None
    return TableCell(bracketed(difference), mean), TableCell(verdict.value, verdict=verdict.name.lower())


def _data(results: Results) -> set[str]:
    return {str(record.training.get("data_hash")) for record in results.records}


def _cells(results: Results) -> list[tuple[object, ...]]:
    return [(record.name, record.training, record.scores) for record in results.records]
