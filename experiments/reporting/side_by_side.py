"""Two studies variant by variant: both estimates, and whether a change is worth as much in one as in the other."""

from dataclasses import dataclass, replace
from typing import Any

from experiments.config.run_config import flatten
from experiments.reporting.provenance import provenance
from experiments.reporting.statistics import BySeed, Estimate, differences, holm, paired, welch
from experiments.reporting.study_results import StudyResults
from experiments.reporting.summary import Row
from lit_transformer.errors import UserError

SAME = "the same cells"


@dataclass(frozen=True)
class ScoreDifference:
    """B less A, the test (paired by seed, Welch, one seed, the same cells), and its p."""

    difference: Estimate
    test: str
    p: float | None = None


@dataclass(frozen=True)
class VariantComparison:
    """A variant in both studies.

    `bleu` is the difference of its BLEU, `effect` of its difference to the baseline; None where the studies do not
    share a test set and measure. `p_holm` is of `effect`.
    """

    variant: str
    a: Row
    b: Row
    bleu: ScoreDifference | None
    effect: ScoreDifference | None
    p_holm: float | None = None


@dataclass(frozen=True)
class StudyComparison:
    """Two studies. `mismatches` are the reasons why their scores may not share a column; empty where they may."""

    a: StudyResults
    b: StudyResults
    variants: list[VariantComparison]
    mismatches: list[str]
    only_a: list[str]
    only_b: list[str]

    @property
    def comparable(self) -> bool:
        return not self.mismatches


def side_by_side(a: StudyResults, b: StudyResults) -> StudyComparison:
    """Compare the variants of the same name; raises UserError where there is none."""
    shared = [variant for variant in a.study.variants if variant in b.study.variants]
    if not shared:
        raise UserError(f"{a.name} and {b.name} share no variant ({_first_variants(a)}; {_first_variants(b)})")
    mismatches = _mismatches(a, b)
    variants = [_compare_variant(a, b, variant, not mismatches) for variant in shared]
    ps = {one.variant: one.effect.p for one in variants if one.effect and one.effect.p is not None}
    adjusted = dict(zip(ps, holm(list(ps.values())).tolist(), strict=True))
    variants = [replace(one, p_holm=adjusted.get(one.variant)) for one in variants]
    only_a, only_b = ([name for name in side.study.variants if name not in shared] for side in (a, b))
    return StudyComparison(a, b, variants, mismatches, only_a, only_b)


def between(a: BySeed, b: BySeed) -> ScoreDifference | None:
    """Return B less A: paired over the seeds that both have, else by Welch's test; None where one has no score.

    Both are of one corpus, on which a seed fixes the order of the data whatever the code: what did not change between
    the two is equal to the bit.
    """
    if not a or not b:
        return None
    shared = sorted(a.keys() & b.keys())
    if len(shared) >= 2:
        scores_a, scores_b = ([scores[seed] for seed in shared] for scores in (a, b))
        test, title = paired(scores_b, scores_a), f"paired, {len(shared)} seeds"
    else:
        scores_a, scores_b = list(a.values()), list(b.values())
        test, title = welch(scores_b, scores_a), f"Welch, {len(scores_b)} and {len(scores_a)} seeds"
    fewest = min(len(scores_a), len(scores_b))
    if fewest < 2:
        return ScoreDifference(Estimate(float(test.mean), None, None, fewest), "one seed")
    low, high = test.interval()
    return ScoreDifference(Estimate(float(test.mean), float(low), float(high), fewest), title, float(test.p()))


def how_made(comparison: StudyComparison) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return what differs in how the two were made, as (name, A, B), and the names of what is the same."""
    facts = _paired(_facts(comparison.a), _facts(comparison.b))
    settings = sorted(_paired(_settings(comparison.a, comparison), _settings(comparison.b, comparison)))
    differing = [row for row in [*facts, *settings] if row[1] != row[2]]
    same = [name for name, a, b in facts if a == b]
    if settings and all(a == b for _, a, b in settings):
        same.append("every setting of study.yaml")
    return differing, same


def _compare_variant(a: StudyResults, b: StudyResults, variant: str, comparable: bool) -> VariantComparison:
    rows = a.summary.row(variant), b.summary.row(variant)
    if not comparable:
        return VariantComparison(variant, *rows, None, None)
    scores = [_bleu(side, variant) for side in (a, b)]
    effects = [differences(own, _bleu(side, side.study.baseline)) for own, side in zip(scores, (a, b), strict=True)]
    bleu = between(*scores)
    effect = None if variant in (a.study.baseline, b.study.baseline) else between(*effects)
    if bleu and _same_cells(a, b, variant):
        bleu = ScoreDifference(Estimate(0.0, None, None, bleu.difference.n), SAME)
        if effect and a.study.baseline == b.study.baseline and _same_cells(a, b, a.study.baseline):
            effect = bleu
    return VariantComparison(variant, *rows, bleu, effect)


def _same_cells(a: StudyResults, b: StudyResults, variant: str) -> bool:
    cells_a, cells_b = ([(r.seed, r.training, r.scores) for r in side.results.of(variant)] for side in (a, b))
    return bool(cells_a) and cells_a == cells_b


def _bleu(side: StudyResults, variant: str) -> dict[int, float]:
    return side.results.scores(variant, side.results.primary, "bleu")


def _mismatches(a: StudyResults, b: StudyResults) -> list[str]:
    """Say why BLEU of the two cannot share a column: another split, signature, corpus or number of sentences."""
    measures = (("test set", _split), ("signature", _signature), ("data", _data), ("sentences", _sentences))
    return [
        f"{title}: {measure(a)} in {a.name}, {measure(b)} in {b.name}"
        for title, measure in measures
        if measure(a) != measure(b)
    ]


def _split(side: StudyResults) -> str:
    return side.results.primary or "none scored"


def _signature(side: StudyResults) -> str:
    return side.summary.signature(side.results.primary, "bleu") if side.results.primary else "none"


def _data(side: StudyResults) -> str:
    hashes = {str((r.scores or {}).get("data_hash"))[:12] for r in side.results.records if r.scored}
    return ", ".join(sorted(hashes)) or "none"


def _sentences(side: StudyResults) -> str:
    split = side.results.primary or ""
    counts = {str(r.splits[split].get("sentences")) for r in side.results.records if r.scored and split in r.splits}
    return ", ".join(sorted(counts)) or "none"


def _facts(side: StudyResults) -> dict[str, str]:
    facts: dict[str, str] = {"Study": side.study.name, "Corpus": side.study.corpus}
    facts |= {"Baseline": side.study.baseline, "Seeds": ", ".join(str(seed) for seed in side.study.seeds)}
    return facts | dict(provenance(side.summary, side.results).facts)


def _settings(side: StudyResults, comparison: StudyComparison) -> dict[str, Any]:
    settings: dict[str, Any] = {f"base.{key}": value for key, value in flatten(side.study.base).items()}
    for shared in comparison.variants:
        delta = flatten(side.study.variants[shared.variant])
        settings |= {f"variants.{shared.variant}.{key}": value for key, value in delta.items()}
    return settings


def _paired(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, A, B) as text, names in the order of A, then those that only B has."""
    return [(name, _text(a.get(name)), _text(b.get(name))) for name in dict.fromkeys([*a, *b])]


def _text(value: Any) -> str:
    return "–" if value is None or value == {} else str(value)


def _first_variants(side: StudyResults) -> str:
    names = list(side.study.variants)
    return f"{side.name}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
