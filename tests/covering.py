"""A covering array: few models in which every two choices of two axes meet at least once.

An axis is a dotted key of a `ModelConfig` whose values are the members of an enum or the two ends of a switch. The
array is grown greedily: a model begins with a pair that is still missing, and each other axis takes the value that
adds most missing pairs, as long as the config admits it.
"""

import random
from dataclasses import replace
from itertools import combinations
from typing import Any

from lit_transformer.config import ModelConfig
from lit_transformer.errors import UserError
from tests.small_models import choices, chosen

Choice = tuple[str, Any]
Pair = frozenset[Choice]


def axes_of(base: ModelConfig) -> dict[str, list[Any]]:
    """Return every axis with all its values, the base's own among them."""
    axes: dict[str, list[Any]] = {}
    for key, value in choices(base):
        axes.setdefault(key, [not value] if isinstance(value, bool) else []).append(value)
    return axes | {"attention.kv_heads": [0, 1]}  # the one number that changes how parts meet


def admitted(base: ModelConfig, row: dict[str, Any]) -> bool:
    """Say whether a config admits these choices together; the order of setting them does not matter."""
    return refusal(base, row) is None


def refusal(base: ModelConfig, row: dict[str, Any]) -> str | None:
    """Return why these choices do not go together, or None."""
    try:
        with_row(base, row)
    except UserError as error:
        return str(error)
    return None


def with_row(base: ModelConfig, row: dict[str, Any]) -> ModelConfig:
    """Return the base with every choice of a row; checks run on the whole, not on the way there."""
    changes: dict[str, Any] = {}
    for key, value in row.items():
        head, _, rest = key.partition(".")
        if not rest:
            changes[head] = value
        else:
            changes[head] = chosen(changes.get(head, getattr(base, head)), rest, value)
    return replace(base, **changes)


def all_pairs(axes: dict[str, list[Any]]) -> list[Pair]:
    """Return every pair of values of two axes, in a fixed order."""
    return [
        frozenset({(one, first), (other, second)})
        for one, other in combinations(axes, 2)
        for first in axes[one]
        for second in axes[other]
    ]


def covering_array(base: ModelConfig, seed: int = 0) -> tuple[list[dict[str, Any]], dict[Pair, str]]:
    """Return rows of choices that hold every pair the config admits, and why it refuses the other pairs."""
    axes, order = axes_of(base), random.Random(seed)
    refused = {pair: why for pair in all_pairs(axes) if (why := refusal(base, dict(pair))) is not None}
    missing = {pair: None for pair in all_pairs(axes) if pair not in refused}  # a dict keeps its order
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        others = [key for key in axes if key not in row]
        order.shuffle(others)
        for key in others:
            gains = {
                value: sum(frozenset({(key, value), choice}) in missing for choice in row.items())
                for value in axes[key]
            }
            ranked = sorted(gains, key=lambda value: (-gains[value], order.random()))
            row[key] = next(value for value in ranked if admitted(base, row | {key: value}))
        for one, other in combinations(row.items(), 2):
            missing.pop(frozenset({one, other}), None)
        rows.append(row)
    return rows, refused
