"""Mixers: modules that move information between the tokens of a sentence; one file per kind, attention apart."""

from typing import assert_never

from torch import nn

from lit_transformer.components.attention import SelfAttention
from lit_transformer.components.mixers.average import AverageAttention, RunningMean, SentenceMean
from lit_transformer.components.mixers.convolution import DilatedConvolution, GatedConvolution
from lit_transformer.components.mixers.fourier import Fourier
from lit_transformer.components.mixers.lightweight import DynamicKernels, LightweightConvolution, SharedKernels
from lit_transformer.components.mixers.local import LocalAttention
from lit_transformer.components.mixers.recurrent import Recurrent
from lit_transformer.components.mixers.windows import build_windows
from lit_transformer.components.relative import ScorePositions, build_score_positions
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import Directions, Mixer, ModelConfig


def build_mixers(config: ModelConfig, causal: bool) -> list[TokenMixer]:
    """Build the mixers of one stack, bottom first. `causal`: the decoder's, where no token sees a later one."""
    positions = build_score_positions(config, causal)
    return [_mixer(config, causal, layer, layer_positions) for layer, layer_positions in enumerate(positions)]


def _mixer(config: ModelConfig, causal: bool, layer: int, positions: ScorePositions) -> TokenMixer:
    mixer = config.decoder_mixer if causal else config.encoder_mixer
    attention = config.attention_at.decoder if causal else config.attention_at.encoder
    d_model, kernel, width = config.d_model, mixer.kernel, mixer.width or config.d_model
    bidirectional = not causal and _bidirectional(mixer.directions, layer)
    match mixer.kind:
        case Mixer.attention:
            return SelfAttention(attention, d_model, positions, causal)
        case Mixer.local_attention:
            return LocalAttention(attention, d_model, positions, causal, mixer.window)
        case Mixer.lstm:
            return Recurrent(nn.LSTM(d_model, width, bidirectional=bidirectional), d_model)
        case Mixer.gru:
            return Recurrent(nn.GRU(d_model, width, bidirectional=bidirectional), d_model)
        case Mixer.gated_convolution:
            return GatedConvolution(d_model, build_windows(kernel, 1, causal))
        case Mixer.dilated_convolution:
            return DilatedConvolution(d_model, build_windows(kernel, 2 ** (layer % mixer.dilations), causal))
        case Mixer.lightweight_convolution:
            kernels = SharedKernels(mixer.heads, kernel)
            return LightweightConvolution(d_model, build_windows(kernel, 1, causal), kernels)
        case Mixer.dynamic_convolution:
            kernels_of_tokens = DynamicKernels(d_model, mixer.heads, kernel)
            return LightweightConvolution(d_model, build_windows(kernel, 1, causal), kernels_of_tokens)
        case Mixer.average:
            return AverageAttention(d_model, width, RunningMean() if causal else SentenceMean())
        case Mixer.fourier:
            return Fourier(d_model)
        case _:
            assert_never(mixer.kind)


def _bidirectional(directions: Directions, layer: int) -> bool:
    """Return whether a recurrent layer of the encoder, counted from 0 at the bottom, also reads backwards."""
    match directions:
        case Directions.both:
            return True
        case Directions.bottom:
            return layer == 0
        case Directions.forward:
            return False
        case _:
            assert_never(directions)
