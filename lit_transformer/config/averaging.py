"""Averages of the weights of one training."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, require, require_at_least_one, require_probability


class Averaging(Kind):
    """Which average of a training's weights is scored besides the last ones."""

    none = "none", "none: the weights of the last step only", "Vaswani et al. 2017, caption of Table 3"
    last = "last", "the mean of the last checkpoints", "Vaswani et al. 2017, 6.1"
    ema = "ema", "an exponential moving average over all steps, corrected for its start", "Kingma and Ba 2015, 7.2"


@dataclass(frozen=True)
class AveragingConfig:
    """An average of the weights, scored besides the last weights, never instead of them.

    The paper averages the last 5 checkpoints of its base models, written every 10 minutes, and the last 20 of its big
    ones (6.1). The caption of Table 3 says "no checkpoint averaging"; in June 2017 one of the authors wrote that all
    results of the paper are of averaged checkpoints (tensor2tensor on GitHub, issue 61). Which of the two holds for
    Table 3 we do not know, so the default is not to average, and where there is an average both scores are reported.
    """

    kind: Averaging = Averaging.none
    last: int = 5
    """Checkpoints in the mean of `last`, including that of the last step."""
    every: int = 1000
    """Optimiser steps between two of them; divides optim.steps."""
    minutes: float = 0.0
    """Minutes of training between two of them, instead of `every`; 0: by steps.

    Which steps these are then depends on the machine. The last step is added.
    """
    decay: float = 0.999
    """Decay of `ema`, which averages over about 1 / (1 - decay) steps."""

    def __post_init__(self) -> None:
        require_at_least_one(self, "optim.averaging", "last", "every")
        require(self.minutes >= 0, f"optim.averaging.minutes is {self.minutes}; it must be at least 0")
        require_probability("optim.averaging.decay", self.decay)

    def require_fit(self, steps: int) -> None:
        """Raise unless a training of `steps` steps has the checkpoints to average."""
        if self.kind is not Averaging.last or self.minutes:
            return
        require(
            steps % self.every == 0,
            f"optim.averaging.every ({self.every}) does not divide optim.steps ({steps}); choose one that does, so "
            "that the last step is among the averaged",
        )
        require(
            self.last * self.every <= steps,
            f"optim.averaging.last is {self.last} checkpoints, {self.every} steps apart; optim.steps must be at least "
            f"{self.last * self.every}, not {steps}: lower optim.averaging.every",
        )
