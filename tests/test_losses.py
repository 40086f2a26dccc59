"""The hand-written losses and gradients against torch's cross_entropy, across chunk boundaries and dtypes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lit_transformer.config import FeedForward, FeedForwardConfig, OptimConfig, Smoothing
from lit_transformer.flops import Work, training_flops
from lit_transformer.training import losses
from lit_transformer.training.losses import cross_entropy, label_smoothed_cross_entropy, r_drop_loss
from lit_transformer.training.objective import build_objective, forward_passes, smoothing_over_all
from tests.small_models import BASE, VOCAB, assert_close, batch_of, build

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
        label_smoothed_cross_entropy(hidden, weight, targets, smoothing),
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
    gradients = torch.autograd.grad(label_smoothed_cross_entropy(hidden, weight, targets, smoothing), [hidden, weight])
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
    assert_close(
        label_smoothed_cross_entropy(hidden, weight, targets, 0.1), expected_nats(hidden, weight, targets, 0.1)
    )
    assert_close(cross_entropy(hidden, weight, targets).float(), expected_nats(hidden, weight, targets))


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets = inputs()
    scaled = (hidden * 1e4).detach().requires_grad_()
    nats = label_smoothed_cross_entropy(scaled, weight, targets, 0.1)
    assert_close(nats, expected_nats(scaled, weight, targets, 0.1))
    nats.backward()
    assert torch.isfinite(scaled.grad).all()


@pytest.mark.parametrize("wanted", ["hidden", "weight"])
def test_one_input_may_need_no_gradient(wanted: str) -> None:
    hidden, weight, targets = inputs()
    leaves = {"hidden": hidden, "weight": weight}
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == wanted)
    (mine,) = torch.autograd.grad(label_smoothed_cross_entropy(hidden, weight, targets, 0.1), [leaves[wanted]])
    (twin,) = torch.autograd.grad(expected_nats(hidden, weight, targets, 0.1), [leaves[wanted]])
    assert_close(mine, twin)


def test_a_shared_matrix_gathers_both_gradients() -> None:
    weight, targets = torch.randn(V, D, requires_grad=True), torch.randint(V, (N,))
    read = torch.randint(V, (N,))
    (mine,) = torch.autograd.grad(label_smoothed_cross_entropy(weight[read], weight, targets, 0.1), [weight])
    (twin,) = torch.autograd.grad(expected_nats(weight[read], weight, targets, 0.1), [weight])
    assert_close(mine, twin)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_bfloat16_is_near_and_its_gradients_are_float32(smoothing: float) -> None:
    hidden, weight, targets = inputs()
    expected = expected_nats(hidden, weight, targets, smoothing)
    twins = torch.autograd.grad(expected, [hidden, weight])
    with torch.autocast("cpu", torch.bfloat16):
        nats = label_smoothed_cross_entropy(hidden, weight, targets, smoothing)
        plain = cross_entropy(hidden, weight, targets)
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
    nats = cross_entropy(hidden, weight, targets)
    assert not nats.requires_grad
    assert_close(nats.float(), expected_nats(hidden, weight, targets))
    assert_close(nats.float(), label_smoothed_cross_entropy(hidden, weight, targets, 0.0))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("kind", Smoothing)
def test_smoothing_is_the_cross_entropy_to_its_distribution(kind: Smoothing, rate: float) -> None:
    hidden, weight, targets = inputs()
    wanted = torch.full((N, V), rate / V if kind is Smoothing.all else rate / (V - 1))
    wanted[range(N), targets] = 1 - rate + (rate / V if kind is Smoothing.all else 0.0)
    assert_close(wanted.sum(1), torch.ones(N))
    expected = -(wanted * (hidden @ weight.T).log_softmax(1)).sum()
    nats = label_smoothed_cross_entropy(hidden, weight, targets, smoothing_over_all(kind, rate, V))
    assert_close(nats, expected)
    for mine, twin in zip(
        torch.autograd.grad(nats, [hidden, weight]), torch.autograd.grad(expected, [hidden, weight]), strict=True
    ):
        assert_close(mine, twin)


@pytest.mark.parametrize("kind", Smoothing)
def test_the_objective_smooths_as_the_config_says(kind: Smoothing) -> None:
    model, batch = build(BASE), batch_of()
    nats, _ = build_objective(OptimConfig(label_smoothing=0.3, smoothing=kind), VOCAB)(model, batch)
    smoothing = {Smoothing.all: 0.3, Smoothing.others: 0.3 * VOCAB / (VOCAB - 1)}[kind]
    assert_close(nats, expected_nats(model.hidden(batch), model.output_embedding.weight, batch.tgt_out, smoothing))


def expected_pair(one: Tensor, other: Tensor, weight: Tensor, targets: Tensor, divergence: float) -> Tensor:
    """Liang et al. 2021 by torch's own losses, with smoothing 0.1, halved."""
    p, q = (one @ weight.T).log_softmax(1), (other @ weight.T).log_softmax(1)
    entropies = sum(F.cross_entropy(z, targets, label_smoothing=0.1, reduction="sum") for z in (p, q))
    both = sum(F.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((q, p), (p, q)))
    return (entropies + divergence * both / 2) / 2


@pytest.mark.parametrize("rows", [1, 4, 13, 100], ids=lambda rows: f"chunks of {rows}")
@pytest.mark.parametrize("divergence", [0.0, 1.0, 5.0])
def test_paired_nats_equals_torchs_losses(divergence: float, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", rows * V + 3)
    one, weight, targets = inputs()
    other = torch.randn(N, D, requires_grad=True)
    nats = r_drop_loss(one, other, weight, targets, 0.1, divergence)
    expected = expected_pair(one, other, weight, targets, divergence)
    assert_close(nats, expected)
    for mine, twin in zip(
        torch.autograd.grad(3.0 * nats, [one, other, weight]),
        torch.autograd.grad(3.0 * expected, [one, other, weight]),
        strict=True,
    ):
        assert_close(mine, twin)


def test_paired_nats_in_bfloat16_is_near_and_its_gradients_are_float32() -> None:
    one, weight, targets = inputs()
    other = torch.randn(N, D, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        nats = r_drop_loss(one, other, weight, targets, 0.1, 2.0)
    expected = expected_pair(one, other, weight, targets, 2.0)
    assert_close(nats, expected, 0.02)
    for mine, twin in zip(
        torch.autograd.grad(nats, [one, other, weight]),
        torch.autograd.grad(expected, [one, other, weight]),
        strict=True,
    ):
        assert mine.dtype == torch.float32
        assert (mine - twin).norm() < 0.02 * twin.norm()


def test_two_passes_that_agree_are_one() -> None:
    """No dropout, so no divergence: the loss and the gradient of one pass, whatever the weight."""
    model, batch = build(BASE), batch_of()
    gradients = []
    for r_drop in (0.0, 5.0):
        nats, auxiliary = build_objective(OptimConfig(r_drop=r_drop), VOCAB)(model, batch)
        assert auxiliary == {}
        gradients.append([nats, *torch.autograd.grad(nats, list(model.parameters()))])
    for one, two in zip(*gradients, strict=True):
        assert_close(one, two, 1e-4)


def test_r_drop_takes_two_passes_with_different_dropout() -> None:
    model, batch = build(replace(BASE, dropout=0.2)), batch_of()
    torch.manual_seed(3)
    nats, _ = build_objective(OptimConfig(r_drop=2.0), VOCAB)(model, batch)
    torch.manual_seed(3)
    one, other = model.hidden(batch), model.hidden(batch)
    assert not torch.equal(one, other)
    assert_close(nats, expected_pair(one, other, model.output_embedding.weight, batch.tgt_out, 2.0))


def test_the_balance_of_two_passes_is_their_mean() -> None:
    model, batch = build(replace(BASE, feed_forward=FeedForwardConfig(kind=FeedForward.experts))), batch_of()
    _, auxiliary = build_objective(OptimConfig(r_drop=1.0), VOCAB)(model, batch)
    model.hidden(batch)  # without dropout both passes are this one
    assert auxiliary.keys() == {"balance"}
    assert_close(auxiliary["balance"], model.auxiliary_losses()["balance"])


@pytest.mark.parametrize("r_drop", [0.0, 1.0])
def test_a_step_costs_its_passes_and_nothing_is_computed_twice(r_drop: float) -> None:
    optim, batch = OptimConfig(r_drop=r_drop), batch_of([([5, 6, 7, 8], [9, 10])] * 3)
    model = build(BASE)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        build_objective(optim, VOCAB)(model, batch).nats.backward()
    work = Work.of_lengths(BASE, batch.src_layout.lengths, batch.tgt_layout.lengths)
    assert forward_passes(optim) == (2 if r_drop else 1)
    assert counter.get_total_flops() == forward_passes(optim) * training_flops(model, work)
