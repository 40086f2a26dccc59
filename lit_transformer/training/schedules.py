"""Learning rates over optimiser steps."""

import math
from collections.abc import Callable
from typing import assert_never

from lit_transformer.config import OptimConfig, Schedule


def build_schedule(config: OptimConfig, d_model: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the optimiser step, counted from 1."""
    match config.schedule:
        case Schedule.paper:
            return lambda step: paper_rate(step, d_model, config.warmup, config.multiplier)
        case Schedule.linear:
            return lambda step: config.peak * min(_warm(step, config), 1.0 - _progress(step, config))
        case Schedule.cosine:
            return lambda step: (
                config.peak * min(_warm(step, config), 0.5 * (1.0 + math.cos(math.pi * _progress(step, config))))
            )
        case Schedule.constant:
            return lambda step: config.peak * _warm(step, config)
        case _:
            assert_never(config.schedule)


def paper_rate(step: int, d_model: int, warmup: int, multiplier: float = 1.0) -> float:
    """multiplier * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017, eq. 3)."""
    return float(multiplier * d_model**-0.5 * min(step**-0.5, step * warmup**-1.5))


def _warm(step: int, config: OptimConfig) -> float:
    return min(1.0, step / config.warmup) if config.warmup else 1.0


def _progress(step: int, config: OptimConfig) -> float:
    """The share of the steps after warm-up that lie behind, from 0 to just under 1 at the last step."""
    after = config.steps - config.warmup
    return max(0.0, (step - config.warmup) / (after + 1)) if after > 0 else 0.0
