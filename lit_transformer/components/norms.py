"""Normalisations: parts that stand before, after or behind a sub-layer's own."""

from typing import assert_never

from torch import nn

from lit_transformer.components.part import Part, PerToken
from lit_transformer.config import Norm, NormConfig


def build_norm(config: NormConfig, d_model: int, causal: bool) -> Part:
    """Build one normalisation of (N, D). `causal`: it stands in the decoder and may not look at later tokens."""
    match config.kind:
        case Norm.layer:
            return PerToken(nn.LayerNorm(d_model, eps=config.eps))
        case Norm.rms:
            return PerToken(nn.RMSNorm(d_model, eps=config.eps))
        case Norm.none:
            return PerToken(nn.Identity())
        case _:
            assert_never(config.kind)
