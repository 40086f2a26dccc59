"""Layers and stacks: sub-layers one after another (section 3.1), the same code for encoder and decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self, cast

from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.attention import CrossAttention
from lit_transformer.components.cross import FixedReading, build_cross
from lit_transformer.components.feed_forward import build_feed_forward
from lit_transformer.components.mixers import build_mixers
from lit_transformer.components.norms import build_inner_norm
from lit_transformer.components.part import Cost, Part, Past
from lit_transformer.components.sublayer import Sublayer, SublayerPast, build_final_norm, build_sublayer
from lit_transformer.config import ModelConfig

LayerPast = Mapping[str, SublayerPast]


@dataclass(frozen=True, eq=False)
class StackPast:
    """What a stack remembers: of each layer, of each of its sub-layers; and of its final norm."""

    layers: Sequence[LayerPast]
    final: Past | None = None

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        layers = [{name: past.select(rows, sentences) for name, past in layer.items()} for layer in self.layers]
        return type(self)(layers, self.final and self.final.select(rows, sentences))


class Layer(nn.Module):
    """Sub-layers by name: mixer and feed_forward, if any; in the decoder cross stands between them."""

    def __init__(self, sublayers: Mapping[str, Sublayer]) -> None:
        super().__init__()
        self.sublayers = nn.ModuleDict(sublayers)

    def forward(self, x: Tensor, layout: Layout, past: LayerPast) -> tuple[Tensor, LayerPast]:
        """(N, D) -> (N, D) and the new past; a sub-layer that is not in `past` begins its sentences."""
        bottom, new = x, {}
        for name, sublayer in self.sublayers.items():
            x, new[name] = sublayer(x, layout, past.get(name, SublayerPast()), bottom)
        return x, new

    def project(self, memory: Tensor, layout: Layout) -> LayerPast:
        """Return the past of a decoder layer before the first token: the encoder's output (N_s, D), projected."""
        cross = cast(CrossAttention | FixedReading, self.sublayers["cross"].inner)
        return {"cross": SublayerPast(inner=cross.project(memory, layout))}


class Stack(nn.Module):
    """Layers, and the norm at their end."""

    def __init__(self, layers: list[Layer], norm: Part) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, layout: Layout, past: StackPast) -> tuple[Tensor, StackPast]:
        """(N, D) -> (N, D) and the new past."""
        pasts = []
        for layer, before in zip(self.layers, past.layers, strict=True):
            x, after = layer(x, layout, before)
            pasts.append(after)
        x, final = self.norm(x, layout, past.final)
        return x, StackPast(pasts, final)

    def beginning(self) -> StackPast:
        """Return the past of an encoder: none."""
        return StackPast([{}] * len(self.layers))

    def project(self, memory: Tensor, layout: Layout) -> StackPast:
        """Return the past of a decoder before the first token."""
        return StackPast([cast(Layer, layer).project(memory, layout) for layer in self.layers])

    def sublayers(self) -> list[tuple[str, Sublayer]]:
        """Return every sub-layer with its name, bottom first."""
        layers = cast(list[Layer], list(self.layers))
        return [(name, cast(Sublayer, part)) for layer in layers for name, part in layer.sublayers.items()]

    def costs(self) -> tuple[Cost, Cost]:
        """Return the operations of all sub-layers within the stack's own sentences, and of those across to a memory."""
        own, cross = Cost(), Cost()
        for name, sublayer in self.sublayers():
            if name == "cross":
                cross += sublayer.cost()
            else:
                own += sublayer.cost()
        return own, cross


def build_encoder(config: ModelConfig) -> Stack:
    """Build the layers that read: a mixer and a feed-forward network each."""
    return _stack(config, causal=False)


def build_decoder(config: ModelConfig) -> Stack:
    """Build the layers that say: a causal mixer, what reads the memory and a feed-forward network each."""
    return _stack(config, causal=True)


def _stack(config: ModelConfig, causal: bool) -> Stack:
    layers, norm_inside = [], partial(build_inner_norm, config.norm)
    for mixer in build_mixers(config, causal):
        inner = {"mixer": mixer}
        if causal:
            inner["cross"] = build_cross(config)
        if feed_forward := build_feed_forward(config.feed_forward, config.d_model, norm_inside):
            inner["feed_forward"] = feed_forward
        last = list(inner)[-1]
        sublayers = {name: build_sublayer(config, part, name, causal, name == last) for name, part in inner.items()}
        layers.append(Layer(sublayers))
    return Stack(layers, build_final_norm(config, causal))
