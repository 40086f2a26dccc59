"""The hand-written loss and gradient against torch's cross_entropy, across chunk boundaries and dtypes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_transformer.training import losses
from lit_transformer.training.losses import plain_nats, smoothed_nats
from tests.small_models import assert_close

N, D, V = 13, 6, 11
SMOOTHINGS = [0.0, 0.1, 0.5]


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    hidden, weight = torch.randn(N, D, dtype=dtype), torch.randn(V, D, dtype=dtype)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(V, (N,))


def expected_nats(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(hidden @ weight.T, targets, label_smoothing=smoothing, reduction="sum")


@pytest.mark.parametrize("rows", [1, 4, 13, 100], ids=lambda rows: f"chunks of {rows}")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_smoothed_nats_equals_cross_entropy(smoothing: float, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", rows * V + 3)
    hidden, weight, targets = inputs()
    nats, expected = (
        smoothed_nats(hidden, weight, targets, smoothing),
        expected_nats(hidden, weight, targets, smoothing),
    )
    assert_close(nats, expected)
    for mine, twin in zip(
        torch.autograd.grad(3.0 * nats, [hidden, weight]),
        torch.autograd.grad(3.0 * expected, [hidden, weight]),
        strict=True,
    ):
        assert_close(mine, twin)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_gradient_equals_finite_differences(smoothing: float) -> None:
    hidden, weight, targets = inputs(torch.float64)
    gradients = torch.autograd.grad(smoothed_nats(hidden, weight, targets, smoothing), [hidden, weight])
    step = 1e-5
    with torch.no_grad():
        for leaf, gradient in zip([hidden, weight], gradients, strict=True):
            for place in [(0, 0), (3, 2), (10, 5)]:
                around = []
                for sign in (1, -1):
                    leaf[place] += sign * step
                    around.append(expected_nats(hidden, weight, targets, smoothing))
                    leaf[place] -= sign * step
                assert_close((around[0] - around[1]) / (2 * step), gradient[place], 1e-4)  # the loss itself is float32


def test_a_chunk_is_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", 1)
    hidden, weight, targets = inputs()
    assert_close(smoothed_nats(hidden, weight, targets, 0.1), expected_nats(hidden, weight, targets, 0.1))
    assert_close(plain_nats(hidden, weight, targets).float(), expected_nats(hidden, weight, targets))


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets = inputs()
    scaled = (hidden * 1e4).detach().requires_grad_()
    nats = smoothed_nats(scaled, weight, targets, 0.1)
    assert_close(nats, expected_nats(scaled, weight, targets, 0.1))
    nats.backward()
    assert torch.isfinite(scaled.grad).all()


@pytest.mark.parametrize("wanted", ["hidden", "weight"])
def test_one_input_may_need_no_gradient(wanted: str) -> None:
    hidden, weight, targets = inputs()
    leaves = {"hidden": hidden, "weight": weight}
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == wanted)
    (mine,) = torch.autograd.grad(smoothed_nats(hidden, weight, targets, 0.1), [leaves[wanted]])
    (twin,) = torch.autograd.grad(expected_nats(hidden, weight, targets, 0.1), [leaves[wanted]])
    assert_close(mine, twin)


def test_a_shared_matrix_gathers_both_gradients() -> None:
    weight, targets = torch.randn(V, D, requires_grad=True), torch.randint(V, (N,))
    read = torch.randint(V, (N,))
    (mine,) = torch.autograd.grad(smoothed_nats(weight[read], weight, targets, 0.1), [weight])
    (twin,) = torch.autograd.grad(expected_nats(weight[read], weight, targets, 0.1), [weight])
    assert_close(mine, twin)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_bfloat16_is_near_and_its_gradients_are_float32(smoothing: float) -> None:
    hidden, weight, targets = inputs()
    expected = expected_nats(hidden, weight, targets, smoothing)
    twins = torch.autograd.grad(expected, [hidden, weight])
    with torch.autocast("cpu", torch.bfloat16):
        nats = smoothed_nats(hidden, weight, targets, smoothing)
        plain = plain_nats(hidden, weight, targets)
    assert nats.dtype == torch.float32
    assert_close(nats, expected, 0.01)
    assert_close(plain.float(), expected_nats(hidden, weight, targets), 0.01)
    for mine, twin in zip(torch.autograd.grad(nats, [hidden, weight]), twins, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - twin).norm() < 0.01 * twin.norm()


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_plain_nats_equals_cross_entropy(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", rows * V)
    hidden, weight, targets = inputs()
    nats = plain_nats(hidden, weight, targets)
    assert not nats.requires_grad
    assert_close(nats.float(), expected_nats(hidden, weight, targets))
    assert_close(nats.float(), smoothed_nats(hidden, weight, targets, 0.0))
