"""Operations a second: of named GPUs, of this machine, and time x rate."""

import pytest
import torch

from experiments.common.device_rates import GPUS, Rate, clock, gpu_rate, measured_rate, rate_of, time_times_rate
from lit_transformer.errors import UserError


def test_time_times_rate_is_the_papers_column() -> None:
    """12 hours on 8 P100 at 9.5 TFLOP/s are the 3.3e18 FLOPs of Table 2's base model."""
    assert time_times_rate(12 * 3600 * 8, gpu_rate("P100")) == pytest.approx(3.3e18, rel=0.01)
    assert time_times_rate(2.0, Rate(5.0, "made up")) == 10.0


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
    ],
)
def test_a_record_names_its_gpu(device: str, name: str) -> None:
    assert rate_of({"device": device, "precision": "bfloat16"}) == gpu_rate(name)


def test_a_records_own_measurement_comes_first() -> None:
    found = rate_of({"device": "NVIDIA H200", "precision": "bfloat16", "matrix_flops_per_second": 7e14})
    assert found == Rate(7e14, "measured matrix product, bfloat16")


def test_a_record_without_either_has_no_rate() -> None:
    assert rate_of({"device": "cpu"}) is None
    assert rate_of({"device": "NVIDIA GeForce RTX 2080"}) is None
    assert rate_of({}) is None


def test_an_unknown_gpu_is_one_line() -> None:
    with pytest.raises(UserError, match="no GPU 'H20'; did you mean 'H200'") as caught:
        gpu_rate("H20")
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in GPUS)


def test_a_measured_rate_is_that_of_a_product() -> None:
    """A product of 1024 x 1024 matrices takes 2 x 1024^3 operations; timed here by itself, it is about as fast."""
    device = torch.device("cpu")
    found = measured_rate(device, "float32", min_seconds=0.05)
    one, now = torch.ones(1024, 1024), clock(device)
    best = float("inf")
    for _ in range(5):
        started = now()
        torch.mm(one, one)
        best = min(best, now() - started)
    assert 0.1 < found.flops * best / (2 * 1024**3) < 10  # no more than a wrong unit or dtype is told apart here
    assert found.origin == "measured matrix product, float32"
