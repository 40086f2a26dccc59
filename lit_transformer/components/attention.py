"""Multi-head attention (Vaswani et al. 2017, section 3.2) over packed tokens, with a key-value cache.

The rectangle that a kernel wants exists only here: queries, keys and values are padded after their projection and the
result is packed before the output projection.
"""

from dataclasses import dataclass
from typing import Any, Self, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.kernels import Kernel, View
from lit_transformer.components.part import Cost, Part
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig, Scale


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Projected keys (B, G, K, E_k) and values (B, G, K, E_v) of the tokens so far."""

    keys: Tensor
    values: Tensor

    def select(self, rows: Tensor, same_sentences: bool) -> Self:
        return type(self)(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def extended(self, newer: Self) -> Self:
        """Append the newer tokens of the same sentences, all of them real."""
        keys = torch.cat([self.keys, newer.keys], dim=2)  # (B, G, K + Q, E_k)
        return type(self)(keys, torch.cat([self.values, newer.values], dim=2))  # (B, G, K + Q, E_v)


@dataclass(frozen=True, eq=False)
class MemoryKeyValues:
    """Keys and values of the encoder's output, and which of them a query may look at."""

    keys: Tensor
    values: Tensor
    view: View

    def select(self, rows: Tensor, same_sentences: bool) -> Self:
        """Where each row keeps its sentence, the memory stays in place."""
        if same_sentences:
            return self
        visible = None if self.view.visible is None else self.view.visible.index_select(0, rows)
        return type(self)(self.keys.index_select(0, rows), self.values.index_select(0, rows), View(visible))


class MultiHeadAttention(Part):
    """The projections W_Q, W_K, W_V and W_O around a kernel (section 3.2.2)."""

    def __init__(self, config: AttentionConfig, d_model: int) -> None:
        super().__init__()
        self.heads, self.d_k, self.d_v = config.heads, config.d_k, config.d_v
        self.query = nn.Linear(d_model, config.heads * config.d_k, bias=config.bias)
        self.key = nn.Linear(d_model, config.heads * config.d_k, bias=config.bias)
        self.value = nn.Linear(d_model, config.heads * config.d_v, bias=config.bias)
        self.output = nn.Linear(config.heads * config.d_v, d_model, bias=config.bias)
        self.kernel = Kernel(score_scale(config), config.dropout)

    def queries(self, x: Tensor, layout: Layout) -> Tensor:
        """Project the queries: (N, D) -> (B, H, Q, E_k)."""
        return _in_heads(self.query(x), layout, self.d_k)

    def key_values(self, x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Project keys (B, G, K, E_k) and values (B, G, K, E_v) of (N, D)."""
        return _in_heads(self.key(x), layout, self.d_k), _in_heads(self.value(x), layout, self.d_v)

    def joined(self, mixed: Tensor, layout: Layout) -> Tensor:
        """Join the heads: (B, H, Q, E_v) -> (N, D)."""
        y: Tensor = self.output(layout.pack(mixed.transpose(1, 2).flatten(2)))
        return y

    def _cost_of_keys(self) -> int:
        return 2 * (self.key.weight.numel() + self.value.weight.numel())

    def _cost_of_pairs(self) -> int:
        return 2 * self.heads * (self.d_k + self.d_v)


class SelfAttention(MultiHeadAttention):
    """Every token attends to the tokens of its sentence; a causal one to itself and those before it."""

    def __init__(self, config: AttentionConfig, d_model: int, positions: ScorePositions, causal: bool) -> None:
        super().__init__(config, d_model)
        self.positions = positions
        self.causal = causal

    def forward(self, x: Tensor, layout: Layout, past: KeyValues | None = None) -> tuple[Tensor, KeyValues]:
        """(N, D) -> (N, D): whole sentences, or one new token a sentence after those of the past."""
        assert past is None or layout.longest == 1, "after a past comes one new token a sentence"
        said = 0 if past is None else past.keys.shape[2]
        queries = self.positions.turn(self.queries(x, layout), said)
        keys, values = self.key_values(x, layout)
        seen = new = KeyValues(self.positions.turn(keys, said), values)
        if past is not None:
            seen = past.extended(new)
        bias = self.positions.bias(queries, seen.keys.shape[2])
        mixed = self.kernel(queries, seen.keys, seen.values, self.view(layout, past is None), bias)
        return self.joined(mixed, layout), seen

    def view(self, layout: Layout, whole: bool) -> View:
        """Say what is looked at. Causal: padding stands last, so no real query sees a padded key."""
        return View(causal=whole) if self.causal else key_padding(layout)

    def cost(self) -> Cost:
        pairs = self._cost_of_pairs() + self.positions.pair_cost()
        return super().cost() + Cost(query=self.positions.query_cost(), pair=pairs)


class CrossAttention(MultiHeadAttention):
    """Every target token attends to every source token; keys and values come from the encoder's output."""

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, MemoryKeyValues]:
        """(N, D) and the projected memory -> (N, D) and that memory, which does not change."""
        assert isinstance(past, MemoryKeyValues), "a decoder's past begins with `Stack.project`"
        mixed = self.kernel(self.queries(x, layout), past.keys, past.values, past.view, None)
        return self.joined(mixed, layout), past

    def project(self, memory: Tensor, layout: Layout) -> MemoryKeyValues:
        """Return the keys and values of the encoder's output (N_s, D), computed once for all steps."""
        return MemoryKeyValues(*self.key_values(memory, layout), key_padding(layout))

    def cost(self) -> Cost:
        keys = self._cost_of_keys()
        return Cost(query=super().cost().query - keys, key=keys, pair=self._cost_of_pairs())


def key_padding(layout: Layout) -> View:
    """Hide the padding of the keys' rectangle."""
    return View(None if layout.rectangular else layout.mask[:, None, None, :])


def score_scale(config: AttentionConfig) -> float:
    """Return the factor on q.k: 1/sqrt(d_k) keeps the variance of unit vectors' products at 1 (section 3.2.1)."""
    match config.scale:
        case Scale.inverse_sqrt:
            return config.d_k**-0.5
        case Scale.none:
            return 1.0
        case _:
            assert_never(config.scale)


def _in_heads(x: Tensor, layout: Layout, width: int) -> Tensor:
    return layout.pad(x).unflatten(-1, (-1, width)).transpose(1, 2)  # (N, H*E) -> (B, H, L, E)
