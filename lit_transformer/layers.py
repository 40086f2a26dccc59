"""One layer of each stack: mixers and a feed-forward network, each inside its sub-layer (section 3.1)."""

from dataclasses import dataclass
from typing import Self, cast

from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.attention import CausalSelfAttention, CrossAttention, KeyValues, SelfAttention
from lit_transformer.components.feed_forward import build_feed_forward
from lit_transformer.components.sublayer import build_sublayer
from lit_transformer.config import ModelConfig


@dataclass(frozen=True, eq=False)
class LayerState:
    """What a decoder layer remembers between two tokens: its own keys and values, and those of the memory."""

    own: KeyValues
    cross: KeyValues

    def select(self, rows: Tensor, same_sentences: bool) -> Self:
        """Keep the given rows; where each row keeps its sentence, the memory's keys and values stay in place."""
        return type(self)(self.own.select(rows), self.cross if same_sentences else self.cross.select(rows))


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mixer = build_sublayer(config, SelfAttention(config.attention, config.d_model))
        self.feed_forward = build_sublayer(config, build_feed_forward(config.feed_forward, config.d_model))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """(N, D) -> (N, D)."""
        x, _ = self.mixer(x, layout)
        x, _ = self.feed_forward(x)
        return x


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the memory, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mixer = build_sublayer(config, CausalSelfAttention(config.attention, config.d_model))
        self.cross = build_sublayer(config, CrossAttention(config.attention, config.d_model))
        self.feed_forward = build_sublayer(config, build_feed_forward(config.feed_forward, config.d_model))

    def forward(
        self, x: Tensor, layout: Layout, memory: KeyValues, own: KeyValues | None
    ) -> tuple[Tensor, KeyValues | None]:
        """(N, D), the projected memory and the layer's cache (None: whole sentences) -> (N, D) and the new cache."""
        x, own = self.mixer(x, layout, own)
        x, _ = self.cross(x, layout, memory)
        x, _ = self.feed_forward(x)
        return x, own

    def project(self, memory: Tensor, layout: Layout) -> KeyValues:
        """Return the keys and values of the encoder's output (N_s, D), computed once for all steps."""
        return cast(CrossAttention, self.cross.inner).key_values(memory, layout)

    def start(self, memory: Tensor, layout: Layout) -> LayerState:
        """Return the layer's state before the first token."""
        mixer = cast(CausalSelfAttention, self.mixer.inner)
        return LayerState(mixer.empty_cache(memory, layout.sentences), self.project(memory, layout))
