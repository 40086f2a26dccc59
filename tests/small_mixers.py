"""Small mixers for tests, every kind in every stack that can have it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.mixers import build_mixers
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import Mixer, MixerConfig, ModelConfig
from tests.small_models import BASE

D = BASE.d_model
RAGGED = Layout.from_lengths(torch.tensor([5, 1, 3, 7, 3]))
PLACES = [(kind, causal) for kind in Mixer for causal in (False, True) if (kind, causal) != (Mixer.fourier, True)]


both_stacks = pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])
every_place = pytest.mark.parametrize(
    ("kind", "causal"), PLACES, ids=[f"{kind}-{'decoder' if causal else 'encoder'}" for kind, causal in PLACES]
)


def with_mixer(causal: bool, **settings: Any) -> ModelConfig:
    stack = "decoder_mixer" if causal else "encoder_mixer"
    return replace(BASE, **{stack: MixerConfig(**settings)})


def mixers(causal: bool, layers: int = 1, **settings: Any) -> list[TokenMixer]:
    """Build the mixers of one stack in float64, biases and kernels random."""
    stack = "decoder_layers" if causal else "encoder_layers"
    built = build_mixers(replace(with_mixer(causal, **settings), **{stack: layers}), causal)
    for part in built:
        for parameter in part.double().parameters():
            nn.init.normal_(parameter, std=0.4)
    return built


def sentences(layout: Layout = RAGGED) -> Tensor:
    return torch.randn(layout.tokens, D, dtype=torch.float64, requires_grad=True)


def places_with_gradient(y: Tensor, x: Tensor) -> set[int]:
    """Return the rows of x (N, D) that a token's output y (D,) depends on, however little."""
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y), retain_graph=True)
    return set(gradient.abs().sum(1).nonzero().flatten().tolist())
