"""The twins of positions inside self-attention."""

from collections.abc import Iterable

from torch import Tensor, nn

from lit_transformer.config import ModelConfig


def naive_turn(config: ModelConfig, positions: nn.Module, head: Tensor, places: Iterable[int]) -> Tensor:
    """Turn the queries or keys (L, E) of one head at the given places."""
    return head


def naive_bias(
    config: ModelConfig, positions: nn.Module, query: Tensor, i: int, j: int, head: int, causal: bool
) -> Tensor | float:
    """Return what the scores of query i (E,), already turned, and key j gain."""
    return 0.0
