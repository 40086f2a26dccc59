"""Studies drawn from a known truth, decided by the code that reports use: how often does a study claim what is not so?

A false claim is better or worse for a change that does nothing, the wrong sign, or equal for a change worth the margin.
Each study is run as `launch` runs it: the seeds of the first look for all, those of the next where the verdict is open.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.config.study import Look
from experiments.config.trials import FINISHED, STOPPED, TrialRecord, choose
from experiments.config.tuning import Tuning
from experiments.planning.looks import run_looks
from experiments.reporting.statistics import ALPHA, power, smallest_separable, welch
from experiments.reporting.verdicts import Decisions, pairing_pays, seed_correlation

CHANGES = 11
MARGIN = 1.0
LOOKS = {"3": (Look(3, 1.0),), "5": (Look(5, 1.0),), "3, 5, 8": (Look(3, 0.4), Look(5, 0.3), Look(8, 0.3))}
EFFECTS = {
    "nothing": np.zeros(CHANGES),
    "mixed": np.array([0, 0, 0.5, 1, -2, 4, -6, 10, -14, -65, -84]),
    "all but one": np.array([-60.0, -8.0, -4.0, 0.6, 5.0, -1.5, 0.0, 3.0, -2.0, -30.0, 9.0]),
    "the margin": np.full(CHANGES, MARGIN),
    "the margin, and one nothing": np.array([0.0, *[MARGIN] * 10]),
}
DEVIATIONS = np.array([1.5, 1, 0.7, 1, 1.5, 1.3, 1.4, 2.3, 0.5, 5.4, 0.3])
"""Standard deviations over seeds of the default study's changes, in BLEU; the baseline's is 0.7."""
NOISE = {
    "equal": (np.ones(CHANGES), 1.0),
    "unequal": (DEVIATIONS, 0.7),
    "turned": (DEVIATIONS[::-1], 0.7),
    "wild changes": (np.full(CHANGES, 5.0), 0.7),
    "a wild baseline": (np.full(CHANGES, 0.5), 3.0),
    "small": (np.full(CHANGES, 0.6), 0.05),
}
QUICK, FULL = 1_000, 10_000
sizes = pytest.mark.parametrize("studies", [QUICK, pytest.param(FULL, marks=pytest.mark.slow)])


@dataclass(frozen=True)
class Simulated:
    """Verdicts of many studies, the cells that each used, and the share of them that paired by seed."""

    decisions: Decisions
    effects: NDArray[np.float64]
    cells: float
    paired: float

    @property
    def error(self) -> float:
        """The share of studies with a false claim."""
        call, equal = self.decisions.call, self.decisions.equal
        wrong = ((call != 0) & (call != np.sign(self.effects))) | (equal & (np.abs(self.effects) >= MARGIN))
        return float(wrong.any(axis=-1).mean())

    @property
    def found(self) -> NDArray[np.float64]:
        """How often each change is called better or worse, as it is."""
        return ((self.decisions.call != 0) & (self.decisions.call == np.sign(self.effects))).mean(axis=0)


def simulate(
    effects: NDArray, noise: NDArray, base_noise: NDArray, looks: tuple[Look, ...], pair: bool | None = False
) -> Simulated:
    """Run studies from the noise of changes (studies, m, N) and baseline (studies, N); pair None: as measured."""
    runs, n = effects[:, None] + noise, looks[0].seeds
    r = seed_correlation(runs[..., :n], base_noise[..., :n])
    chosen = pairing_pays(r, looks[0], CHANGES) if pair is None else np.full(len(runs), pair)
    decisions, cells = run_looks(runs, base_noise, looks, MARGIN, chosen)
    return Simulated(decisions, effects, cells, float(chosen.mean()))


def drawn(effects: str, noise: str, looks: str, studies: int, seed: int = 23) -> Simulated:
    random, (sds, base_sd) = np.random.default_rng(seed), NOISE[noise]
    most = LOOKS[looks][-1].seeds
    own = sds[:, None] * random.normal(size=(studies, CHANGES, most))
    return simulate(EFFECTS[effects], own, base_sd * random.normal(size=(studies, most)), LOOKS[looks])


def most(rate: float, studies: int) -> float:
    """Return what a rate is at most seen as, but once in a thousand times."""
    return rate + 3.1 * math.sqrt(rate * (1 - rate) / studies)


@sizes
@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("effects", EFFECTS)
def test_at_most_one_study_in_twenty_makes_a_false_claim(effects: str, noise: str, looks: str, studies: int) -> None:
    found = drawn(effects, noise, looks, studies)
    print(f"\n{effects}, {noise}, {looks} seeds: error {found.error:.4f}, found {found.found.round(2)}")
    print(f"equal {found.decisions.equal.mean(axis=0).round(2)}, cells {found.cells:.1f}")
    assert found.error <= most(ALPHA, studies)


@pytest.mark.parametrize("looks", LOOKS)
def test_a_rule_that_never_decides_is_no_rule(looks: str) -> None:
    found = drawn("mixed", "unequal", looks, QUICK).found
    assert found[[8, 10]].min() > 0.95
    if looks != "3":
        assert found[[5, 6, 7]].min() > 0.75


def test_looks_cost_fewer_cells_at_the_power_of_the_largest() -> None:
    looks, largest = drawn("mixed", "unequal", "3, 5, 8", QUICK), (Look(8, 1.0),)
    random = np.random.default_rng(23)
    own = DEVIATIONS[:, None] * random.normal(size=(QUICK, CHANGES, 8))
    all_at_once = simulate(EFFECTS["mixed"], own, 0.7 * random.normal(size=(QUICK, 8)), largest)
    assert all_at_once.cells == 8 * (CHANGES + 1)
    assert looks.cells < 0.8 * all_at_once.cells
    large = np.abs(EFFECTS["mixed"]) >= 4
    assert (looks.found[large] > all_at_once.found[large] - 0.03).all()


@sizes
def test_equal_is_claimed_where_it_is_so_and_seeds_show_it(studies: int) -> None:
    """Half the changes do nothing, half are worth half the margin, with a noise of 0.3."""
    random = np.random.default_rng(2)
    effects = np.array([*[0.0] * 6, *[0.5] * 5])
    noise = 0.3 * random.normal(size=(studies, CHANGES, 8))
    found = simulate(effects, noise, 0.3 * random.normal(size=(studies, 8)), LOOKS["3, 5, 8"])
    assert found.error <= most(ALPHA, studies)
    assert found.decisions.equal[:, :6].mean() > 0.9


@sizes
@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("looks", ["3", "5"])
def test_choosing_between_pairing_and_welch_keeps_the_error(looks: str, correlation: float, studies: int) -> None:
    random = np.random.default_rng(5)
    n = LOOKS[looks][-1].seeds
    noise = math.sqrt(1 - correlation) * random.normal(size=(studies, CHANGES + 1, n))
    noise += math.sqrt(correlation) * random.normal(size=(studies, 1, n))
    found = simulate(EFFECTS["nothing"], noise[:, :-1], noise[:, -1], LOOKS[looks], pair=None)
    print(f"\ncorrelation {correlation}, {looks} seeds: error {found.error:.4f}, {found.paired:.2f} paired")
    assert found.error <= most(ALPHA, studies)
    assert found.paired < 0.1 if correlation < 0.4 else True
    assert found.paired > 0.6 if correlation > 0.95 else True


@sizes
@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_runs_that_learn_or_do_not(share: float, looks: str, studies: int) -> None:
    """Two modes, 10 BLEU apart with a noise of 0.3, in every row alike: the study's typical sd holds the error down."""
    random = np.random.default_rng(11)
    n = LOOKS[looks][-1].seeds
    noise = 10.0 * (random.uniform(size=(studies, CHANGES + 1, n)) < share)
    noise += 0.3 * random.normal(size=noise.shape)
    found = simulate(EFFECTS["nothing"], noise[:, :-1], noise[:, -1], LOOKS[looks])
    print(f"\n{share:.0%} fail, {looks} seeds: error {found.error:.4f}")
    assert found.error <= most(ALPHA, studies)


TUNE = Tuning((0.0005, 0.001, 0.002, 0.004), rungs=(0.25, 0.5))
LOST = {
    "two alike": np.array([3.0, 0.0, 0.0, 3.0]),
    "one best": np.array([3.0, 0.0, 1.0, 3.0]),
    "a slope": np.array([0.0, 0.5, 1.0, 1.5]),
    "a cliff": np.array([30.0, 0.0, 0.1, 30.0]),
}
"""BLEU that each value of TUNE costs, in every row alike; the noise of a run is 1."""


def chosen(lost: NDArray, noise: NDArray) -> NDArray:
    """Return the places of the values that trials choose: `noise` (..., rungs, values) is that of their losses."""
    seen = lost + noise
    half = np.argsort(seen[..., 0, :], axis=-1, kind="stable")[..., : len(lost) // 2]
    return np.take_along_axis(half, np.take_along_axis(seen[..., 1, :], half, -1).argmin(-1)[..., None], -1)[..., 0]


def test_the_simulated_trials_choose_as_the_records_of_trials_do() -> None:
    noise = np.random.default_rng(3).normal(size=(200, 2, 4))
    lost = LOST["one best"]
    for own, place in zip(noise, chosen(lost, noise), strict=True):
        going_on = np.argsort(lost + own[0])[:2]
        records = [
            TrialRecord(value, 0, rung, TUNE.key, FINISHED, valid_loss=float(lost[at] + own[number, at]))
            if number == 0 or at in going_on
            else TrialRecord(value, 0, rung, TUNE.key, STOPPED)
            for number, rung in enumerate(TUNE.rungs)
            for at, value in enumerate(TUNE.values)
        ]
        assert choose(TUNE, records) == TUNE.values[place]


def at_their_best(lost: str, trial_noise: float, looks: str, studies: int, each_seed: bool = True) -> Simulated:
    """Run studies of copies of the baseline, each row at the values that its noisy trials choose.

    `each_seed`: every seed has trials of its own; otherwise those of the first seed choose for all.
    """
    random, n = np.random.default_rng(29), LOOKS[looks][-1].seeds
    noise = trial_noise * random.normal(size=(studies, CHANGES + 1, n if each_seed else 1, 2, 4))
    bleu = -LOST[lost][chosen(LOST[lost], noise)] + random.normal(size=(studies, CHANGES + 1, n))
    return simulate(EFFECTS["nothing"], bleu[:, :-1], bleu[:, -1], LOOKS[looks])


@sizes
@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("trial_noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("lost", LOST)
def test_rows_that_each_choose_their_value_by_noisy_trials(
    lost: str, trial_noise: float, looks: str, studies: int
) -> None:
    found = at_their_best(lost, trial_noise, looks, studies)
    print(f"\n{lost}, trials with noise {trial_noise}, {looks} seeds: error {found.error:.4f}")
    assert found.error <= most(ALPHA, studies)


def test_one_choice_for_all_seeds_of_a_row_would_be_taken_for_a_finding() -> None:
    """Which is why each seed has trials of its own."""
    assert at_their_best("one best", 1.0, "5", QUICK, each_seed=False).error > 0.1
    assert at_their_best("one best", 3.0, "3, 5, 8", QUICK, each_seed=False).error > 0.5


@pytest.mark.parametrize("seeds", [3, 5])
def test_without_the_correction_the_simulation_shows_the_problem(seeds: int) -> None:
    random = np.random.default_rng(23)
    scores, baseline = random.normal(size=(QUICK, CHANGES, seeds)), random.normal(size=(QUICK, 1, seeds))
    assert (welch(scores, baseline).p() < ALPHA).any(axis=-1).mean() > 0.2


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_intervals_of_a_single_look_cover_the_difference(seeds: int) -> None:
    """Nominal 95 % intervals: 94 to 96 % over the changes of a study, 93 to 97 % for each, whatever its noise."""
    random = np.random.default_rng(seeds)
    effects = EFFECTS["mixed"]
    scores = effects[:, None] + DEVIATIONS[:, None] * random.normal(size=(FULL, CHANGES, seeds))
    low, high = welch(scores, 0.7 * random.normal(size=(FULL, 1, seeds))).interval()
    covered = ((low <= effects) & (high >= effects)).mean(axis=0)
    print(f"\n{seeds} seeds: coverage {covered.mean():.4f}, {covered.min():.4f} to {covered.max():.4f}")
    assert 0.94 <= covered.mean() <= 0.96
    assert 0.93 <= covered.min() <= covered.max() <= 0.97


@sizes
@pytest.mark.parametrize("looks", LOOKS)
def test_the_intervals_of_verdicts_hold_the_truth_together(looks: str, studies: int) -> None:
    """Those of open and equal changes, all at once, in 95 % of studies."""
    found = drawn("mixed", "unequal", looks, studies)
    inside = (found.decisions.low <= found.effects) & (found.decisions.high >= found.effects)
    together = (inside | (found.decisions.call != 0)).all(axis=-1).mean()
    assert together >= 1 - most(ALPHA, studies)


@pytest.mark.parametrize("seeds", ["3", "5"])
@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_a_change_is_found_as_often_as_its_power_says(seeds: str, ratio: float) -> None:
    """One change among changes that do nothing: the correction's first step is the one it has to pass."""
    random, n, alpha = np.random.default_rng(1), LOOKS[seeds][-1].seeds, ALPHA / CHANGES
    effects = np.zeros(CHANGES)
    effects[3] = ratio * smallest_separable(0.7, n, alpha)
    noise = 0.7 * random.normal(size=(QUICK, CHANGES, n))
    found = simulate(effects, noise, 0.7 * random.normal(size=(QUICK, n)), LOOKS[seeds])
    assert found.found[3] == pytest.approx(power(effects[3], 0.7, n, alpha), abs=0.05)
