"""Recipes: the settings of the paper and of the code that its authors released, by name.

The public code of tensor2tensor differs from the paper, and changed over time. Each difference is a setting of its own;
a recipe sets all of them at once and leaves the others as they are.
"""

from operator import attrgetter
from types import SimpleNamespace
from typing import Any, assert_never

from lit_transformer.config import (
    DecodeConfig,
    Initialisation,
    Kind,
    Mask,
    ModelConfig,
    OptimConfig,
    Placement,
    Positions,
    Smoothing,
    Stop,
)


class Recipe(Kind):
    """The source of the settings in which the paper and its released code differ."""

    paper = "paper", "as the paper describes it, the defaults", "Vaswani et al. 2017"
    t2t_2017 = "t2t_2017", "the first public code, June 2017", "Vaswani et al. 2018, T2T"
    t2t_v3 = "t2t_v3", "transformer_base_v3, the later default", "Vaswani et al. 2018, T2T"


def deltas(recipe: Recipe) -> dict[str, Any]:
    """Return the settings in which a recipe differs from the paper: dotted keys of `model`, `optim` and
    `decode`, and values.

    The norms' epsilon, which the paper does not give, is our default too. The mask of t2t_v3 is a large negative number
    of the products' type; -1e9 is the nearest available mask. t2t_2017 draws W_Q, W_K and W_V of self-attention as one
    matrix, and W_K and W_V of cross-attention; `xavier_fused_qkv` is the nearest law.
    """
    match recipe:
        case Recipe.paper:
            return {}
        case Recipe.t2t_2017:
            return _released() | {
                "model.attention.bias": True,
                "model.initialisation": Initialisation.xavier_fused_qkv,
            }
        case Recipe.t2t_v3:
            return _released() | {
                "model.norm.placement": Placement.pre,
                "model.attention.dropout": 0.1,
                "model.feed_forward.dropout": 0.1,
                "optim.warmup": 8000,
                "optim.multiplier": 2.0,
                "optim.beta2": 0.997,
            }
        case _:
            assert_never(recipe)


def switched(before: Recipe, recipe: Recipe) -> dict[str, Any]:
    """Return, nested by section, the changes from one recipe to another.

    Settings of the former only go back to the paper's values; those of neither are left as they are.
    """
    paper = SimpleNamespace(model=ModelConfig(), optim=OptimConfig(), decode=DecodeConfig())
    restored = {key: attrgetter(key)(paper) for key in deltas(before)}
    return _nested(restored | deltas(recipe))


def _released() -> dict[str, Any]:
    """Return the settings of all released versions."""
    return {
        "model.positions.kind": Positions.sinusoidal_concatenated,
        "model.norm.eps": 1e-6,
        "model.attention.mask": Mask.minus_1e9,
        "optim.smoothing": Smoothing.others,
        "decode.stop": Stop.nothing_better,
    }


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested
