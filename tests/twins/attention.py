"""The twins of attention: one head after another, one query and one key after another."""

import math

import torch
from torch import Tensor, nn

from lit_transformer.config import AttentionConfig, Mask, ModelConfig, Scale, Score
from tests.twins.relative import naive_bias, naive_turn


def naive_self_attention(
    config: ModelConfig, part: nn.Module, x: Tensor, causal: bool, window: int | None = None
) -> Tensor:
    """(L, D) -> (L, D); a window hides what is further away."""
    own = config.attention_at.decoder if causal else config.attention_at.encoder
    places = range(len(x))
    visible = [[(j <= i or not causal) and (window is None or abs(i - j) <= window) for j in places] for i in places]
    queries, keys, values = naive_heads(own, part, x, x)
    queries, keys = ([naive_turn(config, part.positions, head, places) for head in heads] for heads in (queries, keys))
    bias = [
        [[naive_bias(config, part.positions, head[i], i, j, h, causal) for j in places] for i in places]
        for h, head in enumerate(queries)
    ]
    return naive_mix(own, part, x, (queries, keys, values), torch.tensor(visible), bias)


def naive_cross_attention(config: ModelConfig, part: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    """(T, D) and the memory (S, D) -> (T, D)."""
    cross = config.attention_at.cross
    bias = [[[0.0] * len(memory)] * len(x)] * cross.heads
    heads = naive_heads(cross, part, x, memory)
    return naive_mix(cross, part, x, heads, torch.ones(len(x), len(memory)).bool(), bias)


Heads = tuple[list[Tensor], list[Tensor], list[Tensor]]


def naive_heads(config: AttentionConfig, part: nn.Module, x: Tensor, seen: Tensor) -> Heads:
    """Return queries, keys and values of each of H heads; heads of a group share their keys and values."""
    q, k, v = part.in_proj.query(x), part.in_proj.key(seen), part.in_proj.value(seen)
    group = config.heads // (config.kv_heads or config.heads)
    queries = [q[:, h * config.d_k : (h + 1) * config.d_k] for h in range(config.heads)]
    keys = [k[:, h // group * config.d_k : (h // group + 1) * config.d_k] for h in range(config.heads)]
    values = [v[:, h // group * config.d_v : (h // group + 1) * config.d_v] for h in range(config.heads)]
    if config.qk_norm:
        queries = [_rms(head) * part.query_heads[0].weight for head in queries]
        keys = [_rms(head) * part.key_heads[0].weight for head in keys]
    if config.score is Score.bilinear:
        queries = [head @ weight for head, weight in zip(queries, part.query_heads[-1].weight, strict=True)]
    return queries, keys, values


def _rms(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def naive_mix(
    config: AttentionConfig, part: nn.Module, x: Tensor, heads: Heads, visible: Tensor, bias: list[list[list]]
) -> Tensor:
    """Score, hide, weigh and mix; visible (Q, K) is True where a query may look."""
    queries, keys, values = heads
    scores = torch.stack(
        [
            torch.stack(
                [torch.stack([naive_score(config, part, h, q, k) + bias[h][i][j] for j, k in enumerate(keys[h])])
                 for i, q in enumerate(queries[h])]
            )
            for h in range(config.heads)
        ]
    )  # (H, Q, K)  # fmt: skip
    if config.talking_heads:
        scores = _talk(scores, part.kernel.talk_before.mix)
    hidden = {Mask.minus_inf: -math.inf, Mask.minus_1e9: -1e9, Mask.zero_score: 0.0}[config.mask]
    weights = torch.where(visible, scores, hidden).softmax(-1)
    if config.talking_heads:
        weights = _talk(weights, part.kernel.talk_after.mix)
    mixed = torch.cat([weights[h] @ values[h] for h in range(config.heads)], -1)
    if config.gate:
        mixed = mixed / (1 + (-(x @ part.gate.linear.weight.T + part.gate.linear.bias)).exp())
    return part.out_proj(mixed)


def _talk(x: Tensor, mix: Tensor) -> Tensor:
    return torch.stack([sum(mix[h, g] * x[h] for h in range(len(x))) for g in range(len(x))])


def naive_score(config: AttentionConfig, part: nn.Module, head: int, q: Tensor, k: Tensor) -> Tensor:
    if config.score is Score.additive:
        return (part.kernel.score.v[head] * (q + k).tanh()).sum() * naive_scale(config, part, head)
    return (q * k).sum() * naive_scale(config, part, head)


def naive_scale(config: AttentionConfig, part: nn.Module, head: int) -> Tensor | float:
    match config.scale:
        case Scale.inverse_sqrt:
            return 1 / math.sqrt(config.d_k)
        case Scale.inverse:
            return 1 / config.d_k
        case Scale.learned:
            return part.kernel.learned_scale.factor[head, 0, 0]
        case Scale.none:
            return 1.0
