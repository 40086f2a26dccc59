"""Greedy and beam search over any model's step function and decoding state."""

from lit_transformer.decoding.ensemble import EnsembleState, ensemble_step
from lit_transformer.decoding.hypothesis import Hypothesis, length_penalty
from lit_transformer.decoding.search import beam_search, greedy_search
from lit_transformer.decoding.state import DecoderState, Step

__all__ = [
    "DecoderState",
    "EnsembleState",
    "Hypothesis",
    "Step",
    "beam_search",
    "ensemble_step",
    "greedy_search",
    "length_penalty",
]
