"""What a cheap rung of the ladder predicts: the same changes on two corpora, each against its own baseline."""

from collections.abc import Iterable
from dataclasses import dataclass

from experiments.config.run_config import read_yaml
from experiments.config.study import STUDIES, Study, list_studies
from experiments.reporting.formats import bracketed, number, plural
from experiments.reporting.grids import Grid, TableCell
from experiments.reporting.outline import read_outline
from experiments.reporting.ranks import FEWEST, Correlation, Ranks, rank_correlations
from experiments.reporting.results import Results, read_results
from experiments.reporting.statistics import Estimate, differences
from experiments.reporting.summary import Row, Summary, Verdict, summarise
from lit_transformer.errors import UserError

RUNGS = ("grammar corpus", "Multi30k", "IWSLT", "WMT14 short", "WMT14 full")
"""The ladder of evidence, cheap first."""
FOUND = (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True)
class Rung:
    """A study with its results, as a rung."""

    study: Study
    results: Results
    summary: Summary

    @property
    def name(self) -> str:
        return self.summary.corpus_level


@dataclass(frozen=True)
class Pair:
    """A change that two rungs share: its difference and verdict on each."""

    variant: str
    lower: Row
    upper: Row
    set_alike: bool

    @property
    def differences(self) -> tuple[Estimate, Estimate]:
        one, other = self.lower.difference, self.upper.difference
        assert one is not None, "a pair has a difference below"
        assert other is not None, "and one above"
        return one, other

    @property
    def same_sign(self) -> bool:
        one, other = self.differences
        return one.mean * other.mean > 0


@dataclass(frozen=True)
class Ladder:
    """Two rungs and the changes on both, in the order of the lower one; ranks is None where no order can be told."""

    lower: Rung
    upper: Rung
    pairs: list[Pair]
    ranks: Ranks | None


def read_rung(study: Study) -> Rung:
    """Read a study's results for the ladder."""
    results = read_results(study)
    return Rung(study, results, summarise(study, results))


def climb(lower: Rung, upper: Rung) -> Ladder:
    """Set the changes that both rungs compare with their own baselines side by side."""
    pairs = []
    for row in lower.summary.changes:
        if row.variant in upper.study.variants and row.variant != upper.study.baseline:
            other = upper.summary.row(row.variant)
            alike = lower.study.variants[row.variant] == upper.study.variants[row.variant]
            if row.difference and other.difference:
                pairs.append(Pair(row.variant, row, other, alike))
    names = [pair.variant for pair in pairs]
    return Ladder(lower, upper, pairs, rank_correlations(_by_seed(lower, names), _by_seed(upper, names)))


def ladders_of(study: Study, results: Results, summary: Summary) -> list[Ladder]:
    """Return the ladders between a study and every other one that has results for two of its changes elsewhere.

    A study that cannot be read is left out: its own report says why.
    """
    own = Rung(study, results, summary)
    found = []
    for name in list_studies():
        if name == study.name or not (STUDIES / name / "results").is_dir():
            continue
        try:
            shared = set(read_yaml(STUDIES / name / "study.yaml").get("variants") or {}) & set(study.variants)
            if len(shared - {study.baseline}) < 2:
                continue
            other = read_rung(read_outline(name))
        except UserError:
            continue
        if other.name != own.name:
            ladder = climb(*sorted((own, other), key=_height))
            found += [ladder] if len(ladder.pairs) >= 2 else []
    return found


def told(ladder: Ladder) -> list[str]:
    """Say in sentences what the lower rung tells of the upper one, and what it cannot."""
    lower, upper, pairs = ladder.lower, ladder.upper, ladder.pairs
    parts = [_order(ladder)]
    found = [pair for pair in pairs if pair.lower.verdict in FOUND]
    if found:
        same = sum(pair.same_sign for pair in found)
        parts.append(
            f"Of {_changes(len(found))} that {lower.name} tells from its baseline, {same} {_points(same)} the same way "
            f"on {upper.name}."
        )
    unclear = [pair for pair in pairs if pair.lower.verdict not in FOUND]
    if unclear and upper.summary.compared:
        missed = sum(pair.upper.verdict in FOUND for pair in unclear)
        parts.append(f"Of {_changes(len(unclear))} that it cannot tell, {missed} can be told on {upper.name}.")
    otherwise = [pair.variant for pair in pairs if not pair.set_alike]
    if otherwise:
        parts.append(f"Set otherwise on the two rungs, since their baselines differ: {', '.join(otherwise)}.")
    single = [rung.name for rung in (lower, upper) if rung.summary.compared == 0]
    if single:
        parts.append(f"One seed on {' and on '.join(single)}: the noise there is in no interval here.")
    return parts


def grid(ladder: Ladder) -> Grid:
    """Return a row a shared change: its difference and verdict on both rungs."""
    lower, upper = ladder.lower.name, ladder.upper.name
    rows = []
    for pair in ladder.pairs:
        cells = [TableCell(pair.variant)]
        for row, own in zip((pair.lower, pair.upper), pair.differences, strict=True):
            cells += [
                TableCell(bracketed(own), own.mean),
                TableCell(row.verdict.value, verdict=row.verdict.name.lower()),
            ]
        rows.append([*cells, TableCell("yes" if pair.same_sign else "no")])
    titles = ["variant", f"Δ BLEU {lower}", f"{lower} says", f"Δ BLEU {upper}", f"{upper} says", "same sign"]
    return Grid(titles, rows, [False, True, False, True, False, False])


def correlation(found: Correlation) -> str:
    """Return "0.71 [0.20, 0.95]"; the interval only where there is one."""
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def _order(ladder: Ladder) -> str:
    ranks, count = ladder.ranks, len(ladder.pairs)
    if ranks is None:
        agree = sum(pair.same_sign for pair in ladder.pairs)
        return (
            f"{_changes(count, start=True)} on both rungs: too few to compare an order. "
            f"{agree} of {count} {_points(agree)} the same way."
        )
    values = f"Spearman {correlation(ranks.spearman)}, Kendall {correlation(ranks.kendall)}"
    if ranks.n < FEWEST:
        return (
            f"Order of {_changes(ranks.n)} on both rungs: {values}. They are too few for an interval: chance alone "
            f"gives so much agreement or more, either way, with p = {ranks.p:.2f}."
        )
    p = "< 0.001" if ranks.p < 0.001 else f"= {ranks.p:.3f}"
    return (
        f"Order of {_changes(ranks.n)} on both rungs: {values} (95 %, bootstrap over changes and seeds; Kendall's "
        f"test p {p})."
    )


def _changes(count: int, start: bool = False) -> str:
    text = plural(count, "change")
    return f"{text} {'stands' if count == 1 else 'stand'}" if start else text


def _points(count: int) -> str:
    return "points" if count == 1 else "point"


def _by_seed(rung: Rung, variants: Iterable[str]) -> list[dict[int, float]]:
    primary, results = rung.results.primary, rung.results
    base = results.scores(rung.study.baseline, primary, "bleu")
    return [differences(results.scores(variant, primary, "bleu"), base) for variant in variants]


def _height(rung: Rung) -> tuple[int, str]:
    """Return a rung's place on the ladder; one that is not known stands above."""
    return (RUNGS.index(rung.name) if rung.name in RUNGS else len(RUNGS), rung.study.name)
