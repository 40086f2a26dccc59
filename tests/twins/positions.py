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
        case Positions.sinusoidal_concatenated:
            width = config.d_model
            table = [[naive_concatenated_sinusoid(t, i, width) for i in range(width)] for t in range(length)]
            return torch.tensor(table, dtype=torch.float32)  # the model's table is rounded so
        case Positions.learned:
            return positions.embedding.weight[:length]
        case Positions.count:
            return _in_the_first([float(place) for place in range(length)], config.d_model)
        case Positions.normalised_count:
            last = config.positions.max_length - 1 if causal else length - 1
            return _in_the_first([place / last if place else 0.0 for place in range(length)], config.d_model)
        case Positions.binary:
            bits = [[int(digit) for digit in reversed(f"{place:0{config.d_model}b}")] for place in range(length)]
            return torch.tensor(bits, dtype=torch.float64)
        case Positions.none | Positions.shaw | Positions.t5 | Positions.alibi | Positions.rotary | Positions.fire:
            return torch.zeros(length, config.d_model)


def naive_sinusoid(place: int, dimension: int, d_model: int) -> float:
    """Section 3.5, one entry of the table."""
    angle = place / 10000 ** ((dimension - dimension % 2) / d_model)
    return math.cos(angle) if dimension % 2 else math.sin(angle)


def naive_concatenated_sinusoid(place: int, dimension: int, d_model: int) -> float:
    """The same by Tensor2Tensor: the second half of the dimensions are cosines."""
    frequencies = d_model // 2
    angle = place / 10000 ** (dimension % frequencies / (frequencies - 1))
    return math.sin(angle) if dimension < frequencies else math.cos(angle)


def _in_the_first(values: list[float], d_model: int) -> Tensor:
    return torch.tensor([[value] + [0.0] * (d_model - 1) for value in values], dtype=torch.float64)
