"""Resume checkpoints: files that are whole or known not to be, the one before in reserve, each with its run's hash.

DVC knows nothing of them, so this is the one place that decides whether a checkpoint belongs to a run. A checkpoint is
a file of `torch.save`, a ZIP archive whose comment is the SHA-256 of all bytes before it: what reads such files reads
these too. The newest is last.ckpt, the one before it before.ckpt.
"""

import hashlib
import os
import struct
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from lightning_fabric.plugins import CheckpointIO

from experiments.common.io import replace

LAST, BEFORE = "last.ckpt", "before.ckpt"
REFUSED = "refused.ckpt"
"""Where a checkpoint goes that cannot be used."""
STAYS = (".lock", "log.txt", "attempt.json", "outcome.json", "crashes.json")
"""Files of the folder itself, whichever run is in it: the lock, and the launcher's."""
DIGEST = 64
"""Bytes of the checksum, a SHA-256 in hexadecimal digits."""
END_OF_ARCHIVE = b"PK\5\6"


class Checkpoint(NamedTuple):
    """A checkpoint to resume from, and the optimiser steps behind it."""

    path: Path
    step: int


class CheckpointFiles(CheckpointIO):
    """Lightning's reading and writing of checkpoints, by the functions below."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        replace(path, partial(save_with_checksum, checkpoint), keep=path.with_name(BEFORE))

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return torch.load(path, map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def newest(folder: Path, run_hash: str) -> Checkpoint | None:
    """Return the newest intact checkpoint of the run with this hash; it is last.ckpt from now on.

    One line says which were passed over. Where none is left and some are of another config or code, the folder's
    content is moved beside it, to a folder that ends in that run's hash; and what was moved there when this run was the
    other one comes back.
    """
    faults: dict[Path, str] = {}
    other_runs = []
    for path in (folder / LAST, folder / BEFORE):
        if not path.is_file():
            continue
        step, owner, fault = examine(path, run_hash)
        if not fault:
            _refuse(faults, "using the one before")
            return Checkpoint(path.replace(folder / LAST), step)
        faults[path] = fault
        other_runs += [owner] * (owner not in ("", run_hash))
    aside = folder.with_name(f"{folder.name}.{run_hash}")
    consequence = f"taking {aside} back" if aside.is_dir() else "training from scratch"
    if other_runs:
        print(f"{_listed(faults)}: moved to {_move_aside(folder, other_runs[0])}, {consequence}")
    else:
        _refuse(faults, consequence)
    return newest(folder, run_hash) if _took_back(aside, folder) else None


def examine(path: Path, run_hash: str) -> tuple[int, str, str]:
    """Return a checkpoint's optimiser step, its run's hash, and its fault: empty where it is intact and of this run."""
    if not is_intact(path):
        return 0, "", "is damaged (its checksum does not fit)"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        owner, step = str(saved["run_hash"]), int(saved["global_step"])
    except Exception as error:  # intact, and yet none of ours: torch raises many kinds
        return 0, "", f"cannot be read ({type(error).__name__})"
    return step, owner, "" if owner == run_hash else f"is of another config or code ({owner}, now {run_hash})"


def save_with_checksum(content: dict[str, Any], path: Path) -> None:
    """Write what `torch.save` takes, and the checksum as the archive's comment."""
    torch.save(content, path)
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-22, os.SEEK_END)
        assert file.read(4) == END_OF_ARCHIVE, "the archive ends without a comment"
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", DIGEST))  # the comment's length
        checksum = _checksum(file, size)
        file.write(checksum)


def is_intact(path: Path) -> bool:
    """Return whether a file holds what was written, by its checksum."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) - DIGEST
        return size > 0 and _checksum(file, size) == file.read(DIGEST)


def _checksum(file: BinaryIO, size: int) -> bytes:
    """Hash the first `size` bytes; the file then stands behind them."""
    file.seek(0)
    digest, left, chunk = hashlib.sha256(), size, memoryview(bytearray(1 << 20))
    while left:
        read = file.readinto(chunk[: min(left, len(chunk))])  # type: ignore[attr-defined]
        if not read:
            break
        digest.update(chunk[:read])
        left -= read
    return digest.hexdigest().encode()


def _refuse(faults: dict[Path, str], consequence: str) -> None:
    for path in faults:
        path.replace(path.with_name(REFUSED))
    if faults:
        print(f"{_listed(faults)}: {consequence} (it is {REFUSED} now)")


def _listed(faults: dict[Path, str]) -> str:
    return "; ".join(f"{path} {fault}" for path, fault in faults.items())


def _move_aside(folder: Path, owner: str) -> Path:
    """Move the files of another run beside its folder; whatever was moved there before stays as well."""
    free = (folder.with_name(f"{folder.name}.{owner}{f'.{n}' if n else ''}") for n in count())
    aside = next(path for path in free if not path.exists())
    aside.mkdir()
    for item in folder.iterdir():
        if item.name not in STAYS:
            item.rename(aside / item.name)
    return aside


def _took_back(aside: Path, folder: Path) -> bool:
    """Move a run's files back into its folder, where there are some."""
    if not aside.is_dir():
        return False
    if any(item.name not in STAYS for item in folder.iterdir()):
        _move_aside(folder, "unfinished")  # of a start that never reached a checkpoint
    for item in aside.iterdir():
        item.rename(folder / item.name)
    aside.rmdir()
    return True
