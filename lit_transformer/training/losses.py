"""Cross-entropies of packed predictions: label-smoothed for training, of one pass or two; plain for perplexity.

All take the decoder's output and the output embedding, and never hold the whole logits (N, V): rows are processed in
chunks that fit a cache (on a GPU larger ones), and the training losses compute their gradients in the same pass.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lit_transformer.components.precision import upcast

CHUNK_ELEMENTS = 1 << 21
"""Logits per chunk, 8 MB of float32."""
GPU_CHUNK_ELEMENTS = 1 << 26
"""The same on a GPU, 256 MB: there small chunks cost more to launch than to compute."""


def label_smoothed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the label-smoothed cross-entropy in nats, summed over the tokens, float32 or wider.

    hidden (N, D), weight (V, D), targets (N,) -> scalar. The target distribution gives 1 - smoothing to the right
    token and spreads `smoothing` over all V, the right one included (Szegedy et al. 2016; Vaswani et al. 2017, 5.4).
    """
    nats: Tensor = _LabelSmoothedCrossEntropy.apply(hidden, weight, targets, smoothing)
    return nats


def r_drop_loss(
    first: Tensor, second: Tensor, weight: Tensor, targets: Tensor, smoothing: float, divergence: float
) -> Tensor:
    """Return the loss of R-Drop in nats, summed over the tokens, float32 or wider (Liang et al. 2021, eq. 4, halved).

    first and second (N, D) are the outputs of two passes with different dropout, P and Q their distributions: the mean
    of both label-smoothed cross-entropies, plus divergence / 2 times the mean of KL(P || Q) and KL(Q || P). Halved, so
    that without the divergence it has the scale of one pass.
    """
    nats: Tensor = _RDropLoss.apply(first, second, weight, targets, smoothing, divergence)
    return nats


@torch.no_grad()
def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy in nats, summed over the tokens, float64; exp of its mean is the perplexity."""
    hidden, weight = _matmul_dtype(hidden, weight)
    parts = [
        torch.nn.functional.cross_entropy(upcast(h @ weight.T), y, reduction="sum").double()
        for h, y in zip(*(tensor.split(_chunk_rows(weight)) for tensor in (hidden, targets)), strict=True)
    ]
    return torch.stack(parts).sum()


def perplexity(nats: float) -> float:
    """Return e to the nats per token, capped so that a very confident and very wrong model does not overflow."""
    return math.exp(min(nats, 700.0))


class _LabelSmoothedCrossEntropy(torch.autograd.Function):
    """With z the logits, p their softmax and s the smoothing: sum of log sum exp z - (1 - s) z_y - s mean z.

    Its gradient by z is p - (1 - s) onehot(y) - s / V. The last term is the same for every entry and is left out of the
    products: it contributes -s / V times the column sums of W to the gradient by hidden, and likewise for W.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """(N, D), (V, D), (N,) -> scalar, nats summed over the tokens; computes the gradients in the same pass."""
        h_all, w = _matmul_dtype(hidden, weight)
        vocab = w.shape[0]
        needs_grad = any(ctx.needs_input_grad)
        grad_hidden = torch.empty_like(h_all) if needs_grad else None
        grad_weight = upcast(torch.zeros_like(weight)) if needs_grad else None
        total = upcast(hidden.new_zeros(()))
        size = _chunk_rows(w)
        for start in range(0, len(targets), size):
            span = slice(start, start + size)
            h, y = h_all[span], targets[span, None]
            z = upcast(h @ w.T)  # (C, V)
            z -= z.amax(1, keepdim=True)
            right, spread = z.gather(1, y), z.mean(1) if smoothing else z.new_zeros(())
            sums = z.exp_().sum(1, keepdim=True)
            total += (sums.log() - (1 - smoothing) * right).sum() - smoothing * spread.sum()
            if grad_hidden is None or grad_weight is None:
                continue
            z /= sums
            z.scatter_add_(1, y, z.new_full((), smoothing - 1.0).expand_as(y))
            g = z.to(h.dtype)
            grad_hidden[span] = g @ w
            grad_weight += upcast(g.T @ h)
        if grad_hidden is not None and grad_weight is not None:
            grad_hidden -= (smoothing / vocab) * w.sum(0)
            grad_weight -= (smoothing / vocab) * upcast(h_all).sum(0)
            ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * upstream, grad_weight * upstream, None, None


class _RDropLoss(torch.autograd.Function):
    """Autograd differentiates one chunk at a time, so that the logits of only one chunk are held."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, weight: Tensor, targets: Tensor, smoothing: float, divergence: float
    ) -> Tensor:
        """(N, D) twice -> scalar, nats: (CE_1 + CE_2) / 2 + divergence / 4 (KL(P || Q) + KL(Q || P))."""
        h1, w = _matmul_dtype(first, weight)
        h2, _ = _matmul_dtype(second, weight)
        grad_first, grad_second, grad_weight = (
            torch.empty_like(h1),
            torch.empty_like(h2),
            upcast(torch.zeros_like(weight)),
        )
        total = upcast(first.new_zeros(()))
        size = _chunk_rows(w)
        for start in range(0, len(targets), size):
            span = slice(start, start + size)
            p, q, matrix = (tensor.detach().requires_grad_() for tensor in (h1[span], h2[span], w))
            with torch.enable_grad():
                nats = _r_drop(p, q, matrix, targets[span, None], smoothing, divergence)
            grad_first[span], grad_second[span], grad_chunk = torch.autograd.grad(nats, [p, q, matrix])
            grad_weight += grad_chunk
            total += nats.detach()
        ctx.save_for_backward(grad_first.to(first.dtype), grad_second.to(second.dtype), grad_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *(gradient * upstream for gradient in ctx.saved_tensors), None, None, None


def _r_drop(h1: Tensor, h2: Tensor, weight: Tensor, targets: Tensor, smoothing: float, divergence: float) -> Tensor:
    """Return the loss of one chunk: (C, D) twice, (V, D) and (C, 1) -> scalar."""
    p, q = (upcast(h @ weight.T).log_softmax(1) for h in (h1, h2))  # (C, V) log-probabilities
    both = p + q
    nats = -(1 - smoothing) * both.gather(1, targets).sum() - smoothing * both.mean(1).sum()
    kl = ((p.exp() - q.exp()) * (p - q)).sum()  # KL(P || Q) + KL(Q || P)
    return nats / 2 + divergence / 4 * kl


def _matmul_dtype(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cast as autocast would for a matrix product, where it is on."""
    device = hidden.device.type
    if not torch.is_autocast_enabled(device):
        return hidden, weight
    dtype = torch.get_autocast_dtype(device)
    return hidden.to(dtype), weight.to(dtype)


def _chunk_rows(weight: Tensor) -> int:
    elements = CHUNK_ELEMENTS if weight.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, elements // weight.shape[0])
