"""Learning rates over optimiser steps."""

import math
from dataclasses import dataclass, replace
from typing import assert_never

from lit_transformer.config import OptimConfig, Schedule


@dataclass(frozen=True)
class LearningRate:
    """The configured learning rate as a function of the optimiser step, counted from 1."""

    config: OptimConfig
    d_model: int

    def __call__(self, step: int) -> float:
        config = self.config
        match config.schedule:
            case Schedule.paper:
                return paper_rate(step, self.d_model, config.warmup, config.multiplier)
            case Schedule.linear:
                return config.peak * min(_warmup(step, config), 1.0 - _progress(step, config))
            case Schedule.cosine:
                decay = 0.5 * (1.0 + math.cos(math.pi * _progress(step, config)))
                return config.peak * min(_warmup(step, config), decay)
            case Schedule.constant:
                return config.peak * _warmup(step, config)
            case _:
                assert_never(config.schedule)

    def after(self, steps: int) -> float:
        """Return the rate of the step after the first `steps`."""
        return self(steps + 1)

    @property
    def highest(self) -> float:
        """The rate at the end of warm-up, which no step exceeds."""
        config = self.config
        if config.schedule is Schedule.paper:
            return paper_rate(config.warmup, self.d_model, config.warmup, config.multiplier)
        return config.peak


def with_highest_rate(config: OptimConfig, d_model: int, rate: float) -> OptimConfig:
    """Return the config whose schedule has the same shape and the highest rate `rate`."""
    if config.schedule is Schedule.paper:
        return replace(config, multiplier=config.multiplier * rate / LearningRate(config, d_model).highest)
    return replace(config, peak=rate)


def paper_rate(step: int, d_model: int, warmup: int, multiplier: float = 1.0) -> float:
    """multiplier * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017, eq. 3)."""
    return float(multiplier * d_model**-0.5 * min(step**-0.5, step * warmup**-1.5))


def _warmup(step: int, config: OptimConfig) -> float:
    return min(1.0, step / config.warmup) if config.warmup else 1.0


def _progress(step: int, config: OptimConfig) -> float:
    """Return the fraction of the steps after warm-up that are done, from 0 to just under 1 at the last step."""
    after_warmup = config.steps - config.warmup
    return max(0.0, (step - config.warmup) / (after_warmup + 1)) if after_warmup > 0 else 0.0
