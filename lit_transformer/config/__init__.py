"""Every choice of the model and its training, with its default: the base model and recipe of Vaswani et al. 2017.

One file per component. A choice is a `Kind`, an enum whose members are named as users write them and know their source.
Dataclasses check their fields in `__post_init__` and raise a `UserError` of one line. Nothing here builds a module.
"""

from lit_transformer.config.attention import AttentionConfig, AttentionDelta, Mask, Scale, Score
from lit_transformer.config.averaging import Averaging, AveragingConfig
from lit_transformer.config.base import Kind, option, require, require_probability
from lit_transformer.config.cross import Cross, CrossConfig
from lit_transformer.config.embeddings import EmbeddingConfig, Initialisation, Tying
from lit_transformer.config.feed_forward import FeedForward, FeedForwardConfig
from lit_transformer.config.mixers import Directions, Mixer, MixerConfig
from lit_transformer.config.model import DropoutPlaces, ModelConfig
from lit_transformer.config.norms import Norm, NormConfig, Placement
from lit_transformer.config.positions import PositionConfig, Positions
from lit_transformer.config.residual import Residual, ResidualConfig
from lit_transformer.config.training import DecodeConfig, Ensemble, OptimConfig, Schedule, Smoothing, Stop

__all__ = [
    "AttentionConfig",
    "AttentionDelta",
    "Averaging",
    "AveragingConfig",
    "Cross",
    "CrossConfig",
    "DecodeConfig",
    "Directions",
    "DropoutPlaces",
    "EmbeddingConfig",
    "Ensemble",
    "FeedForward",
    "FeedForwardConfig",
    "Initialisation",
    "Kind",
    "Mask",
    "Mixer",
    "MixerConfig",
    "ModelConfig",
    "Norm",
    "NormConfig",
    "OptimConfig",
    "Placement",
    "PositionConfig",
    "Positions",
    "Residual",
    "ResidualConfig",
    "Scale",
    "Schedule",
    "Score",
    "Smoothing",
    "Stop",
    "Tying",
    "option",
    "require",
    "require_probability",
]
