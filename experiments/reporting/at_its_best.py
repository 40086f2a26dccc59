"""Each row at its own best value of `tune`: what its trials chose, how much that matters, and the verdict there."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.config.study import Study
from experiments.config.trials import STOPPED, Choice, row_choice
from experiments.config.tuning import Tuning
from experiments.reporting.formats import MISSING, bracketed, duration, listing, number, percent
from experiments.reporting.grids import Grid, TableCell
from experiments.reporting.results import TunedResults, listed
from experiments.reporting.statistics import Estimate, estimate
from experiments.reporting.verdicts import DECIDED, JudgedChange, Verdict, judge

if TYPE_CHECKING:
    from experiments.reporting.summary import Summary

TITLE = "Each at its best"


@dataclass(frozen=True)
class TunedRow:
    """A variant at its best value: BLEU of the primary split and the verdict, None for the baseline.

    `choice` is None while no seed has all of its trials; `diverged` names the seeds that did.
    """

    choice: Choice | None
    bleu: Estimate | None
    judged: JudgedChange | None
    diverged: tuple[int, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict if self.judged else Verdict.BASELINE

    @property
    def n(self) -> int:
        """The number of seeds in its mean."""
        return self.bleu.n if self.bleu else 0

    @property
    def difference(self) -> Estimate | None:
        """The difference to the baseline at its own best value, with the interval that the verdict uses."""
        return self.judged.difference if self.judged else None

    @property
    def verdict_text(self) -> str:
        """The verdict, an open one with the seeds that it takes."""
        return self.judged.text(self.n) if self.judged else self.verdict.value

    @property
    def value_text(self) -> str:
        """The chosen value, of several each with its seeds; in words where a better one may lie beyond those tried."""
        if self.choice is None:
            return MISSING
        counts = Counter(self.choice.by_seed.values())
        text = ", ".join(f"{value} ({number})" for value, number in counts.most_common())
        if len(counts) == 1:
            text = str(self.choice.value)
        if self.choice.diverged:
            return f"{text}, every trial diverged"
        return f"{text}, at the edge" if self.choice.at_edge else text

    @property
    def sensitivity(self) -> str:
        """What the values beside the chosen one cost in validation perplexity: "0.0005 +0.400 (25 %), 0.002 ..."."""
        neighbours = self.choice.neighbours if self.choice else ()
        texts = []
        for beside in neighbours:
            cost = "diverged" if beside.cost is None else number(beside.cost, 3, sign=True)
            texts.append(f"{beside.value} {cost} ({percent(beside.rung)})")
        return ", ".join(texts) or MISSING


@dataclass(frozen=True)
class Tuned:
    """The rows by variant. `compared` counts those under Holm's correction; `missing` and `unscored` are cells."""

    tune: Tuning
    rows: dict[str, TunedRow]
    compared: int
    paired: bool
    missing: list[str]
    unscored: list[str]
    trials: int
    seconds: float


def at_their_best(study: Study, results: TunedResults) -> Tuned:
    """Compare every variant with the baseline by the rule of the study, each at the value that its trials chose."""
    assert study.tune
    cells = results.cells
    judgement = judge(study, cells)
    rows = {}
    for variant in study.variants:
        bleu = estimate(list(cells.scores(variant, cells.primary, "bleu").values()))
        diverged = tuple(record.seed for record in cells.of(variant) if record.diverged)
        choice = row_choice(study.tune, results.trials[variant])
        rows[variant] = TunedRow(choice, bleu, judgement.changes.get(variant), diverged)
    wanted = {f"{name}/seed{seed}" for name, n in judgement.seeds_wanted.items() for seed in study.seeds[:n]}
    records = [record for row in results.trials.values() for by_seed in row.values() for record in by_seed]
    trained = [record for record in records if record.status != STOPPED]
    return Tuned(
        tune=study.tune,
        rows=rows,
        compared=judgement.tested,
        paired=judgement.paired,
        missing=[name for name in cells.missing if name in wanted],
        unscored=[name for name in cells.unscored if name in wanted],
        trials=len(trained),
        seconds=sum(record.seconds for record in trained),
    )


def changed_verdicts(summary: "Summary") -> list[str]:
    """Name the changes with another verdict at their best, both being claims or open: "pre-norm (better, open)"."""
    assert summary.tuned
    pairs = [(row, summary.tuned.rows[row.variant].verdict) for row in summary.changes]
    return [
        f"{row.label} ({row.verdict}, at its best {best})"
        for row, best in pairs
        if row.verdict in DECIDED and best in DECIDED and row.verdict is not best
    ]


def grid(summary: "Summary") -> Grid:
    """Return one row per variant: difference and verdict by the recipe and at its best, and the value chosen."""
    assert summary.tuned
    key = summary.tuned.tune.key
    titles = ["variant", "Δ BLEU by the recipe", "verdict", "Δ BLEU at its best", "verdict at its best"]
    titles += [f"best {key}", "PPL of the values beside it"]
    rows = []
    for row in summary.rows:
        best = summary.tuned.rows[row.variant]
        rows.append(
            [
                TableCell(row.variant),
                *_verdict(row.difference, row.verdict, row.verdict_text),
                *_verdict(best.difference, best.verdict, best.verdict_text),
                TableCell(best.value_text, best.choice.value if best.choice else None),
                TableCell(best.sensitivity),
            ]
        )
    return Grid(titles, rows, [False, True, False, True, False, True, True])


def sentences(summary: "Summary") -> list[str]:
    """Return how the values were chosen, what the verdicts there mean, and what is missing."""
    assert summary.tuned
    tuned, tune = summary.tuned, summary.tuned.tune
    shares = listing([percent(share) for share in tune.rungs])
    if len(tune.rungs) > 1:
        course = f"{shares} of the steps, after each of which the better half of the values went on"
    else:
        course = f"{shares} of the steps"
    lines = [
        f"Each at its best: every row, the baseline included, was tried at {tune.key} {listing(tune.values)} for "
        f"{course}; the lowest validation loss chose, for each seed anew and with other seeds. Each cell was then "
        "trained as by the recipe but for that value, and its row is compared by the same rule with the baseline at "
        "its best, so that a verdict is on all of it, the choice included. The bound on false claims holds for "
        "each of the two columns by itself.",
        "The values beside the best, half and twice of it where these were tried, cost the stated perplexity on the "
        "validation split, at the share of the steps in brackets.",
        f"Trials: {tuned.trials}, in {duration(tuned.seconds)} of training.",
    ]
    edge = [name for name, row in tuned.rows.items() if row.choice and row.choice.at_edge and not row.choice.diverged]
    if edge:
        lines.append(
            f"Best at the edge of the values tried, so that a better one may lie beyond: {', '.join(edge)}; widen "
            "tune.values."
        )
    untried = [name for name, row in tuned.rows.items() if row.choice is None]
    if untried:
        lines.append(f"No seed has all of its trials: {', '.join(untried)}.")
    diverged = [f"{name}/seed{seed}" for name, row in tuned.rows.items() for seed in row.diverged]
    for what, cells in (("Diverged", diverged), ("Not trained", tuned.missing), ("Not evaluated", tuned.unscored)):
        if cells:
            lines.append(f"{what} at their best: {listed(cells)}.")
    return lines


def _verdict(difference: Estimate | None, verdict: Verdict, text: str) -> tuple[TableCell, TableCell]:
    mean = difference.mean if difference else None
    return TableCell(bracketed(difference), mean), TableCell(text, verdict=verdict.name.lower())
