"""Positions inside self-attention: they turn queries and keys, or add to the scores.

Two hooks with neutral defaults. `turn(x, first)` acts on queries and keys (B, H, L, E) at the places first, first + 1,
...; `over(queries, span)` adds to the scores of queries (B, H, Q, E) for the keys of a `Span`. The usual one is that of
`bias(queries, keys)`: all keys so far, the queries at the last Q of their places. Cached keys are kept turned, so a
decoding step turns only the new one. Attention to the encoder's output has none: a place in one sentence is no place in
another.

What is added comes after the scores have been scaled. Places are counted from the layout's first token, so nothing
depends on the batch or its padding.
"""

import math
from functools import partial
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.components.kernels import score_scale, temper
from lit_transformer.components.positions import Table, sinusoids
from lit_transformer.config import AttentionConfig, ModelConfig, PositionConfig, Positions


class Span(NamedTuple):
    """K keys side by side, and where queries stand among them.

    before: how many of the keys stand before the first query; first: the place of the first key in its sentence, or of
    the first key of each of P such spans, (P, 1, 1).
    """

    keys: int
    before: int
    first: Tensor | int = 0

    def steps(self, queries: Tensor) -> Tensor:
        """Return j - i for each query i of (B, H, Q, E) and key j: (Q, K) int64."""
        own = torch.arange(self.before, self.before + queries.shape[2], device=queries.device)
        return torch.arange(self.keys, device=queries.device) - own[:, None]

    def later(self, queries: Tensor) -> Tensor:
        """Return the later place of each query and key: (Q, K), or (P, Q, K), int64."""
        own = torch.arange(self.before, self.before + queries.shape[2], device=queries.device)
        return torch.maximum(torch.arange(self.keys, device=queries.device), own[:, None]) + self.first


class ScorePositions(nn.Module):
    """Says nothing: positions, if any, came with the embeddings."""

    def turn(self, x: Tensor, first: int) -> Tensor:
        """(B, H, L, E) -> (B, H, L, E)."""
        return x

    def bias(self, queries: Tensor, keys: int) -> Tensor | None:
        """Return what is added to the scores of queries at the last of `keys` places: see `over`."""
        return self.over(queries, Span(keys, keys - queries.shape[2]))

    def over(self, queries: Tensor, span: Span) -> Tensor | None:
        """Return what is added to the scores, broadcast to (B, H, Q, K), or (P, H, Q, K) for P spans, or None."""
        return None

    def pair_cost(self) -> int:
        """Return the operations of matrix products for each pair of a query and a key."""
        return 0


class ShawPositions(ScorePositions):
    """Scores gain q.a, scaled as they are, a trained vector a for each step j - i from the query to the key.

    Shaw et al. 2018, section 3.1, eq. 4: q.(k + a), the heads of a layer sharing the vectors. Steps beyond `distance`
    count as `distance`. Left out: the vectors of the values (eq. 3), which the authors found to add nothing (Table 3).
    The decoder has none for later keys. Where the scale of the scores is trained, these learn a factor a head of their
    own. All queries at one place meet their keys' vectors in one product (section 3.3).
    """

    def __init__(self, config: AttentionConfig, distance: int, causal: bool) -> None:
        super().__init__()
        self.back, self.ahead = distance, 0 if causal else distance
        self.vectors = nn.Embedding(self.back + 1 + self.ahead, config.d_k)
        self.scale = score_scale(config)
        self.temper = temper(config)
        self.product = 2 * config.heads * config.d_k

    def over(self, queries: Tensor, span: Span) -> Tensor:
        steps = span.steps(queries).clamp(-self.back, self.ahead)  # (Q, K)
        vectors = self.vectors(steps + self.back)  # (Q, K, E)
        together = queries.permute(2, 0, 1, 3).flatten(1, 2)  # (Q, B*H, E)
        products = (together @ vectors.transpose(1, 2)).unflatten(1, queries.shape[:2])  # (Q, B, H, K)
        gained: Tensor = self.temper(products.permute(1, 2, 0, 3)) * self.scale  # (B, H, Q, K)
        return gained

    def pair_cost(self) -> int:
        return self.product


class T5Positions(ScorePositions):
    """Scores gain a trained number for each bucket of distances and head (Raffel et al. 2020, section 2.1).

    Near distances have a bucket each, further ones share buckets that widen logarithmically, and from `max_distance`
    on all share the last. The encoder's later keys have buckets of their own. The layers of a stack share the numbers.
    """

    def __init__(self, config: PositionConfig, heads: int, causal: bool) -> None:
        super().__init__()
        self.scores = nn.Embedding(config.buckets, heads)
        self.buckets = config.buckets if causal else config.buckets // 2  # in one direction
        self.later = 0 if causal else self.buckets  # the first bucket of later keys
        self.exact = self.buckets // 2
        self.widening = (self.buckets - self.exact) / math.log(config.max_distance / self.exact)

    def over(self, queries: Tensor, span: Span) -> Tensor:
        scores: Tensor = self.scores(self.bucket(span.steps(queries)))  # (Q, K, H)
        return scores.permute(2, 0, 1)[None]  # (1, H, Q, K)

    def bucket(self, steps: Tensor) -> Tensor:
        """Return the buckets of steps j - i from queries to keys, any shape; in the decoder none is above 0."""
        distance = steps.abs()
        wider = (distance.clamp(min=self.exact) / self.exact).log() * self.widening
        far = (self.exact + wider.long()).clamp(max=self.buckets - 1)
        return torch.where(distance < self.exact, distance, far) + self.later * (steps > 0)


class AlibiPositions(ScorePositions):
    """Scores fall by slope * |i - j|, with a slope for each head that is not trained (Press et al. 2022, section 3).

    The paper has a decoder only. In the encoder later keys lose as much as earlier ones of the same distance.
    """

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor(alibi_slopes(heads))[:, None, None], persistent=False)

    def over(self, queries: Tensor, span: Span) -> Tensor:
        return (-self.slopes * span.steps(queries).abs())[None]  # (1, H, Q, K)


def alibi_slopes(heads: int) -> list[float]:
    """Return a slope for each head: 2^(-8/n), 2^(-16/n), ..., 2^-8 for n heads, a power of two.

    For other numbers, as in the authors' code: those of the next lower power of two n, then every other one of 2n.
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * head / lower) for head in range(1, lower + 1)]
    return slopes + [2 ** (-4 * head / lower) for head in range(1, 2 * lower, 2)][: heads - lower]


class RotaryPositions(ScorePositions):
    """Turns coordinates 2i and 2i + 1 of queries and keys by the angle place * base^(-2i/d_k).

    Su et al. 2021, section 3.2.2, eq. 15 and 34, with the pairs interleaved as there; others pair the halves. A product
    of the two then depends on the distance of their places only.
    """

    def __init__(self, d_k: int, base: float) -> None:
        super().__init__()
        self.table = Table(partial(sinusoids, width=d_k, base=base))

    def turn(self, x: Tensor, first: int) -> Tensor:
        after = first + x.shape[2]
        sin, cos = self.table(after)[first:after].unflatten(-1, (-1, 2)).unbind(-1)  # (L, E/2) each
        one, other = x.to(sin.dtype).unflatten(-1, (-1, 2)).unbind(-1)  # (B, H, L, E/2) each
        turned = torch.stack([one * cos - other * sin, other * cos + one * sin], dim=-1)  # (B, H, L, E/2, 2)
        return turned.flatten(-2).to(x.dtype)  # (B, H, L, E)


class FirePositions(ScorePositions):
    """Scores gain f(psi(|i - j|) / psi(max(L, i, j))), psi(x) = log(c x + 1), f a small network with an output a head.

    Li et al. 2024, section 3, eq. 4: c > 0 and the threshold L > 0 are trained, f has 32 hidden units, and the layers
    of a stack share all. The paper has a decoder only, where j is never above i; the encoder takes the later of the two
    places. Deviations: c and L are trained as factors exp(.) of their initial values, so that they stay positive and
    move by parts of themselves; f has no output bias, which a softmax over the keys does not see. The network works
    once for a batch, not for each sentence: elementwise, so no cost of a pair.
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

    def over(self, queries: Tensor, span: Span) -> Tensor:
        threshold = self.threshold * self.log_threshold.exp()
        later = torch.maximum(span.later(queries).to(self.slope), threshold)  # (Q, K) or (P, Q, K)
        parts = self.psi(span.steps(queries).abs().to(self.slope)) / self.psi(later)  # from 0 to 1
        parts = parts.view(-1, 1, *parts.shape[-2:], 1)  # (1 or P, 1, Q, K, 1)
        hidden = (parts * self.slope + self.offset).relu()  # (1 or P, 1, Q, K, 32)
        return (hidden * self.output[:, None, None]).sum(-1)  # (1 or P, H, Q, K)

    def psi(self, x: Tensor) -> Tensor:
        return (self.C * self.log_c.exp() * x).log1p()


def build_score_positions(config: ModelConfig, causal: bool) -> list[ScorePositions]:
    """Build the positions inside self-attention of one stack, one for each layer; layers may share one."""
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
