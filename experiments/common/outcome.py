"""How a command that fails says why to the launcher: DVC ends with status 255, whatever the status of its stage.

Where the environment variable LIT_OUTCOME names a file, a command that leaves with an error writes
{"status": its exit status, "error": "one line"} there.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "LIT_OUTCOME"


@dataclass(frozen=True)
class Outcome:
    """The exit status of a failed command, and the error in one line."""

    status: int
    error: str


def write_outcome(status: int, error: str) -> None:
    """Write the outcome to the file that LIT_OUTCOME names, if any, whole or not at all."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    temporary = Path(f"{path}.tmp")
    with suppress(OSError):  # a full disk may be the error itself; without the file it counts as a crash
        temporary.write_text(json.dumps(asdict(Outcome(status, " ".join(error.split())))) + "\n", encoding="utf-8")
        temporary.replace(path)


def read_outcome(path: Path) -> Outcome | None:
    """Return what a failed command wrote, None where it wrote nothing."""
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
