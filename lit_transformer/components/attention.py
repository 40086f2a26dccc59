"""Multi-head attention (Vaswani et al. 2017, section 3.2) over packed tokens, with a key-value cache.

The rectangle that a kernel wants exists only here: queries, keys and values are padded after their projection and the
result is packed before the output projection.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import KeyValues
from lit_transformer.components.kernels import View, build_kernel
from lit_transformer.components.part import Cost, Part, linear_cost
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig, Score


@dataclass(frozen=True, eq=False)
class MemoryKeyValues:
    """Keys and values of the encoder's output, once a sentence, and which of them a query may look at."""

    keys: Tensor
    values: Tensor
    view: View

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        """Keep the sentences; hypotheses that come and go leave the memory in place."""
        if sentences is None:
            return self
        real = None if self.view.real is None else self.view.real.index_select(0, sentences)
        view = View(visible=real, real=real)
        return type(self)(self.keys.index_select(0, sentences), self.values.index_select(0, sentences), view)


class MultiHeadAttention(Part):
    """The projections W_Q, W_K, W_V and W_O around a kernel (section 3.2.2)."""

    def __init__(self, config: AttentionConfig, d_model: int) -> None:
        super().__init__()
        self.heads, self.d_k, self.d_v = config.heads, config.d_k, config.d_v
        shared = config.kv_heads or config.heads
        self.query = nn.Linear(d_model, config.heads * config.d_k, bias=config.bias)
        self.key = nn.Linear(d_model, shared * config.d_k, bias=config.bias)
        self.value = nn.Linear(d_model, shared * config.d_v, bias=config.bias)
        self.output = nn.Linear(config.heads * config.d_v, d_model, bias=config.bias)
        self.query_heads = nn.Sequential(*_head_norm(config), *_bilinear(config))
        self.key_heads = nn.Sequential(*_head_norm(config))
        self.gate = Gate(d_model, config.heads * config.d_v) if config.gate else Open()
        self.kernel = build_kernel(config)

    def queries(self, asked: Tensor, layout: Layout) -> Tensor:
        """Part what W_Q gave among the heads: (N, H*E_k) -> (B, H, Q, E_k)."""
        return _rectangle(self.query_heads(asked.unflatten(-1, (-1, self.d_k))), layout)

    def key_values(self, keys: Tensor, values: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Part what W_K and W_V gave: (N, G*E_k) and (N, G*E_v) -> (B, G, K, E_k) and (B, G, K, E_v)."""
        heads = self.key_heads(keys.unflatten(-1, (-1, self.d_k)))  # (N, G, E_k)
        return _rectangle(heads, layout), _rectangle(values.unflatten(-1, (-1, self.d_v)), layout)

    def joined(self, mixed: Tensor, x: Tensor, layout: Layout) -> Tensor:
        """Join what the heads say, (B, H, Q, E_v), to the tokens x (N, D) that asked: (N, D)."""
        y: Tensor = self.output(self.gate(layout.pack(mixed.transpose(1, 2).flatten(2)), x))
        return y

    def cost(self) -> Cost:
        """Return what a token that asks costs, one that is read, and a pair of the two."""
        keys = 2 * (self.key.weight.numel() + self.value.weight.numel())
        bilinear = sum(2 * part.weight.numel() for part in self.query_heads if isinstance(part, Bilinear))
        pairs = self.kernel.pair_cost(self.heads, self.d_k, self.d_v)
        return Cost(query=linear_cost(self) - keys + bilinear, key=keys, pair=pairs)


class Bilinear(nn.Module):
    """q -> q W for every head, so that (q W).k is bilinear (Luong et al. 2015); W (E, E) is the identity at first."""

    def __init__(self, heads: int, d_k: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(d_k).repeat(heads, 1, 1))  # (H, E, E)

    def forward(self, queries: Tensor) -> Tensor:
        """(N, H, E) -> (N, H, E)."""
        return torch.einsum("nhe,hef->nhf", queries, self.weight)


class HeadNorm(nn.RMSNorm):
    """RMSNorm of every head's vector (..., E), in the precision of its gain whatever autocast makes of the vector."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class Gate(nn.Module):
    """Multiplies what the heads say by sigmoid(W x), x the token that asked (Qiu et al. 2025)."""

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__()
        self.opening = nn.Linear(d_model, width)

    def forward(self, mixed: Tensor, x: Tensor) -> Tensor:
        """(N, H*E_v) and (N, D) -> (N, H*E_v)."""
        return mixed * self.opening(x).sigmoid()


class Open(nn.Module):
    """No gate."""

    def forward(self, mixed: Tensor, x: Tensor) -> Tensor:
        return mixed


class SelfAttention(MultiHeadAttention):
    """Every token attends to the tokens of its sentence; a causal one to itself and those before it."""

    def __init__(self, config: AttentionConfig, d_model: int, positions: ScorePositions, causal: bool) -> None:
        super().__init__(config, d_model)
        self.positions = positions
        self.causal = causal

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Multiply (N, D) by W_Q, W_K and W_V: (N, H*E_k), (N, G*E_k), (N, G*E_v). A search does so in one product."""
        return self.query(x), self.key(x), self.value(x)

    def forward(self, x: Tensor, layout: Layout, past: KeyValues | None = None) -> tuple[Tensor, KeyValues]:
        """(N, D) -> (N, D): whole sentences, or one new token a sentence after those of the past."""
        assert past is None or layout.longest == 1, "after a past comes one new token a sentence"
        before = 0 if past is None else past.said
        asked, keys, values = self.projected(x)
        queries = self.positions.turn(self.queries(asked, layout), before)
        keys, values = self.key_values(keys, values, layout)
        keys = self.positions.turn(keys, before)
        seen = KeyValues(keys, values) if past is None else past.extended(keys, values)
        bias = self.positions.bias(queries, seen.said)
        mixed = self.kernel(queries, seen.keys, seen.values, self.view(layout, seen.said), bias)
        return self.joined(mixed, x, layout), seen

    def view(self, layout: Layout, keys: int) -> View:
        """Say what the last of `keys` places see. Causal: padding stands last, so no real query sees a padded key."""
        return View(causal=keys == layout.longest, real=_real(layout)) if self.causal else key_padding(layout)

    def cost(self) -> Cost:
        return super().cost() + Cost(pair=self.positions.pair_cost())


class CrossAttention(MultiHeadAttention):
    """Every target token attends to every source token; keys and values come from the encoder's output."""

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, MemoryKeyValues]:
        """(N, D) and the projected memory -> (N, D) and that memory, which does not change."""
        assert isinstance(past, MemoryKeyValues), "a decoder's past begins with `Stack.project`"
        queries = self.queries(self.query(x), layout)  # (R, H, Q, E_k)
        asked = queries.unflatten(0, (len(past.keys), -1))  # (S, n, H, Q, E_k), n hypotheses a sentence
        together = asked.transpose(1, 2).flatten(2, 3)  # (S, H, n * Q, E_k): they ask their sentence at once
        mixed = self.kernel(together, past.keys, past.values, past.view, None)  # (S, H, n * Q, E_v)
        apart = mixed.unflatten(2, (asked.shape[1], -1)).transpose(1, 2).flatten(0, 1)  # (R, H, Q, E_v)
        return self.joined(apart, x, layout), past

    def project(self, memory: Tensor, layout: Layout) -> MemoryKeyValues:
        """Return the keys and values of the encoder's output (N_s, D), computed once for all steps."""
        keys, values = self.key_values(self.key(memory), self.value(memory), layout)
        return MemoryKeyValues(keys.contiguous(), values.contiguous(), key_padding(layout))  # else a copy every step


def key_padding(layout: Layout) -> View:
    """Hide the padding of the keys' rectangle."""
    return View(visible=_real(layout), real=_real(layout))


def _real(layout: Layout) -> Tensor | None:
    return None if layout.rectangular else layout.mask[:, None, None, :]  # (B, 1, 1, K)


def _rectangle(heads: Tensor, layout: Layout) -> Tensor:
    return layout.pad(heads).transpose(1, 2)  # (N, H, E) -> (B, H, L, E)


def _head_norm(config: AttentionConfig) -> list[nn.Module]:
    return [HeadNorm(config.d_k, eps=1e-6)] if config.qk_norm else []


def _bilinear(config: AttentionConfig) -> list[nn.Module]:
    return [Bilinear(config.heads, config.d_k)] if config.score is Score.bilinear else []
