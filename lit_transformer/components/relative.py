"""Positions inside self-attention: they rotate queries and keys, or add a bias to the scores.

Two hooks, both neutral by default. `apply_rotary(x, offset)` rotates queries or keys (B, H, L, E) at the positions
offset, offset + 1, ...; `score_bias(queries, span)` is added to the scores of queries (B, H, Q, E) for the keys of a
`KeySpan`, after the scaling. Keys are cached rotated, so that a decoding step rotates only the new one.
Cross-attention has no such positions: distances between two sentences have no meaning.

Positions are counted from the sentence's first token, so that nothing depends on the batch or its padding.
"""

import math
from functools import partial
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.components.kernels import build_learned_scale, score_scale
from lit_transformer.components.positions import Table, sinusoids
from lit_transformer.config import AttentionConfig, ModelConfig, PositionConfig, Positions


class KeySpan(NamedTuple):
    """K consecutive keys, and where the queries stand among them.

    before: number of keys before the first query; first: the position of the first key in its sentence, or of the first
    key of each of P such spans, (P, 1, 1).
    """

    keys: int
    before: int
    first: Tensor | int = 0

    def distances(self, queries: Tensor) -> Tensor:
        """Return j - i for each query i of (B, H, Q, E) and key j: (Q, K) int64."""
        i = torch.arange(self.before, self.before + queries.shape[2], device=queries.device)
        return torch.arange(self.keys, device=queries.device) - i[:, None]

    def later(self, queries: Tensor) -> Tensor:
        """Return max(i, j), positions in the sentence: (Q, K), or (P, Q, K), int64."""
        i = torch.arange(self.before, self.before + queries.shape[2], device=queries.device)
        return torch.maximum(torch.arange(self.keys, device=queries.device), i[:, None]) + self.first


class ScorePositions(nn.Module):
    """No positions inside attention."""

    def apply_rotary(self, x: Tensor, offset: int) -> Tensor:
        """(B, H, L, E) -> (B, H, L, E)."""
        return x

    def score_bias(self, queries: Tensor, span: KeySpan) -> Tensor | None:
        """Return what is added to the scores, broadcast to (B, H, Q, K), or (P, H, Q, K) for P spans, or None."""
        return None

    def pair_cost(self) -> int:
        """Return the operations of matrix products per pair of a query and a key."""
        return 0


class ShawPositions(ScorePositions):
    """Adds q.a to the scores, scaled as they are, a being a trained vector per distance j - i from query to key.

    Shaw et al. 2018, section 3.1, eq. 4: q.(k + a), the heads of a layer sharing the vectors. Distances are clipped at
    `distance`. Left out: the vectors of the values (eq. 3), which the authors found to add nothing (Table 3). The
    decoder has none for later keys. Where the scale of the scores is trained, the bias has its own factor per head. All
    queries at one position are multiplied by their keys' vectors in one product (section 3.3).
    """

    def __init__(self, config: AttentionConfig, distance: int, causal: bool) -> None:
        super().__init__()
        self.back, self.ahead = distance, 0 if causal else distance
        self.vectors = nn.Embedding(self.back + 1 + self.ahead, config.d_k)
        self.scale = score_scale(config)
        self.learned_scale = build_learned_scale(config)
        self.cost_per_pair = 2 * config.heads * config.d_k

    def score_bias(self, queries: Tensor, span: KeySpan) -> Tensor:
        """Return the scaled products of query i and the vector of j - i: (B, H, Q, E) -> (B, H, Q, K)."""
        distances = span.distances(queries).clamp(-self.back, self.ahead)  # (Q, K)
        vectors = self.vectors(distances + self.back)  # (Q, K, E)
        q_batched = queries.permute(2, 0, 1, 3).flatten(1, 2)  # (Q, B*H, E)
        products = (q_batched @ vectors.transpose(1, 2)).unflatten(1, queries.shape[:2])  # (Q, B, H, K)
        bias: Tensor = self.learned_scale(products.permute(1, 2, 0, 3)) * self.scale  # (B, H, Q, K)
        return bias

    def pair_cost(self) -> int:
        return self.cost_per_pair


class T5Positions(ScorePositions):
    """Adds a trained score per bucket of distances and head (Raffel et al. 2020, section 2.1).

    Short distances have a bucket each, longer ones share buckets of logarithmically growing width, and from
    `max_distance` on all share the last. The encoder's later keys have their own buckets. The layers of a stack share
    the scores.
    """

    def __init__(self, config: PositionConfig, heads: int, causal: bool) -> None:
        super().__init__()
        self.scores = nn.Embedding(config.buckets, heads)
        self.buckets = config.buckets if causal else config.buckets // 2  # in one direction
        self.later = 0 if causal else self.buckets  # the first bucket of later keys
        self.exact = self.buckets // 2
        self.buckets_per_nat = (self.buckets - self.exact) / math.log(config.max_distance / self.exact)

    def score_bias(self, queries: Tensor, span: KeySpan) -> Tensor:
        scores: Tensor = self.scores(self.bucket(span.distances(queries)))  # (Q, K, H)
        return scores.permute(2, 0, 1)[None]  # (1, H, Q, K)

    def bucket(self, distances: Tensor) -> Tensor:
        """Return the buckets of distances j - i from queries to keys, any shape; in the decoder none is above 0."""
        length = distances.abs()
        logarithmic = (length.clamp(min=self.exact) / self.exact).log() * self.buckets_per_nat
        far = (self.exact + logarithmic.long()).clamp(max=self.buckets - 1)
        return torch.where(length < self.exact, length, far) + self.later * (distances > 0)


class AlibiPositions(ScorePositions):
    """Subtracts slope * |i - j| from the scores, a constant slope per head (Press et al. 2022, section 3).

    The paper has a decoder only; in the encoder later keys are penalised like earlier ones of the same distance.
    """

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor(alibi_slopes(heads))[:, None, None], persistent=False)

    def score_bias(self, queries: Tensor, span: KeySpan) -> Tensor:
        return (-self.slopes * span.distances(queries).abs())[None]  # (1, H, Q, K)


def alibi_slopes(heads: int) -> list[float]:
    """Return one slope per head: 2^(-8/n), 2^(-16/n), ..., 2^-8 for n heads, n a power of two.

    For other numbers, as in the authors' code: those of the next lower power of two n, then every second one of 2n.
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * head / lower) for head in range(1, lower + 1)]
    return slopes + [2 ** (-4 * head / lower) for head in range(1, 2 * lower, 2)][: heads - lower]


class RotaryPositions(ScorePositions):
    """Rotates coordinates 2i and 2i + 1 of queries and keys by the angle position * base^(-2i/d_k).

    Su et al. 2021, section 3.2.2, eq. 15 and 34, with interleaved pairs as there; others pair the halves. The product
    of a query and a key then depends on their positions through the distance only.
    """

    def __init__(self, d_k: int, base: float) -> None:
        super().__init__()
        self.table = Table(partial(sinusoids, width=d_k, base=base))

    def apply_rotary(self, x: Tensor, offset: int) -> Tensor:
        end = offset + x.shape[2]
        sin, cos = self.table(end)[offset:end].unflatten(-1, (-1, 2)).unbind(-1)  # (L, E/2) each
        even, odd = x.to(sin.dtype).unflatten(-1, (-1, 2)).unbind(-1)  # (B, H, L, E/2) each
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)  # (B, H, L, E/2, 2)
        return rotated.flatten(-2).to(x.dtype)  # (B, H, L, E)


class FirePositions(ScorePositions):
    """Adds f(psi(|i - j|) / psi(max(L, i, j))) to the scores, psi(x) = log(c x + 1), f a small network per head.

    Li et al. 2024, section 3, eq. 4: c > 0 and the threshold L > 0 are trained, f has 32 hidden units, and the layers
    of a stack share all of it. The paper has a decoder only, where j <= i; the encoder takes the later of the two.
    Deviations: c and L are trained as factors exp(.) on their initial values, so that they stay positive and change
    relatively; f has no output bias, to which a softmax over the keys is invariant. f runs once per batch, not per
    sentence, and elementwise, so its cost per pair is 0.
    """

    WIDTH, C = 32, 0.1

    def __init__(self, heads: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.log_c = nn.Parameter(torch.zeros(1))
        self.log_threshold = nn.Parameter(torch.zeros(1))
        self.slope = nn.Parameter(torch.empty(self.WIDTH).uniform_(-1, 1))
        self.offset = nn.Parameter(torch.empty(self.WIDTH).uniform_(-1, 1))
        bound = self.WIDTH**-0.5
        self.output = nn.Parameter(torch.empty(heads, self.WIDTH).uniform_(-bound, bound))

    def score_bias(self, queries: Tensor, span: KeySpan) -> Tensor:
        """Return f(psi(|i - j|) / psi(max(L, i, j))) for all queries i and keys j: (1 or P, H, Q, K)."""
        threshold = self.threshold * self.log_threshold.exp()
        later = torch.maximum(span.later(queries).to(self.slope), threshold)  # (Q, K) or (P, Q, K)
        ratios = self.psi(span.distances(queries).abs().to(self.slope)) / self.psi(later)  # from 0 to 1
        ratios = ratios.view(-1, 1, *ratios.shape[-2:], 1)  # (1 or P, 1, Q, K, 1)
        hidden = (ratios * self.slope + self.offset).relu()  # (1 or P, 1, Q, K, 32)
        return (hidden * self.output[:, None, None]).sum(-1)  # (1 or P, H, Q, K)

    def psi(self, x: Tensor) -> Tensor:
        return (self.C * self.log_c.exp() * x).log1p()


def build_score_positions(config: ModelConfig, causal: bool) -> list[ScorePositions]:
    """Build the positions inside self-attention of one stack, one per layer; layers may share a module."""
    layers = config.decoder_layers if causal else config.encoder_layers
    attention = config.attention_at.decoder if causal else config.attention_at.encoder
    match config.positions.kind:
        case Positions.shaw:
            return [ShawPositions(attention, config.positions.distance, causal) for _ in range(layers)]
        case Positions.t5:
            return [T5Positions(config.positions, attention.heads, causal)] * layers
        case Positions.alibi:
            return [AlibiPositions(attention.heads)] * layers
        case Positions.rotary:
            return [RotaryPositions(attention.d_k, config.positions.base)] * layers
        case Positions.fire:
            return [FirePositions(attention.heads, config.positions.threshold)] * layers
        case Positions.none | Positions.sinusoidal | Positions.sinusoidal_concatenated | Positions.learned:
            return [ScorePositions()] * layers
        case Positions.count | Positions.normalised_count | Positions.binary:
            return [ScorePositions()] * layers
        case _:
            assert_never(config.positions.kind)
