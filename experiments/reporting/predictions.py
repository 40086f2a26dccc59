"""What a cheap study predicts of an expensive one, written down before the expensive one is run.

experiments/studies/<expensive>/predictions/<cheap>.json is for git: a commit of it, older than the runs, shows that
nobody had seen them. A row is predicted to be worth as much as on the cheap corpus. How well that transfers is not
known when it is written; `prediction_scores` says afterwards how well it did.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from experiments.common.io import read_json, write_json
from experiments.common.machine import git_commit
from experiments.config.cell import Cell
from experiments.config.run_config import config_hash, short_hash
from experiments.config.study import STUDIES, Study
from experiments.config.trials import read_trials
from experiments.reporting.formats import bracketed
from experiments.reporting.grids import Grid, TableCell
from experiments.reporting.published import read_published
from experiments.reporting.results import read_records, shortened
from experiments.reporting.statistics import Estimate, MeanDifference, paired, welch
from experiments.reporting.study_results import StudyResults
from experiments.reporting.summary import Row
from lit_transformer.errors import UserError

RULE = (
    "A change is predicted to be worth as much as on the cheap corpus, in BLEU or in % of the baseline's BLEU. The "
    "interval is the 95 % prediction interval of another study with as many seeds and as much noise (the cheap study's "
    "own 95 % interval by its test, uncorrected, times the square root of 2)."
)
DIGITS = 4


@dataclass(frozen=True)
class PredictedChange:
    """A row's difference in BLEU to the baseline over n seeds of the cheap study, with its prediction interval.

    `verdict` is the cheap study's, `baseline_bleu` its baseline's mean over the seeds compared.
    """

    variant: str
    verdict: str
    n: int
    baseline_bleu: float
    difference: float
    low: float
    high: float

    @property
    def bleu(self) -> Estimate:
        return Estimate(self.difference, self.low, self.high, self.n)

    @property
    def relative(self) -> Estimate:
        """The same in % of the baseline's BLEU."""
        return in_percent(self.bleu, self.baseline_bleu)


@dataclass(frozen=True)
class Predictions:
    """What the study `lower` predicts of `upper`, as written at `written_at` (UTC) by the code of `commit`.

    `results` says where the cheap results came from, `results_hash` is of their scores. `trained_before` are the rows
    that had results by then with settings other than the upper study's.
    """

    lower: str
    upper: str
    written_at: str
    commit: str
    results: str
    results_hash: str
    test_set: str
    signature: str
    rule: str
    trained_before: list[str]
    rows: list[PredictedChange]


def predictions_path(lower: str, upper: str) -> Path:
    """Return the file of what one study predicts of another."""
    return STUDIES / upper / "predictions" / f"{lower}.json"


def predicting_studies(upper: str) -> list[str]:
    """Name the studies of which predictions about a study were written."""
    return sorted(path.stem for path in (STUDIES / upper / "predictions").glob("*.json"))


def write_predictions(lower: StudyResults, upper: Study) -> tuple[Predictions, Path]:
    """Write down what one study predicts of another, and return it with its path.

    Raises UserError where that was done before, where the cheap study has nothing to predict from, and where rows to
    predict have results.
    """
    path = predictions_path(lower.study.name, upper.name)
    if path.exists():
        written_at = read_predictions(lower.study.name, upper.name).written_at
        raise UserError(f"{path} was written at {written_at} and stands; delete it first to predict again")
    predictions = predict(lower, upper)
    write_json(path, asdict(predictions))
    return predictions, path


def predict(lower: StudyResults, upper: Study) -> Predictions:
    """Return what one study predicts of another, of which no row to predict may have results."""
    names, primary = f"{lower.study.name} predicts nothing of {upper.name}", lower.results.primary
    if primary is None or lower.summary.nothing_learned:
        raise UserError(f"{names}: {'it has no score' if primary is None else 'its baseline has learned nothing'}")
    shared = [row for row in lower.summary.changes if row.variant in upper.variants and row.variant != upper.baseline]
    rows = [predicted for row in shared if (predicted := _predict_row(lower, row))]
    if not rows:
        without = f"{shortened([row.variant for row in shared])} without an interval, which takes several seeds"
        raise UserError(f"{names}: {without if shared else 'they share no change'}")
    variants = [row.variant for row in rows]
    trained, trained_before = _trained_rows(upper, variants)
    if trained:
        raise UserError(f"{upper.name} has results of {shortened(trained)} already: a prediction comes before the runs")
    return Predictions(
        lower=lower.study.name,
        upper=upper.name,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=git_commit(),
        results=lower.origin,
        results_hash=results_hash(lower, variants),
        test_set=primary,
        signature=lower.summary.signature(primary),
        rule=RULE,
        trained_before=trained_before,
        rows=rows,
    )


def read_predictions(lower: str, upper: str) -> Predictions:
    """Read what `write_predictions` wrote; raises UserError for any other file."""
    path = predictions_path(lower, upper)
    content = read_json(path)
    try:
        datetime.fromisoformat(content["written_at"])
        return Predictions(**{**content, "rows": [PredictedChange(**row) for row in content["rows"]]})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not predictions of a study ({error!r}); restore it from git") from None


def in_percent(difference: Estimate, baseline_bleu: float) -> Estimate:
    """Return a difference in BLEU in % of the baseline's BLEU."""
    scale = 100 / baseline_bleu
    low, high = (None if end is None else scale * end for end in (difference.low, difference.high))
    return Estimate(scale * difference.mean, low, high, difference.n)


def results_hash(study: StudyResults, variants: Sequence[str]) -> str:
    """Return a hash of the scores by seed that predictions of these variants rest on."""
    results = study.results
    scores = {name: results.scores(name, results.primary, "bleu") for name in (study.study.baseline, *variants)}
    data = sorted({str(record.training.get("data_hash")) for record in results.records})
    return short_hash([study.summary.signature(results.primary) if results.primary else "", data, scores])


def grid(predictions: Predictions) -> Grid:
    """Return one row per predicted change."""
    rows = [
        [
            TableCell(row.variant),
            TableCell(bracketed(row.bleu), row.difference),
            TableCell(bracketed(row.relative), row.relative.mean),
            TableCell(row.verdict),
        ]
        for row in predictions.rows
    ]
    titles = ["variant", "Δ BLEU predicted", "Δ % predicted", f"verdict {predictions.lower}"]
    return Grid(titles, rows, [False, True, True, False])


def _predict_row(lower: StudyResults, row: Row) -> PredictedChange | None:
    """Return the prediction from a row, None for one without an interval over seeds."""
    judged = row.judged
    if judged is None or judged.means is None or judged.difference is None or judged.difference.low is None:
        return None
    own, base = (
        [lower.results.scores(name, lower.results.primary, "bleu")[seed] for seed in judged.seeds]
        for name in (row.variant, lower.study.baseline)
    )
    test = paired(own, base) if lower.summary.paired else welch(own, base, judged.least_sd)
    low, high = MeanDifference(test.mean, np.sqrt(2) * test.error, test.degrees).interval()
    numbers = (round(float(value), DIGITS) for value in (judged.means[1], test.mean, low, high))
    return PredictedChange(row.variant, row.verdict.value, len(judged.seeds), *numbers)


def _trained_rows(study: Study, variants: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the rows with results of the study's present settings, here or published, and those with others.

    Trials of a row are results of it.
    """
    cells = [Cell(study, variant, seed) for variant in variants for seed in study.seeds]
    present = {record.variant for record in read_records(cells)}
    if study.tune:
        present |= {cell.variant for cell in cells if read_trials(study, cell.variant, cell.seed)}
    other = {cell.variant for cell in cells if cell.record_path.exists()}
    published = read_published(study.name)
    if published:
        trials = published.results.tuned.trials if published.results.tuned else {}
        for variant in variants:
            if published.results.of(variant) or any(trials.get(variant, {}).values()):
                seed = study.seeds[0]
                alike = _settings(published.study, variant, seed) == _settings(study, variant, seed)
                (present if alike else other).add(variant)
    return [name for name in variants if name in present], [name for name in variants if name in other - present]


def _settings(study: Study, variant: str, seed: int) -> str | None:
    """Return a hash of what a cell trains with; None where this code does not know its settings any more."""
    try:
        return config_hash(study.config(variant, seed), study.corpus)
    except UserError:
        return None
