"""Positions: how a token learns its place in the sentence."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, require_at_least_one


class Positions(Kind):
    """How a token learns its place in the sentence (section 3.5)."""

    sinusoidal = "sinusoidal", "sines and cosines, interleaved, added to the embeddings", "Vaswani et al. 2017, 3.5"
    learned = "learned", "one trained vector a place, added to the embeddings", "Gehring et al. 2017"
    none = "none", "no positions: the encoder sees a bag of tokens", "Vaswani et al. 2017, 3.5"


@dataclass(frozen=True)
class PositionConfig:
    """The position encoding of both stacks."""

    kind: Positions = Positions.sinusoidal
    max_length: int = 256
    """Rows of a learned encoding, in each stack; a longer sentence is an error there."""

    def __post_init__(self) -> None:
        require_at_least_one(self, "model.positions", "max_length")
