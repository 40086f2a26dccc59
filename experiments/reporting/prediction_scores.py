"""How good the predictions of a cheap study were: order, signs and coverage, beside what the expensive one found."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
from scipy import stats

from experiments.reporting.across_corpora import differences_by_seed
from experiments.reporting.formats import bracketed, p_value
from experiments.reporting.grids import Grid, TableCell
from experiments.reporting.page.sheets import Section
from experiments.reporting.predictions import (
    PredictedChange,
    Predictions,
    in_percent,
    predictions_path,
    read_predictions,
    results_hash,
)
from experiments.reporting.ranks import Ranks, rank_correlations
from experiments.reporting.statistics import LEVEL, Estimate
from experiments.reporting.study_results import StudyResults
from experiments.reporting.summary import Row
from experiments.reporting.verdicts import CALLED

INTERVALS = (
    "Intervals of these shares are 95 %: of pairs by a bootstrap over changes and the seeds found, p by Kendall's "
    "test; of the others exact binomial ones, as if changes were independent, though they share a baseline."
)


@dataclass(frozen=True)
class ScoredChange:
    """A prediction beside what was found: BLEU less the baseline's, and the same in % of the baseline's."""

    predicted: PredictedChange
    found: Row
    bleu: Estimate
    relative: Estimate

    @property
    def sign_right(self) -> bool:
        return bool(np.sign(self.predicted.difference) == np.sign(self.bleu.mean))

    @property
    def within_bleu(self) -> bool:
        return _within(self.predicted.bleu, self.bleu)

    @property
    def within_relative(self) -> bool:
        return _within(self.predicted.relative, self.relative)


@dataclass(frozen=True)
class PredictionScores:
    """The rows that are scored, those trained before the predictions were written, and those without a difference."""

    predictions: Predictions
    changes: list[ScoredChange]
    ranks: Ranks | None
    late: list[str]
    missing: list[str]

    @property
    def pairs(self) -> tuple[int, int]:
        """How many pairs of rows are in the predicted order, and how many pairs there are."""
        right = [
            np.sign(a.predicted.difference - b.predicted.difference) == np.sign(a.bleu.mean - b.bleu.mean)
            for a, b in combinations(self.changes, 2)
        ]
        return sum(map(bool, right)), len(right)


def prediction_sections(upper: StudyResults, lowers: Mapping[str, StudyResults | None]) -> list[Section]:
    """Return a table for each study by name that predictions were written from: predicted beside found.

    `lowers` are these studies as they are now, None for one that cannot be read.
    """
    sections, own = [], upper.study.name
    for name, lower in lowers.items():
        if predictions_path(name, own).exists():
            scores = score(read_predictions(name, own), upper)
            title = f"What {name} predicted of {own}"
            sections.append(Section(f"predictions-{own}-{name}", title, grid(scores), sentences(scores, lower)))
    return sections


def score(predictions: Predictions, upper: StudyResults) -> PredictionScores:
    """Set predictions beside the results of the study that they are about."""
    written_at = datetime.fromisoformat(predictions.written_at).astimezone(UTC)
    changes, late, missing = [], [], []
    for predicted in predictions.rows:
        finished = [record.training.get("finished_at") for record in upper.results.of(predicted.variant)]
        if any(datetime.fromisoformat(at) < written_at for at in finished if at):
            late.append(predicted.variant)
        elif change := _scored(predicted, upper):
            changes.append(change)
        else:
            missing.append(predicted.variant)
    ranks = rank_correlations(
        [{0: change.predicted.difference} for change in changes],
        differences_by_seed(upper, [change.predicted.variant for change in changes]),
    )
    return PredictionScores(predictions, changes, ranks, late, missing)


def sentences(scores: PredictionScores, lower: StudyResults | None) -> list[str]:
    """Say when the predictions were written, how good they were, and what is to be known about both."""
    predictions = scores.predictions
    lines = [shares(scores)] if scores.changes else []
    lines.append(f"Written at {predictions.written_at}, at commit {predictions.commit}, from {predictions.results}.")
    lines += [predictions.rule, INTERVALS] if scores.changes else []
    if lower and results_hash(lower, [row.variant for row in predictions.rows]) != predictions.results_hash:
        lines.append(f"The results of {predictions.lower} have changed since; the predictions are those written then.")
    for names, what in (
        (scores.late, "Trained before the predictions were written, so not scored"),
        (scores.missing, "Without a difference yet"),
        (predictions.trained_before, "Trained with other settings before the predictions were written"),
    ):
        if names:
            lines.append(f"{what}: {', '.join(names)}.")
    return lines


def shares(scores: PredictionScores) -> str:
    """Return in one sentence the shares of pairs ordered and of signs right, and the coverage of the intervals."""
    changes, total = scores.changes, len(scores.changes)
    both = [c for c in changes if c.found.verdict in CALLED and c.predicted.verdict in CALLED]
    parts = [_order(scores)] if total > 1 else []
    parts.append(f"signs right: {_share(sum(c.sign_right for c in changes), total)}")
    if both:
        parts[-1] += f" (of {len(both)} better or worse on both, {sum(c.sign_right for c in both)})"
    bleu, relative = sum(c.within_bleu for c in changes), sum(c.within_relative for c in changes)
    parts.append(f"found in the predicted interval: {_share(bleu, total)} in BLEU")
    parts.append(f"{_share(relative, total)} in % of the baseline's")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def grid(scores: PredictionScores) -> Grid:
    """Return one row per scored change: predicted and found, in BLEU and in % of the baseline's BLEU."""
    rows = [
        [
            TableCell(change.predicted.variant),
            *_side_by_side(change.predicted.bleu, change.bleu),
            _yes(change.sign_right),
            _yes(change.within_bleu),
            *_side_by_side(change.predicted.relative, change.relative),
            _yes(change.within_relative),
        ]
        for change in scores.changes
    ]
    titles = ["variant", "Δ BLEU predicted", "Δ BLEU found", "sign right", "in interval"]
    titles += ["Δ % predicted", "Δ % found", "in interval, %"]
    return Grid(titles, rows, [False, True, True, False, False, True, True, False])


def _scored(predicted: PredictedChange, upper: StudyResults) -> ScoredChange | None:
    """Return what was found of a predicted row; None where it has no difference, or to a baseline of 0 BLEU."""
    row = next((row for row in upper.summary.changes if row.variant == predicted.variant), None)
    if row is None or row.difference is None or row.judged is None or not row.judged.means or not row.judged.means[1]:
        return None
    return ScoredChange(predicted, row, row.difference, in_percent(row.difference, row.judged.means[1]))


def _order(scores: PredictionScores) -> str:
    """Return "pairs ordered as predicted: 18 of 21, 86 % [62, 100], p = 0.011 against chance"."""
    (right, total), ranks = scores.pairs, scores.ranks
    text = f"pairs ordered as predicted: {right} of {total}, {100 * right / total:.0f} %"
    if ranks is None:
        return text
    low, high = ranks.kendall.low, ranks.kendall.high
    if low is not None and high is not None and low < high:
        text += f" [{50 + 50 * low:.0f}, {50 + 50 * high:.0f}]"
    p = p_value(ranks.p)
    return f"{text}, p {p if p.startswith('<') else f'= {p}'} against chance"


def _share(count: int, total: int) -> str:
    ends = stats.binomtest(count, total).proportion_ci(LEVEL)
    return f"{count} of {total}, {100 * count / total:.0f} % [{100 * ends.low:.0f}, {100 * ends.high:.0f}]"


def _within(predicted: Estimate, found: Estimate) -> bool:
    assert predicted.low is not None, "predictions have intervals"
    assert predicted.high is not None, "and both ends of them"
    return predicted.low <= found.mean <= predicted.high


def _side_by_side(predicted: Estimate, found: Estimate) -> tuple[TableCell, TableCell]:
    return TableCell(bracketed(predicted), predicted.mean), TableCell(bracketed(found), found.mean)


def _yes(right: bool) -> TableCell:
    return TableCell("yes" if right else "no")
