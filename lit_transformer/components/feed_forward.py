"""Position-wise feed-forward networks (Vaswani et al. 2017, section 3.3), plain and gated."""

from collections.abc import Callable
from typing import assert_never

import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.components.dropout import Dropout
from lit_transformer.components.experts import Experts
from lit_transformer.config import FeedForward, FeedForwardConfig


class SquaredReLU(nn.Module):
    """relu(x)^2 (So et al. 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class PositionWise(nn.Module):
    """Two matrices with an activation between, the same for every token: W2 act(W1 x + b1) + b2 (eq. 2).

    `norm` normalises the input of the second matrix; the identity except in NormFormer.
    """

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module, dropout: float, norm: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, d_ff)
        self.activation = activation
        self.dropout = Dropout(dropout)
        self.norm = norm
        self.fc2 = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        y: Tensor = self.fc2(self.norm(self.dropout(self.activation(self.fc1(x)))))  # (N, F) inside
        return y


class Gated(PositionWise):
    """Gated linear units: W2 (act(W1 x + b1) * (V x + b)) + b2 (Dauphin et al. 2017; Shazeer 2020, eq. 5 and 6).

    With biases, as in every network here; Shazeer 2020 has none. `gate` is W1, `fc1` is V.
    """

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module, dropout: float, norm: nn.Module) -> None:
        super().__init__(d_model, d_ff, activation, dropout, norm)
        self.gate = nn.Linear(d_model, d_ff)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        gated = self.activation(self.gate(x)) * self.fc1(x)  # (N, F)
        y: Tensor = self.fc2(self.norm(self.dropout(gated)))  # (N, D)
        return y


def build_feed_forward(
    config: FeedForwardConfig, d_model: int, norm: Callable[[int], nn.Module] = nn.Identity
) -> nn.Module | None:
    """Build the feed-forward network of one layer, or None where a layer has none: (N, D) -> (N, D).

    `norm` builds the norm before the second matrix from its width; each expert of a mixture has its own.
    """
    width = config.width(d_model)

    def plain(activation: nn.Module) -> nn.Module:
        return PositionWise(d_model, width, activation, config.dropout, norm(width))

    def gated(activation: nn.Module) -> nn.Module:
        return Gated(d_model, width, activation, config.dropout, norm(width))

    match config.kind:
        case FeedForward.relu:
            return plain(nn.ReLU(inplace=True))
        case FeedForward.gelu:
            return plain(nn.GELU())
        case FeedForward.swish:
            return plain(nn.SiLU())
        case FeedForward.squared_relu:
            return plain(SquaredReLU())
        case FeedForward.glu:
            return gated(nn.Sigmoid())
        case FeedForward.reglu:
            return gated(nn.ReLU(inplace=True))
        case FeedForward.geglu:
            return gated(nn.GELU())
        case FeedForward.swiglu:
            return gated(nn.SiLU())
        case FeedForward.experts:
            experts = [plain(nn.ReLU(inplace=True)) for _ in range(config.experts)]
            return Experts(experts, d_model, config.top_k, config.balance)
        case FeedForward.none:
            return None
        case _:
            assert_never(config.kind)
