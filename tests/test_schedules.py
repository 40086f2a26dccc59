"""Learning rates at values worked out by hand, and the shapes they promise."""

import pytest

from lit_transformer.config import OptimConfig, Schedule
from lit_transformer.training.schedule import LearningRate, paper_rate


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 512**-0.5 / 4000**1.5),  # 1.7469e-7
        (2000, 512**-0.5 * 2000 / 4000**1.5),
        (4000, (512 * 4000) ** -0.5),  # the peak, 6.9877e-4
        (16_000, (512 * 4000) ** -0.5 / 2),  # four times the steps, half the rate
        (100_000, (512 * 100_000) ** -0.5),
    ],
)
def test_the_papers_rate_by_hand(step: int, rate: float) -> None:
    assert LearningRate(OptimConfig(), d_model=512)(step) == pytest.approx(rate, rel=1e-12)


def test_the_papers_peak_in_digits_and_its_multiplier() -> None:
    assert paper_rate(4000, 512, 4000) == pytest.approx(6.98771e-4, rel=1e-5)
    assert paper_rate(1, 512, 4000) == pytest.approx(1.74693e-7, rel=1e-5)
    doubled = LearningRate(OptimConfig(multiplier=2.0, warmup=8000), d_model=256)
    assert doubled(8000) == pytest.approx(2 * (256 * 8000) ** -0.5)


@pytest.mark.parametrize("kind", [kind for kind in Schedule if kind is not Schedule.paper])
def test_warm_up_is_linear_to_the_peak(kind: Schedule) -> None:
    rate = LearningRate(OptimConfig(schedule=kind, peak=0.002, warmup=200, steps=800), d_model=128)
    assert [rate(step) for step in (1, 50, 100, 200)] == pytest.approx([1e-5, 5e-4, 1e-3, 2e-3])
    assert max(rate(step) for step in range(1, 801)) == rate(200)


@pytest.mark.parametrize("kind", [Schedule.linear, Schedule.cosine])
def test_decay_falls_to_nearly_nothing(kind: Schedule) -> None:
    rate = LearningRate(OptimConfig(schedule=kind, peak=1.0, warmup=200, steps=800), d_model=128)
    rates = [rate(step) for step in range(200, 801)]
    assert rates == sorted(rates, reverse=True)
    assert rate(500) == pytest.approx(0.5, abs=0.002)  # half way down, both
    assert 0 < rate(800) < 0.002


def test_linear_and_cosine_by_hand() -> None:
    linear, cosine = (
        LearningRate(OptimConfig(schedule=kind, peak=1.0, warmup=0, steps=3), d_model=8)
        for kind in (Schedule.linear, Schedule.cosine)
    )
    assert [linear(step) for step in (1, 2, 3)] == pytest.approx([3 / 4, 2 / 4, 1 / 4])
    half = 0.5**0.5
    assert [cosine(step) for step in (1, 2, 3)] == pytest.approx([(1 + half) / 2, 1 / 2, (1 - half) / 2])


def test_constant_stays() -> None:
    rate = LearningRate(OptimConfig(schedule=Schedule.constant, peak=0.5, warmup=10, steps=100), d_model=8)
    assert {rate(step) for step in range(10, 101)} == {0.5}


@pytest.mark.parametrize("kind", Schedule)
def test_every_rate_is_positive_even_where_warm_up_is_all(kind: Schedule) -> None:
    rate = LearningRate(OptimConfig(schedule=kind, warmup=50, steps=20), d_model=64)
    rates = [rate(step) for step in range(1, 21)]
    assert rates == sorted(rates)
    assert rates[0] > 0
