"""The twins of feed-forward networks."""

import math

import torch
from torch import Tensor, nn

from lit_transformer.config import FeedForward, ModelConfig
from tests.twins.norms import naive_inner_norm


def naive_feed_forward(config: ModelConfig, network: nn.Module, x: Tensor) -> Tensor:
    """(L, D) -> (L, D)."""
    kind = config.feed_forward.kind
    if kind is FeedForward.experts:
        return torch.stack([naive_experts(config, network, token) for token in x])
    if kind in (FeedForward.glu, FeedForward.reglu, FeedForward.geglu, FeedForward.swiglu):
        inner = naive_activation(kind, naive_linear(network.gate, x)) * naive_linear(network.fc1, x)
    else:
        inner = naive_activation(kind, naive_linear(network.fc1, x))
    return naive_linear(network.fc2, naive_inner_norm(config, network.norm, inner))


def naive_activation(kind: FeedForward, z: Tensor) -> Tensor:
    match kind:
        case FeedForward.relu | FeedForward.reglu:
            return z.clamp(min=0)
        case FeedForward.gelu | FeedForward.geglu:
            return z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        case FeedForward.swish | FeedForward.swiglu:
            return z / (1 + torch.exp(-z))
        case FeedForward.squared_relu:
            return torch.where(z > 0, z * z, 0.0)
        case FeedForward.glu:
            return 1 / (1 + torch.exp(-z))
        case _:
            raise AssertionError(f"{kind} has no activation of its own")


def naive_experts(config: ModelConfig, part: nn.Module, token: Tensor) -> Tensor:
    """One token (D,) -> (D,): every expert computes, and those that were not chosen are weighted with 0."""
    scores = torch.exp(part.router.weight @ token)
    probabilities = scores / scores.sum()
    least = sorted(probabilities.tolist())[-config.feed_forward.top_k]
    total = torch.zeros_like(token)
    for probability, expert in zip(probabilities, part.experts, strict=True):
        wide = naive_linear(expert.fc1, token[None]).clamp(min=0)
        output = naive_linear(expert.fc2, naive_inner_norm(config, expert.norm, wide))[0]
        total = total + (probability if probability.item() >= least else 0 * probability) * output
    return total


def naive_linear(linear: nn.Linear, x: Tensor) -> Tensor:
    return x @ linear.weight.T + linear.bias
