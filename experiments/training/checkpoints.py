"""Checkpoints as files: whole or not at all, sealed (seals.py), and the one before kept.

The newest is last.ckpt, the one before it before.ckpt.
"""

from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric.plugins import CheckpointIO

from experiments.common.io import replace
from experiments.scoring.inference import LAST
from experiments.training.seals import examine, write_sealed

BEFORE = "before.ckpt"
REFUSED = "refused.ckpt"
"""Where a checkpoint goes that cannot be used."""
STAYS = (".lock", "log.txt", "attempt.json", "crashes.json", "outcome.json")
"""What is a folder's own, whichever run is in it: the last four are the launcher's."""


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


def newest(folder: Path, run_hash: str) -> Saved | None:
    """Return the newest whole checkpoint of the run with this hash; it is last.ckpt from now on.

    What is passed over is told in one line. Where nothing is left and something was of another config or code, the
    folder's content is moved beside it, to a folder that ends in that run's hash; and what was moved so when this run
    was the other comes back.
    """
    faults: dict[Path, str] = {}
    others = []
    for path in (folder / LAST, folder / BEFORE):
        if not path.is_file():
            continue
        step, owner, fault = examine(path, run_hash)
        if not fault:
            _refuse(faults, "using the one before")
            return Saved(path.replace(folder / LAST), step)
        faults[path] = fault
        others += [owner] * (owner not in ("", run_hash))
    back = folder.with_name(f"{folder.name}.{run_hash}")
    then = f"taking {back} back" if back.is_dir() else "training afresh"
    if others:
        print(f"{_list(faults)}: moved to {_move_aside(folder, others[0])}, {then}")
    else:
        _refuse(faults, then)
    return newest(folder, run_hash) if _took_back(back, folder) else None


def _refuse(faults: dict[Path, str], consequence: str) -> None:
    for path in faults:
        path.replace(path.with_name(REFUSED))
    if faults:
        print(f"{_list(faults)}: {consequence} (it is {REFUSED} now)")


def _list(faults: dict[Path, str]) -> str:
    return "; ".join(f"{path} {fault}" for path, fault in faults.items())


def _move_aside(folder: Path, owner: str) -> Path:
    """Move the files of another run beside its folder; what was moved there before, by whatever way, stays as well."""
    free = (folder.with_name(f"{folder.name}.{owner}{f'.{n}' if n else ''}") for n in count())
    aside = next(path for path in free if not path.exists())
    aside.mkdir()
    for item in folder.iterdir():
        if item.name not in STAYS:
            item.rename(aside / item.name)
    return aside


def _took_back(back: Path, folder: Path) -> bool:
    """Move a run's files back into its folder, where there are some."""
    if not back.is_dir():
        return False
    if any(item.name not in STAYS for item in folder.iterdir()):
        _move_aside(folder, "unfinished")  # of a start that never came to a checkpoint
    for item in back.iterdir():
        item.rename(folder / item.name)
    back.rmdir()
    return True
