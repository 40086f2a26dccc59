"""A band along the diagonal of attention's square, cut into blocks, so that what is far away is never computed."""

from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_transformer.batch import Layout
from lit_transformer.components.kernels import View
from lit_transformer.components.relative import Span

IntOrTensor = TypeVar("IntOrTensor", int, Tensor)


class Band(NamedTuple):
    """Queries in blocks of `window`, each with its own keys, those of the block before, and `ahead` places after it.

    A sentence of L tokens has P = ceil(L / window) blocks; those of all sentences form one batch for a kernel. Every
    query meets `keys` keys, however long its sentence, of which a view hides those beyond the window.
    """

    window: int
    ahead: int

    @property
    def keys(self) -> int:
        return 2 * self.window + self.ahead

    def blocks(self, length: IntOrTensor) -> IntOrTensor:
        """Return P for a sentence of `length` tokens, or for many sentences."""
        return -(-length // self.window)

    def queries(self, x: Tensor) -> Tensor:
        """(B, H, L, E) -> (B*P, H, window, E), with zeros behind each sentence to fill its last block."""
        filled = F.pad(x, (0, 0, 0, -x.shape[2] % self.window))
        return filled.unflatten(2, (-1, self.window)).transpose(1, 2).flatten(0, 1)

    def around(self, x: Tensor) -> Tensor:
        """Give each block its keys or values: (B, G, K, E) -> (B*P, G, keys, E), zeros beyond the sentence."""
        blocks = self.blocks(x.shape[2])
        filled = F.pad(x, (0, 0, self.window, blocks * self.window - x.shape[2] + self.ahead))
        line = filled.unflatten(2, (-1, self.window))  # (B, G, P + 1, window, E), or P + 2
        shifted = [line[:, :, shift : shift + blocks] for shift in range(self.keys // self.window)]
        return torch.cat(shifted, dim=3).transpose(1, 2).flatten(0, 1)

    def joined(self, mixed: Tensor, sentences: int, length: int) -> Tensor:
        """Undo `queries`: (B*P, H, window, E) -> (B, H, L, E)."""
        return mixed.unflatten(0, (sentences, -1)).transpose(1, 2).flatten(2, 3)[:, :, :length]

    def span(self, layout: Layout) -> Span:
        """Say where the keys of the P blocks of a sentence stand."""
        starts = torch.arange(self.blocks(layout.longest), device=layout.lengths.device) * self.window
        return Span(self.keys, before=self.window, first=(starts - self.window)[:, None, None])

    def view(self, layout: Layout) -> View:
        """Say which keys are in the window and in the sentence. Padded queries see themselves, so no softmax is empty.

        visible: (B*P, 1, window, keys).
        """
        span = self.span(layout)
        keys = torch.arange(self.keys, device=layout.lengths.device)  # (keys,)
        back = keys[: self.window, None] + self.window - keys  # (window, keys), places from a query back to a key
        near = (-self.ahead <= back) & (back <= self.window)
        places = span.first + keys  # (P, 1, keys)
        real = (places >= 0) & (places < layout.lengths[:, None, None, None])  # (B, P, 1, keys)
        return View(visible=(near & real | (back == 0)).flatten(0, 1)[:, None])

    def square(self, weights: Tensor, length: int) -> Tensor:
        """Lay the weights of one sentence back into its square: (P, H, window, keys) -> (H, L, L)."""
        blocks, heads = weights.shape[:2]
        side = blocks * self.window
        square = weights.new_zeros(heads, side, self.window + side + self.ahead)
        for block, own in enumerate(weights):
            start = block * self.window
            square[:, start : start + self.window, start : start + self.keys] = own
        return square[:, :length, self.window : self.window + length]
