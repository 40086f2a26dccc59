"""Multi-head attention (Vaswani et al. 2017, section 3.2) over packed tokens, with a key-value cache.

Padding exists only here, for the kernel: queries, keys and values are padded after their projection, and the result is
packed before the output projection.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import KVCache
from lit_transformer.components.cost import Cost, linear_cost
from lit_transformer.components.cpu_kernels import PackedLinear
from lit_transformer.components.kernels import AttentionMask, build_kernel
from lit_transformer.components.relative import KeySpan, ScorePositions
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import AttentionConfig, Score


@dataclass(frozen=True, eq=False)
class CrossKVCache:
    """Keys and values of the encoder's output, (S, G, K, E_k) and (S, G, K, E_v), and which of them are visible."""

    keys: Tensor
    values: Tensor
    mask: AttentionMask

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        """Keep the sentences; hypotheses share those of their sentence."""
        if sentences is None:
            return self
        visible = None if self.mask.visible is None else self.mask.visible.index_select(0, sentences)
        keys, values = self.keys.index_select(0, sentences), self.values.index_select(0, sentences)
        return type(self)(keys, values, hide_padding(visible))


class InputProjection(nn.Module):
    """W_Q, W_K and W_V: (N, D) -> (N, H*E_k), (N, G*E_k) and (N, G*E_v)."""

    def __init__(self, config: AttentionConfig, d_model: int) -> None:
        super().__init__()
        kv_heads = config.kv_heads or config.heads
        self.query = nn.Linear(d_model, config.heads * config.d_k, bias=config.bias)
        self.key = nn.Linear(d_model, kv_heads * config.d_k, bias=config.bias)
        self.value = nn.Linear(d_model, kv_heads * config.d_v, bias=config.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.query(x), self.key(x), self.value(x)


class PackedInputProjection(nn.Module):
    """The same as one product with a packed weight, for decoding on a CPU."""

    def __init__(self, projection: InputProjection) -> None:
        super().__init__()
        layers = [projection.query, projection.key, projection.value]
        weights: list[Tensor] = [layer.weight for layer in layers]
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        self.widths = [layer.out_features for layer in layers]
        self.linear = PackedLinear(torch.cat(weights), torch.cat(biases) if biases else None)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.linear(x).split(self.widths, -1)


class MultiHeadAttention(TokenMixer):
    """The projections W_Q, W_K, W_V and W_O around a kernel (section 3.2.2)."""

    def __init__(self, config: AttentionConfig, d_model: int) -> None:
        super().__init__()
        self.heads, self.d_k, self.d_v = config.heads, config.d_k, config.d_v
        self.in_proj = InputProjection(config, d_model)
        self.out_proj = nn.Linear(config.heads * config.d_v, d_model, bias=config.bias)
        self.query_heads = nn.Sequential(*_head_norm(config), *_bilinear(config))
        self.key_heads = nn.Sequential(*_head_norm(config))
        self.gate = Gate(d_model, config.heads * config.d_v) if config.gate else NoGate()
        self.kernel = build_kernel(config)

    def split_queries(self, queries: Tensor, layout: Layout) -> Tensor:
        """Split projected queries into heads: (N, H*E_k) -> (B, H, Q, E_k)."""
        return _pad_heads(self.query_heads(queries.unflatten(-1, (-1, self.d_k))), layout)

    def split_kv(self, keys: Tensor, values: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Split projected keys and values: (N, G*E_k) and (N, G*E_v) -> (B, G, K, E_k) and (B, G, K, E_v)."""
        key_heads = self.key_heads(keys.unflatten(-1, (-1, self.d_k)))  # (N, G, E_k)
        return _pad_heads(key_heads, layout), _pad_heads(values.unflatten(-1, (-1, self.d_v)), layout)

    def output_projection(self, out: Tensor, x: Tensor, layout: Layout) -> Tensor:
        """Gate and project the heads' outputs (B, H, Q, E_v), x (N, D) being the queries' tokens: (N, D)."""
        y: Tensor = self.out_proj(self.gate(layout.pack(out.transpose(1, 2).flatten(2)), x))
        return y

    def cost(self) -> Cost:
        """Return the cost per query, per key and per pair of the two."""
        keys = linear_cost(self.in_proj.key) + linear_cost(self.in_proj.value)
        bilinear = sum(2 * module.weight.numel() for module in self.query_heads if isinstance(module, Bilinear))
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
    """RMSNorm of every head's vector (..., E), computed in the type of its gain under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class Gate(nn.Module):
    """Multiplies the heads' outputs by sigmoid(W x), x the query's token (Qiu et al. 2025)."""

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, width)

    def forward(self, out: Tensor, x: Tensor) -> Tensor:
        """(N, H*E_v) and (N, D) -> (N, H*E_v)."""
        return out * self.linear(x).sigmoid()


class NoGate(nn.Module):
    """Leaves the heads' outputs as they are."""

    def forward(self, out: Tensor, x: Tensor) -> Tensor:
        return out


class SelfAttention(MultiHeadAttention):
    """Every token attends to the tokens of its sentence; a causal one to itself and those before it."""

    def __init__(self, config: AttentionConfig, d_model: int, positions: ScorePositions, causal: bool) -> None:
        super().__init__(config, d_model)
        self.positions = positions
        self.causal = causal

    def forward(self, x: Tensor, layout: Layout, cache: KVCache | None = None) -> tuple[Tensor, KVCache]:
        """(N, D) -> (N, D): whole sentences, or one new token per sentence after those of the cache."""
        assert cache is None or layout.max_seqlen == 1, "with a cache there is one new token per sentence"
        offset = 0 if cache is None else cache.seq_len
        q, k, v = self.in_proj(x)
        queries = self.positions.apply_rotary(self.split_queries(q, layout), offset)
        keys, values = self.split_kv(k, v, layout)
        keys = self.positions.apply_rotary(keys, offset)
        cache = KVCache(keys, values) if cache is None else cache.append(keys, values)
        bias = self.positions.score_bias(queries, KeySpan(cache.seq_len, offset))
        out = self.kernel(queries, cache.keys, cache.values, self.mask(layout, cache.seq_len), bias)
        return self.output_projection(out, x, layout), cache

    def mask(self, layout: Layout, seq_len: int) -> AttentionMask:
        """Return the mask of the last of `seq_len` tokens. Causal: padding comes last, so no real query sees any."""
        mask = hide_padding(_key_mask(layout))
        return mask._replace(visible=None, causal=seq_len == layout.max_seqlen) if self.causal else mask

    def cost(self) -> Cost:
        return super().cost() + Cost(pair=self.positions.pair_cost())


class CrossAttention(MultiHeadAttention):
    """Every target token attends to every source token; keys and values come from the encoder's output."""

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, CrossKVCache]:
        """(N, D) and the keys and values of the source -> (N, D) and the same cache."""
        assert isinstance(cache, CrossKVCache), "a decoder's cache begins with `Stack.init_cache`"
        queries = self.split_queries(self.in_proj.query(x), layout)  # (R, H, Q, E_k)
        q = queries.unflatten(0, (len(cache.keys), -1))  # (S, n, H, Q, E_k), n hypotheses per sentence
        q_batched = q.transpose(1, 2).flatten(2, 3)  # (S, H, n * Q, E_k)
        out = self.kernel(q_batched, cache.keys, cache.values, cache.mask, None)  # (S, H, n * Q, E_v)
        out = out.unflatten(2, (q.shape[1], -1)).transpose(1, 2).flatten(0, 1)  # (R, H, Q, E_v)
        return self.output_projection(out, x, layout), cache

    def init_cache(self, memory: Tensor, layout: Layout) -> CrossKVCache:
        """Project the encoder's output (N_s, D) to keys and values, once for all steps."""
        keys, values = self.split_kv(self.in_proj.key(memory), self.in_proj.value(memory), layout)
        mask = hide_padding(_key_mask(layout))
        return CrossKVCache(keys.contiguous(), values.contiguous(), mask)  # else every step would copy them


def hide_padding(key_mask: Tensor | None) -> AttentionMask:
    """Return the mask of keys (B, 1, 1, K) that are tokens, None where none is padding."""
    return AttentionMask(visible=key_mask, key_padding_mask=None if key_mask is None else ~key_mask)


def _key_mask(layout: Layout) -> Tensor | None:
    return None if layout.rectangular else layout.mask[:, None, None, :]  # (B, 1, 1, K)


def _pad_heads(heads: Tensor, layout: Layout) -> Tensor:
    return layout.pad(heads).transpose(1, 2)  # (N, H, E) -> (B, H, L, E)


def _head_norm(config: AttentionConfig) -> list[nn.Module]:
    return [HeadNorm(config.d_k, eps=1e-6)] if config.qk_norm else []


def _bilinear(config: AttentionConfig) -> list[nn.Module]:
    return [Bilinear(config.heads, config.d_k)] if config.score is Score.bilinear else []
