"""Packed tokens: the real tokens of a batch one after another, and where its sentences lie.

Nothing inside the model sees padding. A batch of B sentences with N real tokens is a tensor (N, ...) and a `Layout`.
Only mixers and position encodings read the layout; the rectangle (B, L) exists where a kernel needs one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]
Ids = Sequence[int] | NDArray[np.integer]

PAD, BOS, EOS, UNK = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Layout:
    """Where B sentences lie in a packed tensor of N tokens.

    lengths (B,) int64, every one at least 1; positions (N,) place of each token in its own sentence, from 0;
    cells (N,) flat place of each token in the (B, L) rectangle; rows (B, L) packed row of each cell, where a cell
    of padding repeats its sentence's first row, so that a gathered rectangle holds finite values everywhere;
    mask (B, L) True at real tokens. `longest` is L; `rectangular` says that no cell is padding.
    """

    lengths: Tensor
    positions: Tensor
    cells: Tensor
    rows: Tensor
    mask: Tensor
    longest: int
    rectangular: bool

    @classmethod
    def from_lengths(cls, lengths: Tensor) -> Self:
        """Lay out sentences of the given lengths, (B,) int64 on any device."""
        longest = int(lengths.max())
        column = torch.arange(longest, device=lengths.device)  # (L,)
        mask = column < lengths[:, None]  # (B, L)
        starts = lengths.cumsum(0) - lengths  # (B,)
        rows = starts[:, None] + torch.where(mask, column, 0)  # (B, L)
        cells = mask.flatten().nonzero().squeeze(1)  # (N,)
        return cls(lengths, cells % longest, cells, rows, mask, longest, len(cells) == mask.numel())

    @classmethod
    def rectangle(cls, sentences: int, length: int, device: torch.device | None = None) -> Self:
        """Lay out `sentences` sentences of the same `length`; one new token each while decoding."""
        cells = torch.arange(sentences * length, device=device)
        rows = cells.view(sentences, length)
        lengths = torch.full((sentences,), length, device=device)
        return cls(lengths, cells % length, cells, rows, torch.ones_like(rows, dtype=torch.bool), length, True)

    @property
    def sentences(self) -> int:
        return self.rows.shape[0]

    @property
    def tokens(self) -> int:
        return self.cells.shape[0]

    def pad(self, packed: Tensor) -> Tensor:
        """Return the rectangle (B, L, ...) of a packed (N, ...); padding cells hold some real token's value."""
        if self.rectangular:
            return packed.view(self.sentences, self.longest, *packed.shape[1:])
        rectangle = packed.index_select(0, self.rows.flatten())
        return rectangle.view(self.sentences, self.longest, *packed.shape[1:])

    def pack(self, rectangle: Tensor) -> Tensor:
        """Return the real tokens (N, ...) of a rectangle (B, L, ...)."""
        flat = rectangle.reshape(self.sentences * self.longest, *rectangle.shape[2:])
        return flat if self.rectangular else flat.index_select(0, self.cells)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return _moved(self, device, non_blocking)


@dataclass(frozen=True, eq=False)
class TranslationBatch:
    """A batch of sentence pairs, packed.

    src (N_s,) ends every sentence with EOS; tgt_in (N_t,) begins it with BOS and tgt_out (N_t,) ends it with EOS,
    so tgt_out is what the decoder must say after reading tgt_in. pairs (B,) are the indexes of the pairs in their
    split. target_tokens is what the loss is divided by: the target tokens of all that one optimiser step sees, over its
    batches and ranks.
    """

    src: Tensor
    src_layout: Layout
    tgt_in: Tensor
    tgt_out: Tensor
    tgt_layout: Layout
    pairs: Tensor
    target_tokens: int

    @classmethod
    def from_pairs(
        cls,
        pairs: Sequence[tuple[Ids, Ids]],
        indexes: Sequence[int] | None = None,
        target_tokens: int | None = None,
    ) -> Self:
        """Pack (source ids, target ids) pairs, without BOS and EOS; `target_tokens` defaults to this batch's own."""
        src, src_lengths = _joined([source for source, _ in pairs])
        tgt, tgt_lengths = _joined([target for _, target in pairs])
        src_ends, tgt_ends = src_lengths.cumsum() - 1, tgt_lengths.cumsum() - 1
        return cls(
            src=_marked(src, src_ends, EOS),
            src_layout=Layout.from_lengths(torch.from_numpy(src_lengths)),
            tgt_in=_marked(tgt, tgt_ends - tgt_lengths + 1, BOS),
            tgt_out=_marked(tgt, tgt_ends, EOS),
            tgt_layout=Layout.from_lengths(torch.from_numpy(tgt_lengths)),
            pairs=torch.arange(len(pairs)) if indexes is None else torch.tensor(indexes, dtype=torch.int64),
            target_tokens=int(tgt_lengths.sum()) if target_tokens is None else target_tokens,
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return _moved(self, device, non_blocking)


T = TypeVar("T", bound=Layout | TranslationBatch)


def _moved(item: T, device: torch.device | str, non_blocking: bool) -> T:
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    for name, value in values.items():
        if isinstance(value, Tensor | Layout):
            values[name] = value.to(device, non_blocking=non_blocking)
    return type(item)(**values)


def _joined(sentences: Sequence[Ids]) -> tuple[IntArray, IntArray]:
    """Return the ids of all sentences in one array, and each sentence's length with one marker added, (B,)."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)) + 1
    arrays = [np.asarray(ids, dtype=np.int64) for ids in sentences]
    return np.concatenate(arrays), lengths


def _marked(ids: IntArray, places: IntArray, marker: int) -> Tensor:
    """Return the ids with `marker` at the given places of the result, one a sentence, (N,) int64."""
    marked = np.full(len(ids) + len(places), marker, dtype=np.int64)
    others = np.ones(len(marked), dtype=bool)
    others[places] = False
    marked[others] = ids
    return torch.from_numpy(marked)
