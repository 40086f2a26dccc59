"""One row a variant: cost, scores with their intervals, the difference to the baseline and the verdict on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from experiments.config.study import Study
from experiments.reporting import bootstrap, paper
from experiments.reporting.against_paper import Agreement, agreement
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
from experiments.reporting.systems import Beside, beside
from lit_transformer.errors import UserError, nearest


class Verdict(StrEnum):
    """What a row says about its change, on BLEU of the primary split."""

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
    "not mean equal. Intervals are 95 % t-intervals of one row each, without that correction."
)
RULE_WIDE = (
    "What an interval covers: the one over seeds is for new seeds on this test set; the one for new sentences too adds "
    "what sentences drawn anew, the same for all rows, move in all seeds together, and is never narrower. Verdicts are "
    "of this test set."
)


@dataclass(frozen=True)
class Row:
    """A variant over its seeds. `n` counts the seeds in its scores; `status` names what kept others out of them.

    `scores` holds every score by split and name; it is None where no seed of this row has one that another row has.
    `difference` has the interval for new seeds on this test set, `difference_wide` the one for new seeds and sentences:
    None where an evaluation kept no counts of its sentences. `agreement` is with the row of the paper's Table 3 of that
    name, where there is one and the baseline is the paper's.
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
    """A study in rows, in the order of study.yaml. `compared` counts the rows that Holm's correction covers.

    `signatures` names every score of a split with its signature; `shown` those that a reader asked to see as columns,
    after BLEU of averaged weights where a cell has it. `noise_floor` is the baseline set against itself.
    """

    study: str
    question: str
    baseline: str
    rung: str
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
    beside: dict[str, Beside] = field(default_factory=dict)
    """By variant: all its seeds as one model, and the published system that it is like."""

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
    others = [variant for variant in study.variants if variant != study.baseline]
    comparisons = {variant: compare(bleu[variant], baseline) for variant in others}
    tested = {variant: found.p for variant, found in comparisons.items() if found and found.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    wide = bootstrap.differences({name: results.sentences(name, primary) for name in study.variants}, study.baseline)
    return Summary(
        study=study.name,
        question=study.question,
        baseline=study.baseline,
        rung=rung(study.corpus, results.records),
        seeds=len(study.seeds),
        primary=primary,
        splits=results.splits,
        signatures=signatures,
        rows=[
            _row(study, results, name, comparisons.get(name), adjusted.get(name), wide.get(name))
            for name in study.variants
        ],
        noise=noise([bleu[variant] for variant in others], baseline),
        compared=len(tested),
        missing=results.missing,
        unscored=results.unscored,
        shown=tuple(dict.fromkeys([*_averaged(signatures.get(primary or "", {})), *shown])),
        noise_floor=noise_floor(list(baseline.values())),
        beside=beside(study, results),
    )


def rung(corpus: str, records: list[Record]) -> str:
    """Return the rung of the ladder of evidence, from the corpus and, for WMT14, the tokens trained on.

    The paper's base model reads about 2.5e9 target tokens (100,000 steps of 25,000); less is a short run.
    """
    name = corpus.removeprefix("hub:").lower()
    for prefix, title in (("grammar", "grammar corpus"), ("multi30k", "Multi30k"), ("iwslt", "IWSLT")):
        if name.startswith(prefix):
            return title
    if name.startswith("wmt14"):
        longest = max((record.training.get("target_tokens") or 0 for record in records), default=0)
        return "WMT14 full" if longest >= 2.4e9 else "WMT14 short"
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
    scored = scores[primary].get("bleu") if primary else None
    is_baseline = variant == study.baseline
    published = paper.published_difference(variant) if paper.published(study.baseline) is paper.TABLE3[0] else None
    return Row(
        variant=variant,
        change="the baseline" if is_baseline else study.describe(variant),
        verdict=Verdict.BASELINE if is_baseline else _verdict(records, scored, comparison, p_holm),
        n=scored.n if scored else 0,
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


def _verdict(records: list[Record], scored: Estimate | None, found: Comparison | None, p_holm: float | None) -> Verdict:
    if scored is None:
        return Verdict.DIVERGED if records and all(record.diverged for record in records) else Verdict.NO_SCORE
    if found is None:
        return Verdict.NO_BASELINE
    if p_holm is None:
        return Verdict.ONE_SEED
    return {1: Verdict.BETTER, -1: Verdict.WORSE, 0: Verdict.UNCLEAR}[int(decisions(p_holm, found.difference.mean))]


def _agreement(found: Comparison | None, p_holm: float | None, published: float | None) -> Agreement | None:
    if found is None or p_holm is None or published is None:
        return None
    return agreement(int(decisions(p_holm, found.difference.mean)), published)


def _status(records: list[Record], seeds: int) -> str:
    """Name the seeds that are not in the row's means, and why; empty when all are."""
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


def _averaged(known: Iterable[str]) -> list[str]:
    return [name for name in known if name == AVERAGED + "bleu"]


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
    """Return the mean of a cost that seeds share up to the batches they drew."""
    values = [record.training[key] for record in records if record.training.get(key) is not None]
    if not values:
        return None
    return sum(values) / len(values)
