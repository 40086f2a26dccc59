"""Packed batches: the tokens of all sentences concatenated without padding, and their layout.

A batch of B sentences with N tokens is a tensor (N, ...) and a `Layout`. Only mixers and position encodings read the
layout; padded tensors (B, L, ...) exist only where a kernel needs one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_transformer.tokens import BOS, EOS, PAD, Ids, IntArray


@dataclass(eq=False)  # not frozen: Lightning's bf16-true and 64-true convert a copy, field by field
class Layout:
    """Where the B sentences of a packed tensor of N tokens begin and end.

    lengths (B,) int64, each at least 1; positions (N,) of each token in its sentence, from 0; indices (N,) of each
    token in the flattened padded tensor (B * L); rows (B, L) the packed index of each element of the padded tensor,
    where padding repeats its sentence's first token, so that padded tensors are finite everywhere; mask (B, L) True at
    tokens. max_seqlen is L; rectangular: there is no padding.
    """

    lengths: Tensor
    positions: Tensor
    indices: Tensor
    rows: Tensor
    mask: Tensor
    max_seqlen: int
    rectangular: bool

    @classmethod
    def from_lengths(cls, lengths: Tensor) -> Self:
        """Lay out sentences of the given lengths, (B,) int64 on any device."""
        max_seqlen = int(lengths.max())
        column = torch.arange(max_seqlen, device=lengths.device)  # (L,)
        mask = column < lengths[:, None]  # (B, L)
        starts = lengths.cumsum(0) - lengths  # (B,)
        rows = starts[:, None] + torch.where(mask, column, 0)  # (B, L)
        indices = mask.flatten().nonzero().squeeze(1)  # (N,)
        return cls(lengths, indices % max_seqlen, indices, rows, mask, max_seqlen, len(indices) == mask.numel())

    @classmethod
    def uniform(cls, sentences: int, length: int, device: torch.device | None = None) -> Self:
        """Lay out sentences of the same length; in a decoding step one new token each."""
        indices = torch.arange(sentences * length, device=device)
        rows = indices.view(sentences, length)
        lengths = torch.full((sentences,), length, device=device)
        return cls(lengths, indices % length, indices, rows, torch.ones_like(rows, dtype=torch.bool), length, True)

    @classmethod
    def fused(cls, layouts: Sequence["Layout"], equal_sentences: bool = False) -> Self:
        """Lay out K batches one after another, each in as many slots as the largest has tokens: N is K times that.

        A slot without a token stands, wherever a slot's place is read, for its own batch's first token; nothing reads
        what is computed there. `equal_sentences`: each batch gets as many sentences as the largest, too, those added
        being its first token alone.
        """
        slots = max(layout.tokens for layout in layouts)
        max_seqlen = max(layout.max_seqlen for layout in layouts)
        most = max(layout.sentences for layout in layouts)
        lengths, indices, rows, mask = [], [], [], []
        first_cell = 0  # of a batch in the flattened padded tensor
        for first_slot, layout in zip(range(0, slots * len(layouts), slots), layouts, strict=True):
            added = most - layout.sentences if equal_sentences else 0
            wider = max_seqlen - layout.max_seqlen
            cells = first_cell + layout.sentence_ids * max_seqlen + layout.positions
            indices.append(F.pad(cells, (0, slots - layout.tokens), value=first_cell))
            repeated = torch.cat([layout.rows, layout.rows[:, :1].expand(-1, wider)], dim=1)
            rows.append(first_slot + F.pad(repeated, (0, 0, 0, added)))
            lengths.append(F.pad(layout.lengths, (0, added), value=1))
            mask.append(F.pad(layout.mask, (0, wider, 0, added)))
            mask[-1][layout.sentences :, 0] = True
            first_cell += (layout.sentences + added) * max_seqlen
        cells = torch.cat(indices)
        rectangular = len(cells) == first_cell == sum(layout.tokens for layout in layouts)
        return cls(
            torch.cat(lengths), cells % max_seqlen, cells, torch.cat(rows), torch.cat(mask), max_seqlen, rectangular
        )

    @property
    def sentences(self) -> int:
        """B."""
        return self.rows.shape[0]

    @property
    def tokens(self) -> int:
        """N."""
        return self.indices.shape[0]

    @property
    def sentence_ids(self) -> Tensor:
        """(N,) the index of each token's sentence."""
        return self.indices // self.max_seqlen

    def pad(self, packed: Tensor) -> Tensor:
        """Pad a packed tensor: (N, ...) -> (B, L, ...), with the values of some real token as padding."""
        if self.rectangular:
            return packed.view(self.sentences, self.max_seqlen, *packed.shape[1:])
        padded = packed.index_select(0, self.rows.flatten())
        return padded.view(self.sentences, self.max_seqlen, *packed.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """Remove the padding: (B, L, ...) -> (N, ...)."""
        flat = padded.reshape(self.sentences * self.max_seqlen, *padded.shape[2:])
        return flat if self.rectangular else flat.index_select(0, self.indices)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return _to(self, device, non_blocking)

    def pin_memory(self) -> Self:
        return _map(self, lambda part: part.pin_memory())


@dataclass(eq=False)
class TranslationBatch:
    """A batch of sentence pairs, packed.

    src (N_s,) ends every sentence with EOS; tgt_in (N_t,) begins it with BOS and tgt_out (N_t,) ends it with EOS, so
    that tgt_out is what the decoder predicts from tgt_in. pairs (B,) are the indexes of the pairs in their split.
    target_tokens is the divisor of the loss: the target tokens of one optimiser step, over all its batches and ranks.
    step_batches is the number of these in a full step, accumulated batches times ranks; None in a batch made by hand,
    whose divisor is taken as it is.
    """

    src: Tensor
    src_layout: Layout
    tgt_in: Tensor
    tgt_out: Tensor
    tgt_layout: Layout
    pairs: Tensor
    target_tokens: int
    step_batches: int | None = None

    @classmethod
    def from_pairs(
        cls,
        pairs: Sequence[tuple[Ids, Ids]],
        indexes: Sequence[int] | None = None,
        target_tokens: int | None = None,
        step_batches: int | None = None,
    ) -> Self:
        """Pack (source ids, target ids) pairs, without BOS and EOS; `target_tokens` defaults to this batch's own."""
        src, src_lengths = _concatenate([source for source, _ in pairs])
        tgt, tgt_lengths = _concatenate([target for _, target in pairs])
        src_ends, tgt_ends = src_lengths.cumsum() - 1, tgt_lengths.cumsum() - 1
        return cls(
            src=_insert(src, src_ends, EOS),
            src_layout=Layout.from_lengths(torch.from_numpy(src_lengths)),
            tgt_in=_insert(tgt, tgt_ends - tgt_lengths + 1, BOS),
            tgt_out=_insert(tgt, tgt_ends, EOS),
            tgt_layout=Layout.from_lengths(torch.from_numpy(tgt_lengths)),
            pairs=torch.arange(len(pairs)) if indexes is None else torch.tensor(indexes, dtype=torch.int64),
            target_tokens=int(tgt_lengths.sum()) if target_tokens is None else target_tokens,
            step_batches=step_batches,
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return _to(self, device, non_blocking)

    def pin_memory(self) -> Self:
        """Copy to memory from which a GPU reads without the host waiting."""
        return _map(self, lambda part: part.pin_memory())


@dataclass(frozen=True, eq=False)
class FusedBatch:
    """The batches of the K members of a fused network, one after another; see `Layout.fused`.

    src (K * n_s,), tgt_in (K * n_t,) and tgt_out (K, n_t) hold PAD where a member has fewer tokens than the largest.
    `members` are the batches themselves, which stay where they are when the fused one moves to a device.
    """

    src: Tensor
    src_layout: Layout
    tgt_in: Tensor
    tgt_out: Tensor
    tgt_layout: Layout
    members: tuple[TranslationBatch, ...]

    @classmethod
    def from_batches(cls, batches: Sequence[TranslationBatch], equal_sentences: bool = False) -> Self:
        """Fuse one batch of each member."""
        return cls(
            src=_slots([batch.src for batch in batches]).flatten(),
            src_layout=Layout.fused([batch.src_layout for batch in batches], equal_sentences),
            tgt_in=_slots([batch.tgt_in for batch in batches]).flatten(),
            tgt_out=_slots([batch.tgt_out for batch in batches]),
            tgt_layout=Layout.fused([batch.tgt_layout for batch in batches], equal_sentences),
            members=tuple(batches),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        return _map(self, lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy to memory from which a GPU reads without the host waiting."""
        return _map(self, lambda part: part.pin_memory())


def _slots(ids: Sequence[Tensor]) -> Tensor:
    """Return the ids of K batches in rows of the longest's length, (K, n)."""
    return torch.nn.utils.rnn.pad_sequence(list(ids), batch_first=True, padding_value=PAD)


T = TypeVar("T", bound=Layout | TranslationBatch | FusedBatch)


def _to(item: T, device: torch.device | str, non_blocking: bool) -> T:
    return _map(item, lambda part: part.to(device, non_blocking=non_blocking))


def _map(item: T, function: Callable[[Any], Any]) -> T:
    """Apply a function to every tensor and every layout of an item."""
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    return type(item)(
        **{name: function(value) if isinstance(value, Tensor | Layout) else value for name, value in values.items()}
    )


def _concatenate(sentences: Sequence[Ids]) -> tuple[IntArray, IntArray]:
    """Return the ids of all sentences in one array, and the length of each with one marker, (B,)."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)) + 1
    arrays = [np.asarray(ids, dtype=np.int64) for ids in sentences]
    return np.concatenate(arrays), lengths


def _insert(ids: IntArray, places: IntArray, marker: int) -> Tensor:
    """Return the ids with `marker` at the given indexes of the result, one per sentence, (N,) int64."""
    result = np.full(len(ids) + len(places), marker, dtype=np.int64)
    is_id = np.ones(len(result), dtype=bool)
    is_id[places] = False
    result[is_id] = ids
    return torch.from_numpy(result)


B = TypeVar("B", TranslationBatch, FusedBatch)


def to_device(batch: B, device: torch.device) -> B:
    """Copy a batch to a device, to a GPU from pinned memory: from other memory a copy waits for the steps before it."""
    return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch.to(device)
