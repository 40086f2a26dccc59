"""Residual connections: how a sub-layer's output y joins its input x, both (N, D)."""

from typing import assert_never

from torch import Tensor, nn

from lit_transformer.config import Residual, ResidualConfig


class Add(nn.Module):
    """x + y (He et al. 2016)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Replace(nn.Module):
    """y alone: no residual."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


def build_residual(config: ResidualConfig, d_model: int) -> nn.Module:
    """Build the residual connection of one sub-layer."""
    match config.kind:
        case Residual.identity:
            return Add()
        case Residual.none:
            return Replace()
        case _:
            assert_never(config.kind)
