"""Several models that translate as one: at every step their next-token distributions are joined into one.

There are two means of distributions p_1 ... p_M over one vocabulary:

probabilities      (p_1 + ... + p_M) / M, the mixture. It is a distribution as it stands.
log_probabilities  (p_1 * ... * p_M) ^ (1/M) / Z, the geometric mean; Z <= 1 makes it a distribution again. A token
                   needs the consent of all members here, and of one there.

Z belongs to a prefix, so dividing by it changes no order among the tokens that may follow one hypothesis. It does
change scores, by -log Z a token, and with them the order of hypotheses with different prefixes: a search without it
also prefers prefixes after which the members agree. Here every score is the log-probability of a distribution,
as with a single model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, assert_never

import torch
from torch import Tensor

from lit_transformer.config import Ensemble
from lit_transformer.decoding.state import DecoderState, Step


@dataclass(frozen=True)
class EnsembleState:
    """The states of all members, over the same rows."""

    members: Sequence[DecoderState]

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        return type(self)([member.select(rows, sentences) for member in self.members])


def ensemble_step(steps: Sequence[Step[Any]], kind: Ensemble = Ensemble.probabilities) -> Step[EnsembleState]:
    """Return a step for any search whose next-token distribution is the mean of those of `steps`, one vocabulary.

    The search starts from an `EnsembleState` of the members' states, in the order of `steps`. Members may be of any
    architecture; one member alone is that model.
    """

    def step(tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        outcomes = [member(tokens, part) for member, part in zip(steps, state.members, strict=True)]
        joined = mean_log_probs([logits for logits, _ in outcomes], kind)  # (R, V)
        return joined, EnsembleState([part for _, part in outcomes])

    return step


def mean_log_probs(logits: Sequence[Tensor], kind: Ensemble) -> Tensor:
    """Return the log-probabilities (R, V), float32, of the members' mean from their logits, each (R, V)."""
    log_probs = torch.stack([member.float().log_softmax(1) for member in logits])  # (M, R, V)
    match kind:
        case Ensemble.probabilities:
            return log_probs.logsumexp(0) - math.log(len(logits))
        case Ensemble.log_probabilities:
            return log_probs.mean(0).log_softmax(1)
        case _:
            assert_never(kind)
