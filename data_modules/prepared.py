"""A prepared corpus: tokenizer.json, one Arrow file a split, and corpus.json with its counts and its hash."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self

from data_modules import arrow_split
from data_modules.arrow_split import Split
from data_modules.config import DataConfig
from data_modules.corpora.raw import ParallelText, RawCorpus
from data_modules.corpora.text import TRAIN
from data_modules.tokenizer import Tokenizer, train_tokenizer
from lit_transformer.errors import UserError, nearest

FORMAT = 1
FACTS = "corpus.json"
BIG = 200_000  # pairs from which preparation takes long enough for a user to wonder
LINE_EVERY = 1_000_000


class PreparedCorpus:
    """A corpus as token ids on disk; `hash` is the sha256 of its languages, vocabulary, ids and text."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.name: str = facts["name"]
        self.source: str = facts["source"]
        self.target: str = facts["target"]
        self.vocab_size: int = facts["vocab_size"]
        self.hash: str = facts["hash"]
        self.counts: dict[str, dict[str, int]] = facts["splits"]
        self.left_out: dict[str, int] = facts["left_out"]
        self.notes: list[str] = facts["notes"]
        self._open: dict[str, Split] = {}

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open a prepared folder; raises UserError when it is missing, of another version, or incomplete."""
        folder = Path(folder)
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{folder} holds no prepared corpus; run: python -m experiments prepare") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / FACTS} cannot be read; prepare the corpus again") from error
        if facts.get("format") != FORMAT:
            raise UserError(f"{folder} was prepared by another version of this program; prepare the corpus again")
        corpus = cls(folder, facts)
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

    def split(self, name: str) -> Split:
        """Return a split, memory-mapped; raises UserError for a name that the corpus does not have."""
        if name not in self.counts:
            known = ", ".join(self.splits)
            raise UserError(f"corpus {self.name} has no split '{name}' (it has {known}){nearest(name, self.splits)}")
        if name not in self._open:
            self._open[name] = Split(self.folder / f"{name}.arrow")
        return self._open[name]

    def content_hash(self) -> str:
        """Compute the hash anew from what lies on disk; differs from `hash` when a file was changed."""
        sha = hashlib.sha256(f"{self.source}\n{self.target}\n".encode())
        sha.update("\n".join(self.tokenizer.tokens).encode())
        for name in self.splits:
            sha.update(f"\n{name}\n".encode())
            self.split(name).digest(sha)
        return sha.hexdigest()

    def report(self) -> list[str]:
        """Return lines for a reader: sizes, what was left out, what was changed."""
        lines = [f"{self.name} {self.source}-{self.target}: {self.vocab_size:,} token ids, hash {self.hash[:12]}"]
        for name, counts in self.counts.items():
            tokens = f"{counts['source_tokens']:,} + {counts['target_tokens']:,} tokens"
            lines.append(f"  {name}: {counts['pairs']:,} pairs, {tokens}, longest {counts['longest']}")
        lines += [f"  {TRAIN}: {count:,} pairs left out: {why}" for why, count in self.left_out.items() if count]
        return lines + [f"  {note}" for note in self.notes]


def prepare(raw: RawCorpus, config: DataConfig, folder: Path | str) -> PreparedCorpus:
    """Learn the joint vocabulary from the training split, encode every split, and write the folder at one stroke.

    Training pairs with an empty side, or with more than config.max_length tokens on a side, are left out and counted;
    evaluation pairs are kept, all of them. A prepared corpus already in `folder` is replaced once the new one is whole.
    Raises UserError for an empty evaluation line, a vocabulary larger than the text allows, no training pair left,
    and a folder that cannot be written.
    """
    folder = Path(folder)
    texts, empty = _without_empty(raw)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / FACTS).exists())):
            raise UserError(f"{folder} exists and is not a prepared corpus; choose another folder or remove it")
        partial.mkdir(parents=True)
        _write(raw, texts, empty, config, partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise UserError(f"cannot write {folder}: {reason}; make room or choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return PreparedCorpus.open(folder)


def _without_empty(raw: RawCorpus) -> tuple[dict[str, ParallelText], int]:
    """Return the splits, the training split without pairs that have an empty side, and how many those were."""
    for name, text in raw.splits.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise UserError(
                f"corpus {raw.name}: '{name}' is no name for a split; use letters, digits, '_', '-' and '.'"
            )
        if name != TRAIN and not all(chain(text.source, text.target)):
            raise UserError(
                f"corpus {raw.name}: the evaluation split '{name}' has an empty sentence; fill or remove it"
            )
    train = raw.splits.get(TRAIN, ParallelText([], []))
    kept = [pair for pair in zip(train.source, train.target, strict=True) if all(pair)]
    if not kept:
        raise UserError(f"corpus {raw.name} has no training pair with text on both sides")
    text = ParallelText([source for source, _ in kept], [target for _, target in kept])
    others = {name: part for name, part in raw.splits.items() if name != TRAIN and len(part)}
    return {TRAIN: text} | others, len(train) - len(kept)


def _write(raw: RawCorpus, texts: dict[str, ParallelText], empty: int, config: DataConfig, folder: Path) -> None:
    """Write the whole of a prepared corpus into an empty folder."""
    train = texts[TRAIN]
    with _progress(sum(map(len, texts.values()))) as step:
        tokenizer = train_tokenizer(chain(train.source, train.target), config.vocab_size)
        tokenizer.save(folder / "tokenizer.json")
        too_long = 0
        for name, text in texts.items():
            longest = config.max_length if name == TRAIN else None
            batches = arrow_split.encode(text, tokenizer, longest, step)
            too_long += arrow_split.write(folder / f"{name}.arrow", batches, tokenizer.vocab_size)
    if too_long == len(train):
        raise UserError(f"no training pair has at most data.max_length = {config.max_length} tokens; raise it")
    facts = {
        "format": FORMAT,
        "name": raw.name,
        "source": raw.source,
        "target": raw.target,
        "vocab_size": tokenizer.vocab_size,
        "hash": "",
        "splits": {name: _counts(Split(folder / f"{name}.arrow")) for name in texts},
        "left_out": {"an empty side": empty, f"over {config.max_length} tokens (data.max_length)": too_long},
        "notes": [*raw.notes, *(f"split '{name}' left out: it is empty" for name in raw.splits if name not in texts)],
    }
    facts["hash"] = PreparedCorpus(folder, facts).content_hash()
    (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _counts(split: Split) -> dict[str, int]:
    return {
        "pairs": len(split),
        "source_tokens": int(split.source_lengths.sum()),
        "target_tokens": int(split.target_lengths.sum()),
        "longest": int(max(split.source_lengths.max(), split.target_lengths.max())),
    }


@contextmanager
def _progress(pairs: int) -> Iterator[Callable[[int], None]]:
    """Show how far a big corpus is: a bar on a terminal, a line a million pairs elsewhere, nothing for a small one."""
    if pairs < BIG:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("pairs encoded (the vocabulary is learnt first)", total=pairs)
            yield lambda count: progress.advance(task, count)
        return
    done = 0

    def line(count: int) -> None:
        nonlocal done
        done += count
        if done // LINE_EVERY != (done - count) // LINE_EVERY or done == pairs:
            print(f"encoded {done:,} of {pairs:,} pairs", file=sys.stderr, flush=True)

    print(f"learning the vocabulary, then encoding {pairs:,} pairs", file=sys.stderr, flush=True)
    yield line
