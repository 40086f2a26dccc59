"""Weights as files that tell when they are damaged, and whose they are.

Such a file is one of `torch.save`, a ZIP archive, whose comment is the SHA-256 of all bytes before it: what reads those
files reads these too.
"""

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

DIGEST = 64
"""Bytes of the seal, a SHA-256 in hexadecimal digits."""
END_OF_ARCHIVE = b"PK\5\6"


def write_sealed(content: dict[str, Any], path: Path) -> None:
    """Write what `torch.save` takes, and its seal."""
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


def examine(path: Path, run_hash: str) -> tuple[int, str, str]:
    """Return a file's optimiser step, its run's hash, and what is wrong: nothing where it is whole and of this run."""
    if not is_whole(path):
        return 0, "", "is damaged (its checksum does not fit)"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found, step = str(saved["run_hash"]), int(saved.get("global_step", 0))
    except Exception as error:  # sealed, and yet none of ours: torch raises many kinds
        return 0, "", f"cannot be read ({type(error).__name__})"
    return step, found, "" if found == run_hash else f"is of another config or code ({found}, now {run_hash})"


def fault_of(path: Path, record: Mapping[str, Any]) -> str:
    """Say why a file is not the weights of a finished training, of which this is training.json; nothing where it is."""
    step, _, fault = examine(path, record["config_hash"])
    if not fault and step and step != record["steps"]:
        return f"is of step {step}, and the training ended at step {record['steps']}"
    return fault


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
