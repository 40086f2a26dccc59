"""Sub-layers: a mixer or feed-forward network f with norms, dropout and residual connection, one class per placement.

post (the paper)                      pre

x ──┬────────────┐                    x ──┬──────────────────┐
    └─ f ─ drop ─┴ + ─ norm ─>            └─ norm ─ f ─ drop ┴ + ─>

deep_norm                             sandwich; norm_former, where f is no feed-forward network

x ──┬─ * alpha ──┐                    x ──┬─────────────────────────┐
    └─ f ─ drop ─┴ + ─ norm ─>            └─ norm ─ f ─ norm ─ drop ┴ + ─>

b2t, the last sub-layer of a layer    norm_former, the feed-forward network

layer input ─────┐                    x ──┬───────────────────────────────────────┐
x ──┬────────────┤                        └─ norm ─ fc1 ─ act ─ norm ─ fc2 ─ drop ┴ + ─>
    └─ f ─ drop ─┴ + ─ norm ─>
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, assert_never

from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cost import Cost, cost_of, linear_cost
from lit_transformer.components.dropout import Dropout
from lit_transformer.components.norms import build_instance_norm, build_norm
from lit_transformer.components.residual import build_residual
from lit_transformer.components.token_mixer import Chain, ChainCache, TokenMixer, call_with_cache, init_cache_of
from lit_transformer.config import ModelConfig, Norm, Placement


class Sublayer(TokenMixer):
    """Base class; modules are registered in the order of the data. Shapes: (N, D) -> (N, D)."""

    inner: nn.Module
    """f, whose cache is the sub-layer's."""
    residual: nn.Module

    def f(self, x: Tensor, layout: Layout, cache: Any) -> tuple[Tensor, Any]:
        """Apply the mixer, or the feed-forward network, which has no cache."""
        return call_with_cache(self.inner, x, layout, cache)

    def init_cache(self, memory: Tensor, layout: Layout) -> Any:
        return init_cache_of(self.inner, memory, layout)

    def cost(self) -> Cost:
        """Return the cost of f and of the residual connection's linear layers."""
        return cost_of(self.inner) + Cost(query=linear_cost(self.residual))


class PostNorm(Sublayer):
    """norm(x + f(x)) (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, inner: nn.Module, dropout: nn.Module, residual: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.inner, self.dropout, self.residual, self.norm = inner, dropout, residual, norm

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        y, cache = self.f(x, layout, cache)
        return self.norm(self.residual(x, self.dropout(y))), cache


class PreNorm(Sublayer):
    """x + f(norm(x)) (Wang et al. 2019; Xiong et al. 2020)."""

    def __init__(self, norm: nn.Module, inner: nn.Module, dropout: nn.Module, residual: nn.Module) -> None:
        super().__init__()
        self.norm, self.inner, self.dropout, self.residual = norm, inner, dropout, residual

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        y, cache = self.f(self.norm(x), layout, cache)
        return self.residual(x, self.dropout(y)), cache


class SandwichNorm(Sublayer):
    """x + norm(f(norm(x))) (Ding et al. 2021)."""

    def __init__(
        self, norm: nn.Module, inner: nn.Module, post_branch_norm: nn.Module, dropout: nn.Module, residual: nn.Module
    ) -> None:
        super().__init__()
        self.norm, self.inner, self.post_branch_norm = norm, inner, post_branch_norm
        self.dropout, self.residual = dropout, residual

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        y, cache = self.f(self.norm(x), layout, cache)
        return self.residual(x, self.dropout(self.post_branch_norm(y))), cache


class NormFormer(SandwichNorm):
    """x + norm(f(norm(x))) around attention (Shleifer et al. 2021); the feed-forward network has its norm inside.

    NormFormer was an encoder or a decoder alone: here cross-attention is normalised as self-attention is. Left out: its
    trained scales of the heads and, in small models, of the residual connection.
    """


class DeepNorm(PostNorm):
    """norm(alpha x + f(x)), alpha a constant (Wang et al. 2022, section 3)."""

    def __init__(
        self, inner: nn.Module, dropout: nn.Module, residual: nn.Module, norm: nn.Module, alpha: float
    ) -> None:
        super().__init__(inner, dropout, residual, norm)
        self.alpha = alpha

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        y, cache = self.f(x, layout, cache)
        return self.norm(self.residual(self.alpha * x, self.dropout(y))), cache


class B2T(PostNorm):
    """norm(x + layer_input + f(x)), the last sub-layer of a `layers.B2TLayer` (Takase et al. 2023, section 3)."""

    def forward(
        self, x: Tensor, layout: Layout, cache: Any = None, layer_input: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        assert layer_input is not None, "B2T joins the input of its layer: call it in a B2TLayer"
        y, cache = self.f(x, layout, cache)
        return self.norm(self.residual(x + layer_input, self.dropout(y))), cache


class InstanceNormB2T(Chain):
    """B2T whose norm is an instance norm."""

    def forward(
        self, x: Tensor, layout: Layout, cache: ChainCache | None = None, layer_input: Tensor | None = None
    ) -> tuple[Tensor, ChainCache]:
        """(N, D) -> (N, D) and the caches of f and of the norm."""
        b2t, norm = self.links
        inner_cache, norm_cache = (None, None) if cache is None else cache.caches
        x, inner_cache = b2t(x, layout, inner_cache, layer_input)
        x, norm_cache = norm(x, layout, norm_cache)
        return x, ChainCache([inner_cache, norm_cache])


class DeepNormScales(NamedTuple):
    """The two constants of Wang et al. 2022: the factor on a sub-layer's input, and on its initial matrices."""

    alpha: float
    beta: float


def deep_norm_scales(config: ModelConfig, causal: bool) -> DeepNormScales:
    """Return the constants of one stack of an encoder-decoder of N and M layers (Wang et al. 2022, Figure 2).

    Encoder: alpha = 0.81 (N^4 M)^(1/16), beta = 0.87 (N^4 M)^(-1/16). Decoder: (3M)^(1/4) and (12M)^(-1/4).
    """
    n, m = config.encoder_layers, config.decoder_layers
    if causal:
        return DeepNormScales(alpha=(3 * m) ** 0.25, beta=(12 * m) ** -0.25)
    depth = (n**4 * m) ** (1 / 16)
    return DeepNormScales(alpha=0.81 * depth, beta=0.87 / depth)


def build_sublayer(config: ModelConfig, inner: nn.Module, name: str, causal: bool, last: bool) -> TokenMixer:
    """Build the configured norms, dropout and residual connection around `inner`.

    `name` is the sub-layer's in its layer, a field of `DropoutPlaces`; `causal`: in the decoder; `last`: it is the last
    of its layer.
    """
    if config.norm.kind is Norm.instance:
        return _with_instance_norms(config, inner, name, causal, last)
    return _build(config, inner, name, causal, last, partial(build_norm, config.norm, config.d_model))


def _with_instance_norms(config: ModelConfig, inner: nn.Module, name: str, causal: bool, last: bool) -> TokenMixer:
    """Build a sub-layer without norms, and chain instance norms, mixers themselves, to its inside or its end."""
    norm = partial(build_instance_norm, config.norm, config.d_model, causal)
    match config.norm.placement:
        case Placement.post | Placement.deep_norm:
            return Chain(_build(config, inner, name, causal, last, nn.Identity), norm())
        case Placement.b2t:
            chain = InstanceNormB2T if last else Chain
            return chain(_build(config, inner, name, causal, last, nn.Identity), norm())
        case Placement.pre:
            return _build(config, Chain(norm(), inner), name, causal, last, nn.Identity)
        case Placement.sandwich:
            return _build(config, Chain(norm(), inner, norm()), name, causal, last, nn.Identity)
        case Placement.norm_former:
            raise AssertionError("the config refuses instance norm inside the feed-forward network")
        case _:
            assert_never(config.norm.placement)


def _build(
    config: ModelConfig, inner: nn.Module, name: str, causal: bool, last: bool, norm: Callable[[], nn.Module]
) -> Sublayer:
    residual = build_residual(config.residual, config.d_model)
    dropout = Dropout(config.dropout_of(name))
    match config.norm.placement:
        case Placement.post:
            return PostNorm(inner, dropout, residual, norm())
        case Placement.pre:
            return PreNorm(norm(), inner, dropout, residual)
        case Placement.sandwich:
            return SandwichNorm(norm(), inner, norm(), dropout, residual)
        case Placement.norm_former if name == "feed_forward":
            return PreNorm(norm(), inner, dropout, residual)
        case Placement.norm_former:
            return NormFormer(norm(), inner, norm(), dropout, residual)
        case Placement.deep_norm:
            return DeepNorm(inner, dropout, residual, norm(), deep_norm_scales(config, causal).alpha)
        case Placement.b2t:
            return (B2T if last else PostNorm)(inner, dropout, residual, norm())
        case _:
            assert_never(config.norm.placement)


def build_final_norm(config: ModelConfig, causal: bool) -> nn.Module:
    """Build the norm at a stack's end, the identity where every sub-layer ends with one."""
    match config.norm.placement:
        case Placement.post | Placement.deep_norm | Placement.b2t:
            return nn.Identity()
        case Placement.pre | Placement.sandwich | Placement.norm_former:
            if config.norm.kind is Norm.instance:
                return build_instance_norm(config.norm, config.d_model, causal)
            return build_norm(config.norm, config.d_model)
        case _:
            assert_never(config.norm.placement)
