"""The loss, the optimiser and its learning rate; and decoding."""

from dataclasses import dataclass, field

from lit_transformer.config.averaging import AveragingConfig
from lit_transformer.config.base import Kind, option, require, require_probability

MOST_EXTRA = 8192
"""Largest `decode.extra_length`: a search keeps room for all of it."""


class Schedule(Kind):
    """The learning rate over optimiser steps."""

    paper = "paper", "d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)", "Vaswani et al. 2017, 5.3"
    linear = "linear", "linear warm-up to `peak`, then linearly towards 0", "Devlin et al. 2019"
    cosine = "cosine", "linear warm-up to `peak`, then half a cosine towards 0", "Loshchilov and Hutter 2017"
    constant = "constant", "linear warm-up to `peak`, then `peak`", "Goyal et al. 2017, the warm-up"


class Smoothing(Kind):
    """Over which tokens label smoothing spreads the probability it takes from the right one."""

    all = "all", "spread over the whole vocabulary, the right token included", "Szegedy et al. 2016"
    others = "others", "spread over the other V - 1 tokens", "Vaswani et al. 2018, T2T"


class Ensemble(Kind):
    """What an ensemble averages over its models, at every token."""

    probabilities = "probabilities", "the arithmetic mean of the models' probabilities", "Ott et al. 2019, fairseq"
    log_probabilities = "log_probabilities", "their geometric mean, renormalised", "Klein et al. 2017, OpenNMT"


class Stop(Kind):
    """When the beam search of a sentence ends, W hypotheses wide, and what is finished by then."""

    beam_finished = (
        "beam_finished",
        "when W are finished, of a step's W best those with EOS",
        "Ott et al. 2019, fairseq",
    )
    nothing_better = (
        "nothing_better",
        "when no live one can overtake; finished are those with EOS among the 2W best",
        "Vaswani et al. 2018, T2T",
    )


@dataclass(frozen=True)
class OptimConfig:
    """The loss, Adam and its learning rate; the defaults are the paper's (sections 5.3 and 5.4)."""

    steps: int = 100_000
    """Optimiser steps of the training."""
    schedule: Schedule = Schedule.paper
    warmup: int = 4000
    """Optimiser steps of linear warm-up."""
    multiplier: float = 1.0
    """Factor on the paper's rate d_model^-0.5 * min(step^-0.5, step * warmup^-1.5); `paper` only."""
    peak: float = 1e-3
    """Highest learning rate of `linear`, `cosine` and `constant`."""
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-9
    clip_norm: float = 0.0
    """Largest gradient norm, over all parameters; 0 does not clip, as in the paper."""
    label_smoothing: float = 0.1
    """Probability taken from the right token and spread evenly; in the training loss only."""
    smoothing: Smoothing = Smoothing.all
    """Over which tokens it is spread."""
    r_drop: float = option(
        0.0, "weight of the divergence between two passes with different dropout; 0: one pass", "Liang et al. 2021"
    )
    accumulate: int = 1
    """Batches per optimiser step, which equals the step of one batch with all their sentences."""
    averaging: AveragingConfig = field(default_factory=AveragingConfig)

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"optim.steps is {self.steps}; it must be at least 1")
        require(self.warmup >= 0, f"optim.warmup is {self.warmup}; it must be at least 0")
        require(
            self.schedule is not Schedule.paper or self.warmup >= 1,
            "optim.warmup is 0; the schedule `paper` divides by it: choose at least 1 or another optim.schedule",
        )
        require(self.peak > 0, f"optim.peak is {self.peak}; it must be above 0")
        require(self.multiplier > 0, f"optim.multiplier is {self.multiplier}; it must be above 0")
        require(self.clip_norm >= 0, f"optim.clip_norm is {self.clip_norm}; it must be at least 0")
        require(self.r_drop >= 0, f"optim.r_drop is {self.r_drop}; it must be at least 0")
        require(self.accumulate >= 1, f"optim.accumulate is {self.accumulate}; it must be at least 1")
        for name in ("beta1", "beta2", "label_smoothing"):
            require_probability(f"optim.{name}", getattr(self, name))
        self.averaging.require_fit(self.steps)


@dataclass(frozen=True)
class DecodeConfig:
    """Decoding (section 6.1): beam search with the length penalty of Wu et al. 2016, eq. 14."""

    beam: int = 4
    """Hypotheses per sentence; 1 is greedy."""
    alpha: float = 0.6
    """Strength of the length penalty; 0 compares plain log-probabilities."""
    extra_length: int = 50
    """Most tokens of a translation beyond the source's."""
    stop: Stop = Stop.beam_finished
    batch_tokens: int = 8192
    """Padded source tokens times the beam, decoded at once; at least the beam."""
    ensemble: Ensemble = Ensemble.probabilities
    """What is averaged where several models decode together."""

    def __post_init__(self) -> None:
        require(self.beam >= 1, f"decode.beam is {self.beam}; it must be at least 1")
        require(self.alpha >= 0, f"decode.alpha is {self.alpha}; it must be at least 0")
        require(
            0 <= self.extra_length <= MOST_EXTRA,
            f"decode.extra_length is {self.extra_length}; it must be from 0 to {MOST_EXTRA}",
        )
        require(self.batch_tokens >= 1, f"decode.batch_tokens is {self.batch_tokens}; it must be at least 1")
        require(
            self.beam <= self.batch_tokens,
            f"decode.beam is {self.beam}, more than decode.batch_tokens, {self.batch_tokens}, which bounds a search's "
            "memory: choose a smaller beam, or more batch_tokens",
        )
