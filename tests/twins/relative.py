"""The twins of positions inside self-attention."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lit_transformer.config import ModelConfig, PositionConfig, Positions, Scale


def naive_turn(config: ModelConfig, positions: nn.Module, head: Tensor, places: Iterable[int]) -> Tensor:
    """Turn the queries or keys (L, E) of one head at the given places."""
    if config.positions.kind is Positions.rotary:
        turned = [naive_rotation(place, head.shape[1], config.positions.base) for place in places]
        return torch.stack([rotation.to(x) @ x for rotation, x in zip(turned, head, strict=True)])
    return head


def naive_rotation(place: int, width: int, base: float) -> Tensor:
    """Return the matrix of Su et al. 2021, eq. 15: (E, E)."""
    matrix = torch.zeros(width, width)  # the model's sines and cosines are rounded so
    for first in range(0, width, 2):
        angle = place / base ** (first / width)
        matrix[first, first] = matrix[first + 1, first + 1] = math.cos(angle)
        matrix[first + 1, first] = math.sin(angle)
        matrix[first, first + 1] = -math.sin(angle)
    return matrix


def naive_bias(
    config: ModelConfig, positions: nn.Module, query: Tensor, i: int, j: int, head: int, causal: bool
) -> Tensor | float:
    """Return what the scores of query i (E,), already turned, and key j gain."""
    own = config.attention_at.decoder if causal else config.attention_at.encoder
    match config.positions.kind:
        case Positions.shaw:
            furthest = config.positions.distance
            step = max(-furthest, min(0 if causal else furthest, j - i))
            scale = {Scale.inverse_sqrt: 1 / math.sqrt(own.d_k), Scale.inverse: 1 / own.d_k, Scale.none: 1.0}
            factor = positions.learned_scale.factor[head, 0, 0] if own.scale is Scale.learned else scale[own.scale]
            return (query * positions.vectors.weight[step + furthest]).sum() * factor
        case Positions.t5:
            return positions.scores.weight[naive_bucket(config.positions, j - i, causal), head]
        case Positions.alibi:
            return -naive_slope(head, own.heads) * abs(i - j)
        case Positions.fire:
            c = 0.1 * positions.log_c.exp()[0]
            threshold = config.positions.threshold * positions.log_threshold.exp()[0]
            part = (c * abs(i - j) + 1).log() / (c * max(threshold, i, j) + 1).log()
            hidden = [(part * w + b).clamp(min=0) for w, b in zip(positions.slope, positions.offset, strict=True)]
            return sum(w * x for w, x in zip(positions.output[head], hidden, strict=True))
        case _:
            return 0.0


def naive_bucket(config: PositionConfig, step: int, causal: bool) -> int:
    """Raffel et al. 2020, section 2.1: near distances by themselves, far ones by their logarithm."""
    buckets = config.buckets if causal else config.buckets // 2
    first = buckets if step > 0 and not causal else 0
    distance, exact = max(-step, 0) if causal else abs(step), buckets // 2
    if distance < exact:
        return first + distance
    part = math.log(distance / exact) / math.log(config.max_distance / exact)  # of the way to max_distance
    return first + min(exact + int(part * (buckets - exact) + 1e-9), buckets - 1)


def naive_slope(head: int, heads: int) -> float:
    """Press et al. 2022, section 3: a geometric sequence; where heads are no power of two, odd members of the next."""
    lower = 1
    while 2 * lower <= heads:
        lower *= 2
    if head < lower:
        return 2.0 ** (-8 / lower * (head + 1))
    return 2.0 ** (-8 / (2 * lower) * (2 * (head - lower) + 1))
