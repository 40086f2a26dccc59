"""Positions inside self-attention for tests: the kinds, and each by itself with random parameters."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lit_transformer.components.relative import KeySpan, ScorePositions, build_score_positions
from lit_transformer.config import AttentionConfig, ModelConfig, PositionConfig, Positions
from tests.small_models import BASE

INSIDE = [kind for kind in Positions if kind.inside_attention]
BIASES = [kind for kind in INSIDE if kind is not Positions.rotary]
SHARED = [kind for kind in INSIDE if kind is not Positions.shaw]
every_inside = pytest.mark.parametrize("kind", INSIDE)
either_stack = pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])


def model_of(kind: Positions, attention: AttentionConfig = BASE.attention, **numbers: Any) -> ModelConfig:
    return replace(BASE, attention=attention, positions=PositionConfig(kind=kind, **numbers))


def first_layers(config: ModelConfig, causal: bool) -> Any:
    """Return the positions inside the first layer's self-attention, with parameters of about 1."""
    positions = build_score_positions(config, causal)[0]
    with torch.no_grad():
        for parameter in positions.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return positions


def score_bias(positions: ScorePositions, queries: Tensor, keys: int) -> Any:
    """Return the bias on the scores of queries (B, H, Q, E) at the last of `keys` positions."""
    return positions.score_bias(queries, KeySpan(keys, keys - queries.shape[2]))


def queries_at(last: int, heads: int = 3, d_k: int = 4) -> Tensor:
    """Return random queries at the last places, of two sentences: (2, H, last, E)."""
    return torch.randn(2, heads, last, d_k)
