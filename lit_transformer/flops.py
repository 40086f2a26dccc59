"""Parameters and floating-point operations of a model, counted from its config without computing anything.

An operation is one multiplication or one addition of a matrix product; norms, activations, softmaxes and embeddings'
look-ups are left out, as is usual. Attention is counted over the full square of a sentence, as kernels compute it,
causal or not; local attention in long sentences over its band, the filling of its last block included. Training costs
three forward passes: one forward, two products backward for each one forward.

Each part of the model says what it costs (`Part.cost`); here the costs are multiplied by the tokens and summed.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lit_transformer.components.mixers.local import pairs_met
from lit_transformer.components.part import Cost, Part
from lit_transformer.config import ModelConfig
from lit_transformer.transformer import Transformer, build_transformer

TRAINING_FACTOR = 3


@dataclass(frozen=True)
class Work:
    """What forward passes over sentence pairs cost depends on: sums over the pairs of S, T, S*S, T*T and S*T.

    Where a mixer attends nearby, S*S and T*T are the pairs of places that it computes.
    """

    src: int
    tgt: int
    src_squared: int
    tgt_squared: int
    cross: int

    @classmethod
    def of_lengths(cls, config: ModelConfig, src: Tensor, tgt: Tensor) -> "Work":
        """Sum up pairs of lengths (B,) and (B,)."""
        return cls(*work_sums(config, src, tgt).tolist())


def work_sums(config: ModelConfig, src: Tensor, tgt: Tensor) -> Tensor:
    """Return the fields of a `Work` for pairs of lengths (B,) and (B,), on their device: (5,) int64."""
    own = (pairs_met(config, False, src), pairs_met(config, True, tgt))
    return torch.stack([part.sum() for part in (src, tgt, *own, src * tgt)])


def forward_flops(config: ModelConfig, vocab_size: int, work: Work) -> int:
    """Return the operations of the forward passes over `work`, logits included."""
    model = outline(config, vocab_size)
    encoder, _ = model.encoder.costs()
    decoder, cross = model.decoder.costs()
    logits = Cost(query=2 * config.d_model * vocab_size)
    return (
        _times(encoder, work.src, work.src, work.src_squared)
        + _times(decoder, work.tgt, work.tgt, work.tgt_squared)
        + _times(cross, work.tgt, work.src, work.cross)
        + _times(logits, work.tgt, 0, 0)
    )


def training_flops(config: ModelConfig, vocab_size: int, work: Work) -> int:
    """Return the operations of training on `work`: forward and backward."""
    return TRAINING_FACTOR * forward_flops(config, vocab_size, work)


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of trained parameters, shared matrices counted once."""
    return sum(parameter.numel() for parameter in outline(config, vocab_size).parameters())


def active_parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of parameters that one token meets: all, but for the idle ones of a mixture of experts."""
    parts = (module for module in outline(config, vocab_size).modules() if isinstance(module, Part))
    return parameter_count(config, vocab_size) - sum(part.idle_parameters() for part in parts)


@lru_cache(maxsize=64)
def outline(config: ModelConfig, vocab_size: int) -> Transformer:
    """Build the model without its numbers."""
    with torch.device("meta"):
        return build_transformer(config, vocab_size)


def _times(cost: Cost, queries: int, keys: int, pairs: int) -> int:
    return cost.query * queries + cost.key * keys + cost.pair * pairs
