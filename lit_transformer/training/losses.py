"""The cross-entropy of packed predictions: smoothed for training, by itself or of two passes; plain for perplexity.

All take the decoder's last vectors and the softmax matrix and never hold the whole (N, V) logits: rows go through
in chunks that fit a cache, and the losses of training compute their gradient on the way.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 1 << 21
"""Logits held at once, 8 MB of float32."""


def smoothed_nats(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the summed label-smoothed cross-entropy in nats, float32.

    hidden (N, D), weight (V, D), targets (N,) -> scalar. The target distribution gives 1 - smoothing to the right
    token and spreads smoothing over all V, the right one included (Szegedy et al. 2016; Vaswani et al. 2017, 5.4).
    """
    nats: Tensor = _SmoothedNats.apply(hidden, weight, targets, smoothing)
    return nats


def paired_nats(
    one: Tensor, other: Tensor, weight: Tensor, targets: Tensor, smoothing: float, divergence: float
) -> Tensor:
    """Return the nats of R-Drop, summed over the tokens, float32 (Liang et al. 2021, eq. 4, halved).

    one and other (N, D) are of two passes with different dropout, P and Q their distributions: the mean of both
    label-smoothed cross-entropies, and divergence / 2 times the mean of KL(P || Q) and KL(Q || P). Halved, so that
    without a divergence it is the loss of one pass.
    """
    nats: Tensor = _PairedNats.apply(one, other, weight, targets, smoothing, divergence)
    return nats


@torch.no_grad()
def plain_nats(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats, whose exponential per token is the perplexity: shapes as above."""
    hidden, weight = _products_dtype(hidden, weight)
    parts = [
        torch.nn.functional.cross_entropy((h @ weight.T).float(), y, reduction="sum").double()
        for h, y in zip(*(tensor.split(_chunk_rows(weight)) for tensor in (hidden, targets)), strict=True)
    ]
    return torch.stack(parts).sum()


class _SmoothedNats(torch.autograd.Function):
    """With z the logits, p their softmax and s the smoothing: sum of log sum exp z - (1 - s) z_y - s mean z.

    Its gradient to z is p - (1 - s) onehot(y) - s / V. The last term is the same for every entry, so that it is
    taken out of the products: (grad z) W loses s / V times the column sums of W, and likewise for W's gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        h_all, w = _products_dtype(hidden, weight)
        vocab = w.shape[0]
        wanted = any(ctx.needs_input_grad)
        to_hidden = torch.empty_like(h_all) if wanted else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted else None
        total = hidden.new_zeros((), dtype=torch.float32)
        size = _chunk_rows(w)
        for start in range(0, len(targets), size):
            span = slice(start, start + size)
            h, y = h_all[span], targets[span, None]
            z = (h @ w.T).float()  # (C, V)
            z -= z.amax(1, keepdim=True)
            right, spread = z.gather(1, y), z.mean(1) if smoothing else z.new_zeros(())
            sums = z.exp_().sum(1, keepdim=True)
            total += (sums.log() - (1 - smoothing) * right).sum() - smoothing * spread.sum()
            if to_hidden is None or to_weight is None:
                continue
            z /= sums
            z.scatter_add_(1, y, z.new_full((), smoothing - 1.0).expand_as(y))
            g = z.to(h.dtype)
            to_hidden[span] = g @ w
            to_weight += (g.T @ h).float()
        if to_hidden is not None and to_weight is not None:
            to_hidden -= (smoothing / vocab) * w.sum(0)
            to_weight -= (smoothing / vocab) * h_all.float().sum(0)
            ctx.save_for_backward(to_hidden.to(hidden.dtype), to_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * upstream, to_weight * upstream, None, None


class _PairedNats(torch.autograd.Function):
    """Autograd differentiates one chunk at a time, so that its products are taken once and its logits forgotten."""

    @staticmethod
    def forward(
        ctx: Any, one: Tensor, other: Tensor, weight: Tensor, targets: Tensor, smoothing: float, divergence: float
    ) -> Tensor:
        h1, w = _products_dtype(one, weight)
        h2, _ = _products_dtype(other, weight)
        to_one, to_other, to_weight = torch.empty_like(h1), torch.empty_like(h2), torch.zeros_like(weight).float()
        total = one.new_zeros((), dtype=torch.float32)
        size = _chunk_rows(w)
        for start in range(0, len(targets), size):
            span = slice(start, start + size)
            p, q, matrix = (tensor.detach().requires_grad_() for tensor in (h1[span], h2[span], w))
            with torch.enable_grad():
                nats = _pair(p, q, matrix, targets[span, None], smoothing, divergence)
            to_one[span], to_other[span], to_w = torch.autograd.grad(nats, [p, q, matrix])
            to_weight += to_w
            total += nats.detach()
        ctx.save_for_backward(to_one.to(one.dtype), to_other.to(other.dtype), to_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *(gradient * upstream for gradient in ctx.saved_tensors), None, None, None


def _pair(one: Tensor, other: Tensor, weight: Tensor, right: Tensor, smoothing: float, divergence: float) -> Tensor:
    """Return the nats of one chunk: (C, D) twice, (V, D) and (C, 1) -> scalar."""
    p, q = ((h @ weight.T).float().log_softmax(1) for h in (one, other))  # (C, V) log-probabilities
    both = p + q
    nats = -(1 - smoothing) * both.gather(1, right).sum() - smoothing * both.mean(1).sum()
    apart = ((p.exp() - q.exp()) * (p - q)).sum()  # KL(P || Q) + KL(Q || P)
    return nats / 2 + divergence / 4 * apart


def _products_dtype(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cast as autocast would for a matrix product, where it is on."""
    device = hidden.device.type
    if not torch.is_autocast_enabled(device):
        return hidden, weight
    dtype = torch.get_autocast_dtype(device)
    return hidden.to(dtype), weight.to(dtype)


def _chunk_rows(weight: Tensor) -> int:
    return max(1, CHUNK_ELEMENTS // weight.shape[0])
