"""The twins of feed-forward networks."""

import math

import torch
from torch import Tensor, nn

from lit_transformer.config import FeedForward, ModelConfig


def naive_feed_forward(config: ModelConfig, part: nn.Module, x: Tensor) -> Tensor:
    """(L, D) -> (L, D)."""
    network = part.inner
    wide = x @ network.widen.weight.T + network.widen.bias
    match config.feed_forward.kind:
        case FeedForward.relu:
            active = wide.clamp(min=0)
        case FeedForward.gelu:
            active = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
    return active @ network.narrow.weight.T + network.narrow.bias
