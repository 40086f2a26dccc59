"""What a decoder remembers between steps: the protocol, plain tensors, and keys and values."""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class Cache(Protocol):
    """What a mixer remembers of R rows, each a hypothesis of one of S sentences, ordered by sentence."""

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        """Keep, reorder or repeat rows (R',) and keep `sentences` (S',), None for all: see `decoding.DecoderState`."""
        ...


@dataclass(frozen=True, eq=False)
class TensorCache:
    """Tensors whose first dimension is the rows: (R, ...)."""

    tensors: tuple[Tensor, ...]

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return type(self)(tuple(tensor.index_select(0, rows) for tensor in self.tensors))


@dataclass(frozen=True, eq=False)
class KVCache:
    """Projected keys (B, G, K, E_k) and values (B, G, K, E_v) of the tokens so far.

    A selection of rows is only recorded, and carried out by the next `append`, so that each step copies once.
    """

    keys: Tensor
    values: Tensor
    rows: Tensor | None = None
    """(R,) rows of the tensors that are selected; None for all."""

    @property
    def seq_len(self) -> int:
        """K, the number of cached tokens per sentence."""
        return self.keys.shape[2]

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return type(self)(self.keys, self.values, rows if self.rows is None else self.rows.index_select(0, rows))

    def append(self, keys: Tensor, values: Tensor) -> Self:
        """Return the cache with the next tokens of the selected rows: (R, G, Q, E_k) and (R, G, Q, E_v), no padding."""
        return type(self)(self._append(self.keys, keys), self._append(self.values, values))

    def _append(self, cached: Tensor, new: Tensor) -> Tensor:
        if self.rows is None:
            return torch.cat([cached, new], dim=2)
        if torch.is_grad_enabled():  # the copy in one go below has no gradient
            return torch.cat([cached.index_select(0, self.rows), new], dim=2)
        seq_len, added = cached.shape[2], new.shape[2]
        result = new.new_empty(*new.shape[:2], seq_len + added, new.shape[3])  # (R, G, K + Q, E)
        torch.index_select(cached, 0, self.rows, out=result[:, :, :seq_len])
        result[:, :, seq_len:] = new
        return result
