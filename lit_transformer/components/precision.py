"""Statistics and softmaxes need more bits than autocast leaves."""

import torch
from torch import Tensor


def upcast(x: Tensor) -> Tensor:
    """Return x in float32, or unchanged where its type is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
