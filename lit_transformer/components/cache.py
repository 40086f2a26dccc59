"""Keys and values of what a decoder has said so far."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Projected keys (B, G, K, E_k) and values (B, G, K, E_v) of the tokens so far, of the rows that are given.

    Where hypotheses move, their rows are noted, and copied once, when the next token is appended.
    """

    keys: Tensor
    values: Tensor
    rows: Tensor | None = None
    """(R,) which rows of the tensors are meant; None for all as they are."""

    @property
    def said(self) -> int:
        return self.keys.shape[2]

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        """Keep, reorder or repeat rows: see `decoding.DecoderState`."""
        return type(self)(self.keys, self.values, rows if self.rows is None else self.rows.index_select(0, rows))

    def extended(self, keys: Tensor, values: Tensor) -> Self:
        """Append the tokens that follow in the same sentences, (R, G, Q, E_k) and (R, G, Q, E_v), all of them real."""
        return type(self)(self._appended(self.keys, keys), self._appended(self.values, values))

    def _appended(self, earlier: Tensor, newer: Tensor) -> Tensor:
        if self.rows is None:
            return torch.cat([earlier, newer], dim=2)
        if torch.is_grad_enabled():  # which the copy in one go knows nothing of
            return torch.cat([earlier.index_select(0, self.rows), newer], dim=2)
        said, more = earlier.shape[2], newer.shape[2]
        joined = newer.new_empty(*newer.shape[:2], said + more, newer.shape[3])  # (R, G, K + Q, E)
        torch.index_select(earlier, 0, self.rows, out=joined[:, :, :said])
        joined[:, :, said:] = newer
        return joined
