"""The optimiser of a training."""

from collections.abc import Iterable
from typing import Any

import torch

from lit_transformer.config import OptimConfig


def build_adam(parameters: Iterable[Any], optim: OptimConfig) -> torch.optim.Adam:
    """Build Adam (section 5.3) over parameters or groups of them, with a rate of 1 that the schedule multiplies."""
    return torch.optim.Adam(parameters, lr=1.0, betas=(optim.beta1, optim.beta2), eps=optim.eps, fused=True)
