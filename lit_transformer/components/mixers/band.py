"""Attention within a band around the diagonal, computed in blocks, so that distant pairs cost nothing."""

from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_transformer.batch import Layout
from lit_transformer.components.kernels import AttentionMask
from lit_transformer.components.relative import KeySpan

IntOrTensor = TypeVar("IntOrTensor", int, Tensor)


class Band(NamedTuple):
    """Blocks of `window` queries, each with its own keys, those of the block before, and the `ahead` keys after it.

    A sentence of L tokens has P = ceil(L / window) blocks; the blocks of all sentences are one batch for the kernel.
    Every query is scored against `keys` keys, however long its sentence; a mask hides those outside its window.
    """

    window: int
    ahead: int

    @property
    def keys(self) -> int:
        """Keys per block."""
        return 2 * self.window + self.ahead

    def blocks(self, length: IntOrTensor) -> IntOrTensor:
        """Return P for one length, or for each of many."""
        return -(-length // self.window)

    def query_blocks(self, x: Tensor) -> Tensor:
        """(B, H, L, E) -> (B*P, H, window, E), the last block of each sentence padded with zeros."""
        padded = F.pad(x, (0, 0, 0, -x.shape[2] % self.window))
        return padded.unflatten(2, (-1, self.window)).transpose(1, 2).flatten(0, 1)

    def key_blocks(self, x: Tensor) -> Tensor:
        """Return the keys or values of each block: (B, G, K, E) -> (B*P, G, keys, E), zeros beyond the sentence."""
        blocks = self.blocks(x.shape[2])
        padded = F.pad(x, (0, 0, self.window, blocks * self.window - x.shape[2] + self.ahead))
        windows = padded.unflatten(2, (-1, self.window))  # (B, G, P + 1, window, E), or P + 2
        shifted = [windows[:, :, shift : shift + blocks] for shift in range(self.keys // self.window)]
        return torch.cat(shifted, dim=3).transpose(1, 2).flatten(0, 1)

    def merge_blocks(self, out: Tensor, sentences: int, length: int) -> Tensor:
        """Undo `query_blocks`: (B*P, H, window, E) -> (B, H, L, E)."""
        return out.unflatten(0, (sentences, -1)).transpose(1, 2).flatten(2, 3)[:, :, :length]

    def span(self, layout: Layout) -> KeySpan:
        """Return the positions of the keys of a sentence's P blocks."""
        starts = torch.arange(self.blocks(layout.max_seqlen), device=layout.lengths.device) * self.window
        return KeySpan(self.keys, before=self.window, first=(starts - self.window)[:, None, None])

    def mask(self, layout: Layout) -> AttentionMask:
        """Return which keys are in the window and in the sentence; padded queries see themselves, so no row is empty.

        visible: (B*P, 1, window, keys).
        """
        span = self.span(layout)
        keys = torch.arange(self.keys, device=layout.lengths.device)  # (keys,)
        back = keys[: self.window, None] + self.window - keys  # (window, keys), distance from a query back to a key
        near = (-self.ahead <= back) & (back <= self.window)
        positions = span.first + keys  # (P, 1, keys)
        inside = (positions >= 0) & (positions < layout.lengths[:, None, None, None])  # (B, P, 1, keys)
        return AttentionMask(visible=(near & inside | (back == 0)).flatten(0, 1)[:, None])

    def square(self, weights: Tensor, length: int) -> Tensor:
        """Return the weights of a single sentence as a full matrix: (P, H, window, keys) -> (H, L, L)."""
        blocks, heads = weights.shape[:2]
        side = blocks * self.window
        square = weights.new_zeros(heads, side, self.window + side + self.ahead)
        for block, block_weights in enumerate(weights):
            start = block * self.window
            square[:, start : start + self.window, start : start + self.keys] = block_weights
        return square[:, :length, self.window : self.window + length]
