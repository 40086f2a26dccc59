"""Ensembles: several models whose next-token distributions are averaged at every step.

There are two means of distributions p_1 ... p_M over one vocabulary:

probabilities      (p_1 + ... + p_M) / M, the mixture.
log_probabilities  (p_1 * ... * p_M) ^ (1/M) / Z, the geometric mean, normalised by Z <= 1. A token has to be probable
                   for all members here, and for one there.

Z depends on the prefix only, so that it does not change the order of the tokens that may follow a hypothesis. It does
change scores, by -log Z per token, and so the order of hypotheses with different prefixes: a search without it also
prefers prefixes after which the members agree. Here every score is the log-probability of a distribution, as with a
single model.
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
    """The states of all members, with the same rows."""

    members: Sequence[DecoderState]

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        return type(self)([member.select(rows, sentences) for member in self.members])


def ensemble_step(steps: Sequence[Step[Any]], kind: Ensemble = Ensemble.probabilities) -> Step[EnsembleState]:
    """Return the step function of an ensemble of models over one vocabulary.

    The search starts from an `EnsembleState` of the members' states, in the order of `steps`. Members may have any
    architecture; an ensemble of one is that model.
    """

    def step(tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        results = [member(tokens, member_state) for member, member_state in zip(steps, state.members, strict=True)]
        log_probs = mean_log_probs([logits for logits, _ in results], kind)  # (R, V)
        return log_probs, EnsembleState([member_state for _, member_state in results])

    return step


def mean_log_probs(logits: Sequence[Tensor], kind: Ensemble) -> Tensor:
    """Return the log-probabilities of the members' mean, float32: logits (R, V) each -> (R, V)."""
    log_probs = torch.stack([member.float().log_softmax(1) for member in logits])  # (M, R, V)
    match kind:
        case Ensemble.probabilities:
            return log_probs.logsumexp(0) - math.log(len(logits))
        case Ensemble.log_probabilities:
            return log_probs.mean(0).log_softmax(1)
        case _:
            assert_never(kind)
