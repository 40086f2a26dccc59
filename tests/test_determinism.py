"""The rows of docs/determinism.md that no other test measures: what a training may run under and stay equal to the bit.

What changes the order of additions changes last bits; how far that leads is asserted too, as a bound.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.killing import write_project
from tests.small_cell import command, environment

CELL = ("--study", "killed", "--variant", "base", "--seed", "3")
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""A processor without AVX-512, as far as libraries let one play it."""
FLOAT_NOISE = 1e-3
"""How far the validation loss of a short training may move, in nats, where floats are added in another order."""
ROUNDED = 0.05
"""The same where products round their factors to bfloat16."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A training on one thread, on all the instructions of this processor."""
    return _trained(tmp_path_factory.mktemp("plain"))


def _trained(root: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """Train in a new project; return the newest checkpoint."""
    write_project(root)
    own = {**environment(), "WANDB_MODE": "disabled", **variables}
    subprocess.run(command(root, "train", *CELL, *arguments), cwd=root, env=own, check=True, capture_output=True)
    (path,) = root.glob("runs/killed/base*/seed3/last.ckpt")
    return dict(torch.load(path, weights_only=True))


def _weights(saved: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in saved["state_dict"].items() if isinstance(weight, torch.Tensor)}


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    assert _weights(one).keys() == _weights(other).keys()
    return all(torch.equal(weight, _weights(other)[name]) for name, weight in _weights(one).items())


def _loss(saved: dict[str, Any]) -> float:
    return float(saved["callbacks"]["Curve"]["rows"][-1]["valid_loss"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ({}, ()),
        ({"PYTHONHASHSEED": "7", "LIT_PLAIN_ALLOCATOR": "1", "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}, ()),
        ({"WANDB_MODE": "offline"}, ("trainer.checkpoint_every=7",)),
        ({"MKL_NUM_THREADS": "1"}, ()),
    ],
    ids=["again", "environment", "tracking and checkpoints", "threads of MKL"],
)
def test_what_changes_no_bit(
    plain: dict[str, Any], tmp_path: Path, variables: dict[str, str], arguments: tuple[str, ...]
) -> None:
    other = _trained(tmp_path, *arguments, **variables)
    assert _equal(plain, other)
    assert _loss(plain) == _loss(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "arguments", "bound"),
    [
        ({"OMP_NUM_THREADS": "2"}, (), FLOAT_NOISE),
        ({"ATEN_CPU_CAPABILITY": "default"}, (), FLOAT_NOISE),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, (), FLOAT_NOISE),
        (AVX2, (), FLOAT_NOISE),
        ({}, ("trainer.matmul=medium",), ROUNDED),
        ({}, ("trainer.precision=bfloat16",), ROUNDED),
    ],
    ids=["2 threads", "no vectors", "AVX2", "AVX2 in MKL and oneDNN", "matmul medium", "bfloat16"],
)  # fmt: skip
def test_what_may_change_the_last_bits(
    plain: dict[str, Any], tmp_path: Path, variables: dict[str, str], arguments: tuple[str, ...], bound: float
) -> None:
    other = _trained(tmp_path, *arguments, **variables)
    largest = max(float((weight - _weights(other)[name]).abs().max()) for name, weight in _weights(plain).items())
    moved = abs(_loss(plain) - _loss(other))
    print(f"equal: {_equal(plain, other)}, weights differ by {largest:.1e}, loss by {moved:.1e}")
    assert moved < bound
