"""One row per variant: its cost, its scores with intervals, its difference to the baseline and the verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from experiments.config.study import Study
from experiments.reporting import bootstrap, paper
from experiments.reporting.extras import Extras, collect_extras
from experiments.reporting.paper import Agreement, agreement
from experiments.reporting.results import AVERAGED, UNSIGNED, Record, Results
from experiments.reporting.statistics import (
    ALPHA,
    Comparison,
    Estimate,
    Noise,
    NoiseFloor,
    compare,
    decisions,
    estimate,
    holm,
    noise,
    noise_floor,
)
from lit_transformer.errors import UserError, nearest


class Verdict(StrEnum):
    """The verdict on a change, from BLEU on the primary split."""

    BASELINE = "baseline"
    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "not separable"
    ONE_SEED = "one seed"
    DIVERGED = "diverged"
    NO_SCORE = "no score"
    NO_BASELINE = "no baseline"


RULE = (
    "A change is better or worse when a paired t-test on BLEU, over the seeds that it shares with the baseline, gives "
    f"p < {ALPHA:.2f} after Holm's correction for all changes of the study; otherwise it is not separable, which does "
    "not mean equal. The confidence intervals hold for each row alone, without that correction."
)
RULE_WIDE = (
    "Intervals over seeds are for new seeds on this test set. Intervals over seeds and sentences add the variance of a "
    "bootstrap over sentences, which draws the same sentences for all rows, and are never narrower. Verdicts hold for "
    "this test set."
)


@dataclass(frozen=True)
class Row:
    """A variant over its seeds. `n` counts the seeds in its scores; `status` names the seeds left out and why.

    `scores` holds every score by split and name, None where other rows have the score and no seed of this one does.
    `difference` has the interval for new seeds on this test set, `difference_wide` the one for new seeds and sentences,
    None where an evaluation kept no sentence counts. `published` and `agreement` refer to the row of that name in the
    paper's Table 3, where there is one and the baseline is the paper's.
    """

    variant: str
    change: str
    verdict: Verdict
    n: int
    parameters: float | None
    training_flops: float | None
    tokens_per_second: Estimate | None
    seconds: Estimate | None
    scores: dict[str, dict[str, Estimate | None]]
    difference: Estimate | None
    p: float | None
    p_holm: float | None
    status: str
    published: float | None
    p_exact: float | None = None
    difference_wide: Estimate | None = None
    agreement: Agreement | None = None

    def score(self, split: str | None, name: str) -> Estimate | None:
        """Return a score of a split over the seeds that have it, None where none has."""
        return self.scores.get(split or "", {}).get(name)


@dataclass(frozen=True)
class Summary:
    """The rows of a study in the order of study.yaml. `compared` counts the rows under Holm's correction.

    `signatures` has the signature of every score of a split; `shown` the scores with a column of their own: BLEU of
    averaged weights where a cell has it, then those that the user chose. `noise_floor` compares the baseline with
    itself. `extras` is by variant.
    """

    study: str
    question: str
    baseline: str
    corpus_level: str
    seeds: int
    primary: str | None
    splits: list[str]
    signatures: dict[str, dict[str, str]]
    rows: list[Row]
    noise: Noise | None
    compared: int
    missing: list[str]
    unscored: list[str]
    shown: tuple[str, ...] = ()
    noise_floor: NoiseFloor | None = None
    extras: dict[str, Extras] = field(default_factory=dict)

    def signature(self, split: str, name: str = "bleu") -> str:
        """Return the signature of a score of a split."""
        return self.signatures[split].get(name, UNSIGNED)

    def row(self, variant: str) -> Row:
        return next(row for row in self.rows if row.variant == variant)

    @property
    def changes(self) -> list[Row]:
        """The rows other than the baseline."""
        return [row for row in self.rows if row.verdict is not Verdict.BASELINE]

    def with_verdict(self, *verdicts: Verdict) -> list[Row]:
        return [row for row in self.rows if row.verdict in verdicts]


def summarise(study: Study, results: Results, shown: Sequence[str] = ()) -> Summary:
    """Compare every variant with the baseline, by seed, on BLEU of the primary split.

    `shown` names further scores of that split for the table; raises UserError for one that no cell has.
    """
    primary = results.primary
    signatures = {split: results.signatures(split) for split in results.splits}
    _check_known(shown, primary, signatures)
    bleu = {variant: results.scores(variant, primary, "bleu") for variant in study.variants}
    baseline = bleu[study.baseline]
    changes = [variant for variant in study.variants if variant != study.baseline]
    comparisons = {variant: compare(bleu[variant], baseline) for variant in changes}
    tested = {name: comparison.p for name, comparison in comparisons.items() if comparison and comparison.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    wide = bootstrap.differences({name: results.sentences(name, primary) for name in study.variants}, study.baseline)
    averaged = [name for name in signatures.get(primary or "", {}) if name == AVERAGED + "bleu"]
    return Summary(
        study=study.name,
        question=study.question,
        baseline=study.baseline,
        corpus_level=corpus_level(study.corpus, results.records),
        seeds=len(study.seeds),
        primary=primary,
        splits=results.splits,
        signatures=signatures,
        rows=[
            _row(study, results, name, comparisons.get(name), adjusted.get(name), wide.get(name))
            for name in study.variants
        ],
        noise=noise([bleu[variant] for variant in changes], baseline),
        compared=len(tested),
        missing=results.missing,
        unscored=results.unscored,
        shown=tuple(dict.fromkeys([*averaged, *shown])),
        noise_floor=noise_floor(list(baseline.values())),
        extras=collect_extras(study, results),
    )


def corpus_level(corpus: str, records: list[Record]) -> str:
    """Return the level of evidence, grammar < Multi30k < IWSLT < WMT14, from the corpus and the tokens trained on.

    The paper's base model trains on about 2.5e9 target tokens (100,000 steps of 25,000); WMT14 with fewer is "short".
    """
    name = corpus.removeprefix("hub:").lower()
    for prefix, title in (("grammar", "grammar corpus"), ("multi30k", "Multi30k"), ("iwslt", "IWSLT")):
        if name.startswith(prefix):
            return title
    if name.startswith("wmt14"):
        tokens = max((record.training.get("target_tokens") or 0 for record in records), default=0)
        return "WMT14 full" if tokens >= 2.4e9 else "WMT14 short"
    return f"corpus {corpus}"


def _row(
    study: Study,
    results: Results,
    variant: str,
    comparison: Comparison | None,
    p_holm: float | None,
    wide: Estimate | None,
) -> Row:
    records, primary = results.of(variant), results.primary
    finished = [record for record in records if not record.diverged]
    scores = {
        split: {name: _estimate(results, variant, split, name) for name in results.signatures(split)}
        for split in results.splits
    }
    bleu = scores[primary].get("bleu") if primary else None
    is_baseline = variant == study.baseline
    published = paper.published_difference(variant) if paper.published(study.baseline) is paper.TABLE3[0] else None
    return Row(
        variant=variant,
        change="the baseline" if is_baseline else study.describe(variant),
        verdict=Verdict.BASELINE if is_baseline else _verdict(records, bleu, comparison, p_holm),
        n=bleu.n if bleu else 0,
        parameters=_common(records, "parameters"),
        training_flops=_common(finished or records, "training_flops"),
        tokens_per_second=_cost(finished, "target_tokens_per_second"),
        seconds=_cost(finished, "seconds"),
        scores=scores,
        difference=comparison.difference if comparison else None,
        p=comparison.p if comparison else None,
        p_holm=p_holm,
        status=_status(records, len(study.seeds)),
        published=published,
        p_exact=comparison.p_exact if comparison else None,
        difference_wide=wide if wide and comparison and wide.n == comparison.difference.n else None,
        agreement=_agreement(comparison, p_holm, published),
    )


def _verdict(
    records: list[Record], bleu: Estimate | None, comparison: Comparison | None, p_holm: float | None
) -> Verdict:
    if bleu is None:
        return Verdict.DIVERGED if records and all(record.diverged for record in records) else Verdict.NO_SCORE
    if comparison is None:
        return Verdict.NO_BASELINE
    if p_holm is None:
        return Verdict.ONE_SEED
    decision = int(decisions(p_holm, comparison.difference.mean))
    return {1: Verdict.BETTER, -1: Verdict.WORSE, 0: Verdict.UNCLEAR}[decision]


def _agreement(comparison: Comparison | None, p_holm: float | None, published: float | None) -> Agreement | None:
    if comparison is None or p_holm is None or published is None:
        return None
    return agreement(int(decisions(p_holm, comparison.difference.mean)), published)


def _status(records: list[Record], seeds: int) -> str:
    """Return the seeds that are not in the row's means, and why; empty when all are."""
    parts = []
    diverged = [
        f"seed {record.seed} at step {record.training.get('diverged_at')}" for record in records if record.diverged
    ]
    if diverged:
        parts.append(f"diverged: {', '.join(diverged)}")
    unscored = [str(record.seed) for record in records if record.scores is None and not record.diverged]
    if unscored:
        parts.append(f"not evaluated: seed {', '.join(unscored)}")
    if len(records) < seeds:
        parts.append(f"not trained: {seeds - len(records)} of {seeds}")
    return "; ".join(parts)


def _check_known(shown: Sequence[str], primary: str | None, signatures: dict[str, dict[str, str]]) -> None:
    known = list(signatures.get(primary or "", {}))
    for name in shown:
        if name not in known:
            where = f"on '{primary}'" if primary else "anywhere yet"
            raise UserError(f"no cell has the score '{name}' {where}{nearest(name, known)} ({', '.join(known)})")


def _estimate(results: Results, variant: str, split: str, key: str) -> Estimate | None:
    return estimate(list(results.scores(variant, split, key).values()))


def _cost(records: Iterable[Record], key: str) -> Estimate | None:
    return estimate([float(record.training[key]) for record in records if record.training.get(key) is not None])


def _common(records: list[Record], key: str) -> float | None:
    """Return the mean of a cost that all seeds share, up to the batches they drew."""
    values = [record.training[key] for record in records if record.training.get(key) is not None]
    if not values:
        return None
    return sum(values) / len(values)
