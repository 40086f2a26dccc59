"""Attention kernels: from padded queries, keys and values to the weighted sums of the values.

A kernel takes queries (B, H, Q, E_k), keys (B, G, K, E_k) and values (B, G, K, E_v), where G heads of keys are shared
by H heads of queries, an `AttentionMask` and the positions' score bias, and returns (B, H, Q, E_v). `weights` computes
the attention weights step by step.
"""

from typing import NamedTuple, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.components.cpu_kernels import matmul, softmax
from lit_transformer.components.dropout import Dropout
from lit_transformer.components.precision import upcast
from lit_transformer.config import AttentionConfig, Mask, Scale, Score


class AttentionMask(NamedTuple):
    """Which keys a query may attend to.

    visible: bool, broadcast to (B, H, Q, K), True where it may, None for all; causal: no later keys. key_padding_mask
    (B, 1, 1, K): True at padding, None where there is none; only `ZeroScoreFill` reads it.
    """

    visible: Tensor | None = None
    causal: bool = False
    key_padding_mask: Tensor | None = None

    def dense(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """Return `visible` and `causal` as one mask, None where all is visible; the last query is at the last key."""
        if not self.causal:
            return self.visible
        q, k = queries.shape[2], keys.shape[2]
        causal = torch.ones(q, k, dtype=torch.bool, device=keys.device).tril(k - q)  # (Q, K)
        return causal if self.visible is None else causal & self.visible


class PerHeadFactor(nn.Module):
    """Multiplies (B, H, ...) by a trained factor per head (H, 1, 1) (Henry et al. 2020, who train one for all)."""

    def __init__(self, heads: int, start: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((heads, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class PlainKernel(nn.Module):
    """softmax(scale * Q K^T + bias) V for every head (section 3.2.1, eq. 1), step by step, with any score and mask."""

    def __init__(
        self,
        score: nn.Module,
        scale: float,
        learned_scale: nn.Module,
        talking: tuple[nn.Module, nn.Module],
        masked_fill: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.score = score
        self.scale = scale
        self.learned_scale = learned_scale
        self.talk_before, self.talk_after = talking
        self.masked_fill = masked_fill
        self.dropout = dropout
        self.drop = Dropout(dropout)

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: AttentionMask, bias: Tensor | None
    ) -> Tensor:
        weights = self.weights(queries, keys, mask, bias)
        return matmul(self.drop(weights).to(values.dtype), repeat_kv(values, queries))  # (B, H, Q, E_v)

    def weights(self, queries: Tensor, keys: Tensor, mask: AttentionMask, bias: Tensor | None) -> Tensor:
        """Return the attention weights (B, H, Q, K). With talking heads a row need not sum to 1."""
        weights: Tensor = self.talk_after(softmax(self.scores(queries, keys, mask, bias)))
        return weights

    def scores(self, queries: Tensor, keys: Tensor, mask: AttentionMask, bias: Tensor | None) -> Tensor:
        """Return the input of the softmax, (B, H, Q, K), at least float32: bfloat16 is too coarse for it."""
        scores = self.learned_scale(self.score(queries, repeat_kv(keys, queries))) * self.scale  # (B, H, Q, K)
        scores = self.talk_before(scores if bias is None else scores + bias)
        masked: Tensor = self.masked_fill(upcast(scores), mask, mask.dense(queries, keys))
        return masked

    def pair_cost(self, heads: int, d_k: int, d_v: int) -> int:
        """Return the operations per pair of a query and a key."""
        talking = sum(2 * talk.mix.numel() for talk in (self.talk_before, self.talk_after) if isinstance(talk, Talk))
        return 2 * heads * (d_k + d_v) + talking


class FusedKernel(PlainKernel):
    """The same by torch's fused kernel, for dot products, masks of minus infinity and heads that do not talk.

    On a CPU it computes step by step: at the lengths of sentences torch's blocked kernel takes several times as long,
    and its plain one also scales the keys and looks for rows without keys, of which sentences have none.
    """

    fuse_on_cpu = False
    """Set it to use the fused kernel on a CPU too."""

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: AttentionMask, bias: Tensor | None
    ) -> Tensor:
        if queries.device.type == "cpu" and not self.fuse_on_cpu:
            return super().forward(queries, keys, values, mask, bias)
        return self.fused(queries, keys, values, mask, bias)

    def fused(self, queries: Tensor, keys: Tensor, values: Tensor, mask: AttentionMask, bias: Tensor | None) -> Tensor:
        """Compute `forward` by the fused kernel on any device."""
        attn_mask, causal = mask.visible, mask.causal
        if bias is not None:
            visible, causal = mask.dense(queries, keys), False
            attn_mask = bias if visible is None else bias.masked_fill(~visible, -torch.inf)
        return F.scaled_dot_product_attention(
            self.learned_scale(queries),
            keys,
            values,
            attn_mask=attn_mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            scale=self.scale,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )  # (B, H, Q, E_v)


class Dot(nn.Module):
    """q.k: (B, H, Q, E) and (B, H, K, E) -> (B, H, Q, K)."""

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        return matmul(queries, keys.transpose(-1, -2))


class Additive(nn.Module):
    """v.tanh(q + k) with a trained v per head (Bahdanau et al. 2015, appendix A.1.2): shapes as above.

    Holds (B, H, Q, K, E) at once: d_k times the memory of the other scores.
    """

    def __init__(self, heads: int, d_k: int) -> None:
        super().__init__()
        self.v = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, d_k)))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        hidden = (queries[:, :, :, None] + keys[:, :, None]).tanh()  # (B, H, Q, K, E)
        return (hidden @ self.v[:, None, :, None].to(hidden.dtype)).squeeze(-1)


class Talk(nn.Module):
    """Mixes (B, H, Q, K) over the heads by a trained (H, H), the identity at first (Shazeer et al. 2020)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(heads))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhqk,hg->bgqk", x, self.mix.to(x.dtype))


class MaskedFill(nn.Module):
    """Sets the scores of invisible keys to one value, so low that its softmax is 0."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, scores: Tensor, mask: AttentionMask, visible: Tensor | None) -> Tensor:
        return scores if visible is None else scores.masked_fill(~visible, self.value)


class ZeroScoreFill(nn.Module):
    """Sets the scores of invisible keys to 0 BEFORE the softmax, where exp(0) = 1: they leak. For teaching.

    A query then mixes in later tokens, so that training sees what decoding cannot. Padding stays hidden.
    """

    def forward(self, scores: Tensor, mask: AttentionMask, visible: Tensor | None) -> Tensor:
        if visible is not None:
            scores = scores.masked_fill(~visible, 0.0)
        return scores if mask.key_padding_mask is None else scores.masked_fill(mask.key_padding_mask, -torch.inf)


def repeat_kv(keys: Tensor, queries: Tensor) -> Tensor:
    """Repeat each of G heads for the query heads that share it: (B, G, K, E) -> (B, H, K, E)."""
    repeats = queries.shape[1] // keys.shape[1]
    return keys if repeats == 1 else keys.repeat_interleave(repeats, dim=1)


def build_kernel(config: AttentionConfig) -> PlainKernel:
    """Build the configured kernel, the fused one where torch has it."""
    fused = config.score is not Score.additive and config.mask is Mask.minus_inf and not config.talking_heads
    talking = (Talk(config.heads), Talk(config.heads)) if config.talking_heads else (nn.Identity(), nn.Identity())
    kernel = FusedKernel if fused else PlainKernel
    scale, learned_scale = score_scale(config), build_learned_scale(config)
    return kernel(_score(config), scale, learned_scale, talking, _masked_fill(config.mask), config.dropout)


def _score(config: AttentionConfig) -> nn.Module:
    match config.score:
        case Score.dot | Score.bilinear:  # attention.Bilinear applies the matrix to the queries
            return Dot()
        case Score.additive:
            return Additive(config.heads, config.d_k)
        case _:
            assert_never(config.score)


def score_scale(config: AttentionConfig) -> float:
    """Return the constant factor on the scores: 1/sqrt(d_k) keeps the variance of unit vectors' products at 1."""
    match config.scale:
        case Scale.inverse_sqrt:
            return config.d_k**-0.5
        case Scale.inverse:
            return 1 / config.d_k
        case Scale.learned | Scale.none:
            return 1.0
        case _:
            assert_never(config.scale)


def build_learned_scale(config: AttentionConfig) -> nn.Module:
    """Build the trained factor on the scores, the identity where there is none."""
    return PerHeadFactor(config.heads, config.d_k**-0.5) if config.scale is Scale.learned else nn.Identity()


def _masked_fill(mask: Mask) -> nn.Module:
    match mask:
        case Mask.minus_inf:
            return MaskedFill(-torch.inf)
        case Mask.minus_1e9:
            return MaskedFill(-1e9)
        case Mask.zero_score:
            return ZeroScoreFill()
        case _:
            assert_never(mask)
