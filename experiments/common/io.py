"""Files written whole or not at all, and one writer a folder."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from lit_transformer.errors import TemporaryFailure, UserError


def replace(path: Path, write: Callable[[Path], object], keep: Path | None = None) -> None:
    """Let `write` fill a file beside `path`, sync it, rename it over `path`, and sync the folder.

    `keep` is where the file that stood there goes, in the same folder: killed in between, it is still one of the two.
    An `OSError` names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        write(beside)
        with open(beside, "rb") as handle:
            os.fsync(handle.fileno())
        if keep and path.exists():
            os.replace(path, keep)
        os.replace(beside, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, then put it in the place of `path`, whose content goes only then.

    Where filling it fails, `path` stays as it was; an `OSError` names it.
    """
    beside, before = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.before")
    for left_over in (beside, before):
        shutil.rmtree(left_over, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if path.exists():
            os.replace(path, before)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file so that `target` is whole or as it was."""
    replace(target, partial(shutil.copyfile, source))


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder so that `target` is whole or as it was."""
    with replace_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    replace(path, partial(Path.write_text, data=text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read and git can compare."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def digests(paths: Iterable[Path], start: Path = Path()) -> dict[str, str]:
    """Return the SHA-256 of each path that is a file, by its name from `start` on."""
    files = [path for path in paths if path.is_file()]
    return {str(path.relative_to(start)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_json(path: Path) -> Any:
    """Read JSON; a broken file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run its stage again") from None


@contextmanager
def only_writer(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock on a folder; raise `TemporaryFailure` where another holds it for all of `patience`, in seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as handle:
        deadline = time.monotonic() + patience
        while not (ours := locked(handle)) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not ours:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise TemporaryFailure(f"{folder} is being written by process {holder}; wait for it or stop it")
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def locked(handle: IO[str] | int) -> bool:
    """Lock an open file, until it is closed, without waiting; return False where somebody else holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
