"""What stands around every mixer and feed-forward network: norms, dropout and residual, as one thing.

post-norm (the paper)                 pre-norm

x ──┬────────────┐                    x ──┬─────────────────┐
    └─ f ─ drop ─┴ + ─ norm ─>            └─ norm ─ f ─ drop ┴ + ─>
"""

from typing import Any, NamedTuple, Self, assert_never

from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.dropout import Dropout
from lit_transformer.components.norms import build_norm
from lit_transformer.components.part import Cost, Part, PerToken, linear_cost
from lit_transformer.components.residual import build_residual
from lit_transformer.config import ModelConfig, Placement


class SublayerPast(NamedTuple):
    """What the parts of a sub-layer remember, each a `Past` or None."""

    before: Any = None
    inner: Any = None
    behind: Any = None
    after: Any = None

    def select(self, rows: Tensor, same_sentences: bool) -> Self:
        return type(self)(*(None if past is None else past.select(rows, same_sentences) for past in self))


class Norms(NamedTuple):
    """The norms of a sub-layer: before f, right behind it, and after the residual; any may be the identity."""

    before: Part
    behind: Part
    after: Part


class Sublayer(nn.Module):
    """norm_after(residual(bypass(x), dropout(norm_behind(inner(norm_before(x))))))  (section 3.1)."""

    def __init__(self, inner: Part, norms: Norms, dropout: nn.Module, bypass: nn.Module, residual: nn.Module) -> None:
        super().__init__()
        self.norm_before = norms.before
        self.inner = inner
        self.norm_behind = norms.behind
        self.dropout = dropout
        self.bypass = bypass
        self.residual = residual
        self.norm_after = norms.after

    def forward(self, x: Tensor, layout: Layout, past: SublayerPast, bottom: Tensor) -> tuple[Tensor, SublayerPast]:
        """(N, D) -> (N, D) and the new past; bottom (N, D) is what entered the layer."""
        y, before = self.norm_before(x, layout, past.before)
        y, inner = self.inner(y, layout, past.inner)
        y, behind = self.norm_behind(y, layout, past.behind)
        joined = self.residual(self.bypass(x, bottom), self.dropout(y))
        z, after = self.norm_after(joined, layout, past.after)
        return z, SublayerPast(before, inner, behind, after)

    def cost(self) -> Cost:
        """Return the operations of the inner part and of what stands around it."""
        around = sum(map(linear_cost, (self.norm_before, self.norm_behind, self.norm_after, self.residual)))
        return self.inner.cost() + Cost(query=around)


class Straight(nn.Module):
    """The input of the sub-layer goes by it as it is."""

    def forward(self, x: Tensor, bottom: Tensor) -> Tensor:
        return x


def build_sublayer(config: ModelConfig, inner: Part, dropout: float, causal: bool) -> Sublayer:
    """Put the configured norms, dropout and residual around `inner`. `causal`: in the decoder."""
    residual = build_residual(config.residual, config.d_model)
    return Sublayer(inner, _norms(config, causal), Dropout(dropout), Straight(), residual)


def build_final_norm(config: ModelConfig, causal: bool) -> Part:
    """Build the norm at a stack's end: only where nothing else bounds the residual stream."""
    match config.norm.placement:
        case Placement.post:
            return _nothing()
        case Placement.pre:
            return build_norm(config.norm, config.d_model, causal)
        case _:
            assert_never(config.norm.placement)


def _norms(config: ModelConfig, causal: bool) -> Norms:
    def norm() -> Part:
        return build_norm(config.norm, config.d_model, causal)

    match config.norm.placement:
        case Placement.post:
            return Norms(_nothing(), _nothing(), norm())
        case Placement.pre:
            return Norms(norm(), _nothing(), _nothing())
        case _:
            assert_never(config.norm.placement)


def _nothing() -> Part:
    return PerToken(nn.Identity())
