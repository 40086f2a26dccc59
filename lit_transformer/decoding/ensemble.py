"""Several models that translate as one: the mean of their probabilities at every step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from lit_transformer.decoding.state import DecoderState, Step


@dataclass(frozen=True)
class EnsembleState:
    """The states of all members, over the same rows."""

    members: Sequence[DecoderState]

    def select(self, rows: Tensor) -> Self:
        return type(self)([member.select(rows) for member in self.members])


def ensemble_step(steps: Sequence[Step[Any]]) -> Step[EnsembleState]:
    """Return a step for either search whose next-token probabilities are the mean of those of `steps`, one vocabulary.

    The search starts from an `EnsembleState` of the members' states, in the order of `steps`.
    """

    def step(tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        outcomes = [member(tokens, part) for member, part in zip(steps, state.members, strict=True)]
        log_probs = torch.stack([logits.float().log_softmax(1) for logits, _ in outcomes])  # (M, R, V)
        return log_probs.logsumexp(0) - math.log(len(steps)), EnsembleState([part for _, part in outcomes])

    return step
