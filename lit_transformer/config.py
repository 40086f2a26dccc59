"""Every choice of the model and its training, with its default: the base model and recipe of Vaswani et al. 2017.

A choice among kinds is a `StrEnum` whose members are named as users write them. Fields that belong together check
each other in `__post_init__` and raise a `UserError` of one line. Nothing here builds a module.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from lit_transformer.errors import UserError


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)


def require_probability(name: str, value: float) -> None:
    """Raise unless 0 <= value < 1: the range of a dropout rate or a label smoothing."""
    require(0.0 <= value < 1.0, f"{name} is {value}; it must be at least 0 and below 1")


class Scale(StrEnum):
    """What the scores q.k are multiplied by before the softmax (section 3.2.1)."""

    inverse_sqrt = "inverse_sqrt"
    none = "none"


class Positions(StrEnum):
    """How a token learns its place in the sentence (section 3.5)."""

    sinusoidal = "sinusoidal"
    learned = "learned"
    none = "none"


class Norm(StrEnum):
    """What normalises the vectors around a sub-layer."""

    layer = "layer"
    rms = "rms"
    none = "none"


class Placement(StrEnum):
    """Where the norm stands: post is norm(x + f(x)), the paper's; pre is x + f(norm(x)) with one final norm a stack."""

    post = "post"
    pre = "pre"


class Residual(StrEnum):
    """How a sub-layer's output joins its input: identity is x + f(x), none is f(x) alone."""

    identity = "identity"
    none = "none"


class FeedForward(StrEnum):
    """The activation between the two matrices of the position-wise network (section 3.3)."""

    relu = "relu"
    gelu = "gelu"


class Tying(StrEnum):
    """Which of the source embedding, the target embedding and the softmax matrix are one (section 3.4)."""

    three_way = "three_way"
    none = "none"


class Initialisation(StrEnum):
    """The law of the initial weight matrices; embeddings are normal with deviation d_model^-0.5 throughout."""

    xavier_uniform = "xavier_uniform"
    normal = "normal"


class Schedule(StrEnum):
    """The learning rate over optimiser steps: `paper` is section 5.3; the others warm up linearly to `peak`."""

    paper = "paper"
    linear = "linear"
    cosine = "cosine"
    constant = "constant"


@dataclass(frozen=True)
class AttentionConfig:
    """Multi-head attention (section 3.2.2); heads, d_k and d_v are free of d_model."""

    heads: int = 8
    d_k: int = 64
    """Width of a head's queries and keys."""
    d_v: int = 64
    """Width of a head's values."""
    scale: Scale = Scale.inverse_sqrt
    bias: bool = False
    """Whether the four projections carry a bias; the paper writes none."""
    dropout: float = 0.0
    """Dropout of the attention weights; the paper describes none."""

    def __post_init__(self) -> None:
        for name in ("heads", "d_k", "d_v"):
            value = getattr(self, name)
            require(value >= 1, f"model.attention.{name} is {value}; it must be at least 1")
        require_probability("model.attention.dropout", self.dropout)


@dataclass(frozen=True)
class FeedForwardConfig:
    """The position-wise network: d_model -> d_ff -> d_model, with biases."""

    kind: FeedForward = FeedForward.relu
    d_ff: int = 2048
    dropout: float = 0.0
    """Dropout after the activation; the paper describes none."""

    def __post_init__(self) -> None:
        require(self.d_ff >= 1, f"model.feed_forward.d_ff is {self.d_ff}; it must be at least 1")
        require_probability("model.feed_forward.dropout", self.dropout)


@dataclass(frozen=True)
class PositionConfig:
    """The position encoding, added to the scaled embeddings of both stacks."""

    kind: Positions = Positions.sinusoidal
    max_length: int = 256
    """Rows of a learned encoding, in each stack; a longer sentence is an error there."""

    def __post_init__(self) -> None:
        require(self.max_length >= 1, f"model.positions.max_length is {self.max_length}; it must be at least 1")


@dataclass(frozen=True)
class NormConfig:
    """Normalisation around every sub-layer."""

    kind: Norm = Norm.layer
    placement: Placement = Placement.post
    eps: float = 1e-6

    def __post_init__(self) -> None:
        require(self.eps > 0, f"model.norm.eps is {self.eps}; it must be above 0")


@dataclass(frozen=True)
class EmbeddingConfig:
    """Token embeddings and the softmax matrix."""

    tying: Tying = Tying.three_way
    scale: bool = True
    """Multiply embeddings by sqrt(d_model)."""


@dataclass(frozen=True)
class ModelConfig:
    """The encoder-decoder Transformer; the defaults are the paper's base model (Table 3, first row)."""

    d_model: int = 512
    encoder_layers: int = 6
    decoder_layers: int = 6
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    feed_forward: FeedForwardConfig = field(default_factory=FeedForwardConfig)
    positions: PositionConfig = field(default_factory=PositionConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    residual: Residual = Residual.identity
    embeddings: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    dropout: float = 0.1
    """Dropout of every sub-layer's output and of embedding + position, in both stacks (section 5.4)."""
    initialisation: Initialisation = Initialisation.xavier_uniform

    def __post_init__(self) -> None:
        for name in ("d_model", "encoder_layers", "decoder_layers"):
            value = getattr(self, name)
            require(value >= 1, f"model.{name} is {value}; it must be at least 1")
        require_probability("model.dropout", self.dropout)
        require(
            self.positions.kind is not Positions.sinusoidal or self.d_model % 2 == 0,
            f"model.d_model is {self.d_model}, which is odd; sinusoidal positions pair sine and cosine: "
            "choose an even d_model or another model.positions.kind",
        )


@dataclass(frozen=True)
class OptimConfig:
    """The loss, Adam and its learning rate; the defaults are the paper's (sections 5.3 and 5.4)."""

    steps: int = 100_000
    """Optimiser steps of the whole training."""
    schedule: Schedule = Schedule.paper
    warmup: int = 4000
    """Optimiser steps of linear warm-up."""
    multiplier: float = 1.0
    """Factor on the paper's rate d_model^-0.5 * min(step^-0.5, step * warmup^-1.5); `paper` only."""
    peak: float = 1e-3
    """Highest learning rate of `linear`, `cosine` and `constant`."""
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-9
    clip_norm: float = 0.0
    """Largest gradient norm, over all parameters; 0 does not clip, as in the paper."""
    label_smoothing: float = 0.1
    """Probability spread evenly over the whole vocabulary; of the training loss only."""
    accumulate: int = 1
    """Batches summed into one optimiser step."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"optim.steps is {self.steps}; it must be at least 1")
        require(self.warmup >= 0, f"optim.warmup is {self.warmup}; it must be at least 0")
        require(
            self.schedule is not Schedule.paper or self.warmup >= 1,
            "optim.warmup is 0; the schedule `paper` divides by it: choose at least 1 or another optim.schedule",
        )
        require(self.peak > 0, f"optim.peak is {self.peak}; it must be above 0")
        require(self.multiplier > 0, f"optim.multiplier is {self.multiplier}; it must be above 0")
        require(self.clip_norm >= 0, f"optim.clip_norm is {self.clip_norm}; it must be at least 0")
        require(self.accumulate >= 1, f"optim.accumulate is {self.accumulate}; it must be at least 1")
        for name in ("beta1", "beta2", "label_smoothing"):
            require_probability(f"optim.{name}", getattr(self, name))


@dataclass(frozen=True)
class DecodeConfig:
    """Decoding (section 6.1): beam search with the length penalty of Wu et al. 2016, eq. 14."""

    beam: int = 4
    """Hypotheses kept a sentence; 1 is greedy."""
    alpha: float = 0.6
    """Strength of the length penalty; 0 compares plain log-probabilities."""
    extra_length: int = 50
    """Most tokens of a translation beyond the source's."""
    batch_tokens: int = 8192
    """Padded source tokens decoded at once, times the beam."""

    def __post_init__(self) -> None:
        require(self.beam >= 1, f"decode.beam is {self.beam}; it must be at least 1")
        require(self.alpha >= 0, f"decode.alpha is {self.alpha}; it must be at least 0")
        require(self.extra_length >= 0, f"decode.extra_length is {self.extra_length}; it must be at least 0")
        require(self.batch_tokens >= 1, f"decode.batch_tokens is {self.batch_tokens}; it must be at least 1")
