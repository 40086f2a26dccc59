"""Studies drawn from a known truth, decided by what the reports decide with: how often is anything called that is not?

Seeds move all variants together; the variants' own noise differs up to tenfold, and some change nothing at all.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.reporting.statistics import ALPHA, decisions, holm, paired_p, smallest_separable, t_interval

VARIANTS = 11
OWN = np.geomspace(0.1, 1.0, VARIANTS)
"""Standard deviation of each variant's own noise, in BLEU; the baseline's is the middle one."""
BASELINE = 0.3
SHARED = 0.5
EFFECTS = {
    "nothing": np.zeros(VARIANTS),
    "half": np.array([0.0, -8.0, 0.0, 0.6, 0.0, -1.5, 0.0, 3.0, 0.0, -30.0, 0.0]),
    "all but one": np.array([-60.0, -8.0, -4.0, 0.6, 5.0, -1.5, 0.0, 3.0, -2.0, -30.0, 9.0]),
}
QUICK, FULL = 1_500, 40_000


def simulate(effects: NDArray[np.float64], seeds: int, studies: int) -> tuple[NDArray, NDArray]:
    """Return scores of variants (studies, variants, seeds) and of the baseline, spread to that shape."""
    random = np.random.default_rng(23)
    shared = random.normal(60.0, SHARED, (studies, 1, seeds))
    baseline = shared + random.normal(0, BASELINE, shared.shape)
    scores = shared + effects[:, None] + random.normal(0, OWN[:, None], (studies, VARIANTS, seeds))
    return scores, np.broadcast_to(baseline, scores.shape)


def decide(scores: NDArray, baseline: NDArray, corrected: bool = True) -> NDArray:
    """Return 1, 0 or -1 for each variant of each study, as a report does."""
    p = paired_p(scores, baseline)
    return decisions(holm(p) if corrected else p, (scores - baseline).mean(axis=-1))


def most(rate: float, studies: int) -> float:
    """Return what a rate is at most seen as, but once in a thousand times."""
    return rate + 3.1 * math.sqrt(rate * (1 - rate) / studies)


@pytest.mark.parametrize("studies", [QUICK, pytest.param(FULL, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("name", EFFECTS)
def test_family_wise_error(name: str, seeds: int, studies: int) -> None:
    """Of all studies, at most one in twenty calls a change separable that does nothing, or gives one the wrong sign."""
    effects = EFFECTS[name]
    decided = decide(*simulate(effects, seeds, studies))
    wrong = (decided != 0) & (decided != np.sign(effects))
    error = wrong.any(axis=-1).mean()
    print(f"\n{name}, {seeds} seeds: family-wise error {error:.4f}, found {(decided != 0).mean(axis=0)}")
    assert error <= most(ALPHA, studies)
    if name != "nothing":
        found = (decided == np.sign(effects))[:, effects != 0].any(axis=-1).mean()
        assert found > 0.5, "a rule that never decides is no rule"


@pytest.mark.parametrize("seeds", [3, 5])
def test_without_holm_the_simulation_shows_the_problem(seeds: int) -> None:
    decided = decide(*simulate(EFFECTS["nothing"], seeds, QUICK), corrected=False)
    assert (decided != 0).any(axis=-1).mean() > 0.2


@pytest.mark.parametrize("studies", [QUICK, pytest.param(FULL, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_every_difference_cover_it(seeds: int, studies: int) -> None:
    """Each variant apart, whatever its noise."""
    effects = EFFECTS["half"]
    scores, baseline = simulate(effects, seeds, studies)
    _, low, high = t_interval(scores - baseline)
    covered = ((low <= effects) & (high >= effects)).mean(axis=0)
    print(f"\n{seeds} seeds: coverage {covered.min():.4f} to {covered.max():.4f}")
    assert 0.93 <= covered.min() <= covered.max() <= 0.97


def test_the_smallest_separable_difference_under_holm_is_found_somewhat_more_often_than_not() -> None:
    """One change of that size among changes that do nothing: Holm's first step is the one it has to pass."""
    sd = math.hypot(BASELINE, OWN[3])
    effects = np.zeros(VARIANTS)
    effects[3] = smallest_separable(sd, 5, ALPHA / VARIANTS)
    decided = decide(*simulate(effects, 5, QUICK))
    assert 0.5 < (decided[:, 3] == 1).mean() < 0.7
