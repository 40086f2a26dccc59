"""Mixers: how the tokens of one sentence learn of each other, in each stack."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind


class Mixer(Kind):
    """What moves information between the tokens of one sentence."""

    attention = "attention", "every token attends to every other, in the decoder to those before", "Vaswani et al. 2017"


@dataclass(frozen=True)
class MixerConfig:
    """The mixer of one stack; `attention` has its own section."""

    kind: Mixer = Mixer.attention
