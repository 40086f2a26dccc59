"""Dropout (Srivastava et al. 2014) from 16 random bits an element.

The law is torch's: an element is zeroed with probability p and the rest are divided by 1 - p; p is rounded to a
65,536th, at most to 65,535 of them, and the divisor is that of the rounded p. Drawing four elements from one 64-bit
number makes the mask several times cheaper on a CPU, where the random numbers were a tenth of a training step.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEVELS = 1 << 16


def random_words(like: Tensor, count: int) -> Tensor:
    """Draw `count` 64-bit numbers from the generator of a tensor's device."""
    return torch.empty(count, dtype=torch.int64, device=like.device).random_(-(2**63), None)


drawn_words = torch.library.custom_op(
    "lit_transformer::random_words", random_words, mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
"""The same for `torch.compile`, which would draw others: a compiled step has the bits of the plain one."""


@drawn_words.register_fake
def _words(like: Tensor, count: int) -> Tensor:
    return like.new_empty(count, dtype=torch.int64)


class Dropout(nn.Module):
    """Zeroes elements of (..., D) with probability `p` in training; the identity otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = min(round(p * LEVELS), LEVELS - 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return x
        dropped: Tensor = _Drop.apply(x, self.dropped)
        return dropped

    def extra_repr(self) -> str:
        return f"p={self.dropped / LEVELS:g}"


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        count = (x.numel() + 3) // 4
        words = drawn_words(x, count) if torch.compiler.is_compiling() else random_words(x, count)
        levels = words.view(torch.int16)[: x.numel()].view(x.shape)  # uniform over -32768 .. 32767
        mask = (levels >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return upstream * mask, None
