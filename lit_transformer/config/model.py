"""ModelConfig: the whole network, and the checks across its components."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lit_transformer.config.attention import AttentionConfig, AttentionDelta, apply_delta
from lit_transformer.config.base import option, require_at_least_one, require_probability
from lit_transformer.config.cross import CrossConfig
from lit_transformer.config.embeddings import EmbeddingConfig, Initialisation
from lit_transformer.config.feed_forward import FeedForwardConfig
from lit_transformer.config.mixers import MixerConfig, require_possible
from lit_transformer.config.norms import NormConfig, require_joint
from lit_transformer.config.positions import PositionConfig, require_attention, require_fitting
from lit_transformer.config.residual import ResidualConfig


@dataclass(frozen=True)
class DropoutPlaces:
    """The dropout rate of each place of `model.dropout`; None: as `model.dropout`.

    Attention weights and the activations of the feed-forward network have their own rates, in their sections.
    """

    embedding: float | None = option(None, "dropout of embedding + position", "Vaswani et al. 2017, 5.4")
    mixer: float | None = option(None, "dropout of the mixers' outputs", "Vaswani et al. 2017, 5.4")
    cross: float | None = option(None, "dropout of cross-attention's outputs", "Vaswani et al. 2017, 5.4")
    feed_forward: float | None = option(
        None, "dropout of the feed-forward networks' outputs", "Vaswani et al. 2017, 5.4"
    )

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if rate is not None:
                require_probability(f"model.dropout_at.{name}", rate)


class AttentionPlaces(NamedTuple):
    """The resolved configs of the three kinds of attention."""

    encoder: AttentionConfig
    decoder: AttentionConfig
    cross: AttentionConfig


@dataclass(frozen=True)
class ModelConfig:
    """The encoder-decoder Transformer; the defaults are the paper's base model (Table 3, first row)."""

    d_model: int = 512
    encoder_layers: int = 6
    decoder_layers: int = 6
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """All attention, unless one of the next three changes something."""
    encoder_attention: AttentionDelta = field(default_factory=AttentionDelta)
    decoder_attention: AttentionDelta = field(default_factory=AttentionDelta)
    cross_attention: AttentionDelta = field(default_factory=AttentionDelta)
    encoder_mixer: MixerConfig = field(default_factory=MixerConfig)
    decoder_mixer: MixerConfig = field(default_factory=MixerConfig)
    cross_mixer: CrossConfig = field(default_factory=CrossConfig)
    feed_forward: FeedForwardConfig = field(default_factory=FeedForwardConfig)
    positions: PositionConfig = field(default_factory=PositionConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    residual: ResidualConfig = field(default_factory=ResidualConfig)
    embeddings: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    dropout: float = 0.1
    """Dropout of every sub-layer's output and of embedding + position, in both stacks (section 5.4)."""
    dropout_at: DropoutPlaces = field(default_factory=DropoutPlaces)
    initialisation: Initialisation = Initialisation.xavier_uniform

    def __post_init__(self) -> None:
        require_at_least_one(self, "model", "d_model", "encoder_layers", "decoder_layers")
        require_probability("model.dropout", self.dropout)
        _ = self.attention_at  # checks the deltas
        require_possible(self.encoder_mixer, "model.encoder_mixer", self.d_model, causal=False)
        require_possible(self.decoder_mixer, "model.decoder_mixer", self.d_model, causal=True)
        require_fitting(self.positions, self.d_model)
        require_joint(self.norm, self.residual, self.feed_forward, self.d_model)
        require_attention(self.positions, "encoder", self.encoder_mixer, self.attention_at.encoder)
        require_attention(self.positions, "decoder", self.decoder_mixer, self.attention_at.decoder)

    @property
    def attention_at(self) -> AttentionPlaces:
        """The attention of the encoder, of the decoder, and between the two."""
        return AttentionPlaces(
            apply_delta(self.attention, self.encoder_attention, "model.encoder_attention"),
            apply_delta(self.attention, self.decoder_attention, "model.decoder_attention"),
            apply_delta(self.attention, self.cross_attention, "model.cross_attention"),
        )

    def dropout_of(self, place: str) -> float:
        """Return the dropout rate of a place, a field of `DropoutPlaces`."""
        rate = getattr(self.dropout_at, place)
        return self.dropout if rate is None else float(rate)
