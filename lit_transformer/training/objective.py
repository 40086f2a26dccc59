"""The objective of training: from a network and a batch to the nats to be lowered."""

from collections.abc import Callable
from typing import NamedTuple, assert_never

from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.config import OptimConfig, Smoothing
from lit_transformer.training.losses import paired_nats, smoothed_nats
from lit_transformer.transformer import Transformer


class Terms(NamedTuple):
    """What an objective finds: nats summed over the batch's target tokens; what its parts add a step, by name."""

    nats: Tensor
    auxiliary: dict[str, Tensor]


Objective = Callable[[Transformer, TranslationBatch], Terms]


def build_objective(optim: OptimConfig, vocab_size: int) -> Objective:
    """Build what training lowers: the smoothed cross-entropy of one pass, or R-Drop's of two."""
    smoothing = smoothing_over_all(optim.smoothing, optim.label_smoothing, vocab_size)

    def one_pass(network: Transformer, batch: TranslationBatch) -> Terms:
        nats = smoothed_nats(network.hidden(batch), network.softmax.weight, batch.tgt_out, smoothing)
        return Terms(nats, network.auxiliary_losses())

    def two_passes(network: Transformer, batch: TranslationBatch) -> Terms:
        one, first = network.hidden(batch), network.auxiliary_losses()
        other, second = network.hidden(batch), network.auxiliary_losses()
        nats = paired_nats(one, other, network.softmax.weight, batch.tgt_out, smoothing, optim.r_drop)
        return Terms(nats, {name: (first[name] + second[name]) / 2 for name in first})

    return two_passes if optim.r_drop > 0 else one_pass


def forward_passes(optim: OptimConfig) -> int:
    """Return how many times a batch goes through the network in one step."""
    return 2 if optim.r_drop > 0 else 1


def smoothing_over_all(kind: Smoothing, rate: float, vocab_size: int) -> float:
    """Return the smoothing that, spread over all V tokens, gives the distribution of `rate` spread by `kind`.

    Over the others each gets rate / (V - 1), and so it does where rate * V / (V - 1) is spread over all; the right
    token keeps 1 - rate.
    """
    match kind:
        case Smoothing.all:
            return rate
        case Smoothing.others:
            return rate * vocab_size / (vocab_size - 1)
        case _:
            assert_never(kind)
