"""What stands around every mixer and feed-forward network: norm, dropout and residual, as one thing.

post-norm (the paper)                 pre-norm

x ──┬────────────┐                    x ──┬─────────────────┐
    └─ f ─ drop ─┴ + ─ norm ─>            └─ norm ─ f ─ drop ┴ + ─>
"""

from typing import Any, assert_never

from torch import Tensor, nn

from lit_transformer.components.dropout import Dropout
from lit_transformer.components.norms import build_norm
from lit_transformer.config import ModelConfig, Placement, Residual


class Add(nn.Module):
    """The identity residual: x + y (He et al. 2016)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Replace(nn.Module):
    """No residual: y alone."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class Sublayer(nn.Module):
    """post_norm(residual(x, dropout(inner(pre_norm(x))))); either norm may be the identity (section 3.1).

    `inner` takes x and its context and returns (y, state to carry); the state is handed through.
    """

    def __init__(
        self, inner: nn.Module, pre_norm: nn.Module, dropout: nn.Module, residual: nn.Module, post_norm: nn.Module
    ) -> None:
        super().__init__()
        self.inner = inner
        self.pre_norm = pre_norm
        self.dropout = dropout
        self.residual = residual
        self.post_norm = post_norm

    def forward(self, x: Tensor, *context: Any) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D) and the new state of `inner`."""
        y, state = self.inner(self.pre_norm(x), *context)
        return self.post_norm(self.residual(x, self.dropout(y))), state


def build_sublayer(config: ModelConfig, inner: nn.Module) -> Sublayer:
    """Put the configured norm, dropout and residual around `inner`."""
    pre, post = _norms(config)
    return Sublayer(inner, pre, Dropout(config.dropout), _residual(config.residual), post)


def build_final_norm(config: ModelConfig) -> nn.Module:
    """Build the norm at a stack's end: only under pre-norm, where nothing else bounds the residual stream."""
    match config.norm.placement:
        case Placement.post:
            return nn.Identity()
        case Placement.pre:
            return build_norm(config.norm, config.d_model)
        case _:
            assert_never(config.norm.placement)


def _norms(config: ModelConfig) -> tuple[nn.Module, nn.Module]:
    match config.norm.placement:
        case Placement.post:
            return nn.Identity(), build_norm(config.norm, config.d_model)
        case Placement.pre:
            return build_norm(config.norm, config.d_model), nn.Identity()
        case _:
            assert_never(config.norm.placement)


def _residual(kind: Residual) -> nn.Module:
    match kind:
        case Residual.identity:
            return Add()
        case Residual.none:
            return Replace()
        case _:
            assert_never(kind)
