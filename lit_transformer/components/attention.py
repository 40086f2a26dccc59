"""Multi-head attention (Vaswani et al. 2017, section 3.2) over packed tokens, with a key-value cache.

The rectangle that the kernel wants exists only here: queries, keys and values are padded after their projection and
the result is packed before the output projection. The kernel is torch's scaled_dot_product_attention.
"""

from dataclasses import dataclass
from typing import Self, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.config import AttentionConfig, Scale


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Projected keys (B, H, K, E_k) and values (B, H, K, E_v); mask (B, 1, 1, K) True at real keys, None if all are."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None = None

    def select(self, rows: Tensor) -> Self:
        """Keep, reorder or repeat sentences: rows (R,) -> R sentences."""
        mask = None if self.mask is None else self.mask.index_select(0, rows)
        return type(self)(self.keys.index_select(0, rows), self.values.index_select(0, rows), mask)

    def extended(self, newer: Self) -> Self:
        """Append the newer tokens of the same sentences, all of them real."""
        keys = torch.cat([self.keys, newer.keys], dim=2)  # (B, H, K + Q, E_k)
        values = torch.cat([self.values, newer.values], dim=2)  # (B, H, K + Q, E_v)
        return type(self)(keys, values)


class MultiHeadAttention(nn.Module):
    """softmax(scale * Q K^T) V for every head, between the projections W_Q, W_K, W_V and W_O (eq. 1)."""

    def __init__(self, config: AttentionConfig, d_model: int) -> None:
        super().__init__()
        self.heads, self.d_k, self.d_v = config.heads, config.d_k, config.d_v
        self.scale = score_scale(config)
        self.dropout = config.dropout
        self.query = nn.Linear(d_model, config.heads * config.d_k, bias=config.bias)
        self.key = nn.Linear(d_model, config.heads * config.d_k, bias=config.bias)
        self.value = nn.Linear(d_model, config.heads * config.d_v, bias=config.bias)
        self.output = nn.Linear(config.heads * config.d_v, d_model, bias=config.bias)

    def queries(self, x: Tensor, layout: Layout) -> Tensor:
        """Project the queries: (N, D) -> (B, H, Q, E_k)."""
        return self._heads(self.query(x), layout)

    def key_values(self, x: Tensor, layout: Layout) -> KeyValues:
        """Project the keys and values of (N, D)."""
        mask = None if layout.rectangular else layout.mask[:, None, None, :]
        return KeyValues(self._heads(self.key(x), layout), self._heads(self.value(x), layout), mask)

    def attend(self, queries: Tensor, memory: KeyValues, layout: Layout, causal: bool) -> Tensor:
        """Mix the values by the softmax of the scores: queries (B, H, Q, E_k) in `layout` -> (N, D).

        `causal` hides later keys; padding stands last, so no real query sees a padded key and no mask is needed.
        """
        mixed = F.scaled_dot_product_attention(
            queries,
            memory.keys,
            memory.values,
            attn_mask=None if causal else memory.mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            scale=self.scale,
        )  # (B, H, Q, E_v)
        return self.output(layout.pack(mixed.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor, layout: Layout) -> Tensor:
        return layout.pad(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, H*E) -> (B, H, L, E)


class SelfAttention(MultiHeadAttention):
    """Every token attends to every token of its sentence: the encoder's mixer."""

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, None]:
        """(N, D) -> (N, D); an encoder carries no state."""
        return self.attend(self.queries(x, layout), self.key_values(x, layout), layout, causal=False), None


class CausalSelfAttention(MultiHeadAttention):
    """Every token attends to itself and those before it: the decoder's mixer."""

    def forward(self, x: Tensor, layout: Layout, cache: KeyValues | None) -> tuple[Tensor, KeyValues | None]:
        """(N, D) -> (N, D): whole sentences without a cache, or one new token a sentence after the cached ones."""
        queries, new = self.queries(x, layout), self.key_values(x, layout)
        if cache is None:
            return self.attend(queries, new, layout, causal=True), None
        assert layout.longest == 1, "a cached step takes one new token a sentence"
        seen = cache.extended(new)
        return self.attend(queries, seen, layout, causal=False), seen

    def empty_cache(self, like: Tensor, sentences: int) -> KeyValues:
        """Return the cache before the first token."""
        return KeyValues(
            like.new_empty(sentences, self.heads, 0, self.d_k), like.new_empty(sentences, self.heads, 0, self.d_v)
        )


class CrossAttention(MultiHeadAttention):
    """Every target token attends to every source token; keys and values come from the encoder's output."""

    def forward(self, x: Tensor, layout: Layout, memory: KeyValues) -> tuple[Tensor, KeyValues]:
        """(N, D) and the projected memory -> (N, D) and that memory, which does not change."""
        return self.attend(self.queries(x, layout), memory, layout, causal=False), memory


def score_scale(config: AttentionConfig) -> float:
    """Return the factor on q.k: 1/sqrt(d_k) keeps the variance of unit vectors' products at 1 (section 3.2.1)."""
    match config.scale:
        case Scale.inverse_sqrt:
            return config.d_k**-0.5
        case Scale.none:
            return 1.0
        case _:
            assert_never(config.scale)
