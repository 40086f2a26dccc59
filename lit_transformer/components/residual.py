"""Residual connections: how a sub-layer's output y joins its input x, both (N, D)."""

from typing import assert_never

import torch
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


class AddScaled(nn.Module):
    """x + alpha y, alpha a constant (Szegedy et al. 2017, 3.3, who take 0.1 to 0.3)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.alpha * y


class ReZero(nn.Module):
    """x + g y, g one trained number a sub-layer, 0 at first: the identity (Bachlechner et al. 2021).

    The source leaves the norms out too; here that is `model.norm.kind`, apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.gain * y


class Highway(nn.Module):
    """(1 - t) x + t y, t = sigmoid(W x + b) for every feature (Srivastava et al. 2015, eq. 3).

    The source begins with a negative b, -1 at the least, so that at first more passes by than is changed. Here the -1
    is a constant beside a trained bias from 0, which is the same gate.
    """

    start = -1.0

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, D) and (N, D) -> (N, D)."""
        t = (self.gate(x) + self.start).sigmoid()  # (N, D)
        return x + t * (y - x)


class LayerDrop(nn.Module):
    """x + y, where in training y is left out with probability `rate`, for the whole batch at once.

    Huang et al. 2016 shrink y in evaluation by the share of training in which it was there; here what is kept in
    training is divided by 1 - rate, which has the same mean, as in dropout. Huang et al. let the rate grow with depth
    and Fan et al. 2020 leave out whole layers; here each sub-layer falls by itself at one rate. A dropped sub-layer is
    computed all the same, so that the device never waits for the host: this regularises, and saves no time.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x + y
        kept = torch.rand((), device=y.device) >= self.rate
        return x + y * (kept.to(y.dtype) / (1 - self.rate))


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
            return Replace()
        case _:
            assert_never(config.kind)
