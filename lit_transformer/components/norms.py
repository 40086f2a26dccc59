"""Normalisations: each works on the last dimension of (..., D)."""

from typing import assert_never

from torch import nn

from lit_transformer.config import Norm, NormConfig


def build_norm(config: NormConfig, d_model: int) -> nn.Module:
    """Build one normalisation: LayerNorm (Ba et al. 2016), RMSNorm (Zhang and Sennrich 2019) or nothing."""
    match config.kind:
        case Norm.layer:
            return nn.LayerNorm(d_model, eps=config.eps)
        case Norm.rms:
            return nn.RMSNorm(d_model, eps=config.eps)
        case Norm.none:
            return nn.Identity()
        case _:
            assert_never(config.kind)
