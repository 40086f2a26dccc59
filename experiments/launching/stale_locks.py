"""DVC's notes of who reads and writes what, cleared of processes that are gone.

DVC keeps them in .dvc/tmp/rwlock by process id, and clears those of dead processes by itself. In a container that
restarts, the id of a process that was killed soon belongs to another one, and DVC waits for that until somebody deletes
the file. A process that started after the file was last written cannot have written it, nor can one that runs another
command than the one noted: the file may be younger than the process, since every command of DVC writes it anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.common.io import locked, write_text

NOTES = Path(".dvc/tmp/rwlock")
GUARD = Path(".dvc/tmp/rwlock.lock")
"""Held by DVC while it edits its notes."""
CLOCKS = 1.0
"""Seconds by which the clocks of processes and of files may differ."""


def clear_stale_locks() -> list[int]:
    """Take the processes that are gone out of DVC's notes, and return their ids.

    Nothing is touched where the notes are not what this version of DVC writes, or another process is editing them.
    """
    if not NOTES.is_file():
        return []
    with GUARD.open("a") as guard:
        if not locked(guard):
            return []
        try:
            written, notes = NOTES.stat().st_mtime, json.loads(NOTES.read_text(encoding="utf-8"))
            kept = {
                "write": {path: holder for path, holder in notes.get("write", {}).items() if _lives(holder, written)},
                "read": {
                    path: holders
                    for path, all_holders in notes.get("read", {}).items()
                    if (holders := [holder for holder in all_holders if _lives(holder, written)])
                },
            }
            gone = _ids(notes) - _ids(kept)
        except (AttributeError, KeyError, TypeError, ValueError):
            return []
        if gone:
            write_text(NOTES, json.dumps(kept))
        return sorted(gone)


def _lives(holder: Mapping[str, Any], written: float) -> bool:
    """Return whether the process that wrote its id at a time, in seconds since 1970, can be the one that has it now."""
    import psutil

    arguments = str(holder["cmd"]).partition(" ")[2]  # what stands before them is a path here and `-m dvc` there
    try:
        process = psutil.Process(holder["pid"])
        return process.create_time() <= written + CLOCKS and " ".join(process.cmdline()).endswith(arguments)
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _ids(notes: Mapping[str, Mapping[str, Any]]) -> set[int]:
    readers = [holder for holders in notes.get("read", {}).values() for holder in holders]
    return {holder["pid"] for holder in [*notes.get("write", {}).values(), *readers]}
