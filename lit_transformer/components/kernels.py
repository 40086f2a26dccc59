"""Attention kernels: from queries, keys and values to mixed values, as rectangles.

A kernel takes queries (B, H, Q, E_k), keys (B, G, K, E_k) and values (B, G, K, E_v), G heads of keys shared by H of
queries, a `View` and the bias of the positions, and returns (B, H, Q, E_v). `weights` says plainly what it mixes by.
"""

from typing import NamedTuple, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.components.dropout import Dropout
from lit_transformer.components.precision import widened
from lit_transformer.config import AttentionConfig, Mask, Scale, Score

VECTOR = 16
"""Entries of float32 in a CPU's widest vector: from this length on torch takes the rows of a softmax in vectors."""
SMALL_PRODUCT = 400
"""Multiplications up to which torch leaves matrices to a plain loop."""


class View(NamedTuple):
    """Which keys a query may look at.

    visible: bool, broadcast to (B, H, Q, K), None for all; causal: none later. real (B, 1, 1, K): the keys that are no
    padding, None for all; only a mask that lets hidden keys through needs it beside the other two.
    """

    visible: Tensor | None = None
    causal: bool = False
    real: Tensor | None = None

    def over(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """Return the first two in one mask, None where everything is visible; the last query stands at the last key."""
        if not self.causal:
            return self.visible
        q, k = queries.shape[2], keys.shape[2]
        earlier = torch.ones(q, k, dtype=torch.bool, device=keys.device).tril(k - q)  # (Q, K)
        return earlier if self.visible is None else earlier & self.visible


class PerHeadFactor(nn.Module):
    """Multiplies (B, H, ...) by a trained factor a head (H, 1, 1) (Henry et al. 2020, who train one for all)."""

    def __init__(self, heads: int, start: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((heads, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class PlainKernel(nn.Module):
    """softmax(scale * Q K^T + bias) V for every head (section 3.2.1, eq. 1), step by step, with any score and mask."""

    def __init__(
        self, score: nn.Module, scale: float, temper: nn.Module, talk: tuple[nn.Module, nn.Module], hide: nn.Module,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.score = score
        self.scale = scale
        self.temper = temper
        self.talk_before, self.talk_after = talk
        self.hide = hide
        self.dropout = dropout
        self.drop = Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, view: View, bias: Tensor | None) -> Tensor:
        weights = self.weights(queries, keys, view, bias)
        return product(self.drop(weights).to(values.dtype), shared_out(values, queries))  # (B, H, Q, E_v)

    def weights(self, queries: Tensor, keys: Tensor, view: View, bias: Tensor | None) -> Tensor:
        """Return the weights of the values: (B, H, Q, K). Where heads talk, a row need not sum to 1."""
        weights: Tensor = self.talk_after(softmax(self.scores(queries, keys, view, bias)))
        return weights

    def scores(self, queries: Tensor, keys: Tensor, view: View, bias: Tensor | None) -> Tensor:
        """Return what the softmax is taken of: (B, H, Q, K)."""
        scores = self.temper(self.score(queries, shared_out(keys, queries))) * self.scale  # (B, H, Q, K)
        scores = self.talk_before(scores if bias is None else scores + bias)
        hidden: Tensor = self.hide(widened(scores), view, view.over(queries, keys))
        return hidden  # not in bfloat16, whose softmax is too coarse

    def pair_cost(self, heads: int, d_k: int, d_v: int) -> int:
        """Return the operations for each pair of a query and a key."""
        talking = sum(2 * talk.mix.numel() for talk in (self.talk_before, self.talk_after) if isinstance(talk, Talk))
        return 2 * heads * (d_k + d_v) + talking


class FusedKernel(PlainKernel):
    """The same by torch's fused kernel, which knows q.k, minus infinity and heads apart.

    A CPU keeps to the steps: at the lengths of sentences torch's blocked kernel takes several times as long there, and
    its own steps scale keys as well as queries and look for rows without keys, which a sentence does not have.
    """

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, view: View, bias: Tensor | None) -> Tensor:
        if queries.device.type == "cpu":
            return super().forward(queries, keys, values, view, bias)
        return self.fused(queries, keys, values, view, bias)

    def fused(self, queries: Tensor, keys: Tensor, values: Tensor, view: View, bias: Tensor | None) -> Tensor:
        """Return what `forward` does, on any device, by the one call."""
        mask, causal = view.visible, view.causal
        if bias is not None:
            visible, causal = view.over(queries, keys), False
            mask = bias if visible is None else bias.masked_fill(~visible, -torch.inf)
        return F.scaled_dot_product_attention(
            self.temper(queries),
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            scale=self.scale,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )  # (B, H, Q, E_v)


class Dot(nn.Module):
    """q.k: (B, H, Q, E) and (B, H, K, E) -> (B, H, Q, K)."""

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        return product(queries, keys.transpose(-1, -2))


class Additive(nn.Module):
    """v.tanh(q + k) with a trained v a head (Bahdanau et al. 2015, appendix A.1.2): shapes as above.

    Holds (B, H, Q, K, E) at once: d_k times the memory of the other scores.
    """

    def __init__(self, heads: int, d_k: int) -> None:
        super().__init__()
        self.v = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, d_k)))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        met = (queries[:, :, :, None] + keys[:, :, None]).tanh()  # (B, H, Q, K, E)
        return (met @ self.v[:, None, :, None].to(met.dtype)).squeeze(-1)


class Talk(nn.Module):
    """Mixes (B, H, Q, K) over the heads by a trained (H, H), the identity at first (Shazeer et al. 2020)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(heads))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhqk,hg->bgqk", x, self.mix.to(x.dtype))


class HideBy(nn.Module):
    """Gives hidden keys one score, so low that its softmax is 0."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, scores: Tensor, view: View, visible: Tensor | None) -> Tensor:
        return hide_by(self.value, scores, visible)


class HideByZero(nn.Module):
    """Gives hidden keys the score 0 BEFORE the softmax, whose exponential is 1: they are not hidden. For teaching.

    What a query then mixes in depends on later tokens, so training sees what decoding cannot. Padding stays hidden.
    """

    def forward(self, scores: Tensor, view: View, visible: Tensor | None) -> Tensor:
        return hide_by(-torch.inf, hide_by(0.0, scores, visible), view.real)


def hide_by(value: float, scores: Tensor, visible: Tensor | None) -> Tensor:
    """Set the scores of hidden keys, if any."""
    return scores if visible is None else scores.masked_fill(~visible, value)


def softmax(scores: Tensor) -> Tensor:
    """Return the softmax of each row of (..., K).

    A CPU goes through a row of fewer entries than its vectors hold one by one, which takes ten times as long: such rows
    are filled up with what weighs nothing.
    """
    missing = VECTOR - scores.shape[-1]
    if missing <= 0 or scores.device.type != "cpu":
        return scores.softmax(-1)
    return F.pad(scores, (0, missing), value=-torch.inf).softmax(-1)[..., :-missing]


def product(one: Tensor, other: Tensor) -> Tensor:
    """Return the matrix product of (..., Q, C) and (..., C, N).

    torch multiplies many small matrices on a CPU by a plain loop. One row, as in decoding, is faster entry by entry.
    """
    rows, (summed, columns) = one.shape[-2], other.shape[-2:]
    if rows > 1 or summed * columns >= SMALL_PRODUCT or one.device.type != "cpu":
        return one @ other
    return (one.transpose(-1, -2) * other).sum(-2, keepdim=True)


def shared_out(keys: Tensor, queries: Tensor) -> Tensor:
    """Repeat each of G heads for the queries' heads that share it: (B, G, K, E) -> (B, H, K, E)."""
    sharing = queries.shape[1] // keys.shape[1]
    return keys if sharing == 1 else keys.repeat_interleave(sharing, dim=1)


def build_kernel(config: AttentionConfig) -> PlainKernel:
    """Build the kernel that is asked for, the fused one where it can do it."""
    fused = config.score is not Score.additive and config.mask is Mask.minus_inf and not config.talking_heads
    talk = (Talk(config.heads), Talk(config.heads)) if config.talking_heads else (nn.Identity(), nn.Identity())
    kernel = FusedKernel if fused else PlainKernel
    return kernel(_score(config), score_scale(config), temper(config), talk, _hide(config.mask), config.dropout)


def _score(config: AttentionConfig) -> nn.Module:
    match config.score:
        case Score.dot | Score.bilinear:  # the matrix stands at the queries: attention.Bilinear
            return Dot()
        case Score.additive:
            return Additive(config.heads, config.d_k)
        case _:
            assert_never(config.score)


def score_scale(config: AttentionConfig) -> float:
    """Return the fixed factor on the scores: 1/sqrt(d_k) keeps the variance of unit vectors' products at 1."""
    match config.scale:
        case Scale.inverse_sqrt:
            return config.d_k**-0.5
        case Scale.inverse:
            return 1 / config.d_k
        case Scale.learned | Scale.none:
            return 1.0
        case _:
            assert_never(config.scale)


def temper(config: AttentionConfig) -> nn.Module:
    """Return what is trained of the factor on the scores."""
    return PerHeadFactor(config.heads, config.d_k**-0.5) if config.scale is Scale.learned else nn.Identity()


def _hide(mask: Mask) -> nn.Module:
    match mask:
        case Mask.minus_inf:
            return HideBy(-torch.inf)
        case Mask.minus_1e9:
            return HideBy(-1e9)
        case Mask.zero_score:
            return HideByZero()
        case _:
            assert_never(mask)
