"""Normalisations: parts that stand before, right behind or after a sub-layer's own.

Most see one token's features at a time. Batch norm sees all tokens in training and none but its token in evaluation;
instance norm sees one feature along its sentence, and so has a past.
"""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.part import Part, PerToken, Rows
from lit_transformer.components.precision import widened
from lit_transformer.config import Norm, NormConfig, Placement


class ScaleNorm(nn.Module):
    """g x / |x|, g one trained number from sqrt(D) (Nguyen and Salazar 2019); |x| is at least `eps`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.full((1,), math.sqrt(width)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        wide = widened(x)
        lengths = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp(min=self.eps)  # (..., 1)
        return (self.gain * wide / lengths).to(x.dtype)


class DynamicTanh(nn.Module):
    """gain * tanh(alpha x) + bias, alpha one trained number from 0.5 (Zhu et al. 2025, section 4): no statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return ((self.alpha * x).tanh() * self.weight + self.bias).to(x.dtype)


class BatchNorm(nn.BatchNorm1d):
    """Mean 0 and variance 1 of every feature over the N tokens of the batch, all real (Ioffe and Szegedy 2015).

    nn.BatchNorm1d on (N, D) is exactly that. In training the statistics are those of the batch, so in the decoder
    later tokens have a say, and other sentences; each device has its own. In evaluation and decoding they are the
    running averages of training (a tenth of every new batch), so that nothing depends on other tokens. Where training
    meets a batch of a single token, torch raises `ValueError`: one token has no variance.
    """


class InstanceNorm(Part):
    """Mean 0 and variance 1 of every feature over the whole sentence (Ulyanov et al. 2016), with gain and bias.

    The variance is the population's. A sentence of one token has none and comes out as the bias.
    """

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor, layout: Layout, past: None = None) -> tuple[Tensor, Rows | None]:
        """(N, D) -> (N, D)."""
        tokens, real = layout.pad(widened(x)), layout.mask[..., None]  # (B, L, D) and (B, L, 1)
        count = layout.lengths[:, None, None]  # (B, 1, 1)
        mean = tokens.where(real, 0).sum(1, keepdim=True) / count  # (B, 1, D)
        centred = (tokens - mean).where(real, 0)
        variance = centred.square().sum(1, keepdim=True) / count  # (B, 1, D)
        return self.scaled(centred, variance, layout).to(x.dtype), None

    def scaled(self, centred: Tensor, variance: Tensor, layout: Layout) -> Tensor:
        """Divide by the deviation, then gain and bias: (B, L, D) -> (N, D)."""
        return layout.pack(centred * (variance + self.eps).rsqrt()) * self.weight + self.bias


class CausalInstanceNorm(InstanceNorm):
    """The same over the sentence up to and with each token, so that no token sees a later one; for the decoder.

    A sentence's first token is alone and comes out as the bias, whatever it is: where this norm stands last, the first
    prediction is the same for every source. The past is what the sums so far need: the first token, the sums of the
    distances to it and of their squares, and the number of tokens. Distances, since a difference of large sums would
    lose the variance in rounding; and as the first of n distances is 0, the mean of the squares exceeds the square of
    the mean by at least an n-th of itself, so that no rounding makes the variance negative.
    """

    def forward(self, x: Tensor, layout: Layout, past: Rows | None = None) -> tuple[Tensor, Rows]:
        """(N, D) -> (N, D) and the sums of each row."""
        tokens = layout.pad(widened(x))  # (B, L, D)
        first, total, squares, count = _nothing_so_far(tokens) if past is None else past.tensors
        moved = tokens - first  # (B, L, D)
        totals = total + moved.cumsum(1)  # (B, L, D)
        squared = squares + moved.square().cumsum(1)  # (B, L, D)
        counts = count + torch.arange(1, layout.longest + 1, device=x.device)[:, None]  # (B, L, 1)
        mean = totals / counts
        variance = squared / counts - mean.square()
        new = Rows((first, totals[:, -1:], squared[:, -1:], counts[:, -1:]))
        return self.scaled(moved - mean, variance, layout).to(x.dtype), new


def _nothing_so_far(tokens: Tensor) -> tuple[Tensor, ...]:
    """Return the sums before the first token: (B, 1, D) three times and (B, 1, 1)."""
    first = tokens[:, :1]
    return first, torch.zeros_like(first), torch.zeros_like(first), torch.zeros_like(first[..., :1])


def build_norm(config: NormConfig, d_model: int, causal: bool) -> Part:
    """Build one normalisation of (N, D). `causal`: it stands in the decoder and may not look at later tokens."""
    if config.kind is Norm.instance:
        return CausalInstanceNorm(d_model, config.eps) if causal else InstanceNorm(d_model, config.eps)
    return PerToken(_of_tokens(config, d_model))


def build_inner_norm(config: NormConfig, width: int) -> nn.Module:
    """Build what stands before the second matrix of a feed-forward network, (N, F): NormFormer's norm, or nothing."""
    return _of_tokens(config, width) if config.placement is Placement.norm_former else nn.Identity()


def _of_tokens(config: NormConfig, width: int) -> nn.Module:
    match config.kind:
        case Norm.layer:
            return nn.LayerNorm(width, eps=config.eps)
        case Norm.rms:
            return nn.RMSNorm(width, eps=config.eps)
        case Norm.batch:
            return BatchNorm(width, eps=config.eps)
        case Norm.group:
            return nn.GroupNorm(config.groups, width, eps=config.eps)
        case Norm.scale:
            return ScaleNorm(width, config.eps)
        case Norm.dyt:
            return DynamicTanh(width)
        case Norm.none:
            return nn.Identity()
        case Norm.instance:
            raise AssertionError("instance norm needs a sentence; the config admits none here")
        case _:
            assert_never(config.kind)
