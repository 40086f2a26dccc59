"""Layers and stacks: sub-layers one after another (section 3.1), the same code for encoder and decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self, cast

from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import Cache
from lit_transformer.components.cost import Cost
from lit_transformer.components.cross import build_cross
from lit_transformer.components.feed_forward import build_feed_forward
from lit_transformer.components.mixers import build_mixers
from lit_transformer.components.norms import build_inner_norm
from lit_transformer.components.sublayer import build_final_norm, build_sublayer
from lit_transformer.components.token_mixer import TokenMixer, call_with_cache
from lit_transformer.config import ModelConfig, Placement

LayerCache = Mapping[str, Cache | None]
"""The cache of each sub-layer, by its name."""


@dataclass(frozen=True, eq=False)
class StackCache:
    """The caches of a stack's layers, and of its final norm where that has one."""

    layers: Sequence[LayerCache]
    norm: Cache | None = None

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        layers = [{name: _select(cache, rows, sentences) for name, cache in layer.items()} for layer in self.layers]
        return type(self)(layers, _select(self.norm, rows, sentences))


def _select(cache: Cache | None, rows: Tensor, sentences: Tensor | None) -> Cache | None:
    return None if cache is None else cache.select(rows, sentences)


class Layer(nn.Module):
    """Sub-layers by name: mixer and feed_forward, if any; in the decoder cross stands between them."""

    def __init__(self, sublayers: Mapping[str, TokenMixer]) -> None:
        super().__init__()
        self.sublayers = nn.ModuleDict(sublayers)

    def forward(self, x: Tensor, layout: Layout, cache: LayerCache) -> tuple[Tensor, LayerCache]:
        """(N, D) -> (N, D) and the new cache."""
        new = {}
        for name, sublayer in self.sublayers.items():
            x, new[name] = sublayer(x, layout, cache.get(name))
        return x, new

    def init_cache(self, memory: Tensor, layout: Layout) -> LayerCache:
        """Return the cache of a decoder layer before the first token, from the encoder's output (N_s, D)."""
        sublayers = cast(Mapping[str, TokenMixer], self.sublayers)
        return {name: sublayer.init_cache(memory, layout) for name, sublayer in sublayers.items()}


class B2TLayer(Layer):
    """A layer whose last sub-layer also takes the layer's input (Takase et al. 2023)."""

    def forward(self, x: Tensor, layout: Layout, cache: LayerCache) -> tuple[Tensor, LayerCache]:
        """(N, D) -> (N, D) and the new cache; the last sub-layer receives x as it came in, too."""
        layer_input, new = x, {}
        *earlier, last = self.sublayers
        for name in earlier:
            x, new[name] = self.sublayers[name](x, layout, cache.get(name))
        x, new[last] = self.sublayers[last](x, layout, cache.get(last), layer_input)
        return x, new


class Stack(nn.Module):
    """Layers, and the norm at their end."""

    def __init__(self, layers: list[Layer], norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, layout: Layout, cache: StackCache | None = None) -> tuple[Tensor, StackCache]:
        """(N, D) -> (N, D) and the new cache; an encoder begins without one."""
        new = []
        layer_caches = [{}] * len(self.layers) if cache is None else cache.layers
        for layer, layer_cache in zip(self.layers, layer_caches, strict=True):
            x, layer_cache = layer(x, layout, layer_cache)
            new.append(layer_cache)
        x, norm_cache = call_with_cache(self.norm, x, layout, cache and cache.norm)
        return x, StackCache(new, norm_cache)

    def init_cache(self, memory: Tensor, layout: Layout) -> StackCache:
        """Return the cache of a decoder before the first token, from the encoder's output (N_s, D)."""
        return StackCache([cast(Layer, layer).init_cache(memory, layout) for layer in self.layers])

    def sublayers(self) -> list[tuple[str, TokenMixer]]:
        """Return every sub-layer with its name, bottom first."""
        layers = cast(list[Layer], list(self.layers))
        return [(name, cast(TokenMixer, sublayer)) for layer in layers for name, sublayer in layer.sublayers.items()]

    def costs(self) -> tuple[Cost, Cost]:
        """Return the costs of the sub-layers that read the stack's own sentences, and of those that read a memory."""
        within, across = Cost(), Cost()
        for name, sublayer in self.sublayers():
            if name == "cross":
                across += sublayer.cost()
            else:
                within += sublayer.cost()
        return within, across


def build_encoder(config: ModelConfig) -> Stack:
    """Build the encoder's layers: a mixer and a feed-forward network each."""
    return _stack(config, causal=False)


def build_decoder(config: ModelConfig) -> Stack:
    """Build the decoder's layers: a causal mixer, cross-attention or its like, and a feed-forward network each."""
    return _stack(config, causal=True)


def _stack(config: ModelConfig, causal: bool) -> Stack:
    layers, inner_norm = [], partial(build_inner_norm, config.norm)
    layer_class = B2TLayer if config.norm.placement is Placement.b2t else Layer
    for mixer in build_mixers(config, causal):
        inner: dict[str, nn.Module] = {"mixer": mixer}
        if causal:
            inner["cross"] = build_cross(config)
        if feed_forward := build_feed_forward(config.feed_forward, config.d_model, inner_norm):
            inner["feed_forward"] = feed_forward
        last = list(inner)[-1]
        layers.append(
            layer_class({name: build_sublayer(config, f, name, causal, name == last) for name, f in inner.items()})
        )
    norm = build_final_norm(config, causal)
    return Stack(layers, norm)
