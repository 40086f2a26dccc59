"""Parameters and floating-point operations of a model, counted from its modules without running it.

An operation is one multiplication or addition of a matrix product; norms, activations, softmaxes and embedding lookups
are left out, as usual. Attention counts all pairs of a sentence, as kernels compute them, causal or not; local
attention in long sentences its band, the padding of the last block included. Training costs three forward passes: one
forward, and two products backward for each product forward.

Every module knows its cost per token and pair (`components.cost`); here they are multiplied by the tokens and summed.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lit_transformer.components.cost import Cost
from lit_transformer.components.experts import Experts
from lit_transformer.components.mixers.local import computed_pairs
from lit_transformer.config import ModelConfig
from lit_transformer.transformer import Transformer, build_transformer

TRAINING_FACTOR = 3


@dataclass(frozen=True)
class Work:
    """What the cost of forward passes depends on: sums over the sentence pairs of S, T, S*S, T*T and S*T.

    With local attention, the pairs it computes instead of S*S and T*T.
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
    squares = (computed_pairs(config, False, src), computed_pairs(config, True, tgt))
    return torch.stack([counts.sum() for counts in (src, tgt, *squares, src * tgt)])


def forward_flops(model: Transformer, work: Work) -> int:
    """Return the operations of the forward passes over `work`, logits included."""
    encoder, _ = model.encoder.costs()
    decoder, cross = model.decoder.costs()
    logits = Cost(query=2 * model.output_embedding.weight.numel())
    return (
        _times(encoder, work.src, work.src, work.src_squared)
        + _times(decoder, work.tgt, work.tgt, work.tgt_squared)
        + _times(cross, work.tgt, work.src, work.cross)
        + _times(logits, work.tgt, 0, 0)
    )


def training_flops(model: Transformer, work: Work) -> int:
    """Return the operations of training on `work`: forward and backward."""
    return TRAINING_FACTOR * forward_flops(model, work)


def parameter_count(model: Transformer) -> int:
    """Return the number of trained parameters, tied matrices counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def active_parameter_count(model: Transformer) -> int:
    """Return the number of active parameters per token: all but those of the experts it is not sent to."""
    experts = (module for module in model.modules() if isinstance(module, Experts))
    return parameter_count(model) - sum(module.inactive_parameters() for module in experts)


@lru_cache(maxsize=64)
def build_on_meta(config: ModelConfig, vocab_size: int) -> Transformer:
    """Build a model to count, on the meta device: without storage."""
    with torch.device("meta"):
        return build_transformer(config, vocab_size)


def _times(cost: Cost, queries: int, keys: int, pairs: int) -> int:
    return cost.query * queries + cost.key * keys + cost.pair * pairs
