"""The twins of attention: one head after another, one query after another."""

import math

import torch
from torch import Tensor, nn

from lit_transformer.config import AttentionConfig, ModelConfig, Scale


def naive_self_attention(config: ModelConfig, part: nn.Module, x: Tensor, causal: bool) -> Tensor:
    """(L, D) -> (L, D)."""
    own = config.attention_at.decoder if causal else config.attention_at.encoder
    visible = [[not causal or key <= query for key in range(len(x))] for query in range(len(x))]
    return _naive_attention(own, part, x, x, torch.tensor(visible))


def naive_cross_attention(config: ModelConfig, part: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    """(T, D) and the memory (S, D) -> (T, D)."""
    return _naive_attention(config.attention_at.cross, part, x, memory, torch.ones(len(x), len(memory)).bool())


def _naive_attention(config: AttentionConfig, part: nn.Module, x: Tensor, seen: Tensor, visible: Tensor) -> Tensor:
    """visible (Q, K) is True where a query may look."""
    q, k, v = part.query(x), part.key(seen), part.value(seen)
    heads = []
    for head in range(config.heads):
        queries = q[:, head * config.d_k : (head + 1) * config.d_k]
        keys = k[:, head * config.d_k : (head + 1) * config.d_k]
        values = v[:, head * config.d_v : (head + 1) * config.d_v]
        scores = queries @ keys.T * naive_scale(config)
        heads.append(scores.masked_fill(~visible, -1e30).softmax(-1) @ values)
    return part.output(torch.cat(heads, -1))


def naive_scale(config: AttentionConfig) -> float:
    match config.scale:
        case Scale.inverse_sqrt:
            return 1 / math.sqrt(config.d_k)
        case Scale.none:
            return 1.0
