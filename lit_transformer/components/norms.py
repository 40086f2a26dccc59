"""Normalisations. All but one are plain modules over the features of a token (batch norm: of all tokens in training).

Instance norm sees one feature along its sentence, and is a `TokenMixer`.
"""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import TensorCache
from lit_transformer.components.precision import upcast
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import Norm, NormConfig, Placement


class ScaleNorm(nn.Module):
    """g x / |x|, g one trained number from sqrt(D) (Nguyen and Salazar 2019); |x| is at least `eps`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.full((1,), math.sqrt(width)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        x_float = upcast(x)
        lengths = torch.linalg.vector_norm(x_float, dim=-1, keepdim=True).clamp(min=self.eps)  # (..., 1)
        return (self.gain * x_float / lengths).to(x.dtype)


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
    other sentences and later tokens count too; each device has its own. In evaluation and decoding they are the
    running averages of training (a tenth of every new batch), so that nothing depends on other tokens. In training a
    batch of a single token raises `ValueError`: one token has no variance.
    """


class InstanceNorm(TokenMixer):
    """Mean 0 and variance 1 of every feature over the whole sentence (Ulyanov et al. 2016), with gain and bias.

    The variance is the population's. A sentence of one token has none and comes out as the bias.
    """

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor, layout: Layout, cache: None = None) -> tuple[Tensor, TensorCache | None]:
        """(N, D) -> (N, D)."""
        tokens, mask = layout.pad(upcast(x)), layout.mask[..., None]  # (B, L, D) and (B, L, 1)
        count = layout.lengths[:, None, None]  # (B, 1, 1)
        mean = tokens.where(mask, 0).sum(1, keepdim=True) / count  # (B, 1, D)
        centred = (tokens - mean).where(mask, 0)
        variance = centred.square().sum(1, keepdim=True) / count  # (B, 1, D)
        return self.scaled(centred, variance, layout).to(x.dtype), None

    def scaled(self, centred: Tensor, variance: Tensor, layout: Layout) -> Tensor:
        """Divide by the deviation, then gain and bias: (B, L, D) -> (N, D)."""
        return layout.pack(centred * (variance + self.eps).rsqrt()) * self.weight + self.bias


class CausalInstanceNorm(InstanceNorm):
    """Instance norm of each token over its sentence up to and including it, for the decoder.

    A sentence's first token has no variance and comes out as the bias, whatever it is: where this norm comes last, the
    first prediction is the same for every source. The cache holds the first token, the sums of the differences to it
    and of their squares, and the number of tokens. Differences, because a difference of large sums would lose the
    variance in rounding; and since the first of n differences is 0, the mean of the squares exceeds the square of the
    mean by at least 1/n of itself, so that no rounding makes the variance negative.
    """

    def forward(self, x: Tensor, layout: Layout, cache: TensorCache | None = None) -> tuple[Tensor, TensorCache]:
        """(N, D) -> (N, D) and the sums of each row."""
        tokens = layout.pad(upcast(x))  # (B, L, D)
        first, sums, squares, count = _empty_sums(tokens) if cache is None else cache.tensors
        shifted = tokens - first  # (B, L, D)
        sums = sums + shifted.cumsum(1)  # (B, L, D)
        squares = squares + shifted.square().cumsum(1)  # (B, L, D)
        counts = count + torch.arange(1, layout.max_seqlen + 1, device=x.device)[:, None]  # (B, L, 1)
        mean = sums / counts
        variance = squares / counts - mean.square()
        new = TensorCache((first, sums[:, -1:], squares[:, -1:], counts[:, -1:]))
        return self.scaled(shifted - mean, variance, layout).to(x.dtype), new


def _empty_sums(tokens: Tensor) -> tuple[Tensor, ...]:
    """Return the cache before the first token: (B, 1, D) three times and (B, 1, 1)."""
    first = tokens[:, :1]
    return first, torch.zeros_like(first), torch.zeros_like(first), torch.zeros_like(first[..., :1])


def build_instance_norm(config: NormConfig, d_model: int, causal: bool) -> InstanceNorm:
    """Build an instance norm of (N, D). `causal`: in the decoder, where no token may see a later one."""
    return CausalInstanceNorm(d_model, config.eps) if causal else InstanceNorm(d_model, config.eps)


def build_inner_norm(config: NormConfig, width: int) -> nn.Module:
    """Build the norm before the second matrix of a feed-forward network, (N, F): NormFormer's, else the identity."""
    return build_norm(config, width) if config.placement is Placement.norm_former else nn.Identity()


def build_norm(config: NormConfig, width: int) -> nn.Module:
    """Build a norm over the last dimension of (N, width), of any kind but `instance`."""
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
            raise AssertionError("instance norm needs sentences: build_instance_norm")
        case _:
            assert_never(config.kind)
