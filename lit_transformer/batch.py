"""Packed tokens: the real tokens of a batch one after another, and where its sentences lie.

Nothing inside the model sees padding. A batch of B sentences with N real tokens is a tensor (N, ...) and a `Layout`.
Only mixers and position encodings read the layout; the rectangle (B, L) exists where a kernel needs one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self, TypeVar

import torch
from torch import Tensor

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
    split. target_tokens counts the target tokens of the whole global batch, over all ranks: the loss is divided by it.
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
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        indexes: Sequence[int] | None = None,
        target_tokens: int | None = None,
    ) -> Self:
        """Pack (source ids, target ids) pairs, ids without BOS and EOS; `target_tokens` defaults to this batch's own."""
        src = [torch.tensor([*source, EOS]) for source, _ in pairs]
        tgt = [torch.tensor([BOS, *target, EOS]) for _, target in pairs]
        tgt_lengths = torch.tensor([len(sentence) - 1 for sentence in tgt])
        return cls(
            src=torch.cat(src),
            src_layout=Layout.from_lengths(torch.tensor([len(sentence) for sentence in src])),
            tgt_in=torch.cat([sentence[:-1] for sentence in tgt]),
            tgt_out=torch.cat([sentence[1:] for sentence in tgt]),
            tgt_layout=Layout.from_lengths(tgt_lengths),
            pairs=torch.tensor(range(len(pairs)) if indexes is None else list(indexes)),
            target_tokens=int(tgt_lengths.sum()) if target_tokens is None else target_tokens,
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return _moved(self, device, non_blocking)


T = TypeVar("T", Layout, TranslationBatch)


def _moved(item: T, device: torch.device | str, non_blocking: bool) -> T:
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    for name, value in values.items():
        if isinstance(value, Tensor | Layout):
            values[name] = value.to(device, non_blocking=non_blocking)
    return type(item)(**values)
