"""One split on disk: token ids and text of its pairs in an Arrow file, read back memory-mapped.

Columns: src, tgt (lists of uint16, or int32 for vocabularies above 65,536; without BOS and EOS) and src_text, tgt_text.
Rows come in chunks of ROWS, so that a pair is found by one division and no column is ever copied as a whole.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_modules.corpora.raw import ParallelText
from data_modules.tokenizer import Tokenizer
from lit_transformer.errors import UserError

ROWS = 65_536

Ids = NDArray[np.integer]


class Split:
    """The pairs of one split; `split[i]` is (source ids, target ids), views into the file, without BOS and EOS."""

    def __init__(self, path: Path) -> None:
        """Map the file; raises UserError when it is missing or is not such a file."""
        self.path = path
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self._source, self._target = _Sentences(table["src"]), _Sentences(table["tgt"])
            self._source_text, self._target_text = table["src_text"], table["tgt_text"]
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise UserError(f"{path} is missing or damaged; prepare the corpus again") from error

    def __len__(self) -> int:
        return len(self._source_text)

    def __getitem__(self, pair: int) -> tuple[Ids, Ids]:
        return self._source[pair], self._target[pair]

    def __reduce__(self) -> tuple[type["Split"], tuple[Path]]:
        return Split, (self.path,)  # a spawned process maps the file itself instead of receiving a copy

    @cached_property
    def source_lengths(self) -> NDArray[np.int64]:
        """Tokens of each source sentence as the model sees it, EOS included, (pairs,)."""
        return self._source.lengths + 1

    @cached_property
    def target_lengths(self) -> NDArray[np.int64]:
        """Tokens of each target sentence as the model sees it, BOS (in) or EOS (out) included, (pairs,)."""
        return self._target.lengths + 1

    @property
    def source_text(self) -> list[str]:
        return list(self._source_text.to_pylist())

    @property
    def target_text(self) -> list[str]:
        return list(self._target_text.to_pylist())

    def digest(self, sha: "hashlib._Hash") -> None:
        """Feed the content, not the file's bytes, to a hash: another version of Arrow gives the same."""
        for sentences, text in ((self._source, self._source_text), (self._target, self._target_text)):
            sha.update(sentences.lengths.astype("<i8").tobytes())
            for ids in sentences.values:
                sha.update(ids.astype("<i4").tobytes())
            for chunk in text.chunks:
                sha.update("\n".join(chunk.to_pylist()).encode())


class _Sentences:
    """A column of id lists as numpy views of its chunks."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        # Offsets are relative to the chunk's own values, so chunks stay apart; all but the last have ROWS rows.
        self.values = [chunk.values.to_numpy(zero_copy_only=True) for chunk in column.chunks]
        self.offsets = [chunk.offsets.to_numpy(zero_copy_only=True) for chunk in column.chunks]

    def __getitem__(self, row: int) -> Ids:
        chunk, place = divmod(int(row), ROWS)
        offsets = self.offsets[chunk]
        ids: Ids = self.values[chunk][offsets[place] : offsets[place + 1]]
        return ids

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.concatenate([np.diff(offsets) for offsets in self.offsets]).astype(np.int64)


def encode(
    text: ParallelText, tokenizer: Tokenizer, longest: int | None, step: Callable[[int], None]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Encode pairs into record batches of ROWS rows, each with the number of pairs left out on the way to it.

    Pairs with more than `longest` tokens on a side, EOS included, are left out; None keeps all.
    `step` is told how many pairs were read.
    """
    source, target = text.source, text.target
    rows: list[tuple[list[int], list[int], str, str]] = []
    left_out = 0
    for start in range(0, len(text), ROWS):
        part = slice(start, start + ROWS)
        ids = tokenizer.encode_batch(source[part]), tokenizer.encode_batch(target[part])
        for row in zip(*ids, source[part], target[part], strict=True):
            if longest is not None and max(len(row[0]), len(row[1])) + 1 > longest:
                left_out += 1
            else:
                rows.append(row)
        step(min(ROWS, len(text) - start))
        if len(rows) >= ROWS:
            yield _record_batch(rows[:ROWS], tokenizer.vocab_size), left_out
            rows, left_out = rows[ROWS:], 0
    if rows or left_out:
        yield _record_batch(rows, tokenizer.vocab_size), left_out


def write(path: Path, batches: Iterator[tuple[pa.RecordBatch, int]], vocab_size: int) -> int:
    """Write record batches as one Arrow file; return the number of pairs left out."""
    left_out = 0
    schema = _record_batch([], vocab_size).schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch, dropped in batches:
            left_out += dropped
            if batch.num_rows:
                writer.write_batch(batch)
    return left_out


def _record_batch(rows: Sequence[tuple[list[int], list[int], str, str]], vocab_size: int) -> pa.RecordBatch:
    kind = np.uint16 if vocab_size <= np.iinfo(np.uint16).max + 1 else np.int32
    source, target, source_text, target_text = (
        (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    )
    return pa.RecordBatch.from_arrays(
        [
            _lists(source, kind),
            _lists(target, kind),
            pa.array(source_text, pa.string()),
            pa.array(target_text, pa.string()),
        ],
        names=["src", "tgt", "src_text", "tgt_text"],
    )


def _lists(sentences: list[list[int]], kind: type[np.integer]) -> pa.ListArray:
    offsets = np.zeros(len(sentences) + 1, dtype=np.int32)
    np.cumsum([len(ids) for ids in sentences], out=offsets[1:])
    values = np.fromiter(chain.from_iterable(sentences), dtype=kind, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
