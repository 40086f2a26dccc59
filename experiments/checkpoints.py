"""Checkpoints as files: whole or not at all, sealed with a checksum, and the one before kept.

A checkpoint is a file of `torch.save`, a ZIP archive, whose comment is the SHA-256 of all bytes before it: what reads
such files reads these too. The newest is last.ckpt, the one before it before.ckpt.
"""

import hashlib
import os
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from lightning_fabric.plugins import CheckpointIO

from experiments.decoder import LAST
from experiments.files import replace

BEFORE = "before.ckpt"
REFUSED = "refused.ckpt"
"""Where a checkpoint goes that cannot be used."""
DIGEST = 64
"""Bytes of the seal, a SHA-256 in hexadecimal digits."""
FOREIGN = "is of another config or code"
END_OF_ARCHIVE = b"PK\5\6"


class Saved(NamedTuple):
    """A checkpoint to go on from, and the optimiser steps behind it."""

    path: Path
    step: int


class SealedCheckpoints(CheckpointIO):
    """How Lightning writes and reads checkpoints: as the head of this file says."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        replace(path, partial(write_sealed, checkpoint), keep=path.with_name(BEFORE))

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return torch.load(path, map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def write_sealed(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint and its seal."""
    torch.save(content, path)
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-22, os.SEEK_END)
        assert file.read(4) == END_OF_ARCHIVE, "the archive ends without a comment"
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", DIGEST))  # the comment's length
        seal = _digest(file, size)
        file.write(seal)


def is_whole(path: Path) -> bool:
    """Say whether a file is as long as it was and holds what was written, by its seal."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) - DIGEST
        return size > 0 and _digest(file, size) == file.read(DIGEST)


def newest(folder: Path, run_hash: str) -> Saved | None:
    """Return the newest whole checkpoint of the run with this hash; it is last.ckpt from now on.

    What is passed over is told in one line. Where nothing is left and something was of another config or code, the
    folder's content is moved aside.
    """
    faults: dict[Path, str] = {}
    for path in (folder / LAST, folder / BEFORE):
        if not path.is_file():
            continue
        step, fault = _examine(path, run_hash)
        if not fault:
            _refuse(faults, "using the one before")
            return Saved(path.replace(folder / LAST), step)
        faults[path] = fault
    if any(fault.startswith(FOREIGN) for fault in faults.values()):
        aside = _move_aside(folder)
        print(f"{_list(faults)}: moved to {aside}, training afresh")
    else:
        _refuse(faults, "training afresh")
    return None


def _refuse(faults: dict[Path, str], consequence: str) -> None:
    for path in faults:
        path.replace(path.with_name(REFUSED))
    if faults:
        print(f"{_list(faults)}: {consequence} (it is {REFUSED} now)")


def _list(faults: dict[Path, str]) -> str:
    return "; ".join(f"{path} {fault}" for path, fault in faults.items())


def _examine(path: Path, run_hash: str) -> tuple[int, str]:
    """Return a checkpoint's step and what is wrong with it, nothing where it is whole and of this run."""
    if not is_whole(path):
        return 0, "is damaged (its checksum does not fit)"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found, step = saved["run_hash"], int(saved["global_step"])
    except Exception as error:  # sealed, and yet none of ours: torch raises many kinds
        return 0, f"cannot be read ({type(error).__name__})"
    return step, "" if found == run_hash else f"{FOREIGN} ({found}, now {run_hash})"


def _move_aside(folder: Path) -> Path:
    aside = folder.with_name(f"{folder.name}.before")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()
    for item in folder.iterdir():
        if item.name not in (".lock", "log.txt"):
            item.rename(aside / item.name)
    return aside


def _digest(file: BinaryIO, size: int) -> bytes:
    """Hash the first `size` bytes; the file then stands behind them."""
    file.seek(0)
    digest, left, chunk = hashlib.sha256(), size, memoryview(bytearray(1 << 20))
    while left:
        count = file.readinto(chunk[: min(left, len(chunk))])  # type: ignore[attr-defined]
        if not count:
            break
        digest.update(chunk[:count])
        left -= count
    return digest.hexdigest().encode()
