"""Mixers: the parts that move information between the tokens of one sentence; one file a kind, beside attention."""

from typing import assert_never

from lit_transformer.components.attention import SelfAttention
from lit_transformer.components.part import Part
from lit_transformer.components.relative import build_score_positions
from lit_transformer.config import Mixer, ModelConfig


def build_mixers(config: ModelConfig, causal: bool) -> list[Part]:
    """Build the mixers of one stack, bottom first. `causal`: the decoder's, where no token may see a later one."""
    stack = config.decoder_mixer if causal else config.encoder_mixer
    layers = range(config.decoder_layers if causal else config.encoder_layers)
    match stack.kind:
        case Mixer.attention:
            attention = config.attention_at.decoder if causal else config.attention_at.encoder
            positions = build_score_positions(config, causal)
            return [SelfAttention(attention, config.d_model, positions[layer], causal) for layer in layers]
        case _:
            assert_never(stack.kind)
