"""Verdicts: the rule at its edges, the interval that agrees with it, and what a study of looks still has to run."""

import numpy as np
import pytest
from scipy import stats

from experiments.config.study import Look
from experiments.reporting.statistics import ALPHA, holm, welch
from experiments.reporting.verdicts import (
    DIVERGED,
    FEWEST_IN_GROUPS,
    LEAST_SD,
    MOST_SEEDS,
    PASSED_ON,
    decide,
    pairing_pays,
    seed_correlation,
    seeds_to_decide,
    two_groups,
)

NAN = np.nan
ONE_LOOK = (Look(4, 1.0),)
LOOKS = (Look(3, 0.4), Look(5, 0.3), Look(8, 0.3))
MARGIN = 1.0
NARROW = np.array([-0.1, 0.0, 0.1, 0.05])


def random_studies(studies: int, seeds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return changes (studies, 6, seeds) of every kind, near and far and noisy and quiet, and their baselines."""
    random = np.random.default_rng(seed)
    effects = random.normal(0, 3, (studies, 6, 1)) * random.choice([0, 0.1, 1, 4], (studies, 6, 1))
    sds = random.choice([0.05, 0.3, 1.0, 3.0], (studies, 6, 1))
    return effects + sds * random.normal(size=(studies, 6, seeds)), 0.4 * random.normal(size=(studies, seeds))


def test_the_four_verdicts() -> None:
    found = decide([NARROW + 5, NARROW - 5, NARROW + 0.2, 9 * NARROW + 0.8], NARROW, ONE_LOOK, MARGIN)
    assert found.call.tolist() == [1, -1, 0, 0]
    assert found.equal.tolist() == [False, False, True, False]
    assert found.open.tolist() == [False, False, False, True]
    assert found.n.tolist() == [4] * 4
    assert found.difference == pytest.approx([5.0, -5.0, 0.2, 0.9])


def test_a_single_change_is_decided_by_welchs_p() -> None:
    random = np.random.default_rng(1)
    changes, baseline = random.normal(0.4, 1.0, (300, 1, 4)), random.normal(0.0, 1.0, (300, 4))
    found = decide(changes, baseline, ONE_LOOK, 1e-9)
    p = stats.ttest_ind(changes[:, 0], baseline, axis=-1, equal_var=False).pvalue
    sds = np.concatenate([changes, baseline[:, None]], axis=1).std(axis=-1, ddof=1)
    alike = sds.min(axis=-1) > LEAST_SD * sds.max(axis=-1) * 1.1  # the least sd plays no part
    assert alike.sum() > 50
    assert found.p[alike, 0, 0] == pytest.approx(p[alike])
    assert ((found.call[alike, 0] != 0) == (p[alike] < ALPHA)).all()


@pytest.mark.parametrize("looks", [ONE_LOOK, LOOKS])
@pytest.mark.parametrize("pair", [False, True])
def test_zero_is_outside_the_interval_exactly_when_the_change_is_rejected(looks: tuple[Look, ...], pair: bool) -> None:
    changes, baseline = random_studies(2_000, looks[-1].seeds)
    found = decide(changes, baseline, looks, MARGIN, np.full(2_000, pair))
    shares = np.array([look.share for look in looks])
    smallest = np.fmin(np.nanmin(np.nan_to_num(found.p / shares, nan=1.0), axis=-1), 1.0)
    rejected = holm(smallest, PASSED_ON) < ALPHA
    outside = (found.low > 0) | (found.high < 0)
    meets = ~np.isnan(found.low)
    for kind in (found.equal, ~found.equal):
        assert (kind & meets).sum() > 100
    decided = ~found.equal
    contradicting = decided & rejected & ~outside  # intervals of two looks that do not meet
    assert contradicting.mean() < 0.002
    assert (outside[decided] <= rejected[decided]).all()
    assert (found.call != 0).sum() == (decided & outside).sum() > 1_000
    called = found.call != 0
    assert (np.sign(found.low[called] + found.high[called]) == found.call[called]).all()
    assert ((found.low > -MARGIN) & (found.high < MARGIN))[found.equal].all()
    assert not ((found.low > -MARGIN) & (found.high < MARGIN))[found.open].any()
    assert ((found.low <= 0) & (found.high >= 0))[found.open].all()


def test_intervals_of_two_looks_that_do_not_meet_leave_the_last() -> None:
    """Three seeds say +9, thirty say about nothing: the p of the first look alone would still call it better."""
    baseline = 0.01 * np.arange(30.0)
    change = np.where(baseline < 0.025, 9.0, -1.2) + baseline[::-1]
    found = decide([change], baseline, (Look(3, 0.5), Look(30, 0.5)), MARGIN)
    low, high = welch(change, baseline, found.least_sd[0]).interval(ALPHA / 2)
    assert found.p_adjusted[0] < 0.001
    assert (found.low[0], found.high[0]) == pytest.approx((low, high))
    assert found.low[0] < 0 < found.high[0] < 3
    assert found.open.all()


def test_a_verdict_that_stands_is_not_moved_by_the_seeds_of_others() -> None:
    """As in a study: a decided change gets no more seeds, and the looks go on for the others."""
    changes, baseline = random_studies(1_500, 8, seed=3)
    shown = np.where(np.arange(8) < 3, changes, NAN)
    before = decide(shown, baseline, LOOKS, MARGIN)
    shown = np.where(before.open[..., None], np.where(np.arange(8) < 5, changes, NAN), shown)
    middle = decide(shown, baseline, LOOKS, MARGIN)
    shown = np.where(middle.open[..., None], changes, shown)
    after = decide(shown, baseline, LOOKS, MARGIN)
    for earlier, later in ((before, middle), (middle, after)):
        stands = ~earlier.open
        assert 1_000 < stands.sum() < stands.size
        assert (later.call[stands] == earlier.call[stands]).all()
        assert (later.equal[stands] == earlier.equal[stands]).all()
    assert (after.seeds[middle.open] == 8).all()
    assert (after.seeds[~before.open] == 3).all()


def test_a_look_counts_when_both_have_finished_its_seeds() -> None:
    change, baseline = NARROW + 5, NARROW
    for missing in (0, 3):
        own = change.copy()
        own[missing] = NAN
        for found in (decide([own], baseline, ONE_LOOK, 1.0), decide([change], own - 5, ONE_LOOK, 1.0)):
            assert np.isnan(found.p_adjusted).all()
            assert (found.seeds[0], found.n[0]) == (0, 0)
            assert found.open.all()
    looks = (Look(2, 0.5), Look(4, 0.5))
    found = decide([[*change[:3], NAN]], baseline, looks, 1.0)
    assert (found.seeds[0], found.n[0], np.isfinite(found.p[0]).tolist()) == (2, 2, [True, False])


def test_p_is_the_smallest_over_looks_with_its_share() -> None:
    random = np.random.default_rng(5)
    change, baseline = random.normal(1.0, 1.0, (1, 8)), random.normal(0.0, 1.0, 8)
    found = decide(change, baseline, LOOKS, MARGIN)
    p = [float(welch(change[0, :n], baseline[:n]).p()) for n in (3, 5, 8)]
    assert found.p[0] == pytest.approx(p)
    assert found.p_adjusted[0] == pytest.approx(min(p[0] / 0.4, p[1] / 0.3, p[2] / 0.3))


def test_a_change_without_a_p_counts_in_the_correction() -> None:
    alone = decide([NARROW + 1], NARROW, ONE_LOOK, MARGIN)
    beside = decide([NARROW + 1, [NAN] * 4, [NAN] * 4], NARROW, ONE_LOOK, MARGIN)
    assert beside.p_adjusted[0] == pytest.approx(3 * alone.p_adjusted[0])
    assert np.isnan(beside.p_adjusted[1:]).all()


def test_a_chance_spread_far_below_the_studys_is_not_believed() -> None:
    spread = np.array([-1.0, 1.0, -1.0, 1.0])
    quiet = [0.9, 0.91, 0.9, 0.91]
    found = decide([quiet, spread, spread, spread], spread, ONE_LOOK, MARGIN)
    assert found.least_sd[0] == pytest.approx(LEAST_SD * 1.1547 / np.sqrt(stats.chi2.median(3) / 3), rel=1e-3)
    assert found.p[0, 0] > stats.ttest_ind(quiet, spread, equal_var=False).pvalue


TYPICAL = np.array([1.0])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ([84.0, 84.5, 0.0], True),  # one of three does not learn
        ([84.0, 0.0, 0.5, 83.0, 84.0], True),
        ([84.0, 84.5, DIVERGED], True),
        ([84.0, 84.5, 83.0], False),
        ([10.0, 20.0, 22.0], False),  # fails in every seed, more or less
        ([84.0, 79.0, 74.0], False),  # noisy, without a gap
        ([DIVERGED, DIVERGED, DIVERGED], False),
        ([84.0, NAN, NAN], False),
    ],
)
def test_two_groups_are_runs_that_learn_and_runs_that_do_not(change: list[float], expected: bool) -> None:
    baseline = np.resize([84.0, 84.6, 83.5], len(change))
    assert two_groups(np.stack([change, baseline]), TYPICAL).tolist() == [expected, False]


def test_two_groups_stay_open_until_the_last_look_of_enough_seeds() -> None:
    learns, fails = 84 + 0.3 * NARROW, 0.3 * NARROW
    row = np.array([*fails[:2], learns[0], *fails, *fails[:1]])
    others = 84 + np.stack([NARROW.repeat(2), -NARROW.repeat(2)])
    baseline = 84 + np.tile(NARROW, 2)
    early = decide(np.stack([np.where(np.arange(8) < 3, row, NAN), *others]), baseline, LOOKS, MARGIN)
    assert early.two_groups[0]
    assert np.isnan(early.p_adjusted[0])
    assert early.open[0]
    last = decide(np.stack([row, *others]), baseline, LOOKS, MARGIN)
    assert last.two_groups[0]
    assert last.call[0] == -1
    assert np.isfinite(last.p[0]).tolist() == [False, False, True]
    few = decide(np.stack([row[:4], *others[:, :4]]), baseline[:4], ONE_LOOK, MARGIN)
    assert FEWEST_IN_GROUPS > 4
    assert few.open[0]


def test_pairing_pays_where_seeds_move_all_rows_together() -> None:
    random = np.random.default_rng(7)
    own, shared = random.normal(size=(12, 5)), random.normal(size=5)
    together = 0.1 * own + 3 * shared
    low, high = (seed_correlation(rows[:-1], rows[-1]) for rows in (own, together))
    assert abs(low) < 0.3
    assert high > 0.97
    assert not pairing_pays(low, Look(5, 1.0), 11)
    assert pairing_pays(high, Look(5, 1.0), 11)


def test_the_correlation_is_the_mean_over_all_pairs_of_rows() -> None:
    random = np.random.default_rng(8)
    rows = random.normal(size=(5, 6)) + random.normal(size=6)
    matrix = np.corrcoef(rows)
    expected = (matrix.sum() - 5) / 20
    assert seed_correlation(rows[:-1], rows[-1]) == pytest.approx(expected)
    incomplete = np.stack([*rows[:-1], np.full(6, 3.0), [NAN, *rows[0, 1:]], [DIVERGED, *rows[0, 1:]]])
    assert seed_correlation(incomplete, rows[-1]) == pytest.approx(expected)
    unknown = seed_correlation(np.full((2, 6), NAN), rows[-1])
    assert np.isnan(unknown)
    assert not pairing_pays(unknown, Look(6, 1.0), 2)


def test_the_seeds_that_an_open_verdict_takes() -> None:
    """By hand: the smallest n at which the interval leaves zero, or lies within the margin."""
    sd, n, alpha = 1.0, 3, 0.05 / 11
    error = sd * np.sqrt(2 / n)

    def half(seeds: int) -> float:
        return float(stats.t.ppf(1 - alpha / 2, 2 * seeds - 2) * sd * np.sqrt(2 / seeds))

    for difference in (3.0, 1.2, 0.0):
        found = seeds_to_decide(difference, error, 2 * n - 2, n, alpha, 2.0)
        assert found is not None

        def decided(seeds: int, size: float = difference) -> bool:
            return size > half(seeds) or size + half(seeds) < 2.0

        assert decided(found)
        assert not any(decided(seeds) for seeds in range(n + 1, found))
    assert seeds_to_decide(0.0, error, 2 * n - 2, n, alpha, 0.1) is None
    assert MOST_SEEDS == 50
