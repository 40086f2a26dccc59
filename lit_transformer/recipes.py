"""Recipes: the settings of the paper and of the code that its authors released, by name.

The public code of tensor2tensor is not what the paper describes, and changed with time. Each difference is a setting
of its own; a recipe sets all of them at once. What the table of differences does not name stays as it is.
"""

from operator import attrgetter
from types import SimpleNamespace
from typing import Any, assert_never

from lit_transformer.config import Kind, Mask, ModelConfig, OptimConfig, Placement, Positions, Smoothing


class Recipe(Kind):
    """Where the settings come from that the paper and its released code do not share."""

    paper = "paper", "as the paper describes it, the defaults", "Vaswani et al. 2017"
    t2t_2017 = "t2t_2017", "the first public code, June 2017", "Vaswani et al. 2018, T2T"
    t2t_v3 = "t2t_v3", "transformer_base_v3, the later default", "Vaswani et al. 2018, T2T"


def deltas(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe sets apart from the paper: dotted keys of `model` and `optim`, and their values.

    The epsilon of the norms, of which the paper says nothing, is our default too. The mask of t2t_v3 is a large
    negative number of the products' type; -1e9 is the nearest of the masks there are.
    """
    match recipe:
        case Recipe.paper:
            return {}
        case Recipe.t2t_2017:
            return _released() | {"model.attention.bias": True}
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
    """Return, nested by section, what leads from one recipe to another.

    What only the former set apart goes back to the paper's value; a setting of neither is left as it is.
    """
    plain = SimpleNamespace(model=ModelConfig(), optim=OptimConfig())
    restored = {key: attrgetter(key)(plain) for key in deltas(before)}
    return _nested(restored | deltas(recipe))


def _released() -> dict[str, Any]:
    """Return what all released versions share."""
    return {
        "model.positions.kind": Positions.sinusoidal_concatenated,
        "model.norm.eps": 1e-6,
        "model.attention.mask": Mask.minus_1e9,
        "optim.smoothing": Smoothing.others,
    }


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested
