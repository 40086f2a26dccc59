"""What stands around every mixer and feed-forward network: norms, dropout and residual, as one thing.

post (the paper)                      pre

x ──┬────────────┐                    x ──┬──────────────────┐
    └─ f ─ drop ─┴ + ─ norm ─>            └─ norm ─ f ─ drop ┴ + ─>

deep_norm                             sandwich; norm_former, where f is no feed-forward network

x ──┬─ * alpha ──┐                    x ──┬─────────────────────────┐
    └─ f ─ drop ─┴ + ─ norm ─>            └─ norm ─ f ─ norm ─ drop ┴ + ─>

b2t, the last sub-layer of a layer    norm_former, the feed-forward network

bottom ──────────┐                    x ──┬────────────────────────────────────────────┐
x ──┬────────────┤                        └─ norm ─ widen ─ act ─ norm ─ narrow ─ drop ┴ + ─>
    └─ f ─ drop ─┴ + ─ norm ─>
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

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return type(self)(*(None if past is None else past.select(rows, sentences) for past in self))


class Norms(NamedTuple):
    """The norms of a sub-layer: before f, right behind it, and after the residual; any may be the identity."""

    before: Part
    behind: Part
    after: Part


class Sublayer(nn.Module):
    """norm_after(residual(bypass(x, bottom), dropout(norm_behind(inner(norm_before(x))))))  (section 3.1)."""

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


class Amplified(nn.Module):
    """The input of the sub-layer goes by it times alpha."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, bottom: Tensor) -> Tensor:
        return self.alpha * x


class WithBottom(nn.Module):
    """The input of the sub-layer goes by it together with the input of the layer (Takase et al. 2023)."""

    def forward(self, x: Tensor, bottom: Tensor) -> Tensor:
        return x + bottom


class DeepNorm(NamedTuple):
    """The two numbers of Wang et al. 2022: on what goes by a sub-layer, and on its initial matrices."""

    alpha: float
    beta: float


def deep_norm(config: ModelConfig, causal: bool) -> DeepNorm:
    """Return the numbers of one stack of an encoder-decoder of N and M layers (Wang et al. 2022, Figure 2).

    Encoder: alpha = 0.81 (N^4 M)^(1/16), beta = 0.87 (N^4 M)^(-1/16). Decoder: (3M)^(1/4) and (12M)^(-1/4).
    """
    n, m = config.encoder_layers, config.decoder_layers
    if causal:
        return DeepNorm(alpha=(3 * m) ** 0.25, beta=(12 * m) ** -0.25)
    depth = (n**4 * m) ** (1 / 16)
    return DeepNorm(alpha=0.81 * depth, beta=0.87 / depth)


def build_sublayer(config: ModelConfig, inner: Part, name: str, causal: bool, last: bool) -> Sublayer:
    """Put the configured norms, dropout and residual around `inner`.

    `name` is the sub-layer's in its layer, a field of `DropoutPlaces`; `causal`: in the decoder; `last`: its layer
    ends with it.
    """
    residual = build_residual(config.residual, config.d_model)
    dropout = Dropout(config.dropout_of(name))
    return Sublayer(inner, _norms(config, name, causal), dropout, _bypass(config, causal, last), residual)


def build_final_norm(config: ModelConfig, causal: bool) -> Part:
    """Build the norm at a stack's end: only where nothing else bounds the residual stream."""
    match config.norm.placement:
        case Placement.post | Placement.deep_norm | Placement.b2t:
            return _nothing()
        case Placement.pre | Placement.sandwich | Placement.norm_former:
            return build_norm(config.norm, config.d_model, causal)
        case _:
            assert_never(config.norm.placement)


def _norms(config: ModelConfig, name: str, causal: bool) -> Norms:
    """Build the norms of one sub-layer.

    NormFormer (Shleifer et al. 2021) was an encoder or a decoder alone: here cross-attention has its norm behind, as
    self-attention. Its trained scales, of the heads and in small models of what goes by, are left out.
    """

    def norm() -> Part:
        return build_norm(config.norm, config.d_model, causal)

    match config.norm.placement:
        case Placement.post | Placement.deep_norm | Placement.b2t:
            return Norms(_nothing(), _nothing(), norm())
        case Placement.pre:
            return Norms(norm(), _nothing(), _nothing())
        case Placement.sandwich:
            return Norms(norm(), norm(), _nothing())
        case Placement.norm_former:
            return Norms(norm(), _nothing() if name == "feed_forward" else norm(), _nothing())
        case _:
            assert_never(config.norm.placement)


def _bypass(config: ModelConfig, causal: bool, last: bool) -> nn.Module:
    match config.norm.placement:
        case Placement.deep_norm:
            return Amplified(deep_norm(config, causal).alpha)
        case Placement.b2t:
            return WithBottom() if last else Straight()
        case Placement.post | Placement.pre | Placement.sandwich | Placement.norm_former:
            return Straight()
        case _:
            assert_never(config.norm.placement)


def _nothing() -> Part:
    return PerToken(nn.Identity())
