"""The twins of what reads the source, one target place after another."""

import torch
from torch import Tensor, nn

from lit_transformer.config import Cross, ModelConfig
from tests.twins.attention import naive_cross_attention


def naive_cross(config: ModelConfig, part: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    """(T, D) and the memory (S, D) of the same pair -> (T, D)."""
    match config.cross_mixer.kind:
        case Cross.attention:
            return naive_cross_attention(config, part, x, memory)
        case Cross.context:
            read = [memory[-1] for _ in x]
        case Cross.aligned:
            read = [memory[place] if place < len(memory) else memory[-1] for place in range(len(x))]
    own, theirs = part.out_proj.weight.chunk(2, -1)
    return torch.stack([own @ x[place] + theirs @ token + part.out_proj.bias for place, token in enumerate(read)])
