"""Positions: how a token's position in the sentence is encoded."""

from dataclasses import dataclass

from lit_transformer.config.attention import AttentionConfig, Score
from lit_transformer.config.base import Kind, require, require_at_least_one
from lit_transformer.config.mixers import MixerConfig


class Positions(Kind):
    """How a token's position in the sentence is encoded (section 3.5)."""

    sinusoidal = "sinusoidal", "sines and cosines, interleaved, added to the embeddings", "Vaswani et al. 2017, 3.5"
    sinusoidal_concatenated = (
        "sinusoidal_concatenated",
        "all sines, then all cosines, added to the embeddings",
        "Vaswani et al. 2018, T2T",
    )
    learned = "learned", "one trained vector per position, added to the embeddings", "Gehring et al. 2017"
    count = "count", "the position itself, added to the first coordinate", "a first idea, for teaching"
    normalised_count = "normalised_count", "position / length, 0 to 1, added to the first coordinate", "a second idea"
    binary = "binary", "the bits of the position, one per coordinate, added to the embeddings", "a third idea"
    shaw = "shaw", "inside self-attention: a trained vector per distance is added to the key", "Shaw et al. 2018"
    t5 = "t5", "inside self-attention: a trained score per bucket of distances", "Raffel et al. 2020"
    alibi = "alibi", "inside self-attention: scores fall linearly with the distance", "Press et al. 2022"
    rotary = "rotary", "inside self-attention: queries and keys are rotated by their positions", "Su et al. 2021"
    fire = "fire", "inside self-attention: a small network scores the distance", "Li et al. 2024"
    none = "none", "no positions: the encoder sees a bag of tokens", "Vaswani et al. 2017, 3.5"

    @property
    def inside_attention(self) -> bool:
        """True where positions act inside self-attention and nothing is added to the embeddings."""
        return self in (Positions.shaw, Positions.t5, Positions.alibi, Positions.rotary, Positions.fire)


@dataclass(frozen=True)
class PositionConfig:
    """The positions of both stacks."""

    kind: Positions = Positions.sinusoidal
    max_length: int = 256
    """Rows of `learned` in each stack, a longer sentence being an error; in the decoder the position that
    `normalised_count` maps to 1, plus 1."""
    distance: int = 16
    """The distance at which `shaw` clips."""
    buckets: int = 32
    """Buckets of `t5`; in the encoder half of them for either direction. Even, at least 4."""
    max_distance: int = 128
    """The distance from which on `t5` has one bucket."""
    base: float = 10000.0
    """The wavelengths of `rotary` run from 2 pi towards `base` times 2 pi."""
    threshold: float = 64.0
    """Where the trained threshold of `fire` starts: a quarter of the longest sentences, as its authors' 512 of 2048."""

    def __post_init__(self) -> None:
        require_at_least_one(self, "model.positions", "max_length", "distance")
        require(
            self.buckets >= 4 and self.buckets % 2 == 0,
            f"model.positions.buckets is {self.buckets}; it must be even and at least 4",
        )
        require(
            self.max_distance > self.buckets // 2,
            f"model.positions.max_distance is {self.max_distance}; it must be above half of "
            f"model.positions.buckets, {self.buckets // 2}, the distances that have a bucket each",
        )
        require(self.base > 1, f"model.positions.base is {self.base}; it must be above 1")
        require(self.threshold > 0, f"model.positions.threshold is {self.threshold}; it must be above 0")


def require_fitting(positions: PositionConfig, d_model: int) -> None:
    """Raise unless what is added to the embeddings fits their width."""
    sinusoids = (Positions.sinusoidal, Positions.sinusoidal_concatenated)
    require(
        positions.kind not in sinusoids or d_model % 2 == 0,
        f"model.d_model is {d_model}, which is odd; sinusoidal positions pair sine and cosine: "
        "choose an even d_model or another model.positions.kind",
    )


def require_attention(positions: PositionConfig, stack: str, mixer: MixerConfig, attention: AttentionConfig) -> None:
    """Raise unless a stack, "encoder" or "decoder", has the attention that its positions act on."""
    kind = positions.kind
    require(
        mixer.kind.attends or not kind.inside_attention,
        f"model.positions.kind is {kind}, which acts inside self-attention; model.{stack}_mixer.kind is {mixer.kind}, "
        "which has none: choose an attention there, or positions that are added to the embeddings",
    )
    require(
        kind is not Positions.rotary or attention.d_k % 2 == 0,
        f"model.positions.kind is rotary, which rotates pairs of coordinates; d_k of the {stack}'s self-attention is "
        f"{attention.d_k}, which is odd: choose an even one",
    )
    require(
        kind is not Positions.rotary or attention.score is Score.dot,
        "model.positions.kind is rotary, which needs the product of a rotated query and a rotated key; the score "
        f"of the {stack}'s self-attention is {attention.score}: choose dot there, or another model.positions.kind",
    )
