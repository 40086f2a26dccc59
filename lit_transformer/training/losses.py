"""The cross-entropy of packed predictions, smoothed for training, plain for perplexity."""

import torch.nn.functional as F
from torch import Tensor


def smoothed_nats(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the summed label-smoothed cross-entropy in nats: logits (N, V), targets (N,) -> scalar float32.

    The target distribution gives 1 - smoothing to the right token and spreads smoothing over all V, the right one
    included (Szegedy et al. 2016; Vaswani et al. 2017, section 5.4).
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)


def plain_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats, whose exponential per token is the perplexity."""
    return F.cross_entropy(logits.float(), targets, reduction="sum")
