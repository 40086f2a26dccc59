"""One row per variant: its cost, its scores with intervals, its difference to the baseline and the verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from experiments.config.study import Study
from experiments.reporting import bootstrap, paper
from experiments.reporting.at_its_best import Tuned, at_their_best
from experiments.reporting.effects import Effects, find_effects
from experiments.reporting.extras import Extras, collect_extras
from experiments.reporting.formats import listing, number, percent, plural
from experiments.reporting.paper import Agreement, agreement
from experiments.reporting.results import AVERAGED, UNSIGNED, Record, Results
from experiments.reporting.statistics import ALPHA, Estimate, Noise, NoiseFloor, estimate, noise, noise_floor
from experiments.reporting.verdicts import (
    FEWEST_IN_GROUPS,
    JudgedChange,
    Judgement,
    Verdict,
    judge,
    learned,
    strictest_level,
)
from lit_transformer.errors import UserError, nearest

SPEED = "target_tokens_per_second"
RULE_WIDE = (
    "Intervals over seeds are for new seeds on this test set. Intervals over seeds and sentences add the variance of a "
    "bootstrap over sentences, which draws the same sentences for all rows, and are never narrower. Verdicts hold for "
    "this test set."
)


@dataclass(frozen=True)
class Row:
    """A variant over its seeds. `n` counts the seeds in its scores; `status` names the seeds left out and why.

    `label` says in words what the variant is. `difference` to the baseline has the interval that the verdict uses, for
    new seeds on this test set, `difference_wide` the one for new seeds and sentences, None where an evaluation kept no
    sentence counts. `judged` is all that the verdict rests on, None for the baseline. `scores` holds every score by
    split and name, None where other rows have the score and no seed of this one does. `published` and `agreement` refer
    to the row of that name in the paper's Table 3, where there is one and the baseline is the paper's.
    """

    variant: str
    change: str
    verdict: Verdict
    n: int
    parameters: float | None
    training_flops: float | None
    tokens_per_second: float | None
    seconds: Estimate | None
    scores: dict[str, dict[str, Estimate | None]]
    difference: Estimate | None
    status: str
    published: float | None
    judged: JudgedChange | None = None
    label: str = ""
    difference_wide: Estimate | None = None
    agreement: Agreement | None = None

    @property
    def p_adjusted(self) -> float | None:
        """p corrected for the looks and for the changes of the study."""
        return self.judged.p_adjusted if self.judged else None

    @property
    def verdict_text(self) -> str:
        """The verdict, an open one with the seeds that it takes by an estimate: "open, ~12 seeds"."""
        return self.judged.text(self.n) if self.judged else self.verdict.value

    def score(self, split: str | None, name: str) -> Estimate | None:
        """Return a score of a split over the seeds that have it, None where none has."""
        return self.scores.get(split or "", {}).get(name)


@dataclass(frozen=True)
class Summary:
    """The rows of a study in the order of study.yaml. `compared` counts the rows under Holm's correction.

    `rule` says how verdicts are given, empty for a study of one seed. `seeds` is the most that any row has by now;
    `missing` are the cells that the verdicts so far want and that are not trained, `unscored` those not evaluated.
    `signatures` has the signature of every score of a split; `repeats` how many of its pairs repeat another, and how
    many are in the training data; `shown` the scores with a column of their own: BLEU of averaged weights where a cell
    has it, then those that the user chose. `nothing_learned`: no seed of the baseline has learned anything.
    `noise_floor` compares the baseline with itself. `extras` is by variant; `tuned` has the rows at their best values,
    None for a study without `tune`; `effects` those of a study's factors.
    """

    study: str
    question: str
    baseline: str
    corpus_level: str
    seeds: int
    primary: str | None
    splits: list[str]
    signatures: dict[str, dict[str, str]]
    repeats: dict[str, dict[str, int]]
    rows: list[Row]
    noise: Noise | None
    rule: str
    paired: bool
    margin: float
    compared: int
    missing: list[str]
    unscored: list[str]
    nothing_learned: bool = False
    shown: tuple[str, ...] = ()
    noise_floor: NoiseFloor | None = None
    extras: dict[str, Extras] = field(default_factory=dict)
    tuned: Tuned | None = None
    effects: Effects | None = None

    def signature(self, split: str, name: str = "bleu") -> str:
        """Return the signature of a score of a split."""
        return self.signatures[split].get(name, UNSIGNED)

    @property
    def seeds_text(self) -> str:
        """The seeds of a row in words: "3 seeds", or "3 to 5 seeds" where looks gave some rows more."""
        fewest = min((row.n for row in self.rows if row.n), default=self.seeds)
        return plural(self.seeds, "seed") if fewest >= self.seeds else f"{fewest} to {plural(self.seeds, 'seed')}"

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
    judgement = judge(study, results)
    compared = {
        name: bootstrap.Compared(judged.seeds, judged.alpha, judged.least_sd, judgement.paired)
        for name, judged in judgement.changes.items()
        if judged.alpha is not None
    }
    counts = {name: results.sentences(name, primary) for name in study.variants}
    wide = bootstrap.differences(counts, study.baseline, compared)
    wanted = {f"{name}/seed{seed}" for name, n in judgement.seeds_wanted.items() for seed in study.seeds[:n]}
    baseline = list(results.scores(study.baseline, primary, "bleu").values())
    has_learned = learned(baseline)  # else the spread of its runs is not that of a model
    averaged = [name for name in signatures.get(primary or "", {}) if name == AVERAGED + "bleu"]
    return Summary(
        study=study.name,
        question=study.question,
        baseline=study.baseline,
        corpus_level=corpus_level(study.corpus, results.records),
        seeds=max(judgement.seeds_wanted.values()),
        primary=primary,
        splits=results.splits,
        signatures=signatures,
        repeats=results.repeats,
        rows=[_row(study, results, name, judgement, wide.get(name)) for name in study.variants],
        noise=_noise(study, results, judgement) if has_learned else None,
        rule=rule(study, judgement),
        paired=judgement.paired,
        margin=study.margin,
        compared=judgement.tested,
        missing=[name for name in results.missing if name in wanted],
        unscored=[name for name in results.unscored if name in wanted],
        nothing_learned=bool(baseline) and not has_learned,
        shown=tuple(dict.fromkeys([*averaged, *shown])),
        noise_floor=noise_floor(baseline) if has_learned else None,
        extras=collect_extras(study, results),
        tuned=at_their_best(study, results.tuned) if results.tuned else None,
        effects=find_effects(study, results),
    )


def rule(study: Study, judgement: Judgement) -> str:
    """Say in plain sentences how the verdicts of a study are given; nothing for one of a single seed."""
    if not study.looks:
        return ""
    looks = [look.seeds for look in study.looks]
    r = "" if judgement.correlation is None else f" (their scores correlate by {number(judgement.correlation)})"
    paired = f"a paired t-test over shared seeds, which pays in this study{r}"
    test = paired if judgement.paired else "Welch's t-test"
    when = f"with {looks[0]} seeds"
    if len(looks) > 1:
        spent = listing([percent(look.share) for look in study.looks])
        when = f"at {listing(looks)} seeds, looks that spend {spent} of the error; open rows go on to the next"
    corrected = plural(judgement.tested or len(judgement.changes), "change") + " (Holm)"
    corrected += " and the looks" if len(looks) > 1 else ""
    return (
        f"A change is compared with the baseline by {test} on BLEU, {when}. Its interval is corrected for {corrected}: "
        f"better or worse when 0 lies outside, equal when all of it lies within ±{study.margin:g} BLEU, else open. At "
        f"most {percent(ALPHA)} of studies make a false claim. This assumes that the seeds of a row scatter about one "
        f"mean, roughly normally: a row whose seeds fall into two groups stays open below {FEWEST_IN_GROUPS} seeds."
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


def _row(study: Study, results: Results, variant: str, judgement: Judgement, wide: Estimate | None) -> Row:
    records, primary = results.of(variant), results.primary
    finished = [record for record in records if not record.diverged]
    scores = {
        split: {name: _estimate(results, variant, split, name) for name in results.signatures(split)}
        for split in results.splits
    }
    bleu = scores[primary].get("bleu") if primary else None
    judged = judgement.changes.get(variant)
    published = paper.published_difference(variant) if paper.published(study.baseline) is paper.TABLE3[0] else None
    return Row(
        variant=variant,
        change=study.describe(variant) if judged else "the baseline",
        verdict=judged.verdict if judged else Verdict.BASELINE,
        n=bleu.n if bleu else 0,
        parameters=_common(records, "parameters"),
        training_flops=_common(finished or records, "training_flops"),
        tokens_per_second=_fastest(finished),
        seconds=_cost(finished, "seconds"),
        scores=scores,
        difference=judged.difference if judged else None,
        status=_status(records, judgement.seeds_wanted[variant]),
        published=published,
        judged=judged,
        label=study.label(variant),
        difference_wide=wide,
        agreement=_agreement(judged, published),
    )


def _agreement(judged: JudgedChange | None, published: float | None) -> Agreement | None:
    if judged is None or judged.p_adjusted is None or published is None:
        return None
    return agreement({Verdict.BETTER: 1, Verdict.WORSE: -1}.get(judged.verdict, 0), published)


def _noise(study: Study, results: Results, judgement: Judgement) -> Noise | None:
    if not study.looks:
        return None
    rows = [list(results.scores(name, results.primary, "bleu").values()) for name in study.variants]
    return noise(rows, strictest_level(study.looks[-1], judgement.tested))


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


def _fastest(records: Iterable[Record]) -> float | None:
    """Return the speed of the fastest seed, the one that other programs disturbed least; a mean would average load."""
    return max((float(speed) for record in records if (speed := record.training.get(SPEED)) is not None), default=None)


def _common(records: list[Record], key: str) -> float | None:
    """Return the mean of a cost that all seeds share, up to the batches they drew."""
    values = [record.training[key] for record in records if record.training.get(key) is not None]
    if not values:
        return None
    return sum(values) / len(values)
