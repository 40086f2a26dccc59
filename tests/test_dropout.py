"""Dropout from 16-bit levels: the law of torch's dropout, one mask for both directions, and only in training."""

import pytest
import torch

from lit_transformer.components.cpu_kernels import DROPOUT_LEVELS
from lit_transformer.components.dropout import Dropout
from tests.small_models import assert_close


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_rate_scale_and_expectation(p: float) -> None:
    x = torch.ones(300, 1000)
    y = Dropout(p)(x)
    rate = round(p * DROPOUT_LEVELS) / DROPOUT_LEVELS
    assert torch.equal(y.unique(), torch.tensor([0.0, 1 / (1 - rate)]))
    deviation = (p * (1 - p) / y.numel()) ** 0.5
    assert abs((y == 0).double().mean().item() - rate) < 4 * deviation
    assert abs(y.double().mean().item() - 1) < 4 * deviation / (1 - p)


def test_every_place_of_a_word_and_every_row_is_dropped_alike() -> None:
    zeros = (Dropout(0.3)(torch.ones(4000, 4)) == 0).double()
    deviation = (0.3 * 0.7 / 4000) ** 0.5
    assert (zeros.mean(0) - 0.3).abs().max() < 4 * deviation
    together = zeros.T.corrcoef() - torch.eye(4)  # four elements come of one 64-bit number; they are independent
    assert together.abs().max() < 4 / 4000**0.5


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    y = Dropout(0.5)(torch.ones(shape))
    assert y.shape == shape
    assert set(y.unique().tolist()) <= {0.0, 2.0}


def test_a_view_that_is_not_contiguous() -> None:
    x = torch.randn(6, 5).T
    y = Dropout(0.5)(x)
    assert_close(y[y != 0], 2 * x[y != 0])


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.0, False), (0.4, False)])
def test_identity_without_a_rate_or_out_of_training(p: float, training: bool) -> None:
    x, before = torch.randn(5, 3), torch.get_rng_state()
    assert Dropout(p).train(training)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_the_mask() -> None:
    x, masks = torch.ones(40, 40), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        masks.append(Dropout(0.5)(x))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_two_calls_draw_two_masks() -> None:
    dropout, x = Dropout(0.5), torch.ones(40, 40)
    assert not torch.equal(dropout(x), dropout(x))


def test_backward_uses_the_mask_of_forward() -> None:
    x = torch.randn(20, 20, requires_grad=True)
    y = Dropout(0.3)(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    kept = 1 / (1 - round(0.3 * DROPOUT_LEVELS) / DROPOUT_LEVELS)
    assert_close(x.grad, torch.where(y == 0, 0, upstream * kept))


def test_bfloat16_stays_bfloat16() -> None:
    x = torch.ones(100, 100, dtype=torch.bfloat16, requires_grad=True)
    y = Dropout(0.1)(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert_close(y.float().max(), torch.tensor(1 / 0.9), 2**-8)


def test_a_rate_near_one_drops_nearly_everything() -> None:
    y = Dropout(0.9999)(torch.ones(1000))
    assert torch.isfinite(y).all()
    assert (y == 0).sum() >= 990


def test_a_rate_that_rounds_to_one_still_keeps_a_level() -> None:
    dropout = Dropout(0.999999)
    y = dropout(torch.ones(1 << 18))
    assert dropout.level == DROPOUT_LEVELS - 1
    assert set(y.unique().tolist()) <= {0.0, float(DROPOUT_LEVELS)}
    assert torch.isfinite(y).all()
