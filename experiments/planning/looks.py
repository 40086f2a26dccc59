"""What looks save: studies are run as `launch` runs them, their scores drawn at random instead of trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.config.study import Look, Study
from experiments.reporting.formats import listing
from experiments.reporting.statistics import Array
from experiments.reporting.study_results import AT_HAND, study_results
from experiments.reporting.verdicts import Decisions, decide
from lit_transformer.errors import UserError

STUDIES = 1_000
"""Studies that are drawn for an expected number of cells."""


@dataclass(frozen=True)
class CellCount:
    """How many cells a study with looks runs; `expected` is None where no results say how its rows differ."""

    fewest: int
    expected: int | None
    most: int
    origin: str = ""

    def sentence(self, looks: Sequence[Look]) -> str:
        """Return the numbers of cells in words."""
        return f"Looks at {listing([look.seeds for look in looks])} seeds: {self.numbers}."

    @property
    def numbers(self) -> str:
        """The numbers of cells in words."""
        usual = f", about {self.expected} if rows differ and vary as in the {self.origin}" if self.expected else ""
        return f"{self.fewest} cells at least{usual}, {self.most} at most"


def cell_count(study: Study, tuned: bool = False) -> CellCount:
    """Return how many cells the looks of a study take, from the means and deviations of its results so far.

    `tuned`: how many of the cells at their best value.
    """
    rows = len(study.variants)
    fewest, most = (rows * look.seeds for look in (study.looks[0], study.looks[-1]))
    try:
        found = study_results(study)
    except UserError:  # no results, or none that a report can be made of
        return CellCount(fewest, None, most)
    if tuned and found.results.tuned is None:
        return CellCount(fewest, None, most)
    results = found.results.tuned.cells if tuned and found.results.tuned else found.results
    scores = {name: list(results.scores(name, results.primary, "bleu").values()) for name in study.variants}
    if any(len(own) < 2 for own in scores.values()):
        return CellCount(fewest, None, most)
    random, shape = np.random.default_rng(0), (STUDIES, study.looks[-1].seeds)
    drawn = {name: random.normal(np.mean(own), np.std(own, ddof=1), shape) for name, own in scores.items()}
    baseline = drawn.pop(study.baseline)
    _, cells = run_looks(np.stack(list(drawn.values()), axis=1), baseline, study.looks, study.margin)
    return CellCount(fewest, round(cells), most, found.origin if found.origin == AT_HAND else "published results")


def run_looks(
    runs: Array, baseline: Array, looks: Sequence[Look], margin: float, pair: ArrayLike = False
) -> tuple[Decisions, float]:
    """Return the verdicts of studies, and the mean number of cells that they ran.

    `runs` (studies, m, N) and `baseline` (studies, N) are the scores of all N seeds; those of a look's seeds are used
    where the verdict is open, and the baseline has as many as any change. `pair` is that of `decide`.
    """
    scores = np.full(runs.shape, np.nan)
    is_open: NDArray[np.bool_] = np.ones(runs.shape[:-1], dtype=bool)
    for look in looks:
        scores[..., : look.seeds] = np.where(is_open[..., None], runs[..., : look.seeds], scores[..., : look.seeds])
        decisions = decide(scores, baseline, looks, margin, pair)
        is_open = decisions.open
    seeds = np.isfinite(scores).sum(axis=-1)
    return decisions, float((seeds.sum(axis=-1) + seeds.max(axis=-1)).mean())
