"""Parallel text files: <split>.<language> or <split>.<language>.gz, one sentence per line, UTF-8."""

import gzip
import os
import zlib
from pathlib import Path

from data_modules.corpora.text import ALIASES, TRAIN, VALID, RawCorpus, align, require_train_and_valid
from lit_transformer.errors import UserError, nearest

VARIABLE = "LIT_CORPORA"

SplitFiles = dict[str, dict[str, Path]]
"""Split -> language -> file."""


def is_path(name: str) -> bool:
    """Return whether a corpus is named by a path and not by a name in $LIT_CORPORA."""
    return os.sep in name or name.startswith((".", "~"))


def corpus_folder(name: str) -> Path:
    """Return the folder of a corpus: a path when `name` looks like one, else a folder of that name in $LIT_CORPORA.

    Raises UserError that names the missing folder and those that exist.
    """
    if is_path(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"corpus '{name}': there is no folder {folder}; {_alternatives(name)}")
        return folder
    root = os.environ.get(VARIABLE, "")
    if not root:
        here = f"write ./{name} for the folder in the current directory, " if Path(name).is_dir() else ""
        raise UserError(
            f"corpus '{name}': the environment variable {VARIABLE} is not set; "
            f"set it to the folder that holds {name}/ with train.en, train.de, ..., or {here}{_alternatives(name)}"
        )
    if not Path(root).is_dir():
        raise UserError(
            f"corpus '{name}': {VARIABLE}={root} is not a folder; "
            f"set it to the folder that holds {name}/, or {_alternatives(name)}"
        )
    folder = Path(root) / name
    if not folder.is_dir():
        known = sorted(entry.name for entry in Path(root).iterdir() if entry.is_dir())
        raise UserError(
            f"corpus '{name}': there is no folder {folder} ({VARIABLE}={root}); it has: "
            f"{', '.join(known) or 'no folders'}{nearest(name, known)}; or {_alternatives(name)}"
        )
    return folder


def load_files(folder: Path, source: str, target: str) -> RawCorpus:
    """Read the parallel text of one folder.

    Every pair of files is a split of that name; "val", "dev" and "validation" are "valid". A split other than these two
    that lacks a language is left out with a note. Raises UserError for misaligned or missing files, two files for the
    same split and language, invalid UTF-8, a damaged .gz, and an empty line in an evaluation split.
    """
    notes: list[str] = []
    files = _split_files(folder, source, target, notes)
    require_train_and_valid(list(files), str(folder))
    splits = {}
    for split, paths in files.items():
        locations = str(paths[source]), str(paths[target])
        splits[split] = align(split, read_lines(paths[source]), read_lines(paths[target]), locations, notes)
    return RawCorpus(folder.resolve().name, source, target, splits, notes)


def read_lines(path: Path) -> list[str]:
    r"""Return the lines of a UTF-8 text file, gzipped or not; only "\n" ends a line, and the last one may lack it."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a complete gzip file ({error}); download or compress it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    data = data.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that some editors write
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line} is not UTF-8 (byte 0x{data[error.start]:02x}); convert the file, for example with iconv"
        ) from error
    return lines if lines[-1] else lines[:-1]


def _split_files(folder: Path, source: str, target: str, notes: list[str]) -> SplitFiles:
    """Return the files of the splits that have both languages: train and valid first, the others by name."""
    splits: SplitFiles = {}
    for path in sorted(folder.iterdir()):
        stem, _, language = path.name.removesuffix(".gz").rpartition(".")
        if language not in (source, target) or not stem or stem.startswith(".") or not path.is_file():
            continue
        files = splits.setdefault(ALIASES.get(stem, stem), {})
        if language in files:
            raise UserError(f"{files[language]} and {path} are two files for the same lines; keep one of them")
        files[language] = path
    for split, files in sorted(splits.items()):
        missing = {source, target} - set(files)
        if not missing:
            continue
        (present,) = files.values()
        language = missing.pop()
        if split in (TRAIN, VALID):
            raise UserError(
                f"{present} has no counterpart in '{language}'; "
                "add the file, or choose other languages with data.source and data.target"
            )
        notes.append(f"split '{split}' left out: {present.name} has no counterpart in '{language}'")
        del splits[split]
    order = sorted(splits, key=lambda split: (split != TRAIN, split != VALID, split))
    return {split: splits[split] for split in order}


def _alternatives(name: str) -> str:
    return f"use hub:{Path(name).name} (Hugging Face datasets) or grammar (built in)"
