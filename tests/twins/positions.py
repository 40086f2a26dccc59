"""The twins of position encodings that are added to the embeddings."""

import math

import torch
from torch import Tensor, nn

from lit_transformer.config import ModelConfig, Positions


def naive_positions(config: ModelConfig, positions: nn.Module, length: int, causal: bool) -> Tensor:
    """Return what is added to the embeddings of one sentence: (L, D)."""
    match config.positions.kind:
        case Positions.sinusoidal:
            table = [[naive_sinusoid(t, i, config.d_model) for i in range(config.d_model)] for t in range(length)]
            return torch.tensor(table, dtype=torch.float32)  # the model's table is rounded so
        case Positions.learned:
            return positions.embedding.weight[:length]
        case Positions.none:
            return torch.zeros(length, config.d_model)


def naive_sinusoid(place: int, dimension: int, d_model: int) -> float:
    """Section 3.5, one entry of the table."""
    angle = place / 10000 ** ((dimension - dimension % 2) / d_model)
    return math.cos(angle) if dimension % 2 else math.sin(angle)
