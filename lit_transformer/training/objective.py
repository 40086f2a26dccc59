"""The training objectives: from a network and a batch to the loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.config import OptimConfig, Smoothing
from lit_transformer.training.losses import label_smoothed_cross_entropy, r_drop_loss
from lit_transformer.transformer import Transformer

Hidden = Callable[[Transformer, TranslationBatch], Tensor]
"""How a network computes the decoder's output (N_t, D) for a batch: `Transformer.hidden`, or the same compiled."""


class LossTerms(NamedTuple):
    """The loss summed over the batch's target tokens, in nats, and by name what modules add to the loss of a step."""

    nats: Tensor
    auxiliary: dict[str, Tensor]


@dataclass(frozen=True)
class CrossEntropy:
    """Label-smoothed cross-entropy (Szegedy et al. 2016; Vaswani et al. 2017, section 5.4)."""

    smoothing: float
    hidden: Hidden = Transformer.hidden

    def __call__(self, network: Transformer, batch: TranslationBatch) -> LossTerms:
        nats = self.nats([self.hidden(network, batch)], network.output_embedding.weight, batch.tgt_out)
        return LossTerms(nats, network.auxiliary_losses())

    def nats(self, outputs: Sequence[Tensor], weight: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the decoder's output of one pass, (N, D), summed over the tokens."""
        (hidden,) = outputs
        return label_smoothed_cross_entropy(hidden, weight, targets, self.smoothing)


@dataclass(frozen=True)
class RDrop:
    """R-Drop: two passes with different dropout, and their divergence (Liang et al. 2021)."""

    smoothing: float
    divergence: float
    """Weight of the divergence."""
    hidden: Hidden = Transformer.hidden

    def __call__(self, network: Transformer, batch: TranslationBatch) -> LossTerms:
        first, first_auxiliary = self.hidden(network, batch), network.auxiliary_losses()
        second, second_auxiliary = self.hidden(network, batch), network.auxiliary_losses()
        nats = self.nats([first, second], network.output_embedding.weight, batch.tgt_out)
        return LossTerms(nats, {name: (loss + second_auxiliary[name]) / 2 for name, loss in first_auxiliary.items()})

    def nats(self, outputs: Sequence[Tensor], weight: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the decoder's outputs of two passes, (N, D) each, summed over the tokens."""
        first, second = outputs
        return r_drop_loss(first, second, weight, targets, self.smoothing, self.divergence)


def build_objective(optim: OptimConfig, vocab_size: int, hidden: Hidden = Transformer.hidden) -> CrossEntropy | RDrop:
    """Build the configured training objective; `hidden` may be compiled."""
    smoothing = smoothing_over_all(optim.smoothing, optim.label_smoothing, vocab_size)
    return RDrop(smoothing, optim.r_drop, hidden) if optim.r_drop > 0 else CrossEntropy(smoothing, hidden)


def forward_passes(optim: OptimConfig) -> int:
    """Return the number of forward passes per training step."""
    return 2 if optim.r_drop > 0 else 1


def smoothing_over_all(kind: Smoothing, rate: float, vocab_size: int) -> float:
    """Return the smoothing over all V tokens that gives the distribution of `rate` spread by `kind`.

    Spread over the others, each gets rate / (V - 1), as it does where rate * V / (V - 1) is spread over all; the right
    token keeps 1 - rate.
    """
    match kind:
        case Smoothing.all:
            return rate
        case Smoothing.others:
            return rate * vocab_size / (vocab_size - 1)
        case _:
            assert_never(kind)
