"""Faster ways of a CPU to do what torch does: dropout masks, short softmaxes, small products, packed weights."""

import platform
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

VECTOR = 16
"""Float32 entries of a CPU's widest vector: torch vectorises a softmax over rows of at least this length."""
SMALL_MATMUL = 400
"""Multiplications below which torch multiplies matrices in a plain loop."""
PACKED_ROWS = 128
"""Rows of x that the order of a packed weight is tuned for; any other number works as well."""
DROPOUT_LEVELS = 1 << 16


def softmax(scores: Tensor) -> Tensor:
    """Return the softmax over the last dimension of (..., K).

    On a CPU rows shorter than a vector take ten times as long as they should, so they are padded with minus infinity.
    """
    missing = VECTOR - scores.shape[-1]
    if missing <= 0 or scores.device.type != "cpu":
        return scores.softmax(-1)
    return F.pad(scores, (0, missing), value=-torch.inf).softmax(-1)[..., :-missing]


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b: (..., Q, C) and (..., C, N) -> (..., Q, N).

    On a CPU torch multiplies batches of small matrices in a plain loop; a single row, as in decoding, is faster as an
    element-wise product and a sum.
    """
    rows, (inner, columns) = a.shape[-2], b.shape[-2:]
    if rows > 1 or inner * columns >= SMALL_MATMUL or a.device.type != "cpu":
        return a @ b
    return (a.transpose(-1, -2) * b).sum(-2, keepdim=True)


def random_words(like: Tensor, count: int) -> Tensor:
    """Draw `count` int64 of 64 random bits from the generator of a tensor's device."""
    return torch.empty(count, dtype=torch.int64, device=like.device).random_(-(2**63), None)


def fused_dropout_bits(generators: Sequence[torch.Generator], counts: Sequence[int], width: int) -> Tensor:
    """Draw the bits of K masks, (K, width) int16: in row k the first counts[k] are those of `Dropout` alone."""
    words = torch.empty(len(counts), (width + 3) // 4, dtype=torch.int64, device=generators[0].device)
    for row, generator, count in zip(words, generators, counts, strict=True):
        row[: (count + 3) // 4].random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:, :width]


traced_random_words = torch.library.custom_op(
    "lit_transformer::random_words", random_words, mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
"""The same as an operator, so that `torch.compile` draws the same bits as an eager step."""


@traced_random_words.register_fake
def _fake_random_words(like: Tensor, count: int) -> Tensor:
    return like.new_empty(count, dtype=torch.int64)


class DropoutFunction(torch.autograd.Function):
    """Zeroes elements of x where 16 random bits fall below `level`, and divides the others by 1 - level / 2^16.

    Four elements share one 64-bit random number: several times cheaper on a CPU, where drawing random numbers took a
    tenth of a training step. Other devices draw in the same way.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, level: int, bits: Tensor | None = None) -> Tensor:
        """Return x with dropout, any shape; the mask is kept for the backward pass, x is not.

        bits: int16 of x's shape, uniform over -32768 .. 32767; drawn here unless given.
        """
        if bits is None:
            count = (x.numel() + 3) // 4
            words = traced_random_words(x, count) if torch.compiler.is_compiling() else random_words(x, count)
            bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        mask = (bits >= level - DROPOUT_LEVELS // 2).to(x.dtype).mul_(DROPOUT_LEVELS / (DROPOUT_LEVELS - level))
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return upstream * mask, None, None


class PackedLinear(nn.Module):
    """A linear layer whose float32 weight is stored once in the order that oneDNN's kernels read; no gradient.

    Otherwise the matrix library reorders the weight in every product; in a search over a few rows that takes up to a
    third of the time.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), PACKED_ROWS)
        self.bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out), equal to `F.linear` but for rounding."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return y


def can_pack(weight: Tensor) -> bool:
    """Return whether a weight can be packed: float32, on an x86 CPU, with oneDNN, outside autocast."""
    suitable = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return suitable and platform.machine() in ("x86_64", "AMD64") and not torch.is_autocast_enabled("cpu")
