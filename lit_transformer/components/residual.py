"""Residual connections: how a sub-layer's output y joins its input x, both (N, D)."""

from typing import assert_never

import torch
from torch import Tensor, nn

from lit_transformer.config import Residual, ResidualConfig


class Add(nn.Module):
    """x + y (He et al. 2016)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class NoResidual(nn.Module):
    """y alone: no residual."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class AddScaled(nn.Module):
    """x + alpha y, alpha a constant (Szegedy et al. 2017, 3.3, who take 0.1 to 0.3)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.alpha * y


class ReZero(nn.Module):
    """x + g y, g one trained number per sub-layer, 0 at first: the identity (Bachlechner et al. 2021).

    The paper leaves the norms out too; here that is a separate choice, `model.norm.kind`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.gain * y


class Highway(nn.Module):
    """(1 - t) x + t y, t = sigmoid(W x + b) per feature (Srivastava et al. 2015, eq. 3).

    The paper starts with a negative b, such as -1, so that at first the input dominates. Here -1 is a constant next to
    a trained bias from 0, which is the same gate.
    """

    initial_bias = -1.0

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, D) and (N, D) -> (N, D)."""
        t = (self.gate(x) + self.initial_bias).sigmoid()  # (N, D)
        return x + t * (y - x)


class LayerDrop(nn.Module):
    """x + y, where in training y is dropped with probability `rate`, for the whole batch at once.

    Huang et al. 2016 scale y in evaluation by its probability of being kept; here it is divided by 1 - rate in
    training, as in dropout, which has the same mean. Huang et al. let the rate grow with depth, and Fan et al. 2020
    drop whole layers; here each sub-layer is dropped independently at one rate. A dropped sub-layer is still computed,
    so that the device never waits for the host: this regularises, but saves no time.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x + y
        keep = torch.rand((), device=y.device) >= self.rate
        return x + y * (keep.to(y.dtype) / (1 - self.rate))


def build_residual(config: ResidualConfig, d_model: int) -> nn.Module:
    """Build the residual connection of one sub-layer."""
    match config.kind:
        case Residual.identity:
            return Add()
        case Residual.scaled:
            return AddScaled(config.alpha)
        case Residual.rezero:
            return ReZero()
        case Residual.highway:
            return Highway(d_model)
        case Residual.layer_drop:
            return LayerDrop(config.rate)
        case Residual.none:
            return NoResidual()
        case _:
            assert_never(config.kind)
