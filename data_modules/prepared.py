"""A prepared corpus on disk: tokenizer.json, one Arrow file of token ids and text per split, and corpus.json.

Columns of a split: src, tgt (lists of uint16, or int32 for vocabularies above 65,536; without BOS and EOS) and
src_text, tgt_text. Files are read memory-mapped, in record batches of ROWS rows, so that a pair is found by one
division and no column is ever copied as a whole.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_modules.config import DataConfig
from data_modules.corpora.text import TRAIN, VALID, ParallelText, RawCorpus
from data_modules.tokenizer import Tokenizer, train_tokenizer
from lit_transformer.errors import UserError, nearest

FORMAT = 1
METADATA = "corpus.json"
LONGEST = 8192
"""Tokens, EOS included, of a sentence that is translated; attention takes memory and time with their square."""
ROWS = 65_536
"""Rows of a record batch."""
PROGRESS_FROM = 200_000
"""Pairs from which preparation shows progress."""
PROGRESS_EVERY = 1_000_000
"""Pairs between two progress lines where there is no terminal."""

Ids = NDArray[np.integer]


class Split:
    """The sentence pairs of one split; `split[i]` is (source ids, target ids), views into the file, no BOS or EOS."""

    def __init__(self, path: Path) -> None:
        """Map the file; raises UserError when it is missing or damaged."""
        self.path = path
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self._source, self._target = _IdColumn(table["src"]), _IdColumn(table["tgt"])
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
        """Tokens of each source sentence with EOS, (pairs,)."""
        return self._source.lengths + 1

    @cached_property
    def target_lengths(self) -> NDArray[np.int64]:
        """Tokens of each target sentence with BOS (decoder input) or EOS (labels), (pairs,)."""
        return self._target.lengths + 1

    @property
    def source_text(self) -> list[str]:
        return list(self._source_text.to_pylist())

    @property
    def target_text(self) -> list[str]:
        return list(self._target_text.to_pylist())

    def update_hash(self, sha: "hashlib._Hash") -> None:
        """Feed ids and text to a hash; the file's own bytes depend on the version of Arrow."""
        for column, text in ((self._source, self._source_text), (self._target, self._target_text)):
            sha.update(column.lengths.astype("<i8").tobytes())
            for ids in column.values:
                sha.update(ids.astype("<i4").tobytes())
            for chunk in text.chunks:
                sha.update("\n".join(chunk.to_pylist()).encode())


class _IdColumn:
    """A column of id lists as zero-copy numpy views of its chunks."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        # Offsets are relative to their chunk's values, so chunks are not concatenated; all but the last have ROWS rows.
        self.values = [chunk.values.to_numpy(zero_copy_only=True) for chunk in column.chunks]
        self.offsets = [chunk.offsets.to_numpy(zero_copy_only=True) for chunk in column.chunks]

    def __getitem__(self, row: int) -> Ids:
        chunk, index = divmod(int(row), ROWS)
        offsets = self.offsets[chunk]
        ids: Ids = self.values[chunk][offsets[index] : offsets[index + 1]]
        return ids

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.concatenate([np.diff(offsets) for offsets in self.offsets]).astype(np.int64)


class PreparedCorpus:
    """A corpus as token ids on disk; `hash` is the SHA-256 of its languages, vocabulary, ids and text."""

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder = folder
        self.name: str = metadata["name"]
        self.source: str = metadata["source"]
        self.target: str = metadata["target"]
        self.vocab_size: int = metadata["vocab_size"]
        self.hash: str = metadata["hash"]
        self.counts: dict[str, dict[str, int]] = metadata["splits"]
        self.left_out: dict[str, int] = metadata["left_out"]
        self.notes: list[str] = metadata["notes"]
        self.revision: str = metadata.get("revision", "")
        self._splits: dict[str, Split] = {}

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open a prepared folder; raises UserError when it is missing, of another format, or incomplete."""
        folder = Path(folder)
        try:
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{folder} holds no prepared corpus; run: python -m experiments prepare") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / METADATA} cannot be read; prepare the corpus again") from error
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise UserError(f"{folder} was prepared by another version of this program; prepare the corpus again")
        try:
            corpus = cls(folder, metadata)
        except KeyError as error:
            raise UserError(f"{folder / METADATA} lacks {error}; prepare the corpus again") from error
        for split, counts in corpus.counts.items():
            if len(corpus.split(split)) != counts["pairs"]:
                raise UserError(
                    f"{folder / split}.arrow does not hold {counts['pairs']} pairs; prepare the corpus again"
                )
        return corpus

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.folder / "tokenizer.json")

    @property
    def splits(self) -> list[str]:
        return list(self.counts)

    @property
    def test_splits(self) -> list[str]:
        """Names of the splits other than training and validation."""
        return [name for name in self.splits if name not in (TRAIN, VALID)]

    def split(self, name: str) -> Split:
        """Return a split, memory-mapped; raises UserError when the corpus has no split of that name."""
        if name not in self.counts:
            known = ", ".join(self.splits)
            raise UserError(f"corpus {self.name} has no split '{name}' (it has {known}){nearest(name, self.splits)}")
        if name not in self._splits:
            self._splits[name] = Split(self.folder / f"{name}.arrow")
        return self._splits[name]

    def encode(self, name: str, texts: Mapping[str, ParallelText], folder: Path) -> "PreparedCorpus":
        """Write all pairs of other text, by split, with this tokenizer and these languages into an empty folder."""
        self.tokenizer.save(folder / "tokenizer.json")
        for split, text in texts.items():
            batches = _encode_split(text, self.tokenizer, None, lambda pairs: None)
            _write_split(folder / f"{split}.arrow", batches, self.vocab_size)
        languages = {"source": self.source, "target": self.target}
        about = {"name": name, **languages, "vocab_size": self.vocab_size}
        _write_metadata(folder, about, {split: {} for split in texts})
        return PreparedCorpus.open(folder)

    def repeats(self, split: str) -> dict[str, int]:
        """Return how many pairs of a split repeat another, and how many are in train; empty if that was not counted."""
        return {key: self.counts[split][key] for key in ("repeated", "in_train") if key in self.counts[split]}

    def content_hash(self) -> str:
        """Recompute the hash from the files; differs from `hash` when one of them was changed."""
        sha = hashlib.sha256(f"{self.source}\n{self.target}\n".encode())
        sha.update("\n".join(self.tokenizer.tokens).encode())
        for name in self.splits:
            sha.update(f"\n{name}\n".encode())
            self.split(name).update_hash(sha)
        return sha.hexdigest()

    def report(self) -> list[str]:
        """Return lines to print: sizes, pairs left out, and notes."""
        lines = [f"{self.name} {self.source}-{self.target}: {self.vocab_size:,} token ids, hash {self.hash[:12]}"]
        for name, counts in self.counts.items():
            tokens = f"{counts['source_tokens']:,} + {counts['target_tokens']:,} tokens"
            line = f"  {name}: {counts['pairs']:,} pairs, {tokens}, longest {counts['longest']}"
            line += f", {counts['repeated']:,} repeat another" if "repeated" in counts else ""
            line += f", {counts['in_train']:,} are in {TRAIN} too" if "in_train" in counts else ""
            lines.append(line)
        lines += [f"  {TRAIN}: {count:,} pairs left out: {why}" for why, count in self.left_out.items() if count]
        lines += [f"  revision {self.revision}"] if self.revision else []
        return lines + [f"  {note}" for note in self.notes]


def prepare(raw: RawCorpus, config: DataConfig, folder: Path | str) -> PreparedCorpus:
    """Train the joint tokenizer on the training split, encode every split, and write the folder atomically.

    Training pairs with an empty side, or with more than config.max_length tokens on a side, are left out and counted;
    evaluation pairs are all kept. A prepared corpus already in `folder` is replaced once the new one is complete.
    Raises UserError for an empty evaluation sentence, a vocabulary larger than the text allows, no training pair left,
    and a folder that cannot be written.
    """
    folder = Path(folder)
    texts, empty = _drop_empty(raw)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / METADATA).exists())):
            raise UserError(f"{folder} exists and is not a prepared corpus; choose another folder or remove it")
        partial.mkdir(parents=True)
        _write_corpus(raw, texts, empty, config, partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise UserError(f"cannot write {folder}: {reason}; make room or choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return PreparedCorpus.open(folder)


def _drop_empty(raw: RawCorpus) -> tuple[dict[str, ParallelText], int]:
    """Return the splits without empty training pairs, and the number of those pairs; empty splits are left out."""
    for name, text in raw.splits.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise UserError(
                f"corpus {raw.name}: '{name}' is not a valid split name; use letters, digits, '_', '-' and '.'"
            )
        if name != TRAIN and not all(chain(text.source, text.target)):
            raise UserError(
                f"corpus {raw.name}: the evaluation split '{name}' has an empty sentence; fill or remove it"
            )
    train = raw.splits.get(TRAIN, ParallelText([], []))
    pairs = [pair for pair in zip(train.source, train.target, strict=True) if all(pair)]
    if not pairs:
        raise UserError(f"corpus {raw.name} has no training pair with text on both sides")
    text = ParallelText([source for source, _ in pairs], [target for _, target in pairs])
    evaluation = {name: text for name, text in raw.splits.items() if name != TRAIN and len(text)}
    return {TRAIN: text} | evaluation, len(train) - len(pairs)


def _write_corpus(raw: RawCorpus, texts: dict[str, ParallelText], empty: int, config: DataConfig, folder: Path) -> None:
    """Write all files of a prepared corpus into an empty folder."""
    train = texts[TRAIN]
    with _progress(sum(map(len, texts.values()))) as advance:
        tokenizer = train_tokenizer(chain(train.source, train.target), config.vocab_size)
        tokenizer.save(folder / "tokenizer.json")
        too_long = 0
        for name, text in texts.items():
            batches = _encode_split(text, tokenizer, config.max_length if name == TRAIN else None, advance)
            too_long += _write_split(folder / f"{name}.arrow", batches, tokenizer.vocab_size)
    if too_long == len(train):
        raise UserError(f"no training pair has at most data.max_length = {config.max_length} tokens; raise it")
    languages = {"source": raw.source, "target": raw.target}
    left_out = {
        "empty source or target": empty,
        f"longer than {config.max_length} tokens (data.max_length)": too_long,
    }
    notes = [*raw.notes, *(f"split '{name}' left out: it is empty" for name in raw.splits if name not in texts)]
    revision = {"revision": raw.revision} if raw.revision else {}
    about = {"name": raw.name, **languages, "vocab_size": tokenizer.vocab_size, **revision}
    _write_metadata(folder, about, _count_repeats(texts), left_out, notes)


def _write_metadata(
    folder: Path,
    about: Mapping[str, Any],
    splits: Mapping[str, Mapping[str, int]],
    left_out: Mapping[str, int] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> None:
    """Write corpus.json of a folder that has its tokenizer and splits, with their counts beside those given."""
    metadata = {
        "format": FORMAT,
        **about,
        "hash": "",
        "splits": {name: {**_counts(Split(folder / f"{name}.arrow")), **more} for name, more in splits.items()},
        "left_out": dict(left_out),
        "notes": list(notes),
    }
    metadata["hash"] = PreparedCorpus(folder, metadata).content_hash()
    (folder / METADATA).write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _encode_split(
    text: ParallelText, tokenizer: Tokenizer, max_length: int | None, advance: Callable[[int], None]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield record batches of ROWS rows, each with the number of pairs left out since the last one.

    Pairs with more than `max_length` tokens on a side, EOS included, are left out; None keeps all, and raises UserError
    for more than LONGEST.
    `advance` receives the number of pairs read.
    """
    source, target = text.source, text.target
    rows: list[tuple[list[int], list[int], str, str]] = []
    left_out = 0
    for start in range(0, len(text), ROWS):
        part = slice(start, start + ROWS)
        ids = tokenizer.encode_batch(source[part]), tokenizer.encode_batch(target[part])
        for row in zip(*ids, source[part], target[part], strict=True):
            longest = max(len(row[0]), len(row[1])) + 1
            if max_length is None and longest > LONGEST:
                beginning = (row[2] if len(row[0]) >= len(row[1]) else row[3])[:60]
                raise UserError(
                    f"an evaluation sentence has {longest} tokens, and at most {LONGEST} are translated: split it, or "
                    f"remove it on both sides; it begins with '{beginning}'"
                )
            if max_length is not None and longest > max_length:
                left_out += 1
            else:
                rows.append(row)
        advance(min(ROWS, len(text) - start))
        if len(rows) >= ROWS:
            yield _record_batch(rows[:ROWS], tokenizer.vocab_size), left_out
            rows, left_out = rows[ROWS:], 0
    if rows or left_out:
        yield _record_batch(rows, tokenizer.vocab_size), left_out


def _write_split(path: Path, batches: Iterator[tuple[pa.RecordBatch, int]], vocab_size: int) -> int:
    """Write record batches as one Arrow file; return the number of pairs left out."""
    total_left_out = 0
    schema = _record_batch([], vocab_size).schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch, left_out in batches:
            total_left_out += left_out
            if batch.num_rows:
                writer.write_batch(batch)
    return total_left_out


def _record_batch(rows: Sequence[tuple[list[int], list[int], str, str]], vocab_size: int) -> pa.RecordBatch:
    dtype = np.uint16 if vocab_size <= np.iinfo(np.uint16).max + 1 else np.int32
    source, target, source_text, target_text = (
        (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    )
    return pa.RecordBatch.from_arrays(
        [
            _id_lists(source, dtype),
            _id_lists(target, dtype),
            pa.array(source_text, pa.string()),
            pa.array(target_text, pa.string()),
        ],
        names=["src", "tgt", "src_text", "tgt_text"],
    )


def _id_lists(sentences: list[list[int]], dtype: type[np.integer]) -> pa.ListArray:
    offsets = np.zeros(len(sentences) + 1, dtype=np.int32)
    np.cumsum([len(ids) for ids in sentences], out=offsets[1:])
    values = np.fromiter(chain.from_iterable(sentences), dtype=dtype, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _count_repeats(texts: Mapping[str, ParallelText]) -> dict[str, dict[str, int]]:
    """Return by split how many pairs repeat another one, and how many of an evaluation split are in train too.

    A pair is both of its sides, letter for letter. A model that has seen a test pair may only remember it.
    """
    hashes = {  # 64 bits of each pair: among a billion pairs, chance makes two alike in one of 37 corpora
        name: np.fromiter(map(hash, zip(text.source, text.target, strict=True)), np.int64, len(text))
        for name, text in texts.items()
    }
    train = np.unique(hashes[TRAIN])
    repeats = {name: {"repeated": len(own) - len(np.unique(own))} for name, own in hashes.items()}
    for name, own in hashes.items():
        if name != TRAIN:
            repeats[name]["in_train"] = int(np.isin(own, train).sum())
    return repeats


def _counts(split: Split) -> dict[str, int]:
    return {
        "pairs": len(split),
        "source_tokens": int(split.source_lengths.sum()),
        "target_tokens": int(split.target_lengths.sum()),
        "longest": int(max(split.source_lengths.max(), split.target_lengths.max())),
    }


@contextmanager
def _progress(pairs: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a large corpus: a bar on a terminal, else one line per million pairs."""
    if pairs < PROGRESS_FROM:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("pairs encoded (after training the tokenizer)", total=pairs)
            yield lambda count: progress.advance(task, count)
        return
    done = 0

    def print_line(count: int) -> None:
        nonlocal done
        done += count
        if done // PROGRESS_EVERY != (done - count) // PROGRESS_EVERY or done == pairs:
            print(f"encoded {done:,} of {pairs:,} pairs", file=sys.stderr, flush=True)

    print(f"training the tokenizer, then encoding {pairs:,} pairs", file=sys.stderr, flush=True)
    yield print_line
