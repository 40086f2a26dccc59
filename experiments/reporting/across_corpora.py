"""Agreement across corpora: what a cheap corpus predicts of an expensive one, from the changes tested on both."""

from collections.abc import Iterable
from dataclasses import dataclass

from experiments.config.run_config import read_yaml
from experiments.config.study import STUDIES, list_studies
from experiments.reporting.formats import bracketed, number, plural
from experiments.reporting.grids import Grid, TableCell
from experiments.reporting.ranks import FEWEST, Correlation, Ranks, rank_correlations
from experiments.reporting.statistics import Estimate, differences
from experiments.reporting.study_results import AT_HAND, StudyResults, study_results
from experiments.reporting.summary import Row
from experiments.reporting.unresolved_study import read_unresolved_study
from experiments.reporting.verdicts import CALLED
from lit_transformer.errors import UserError

CORPUS_LEVELS = ("grammar corpus", "Multi30k", "IWSLT", "WMT14 short", "WMT14 full")
"""Levels of evidence, the cheapest corpus first."""


@dataclass(frozen=True)
class SharedChange:
    """A change tested on two corpora: its row on each. `same_delta` is true where both studies set the same values."""

    variant: str
    lower: Row
    upper: Row
    same_delta: bool

    @property
    def differences(self) -> tuple[Estimate, Estimate]:
        lower, upper = self.lower.difference, self.upper.difference
        assert lower is not None, "a shared change has a difference on the lower corpus"
        assert upper is not None, "and one on the upper corpus"
        return lower, upper

    @property
    def same_sign(self) -> bool:
        lower, upper = self.differences
        return lower.mean * upper.mean > 0


@dataclass(frozen=True)
class CorpusAgreement:
    """Two studies and the changes that both tested, in the order of the lower one; ranks need three changes."""

    lower: StudyResults
    upper: StudyResults
    changes: list[SharedChange]
    ranks: Ranks | None

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called: their corpora, or themselves where they share it, as at two lengths of training."""
        lower, upper = self.lower.corpus_level, self.upper.corpus_level
        return (lower, upper) if lower != upper else (self.lower.study.name, self.upper.study.name)


def corpus_agreement(lower: StudyResults, upper: StudyResults) -> CorpusAgreement:
    """Pair the changes that both studies compare with their own baselines."""
    changes = []
    for row in lower.summary.changes:
        if row.variant in upper.study.variants and row.variant != upper.study.baseline:
            other = upper.summary.row(row.variant)
            same_delta = lower.study.variants[row.variant] == upper.study.variants[row.variant]
            if row.difference and other.difference:
                changes.append(SharedChange(row.variant, row, other, same_delta))
    names = [change.variant for change in changes]
    ranks = rank_correlations(differences_by_seed(lower, names), differences_by_seed(upper, names))
    return CorpusAgreement(lower, upper, changes, ranks)


def agreements_with_others(own: StudyResults) -> list[CorpusAgreement]:
    """Compare a study with every other one that tested two of its changes on another corpus, at hand or published.

    A study that cannot be read is left out: its own report says why.
    """
    agreements = []
    for name in list_studies():
        if name == own.study.name:
            continue
        try:
            shared = set(read_yaml(STUDIES / name / "study.yaml").get("variants") or {}) & set(own.study.variants)
            if len(shared - {own.study.baseline}) < 2:
                continue
            other = study_results(read_unresolved_study(name))
        except UserError:
            continue
        if other.corpus_level != own.corpus_level:
            agreement = corpus_agreement(*sorted((own, other), key=_level))
            agreements += [agreement] if len(agreement.changes) >= 2 else []
    return agreements


def differences_by_seed(study: StudyResults, variants: Iterable[str]) -> list[dict[int, float]]:
    """Return each variant's BLEU less the baseline's, by seed."""
    primary, results = study.results.primary, study.results
    base = results.scores(study.study.baseline, primary, "bleu")
    return [differences(results.scores(variant, primary, "bleu"), base) for variant in variants]


def findings(agreement: CorpusAgreement) -> list[str]:
    """Say in sentences what the lower corpus predicts of the upper one, and what it cannot."""
    lower, upper, changes = agreement.lower, agreement.upper, agreement.changes
    below, above = agreement.names
    sentences = [_order(agreement)]
    different = [change for change in changes if change.lower.verdict in CALLED]
    if different:
        same = sum(change.same_sign for change in different)
        sentences.append(
            f"Of {_changes(len(different))} better or worse than the baseline on {below}, {same} "
            f"{_points(same)} the same way on {above}."
        )
    others = [change for change in changes if change.lower.verdict not in CALLED]
    if others and upper.summary.compared:
        missed = sum(change.upper.verdict in CALLED for change in others)
        verb = "is" if missed == 1 else "are"
        sentences.append(f"Of {_changes(len(others))} equal or open there, {missed} {verb} not on {above}.")
    otherwise = [change.variant for change in changes if not change.same_delta]
    if otherwise:
        sentences.append(f"Set differently in the two studies, whose baselines differ: {', '.join(otherwise)}.")
    single = [name for name, study in zip(agreement.names, (lower, upper), strict=True) if not study.summary.compared]
    if single:
        sentences.append(f"One seed on {' and on '.join(single)}: no interval here includes its noise.")
    sentences += [f"{study.study.name}: {study.origin}." for study in (lower, upper) if study.origin != AT_HAND]
    return sentences


def grid(agreement: CorpusAgreement) -> Grid:
    """Return one row per shared change: its difference and verdict in both studies."""
    lower, upper = agreement.names
    rows = []
    for change in agreement.changes:
        cells = [TableCell(change.variant)]
        for row, difference in zip((change.lower, change.upper), change.differences, strict=True):
            cells += [
                TableCell(bracketed(difference), difference.mean),
                TableCell(row.verdict.value, verdict=row.verdict.name.lower()),
            ]
        rows.append([*cells, TableCell("yes" if change.same_sign else "no")])
    titles = ["variant", f"Δ BLEU {lower}", f"verdict {lower}", f"Δ BLEU {upper}", f"verdict {upper}", "same sign"]
    return Grid(titles, rows, [False, True, False, True, False, False])


def correlation(found: Correlation) -> str:
    """Return "0.71 [0.20, 0.95]"; the interval only where there is one."""
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def _order(agreement: CorpusAgreement) -> str:
    ranks, count = agreement.ranks, len(agreement.changes)
    if ranks is None:
        agree = sum(change.same_sign for change in agreement.changes)
        return (
            f"{_changes(count)} tested in both: too few to compare an order. {agree} of {count} "
            f"{_points(agree)} the same way."
        )
    values = f"Spearman {correlation(ranks.spearman)}, Kendall {correlation(ranks.kendall)}"
    if ranks.n < FEWEST:
        return (
            f"Order of {_changes(ranks.n)} in both studies: {values}. They are too few for an interval: chance alone "
            f"gives this much agreement or more, in either direction, with p = {ranks.p:.2f}."
        )
    p = "< 0.001" if ranks.p < 0.001 else f"= {ranks.p:.3f}"
    return (
        f"Order of {_changes(ranks.n)} in both studies: {values} (95 %, bootstrap over changes and seeds; Kendall's "
        f"test p {p})."
    )


def _changes(count: int) -> str:
    return plural(count, "change")


def _points(count: int) -> str:
    return "points" if count == 1 else "point"


def _level(study: StudyResults) -> tuple[int, str]:
    """Return the place of a study's corpus among the levels of evidence; an unknown one stands last."""
    level = study.corpus_level
    return (CORPUS_LEVELS.index(level) if level in CORPUS_LEVELS else len(CORPUS_LEVELS), study.study.name)
