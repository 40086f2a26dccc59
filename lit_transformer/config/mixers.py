"""Mixers: how information moves between the tokens of a sentence, in each stack."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, require, require_at_least_one


class Mixer(Kind):
    """What moves information between the tokens of a sentence."""

    attention = "attention", "every token attends to all others, in the decoder to those before", "Vaswani et al. 2017"
    local_attention = "local_attention", "attention to the tokens at most `window` away", "Vaswani et al. 2017, 4"
    lstm = "lstm", "long short-term memory, in the encoder in both `directions`", "Hochreiter and Schmidhuber 1997"
    gru = "gru", "gated recurrent units, in the encoder in both `directions`", "Cho et al. 2014"
    gated_convolution = "gated_convolution", "a convolution whose one half gates the other", "Gehring et al. 2017"
    dilated_convolution = "dilated_convolution", "convolutions, wider from layer to layer", "Kalchbrenner et al. 2016"
    lightweight_convolution = "lightweight_convolution", "one softmax kernel per group of features", "Wu et al. 2019"
    dynamic_convolution = "dynamic_convolution", "the same, but each token predicts its kernels", "Wu et al. 2019"
    average = "average", "a gated mean of the tokens so far, in the encoder of the sentence", "Zhang et al. 2018"
    fourier = "fourier", "the real part of the Fourier transform, encoder only", "Lee-Thorp et al. 2022"

    @property
    def attends(self) -> bool:
        """True for attention, on which positions inside attention can act."""
        return self in (Mixer.attention, Mixer.local_attention)


class Directions(Kind):
    """In which directions the recurrent layers of the encoder read; those of the decoder read forwards."""

    both = "both", "forwards and backwards, in every layer", "Schuster and Paliwal 1997; Bahdanau et al. 2015"
    bottom = "bottom", "both in the bottom layer, forwards in those above", "Wu et al. 2016, 3.2"
    forward = "forward", "forwards", "Cho et al. 2014"


CONVOLUTIONS = (
    Mixer.gated_convolution,
    Mixer.dilated_convolution,
    Mixer.lightweight_convolution,
    Mixer.dynamic_convolution,
)


@dataclass(frozen=True)
class MixerConfig:
    """The mixer of one stack; `attention` and `local_attention` are configured in `attention`."""

    kind: Mixer = Mixer.attention
    window: int = 8
    """Tokens on either side that `local_attention` sees; in the decoder only those before."""
    kernel: int = 3
    """Width of a convolution: centred on the token in the encoder, ending with it in the decoder."""
    dilations: int = 5
    """The dilation of `dilated_convolution` doubles from layer to layer and restarts at 1 after this many layers."""
    heads: int = 4
    """Groups of features that share a kernel in `lightweight_convolution` and `dynamic_convolution`."""
    width: int = 0
    """Units per direction of `lstm` and `gru`, and of the network inside `average`; 0: d_model."""
    directions: Directions = Directions.both
    """Of `lstm` and `gru` in the encoder."""


def require_possible(mixer: MixerConfig, place: str, d_model: int, causal: bool) -> None:
    """Raise unless the mixer at `place`, a key of `model`, can be built. `causal`: it is the decoder's."""
    require_at_least_one(mixer, place, "window", "kernel", "dilations", "heads")
    require(mixer.width >= 0, f"{place}.width is {mixer.width}; it must be at least 1, or 0 for model.d_model")
    require(
        causal or mixer.kernel % 2 == 1 or mixer.kind not in CONVOLUTIONS,
        f"{place}.kernel is {mixer.kernel}, which is even; the encoder sees as far ahead as back: choose an odd one",
    )
    require(
        d_model % mixer.heads == 0 or mixer.kind not in (Mixer.lightweight_convolution, Mixer.dynamic_convolution),
        f"{place}.heads is {mixer.heads}; it must divide model.d_model, {d_model}",
    )
    require(
        not causal or mixer.directions is Directions.both,
        f"{place}.directions is {mixer.directions}, but a decoder reads forwards whatever is chosen: "
        "choose it in model.encoder_mixer only",
    )
    require(
        not causal or mixer.kind is not Mixer.fourier,
        f"{place}.kind is fourier, of which every output needs the whole sentence, later tokens too: "
        "choose it in model.encoder_mixer only",
    )
