"""Position-wise feed-forward networks (Vaswani et al. 2017, section 3.3)."""

from typing import assert_never

from torch import Tensor, nn

from lit_transformer.components.dropout import Dropout
from lit_transformer.components.part import Part, PerToken
from lit_transformer.config import FeedForward, FeedForwardConfig


class PositionWise(nn.Module):
    """Two matrices with an activation between, the same for every token: W2 act(W1 x + b1) + b2 (eq. 2)."""

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Linear(d_model, d_ff)
        self.activation = activation
        self.dropout = Dropout(dropout)
        self.narrow = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        y: Tensor = self.narrow(self.dropout(self.activation(self.widen(x))))
        return y


def build_feed_forward(config: FeedForwardConfig, d_model: int) -> Part:
    """Build the feed-forward network of one layer."""
    return PerToken(PositionWise(d_model, config.d_ff, _activation(config.kind), config.dropout))


def _activation(kind: FeedForward) -> nn.Module:
    match kind:
        case FeedForward.relu:
            return nn.ReLU(inplace=True)
        case FeedForward.gelu:
            return nn.GELU()
        case _:
            assert_never(kind)
