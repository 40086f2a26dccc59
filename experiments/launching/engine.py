"""What runs cells: the interface of the engine of one machine and of the one of clusters, and which of them it is.

An engine takes jobs and tells what became of each try. What to do about it, trying again or giving up, is the same for
both and stands in cells.py.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from experiments.launching.attempts import End, Job
from lit_transformer.errors import UserError

INSTALL = "pip install -c constraints.txt -e '.[cluster]'"


@dataclass(frozen=True)
class Started:
    """A try has its slot and runs."""

    job: Job


@dataclass(frozen=True)
class Ended:
    """A try is over; every one that started ends, unless the engine is stopped."""

    job: Job
    end: End


class Engine(Protocol):
    """Runs jobs in slots."""

    @property
    def slots(self) -> int:
        """How many jobs run at once at this moment: nodes come and go."""

    def submit(self, job: Job) -> None:
        """Take a job; it starts when a slot is free, after those that were submitted before."""

    def poll(self, seconds: float) -> list[Started | Ended]:
        """Return what has happened since the last call, waiting at most so long for something."""

    def stop(self) -> None:
        """End every try after its checkpoint; returns when none of their processes is left."""

    def close(self) -> None:
        """Let go of what the engine holds; after the last job, or after `stop`."""


def needs_ray(asked: str, address: str | None, cells: int, runs_per_gpu: int | str | None) -> bool:
    """Say whether Ray is to run the cells: where the user said so, or more than one cell at once is to use GPUs.

    `asked` is auto, local or ray; `cells` that the GPUs found here take, each on its own; `runs_per_gpu` as asked for,
    None where it was not. Where Ray is not installed and was not asked for, one cell at a time uses GPUs, without it.

    Raises UserError where Ray is asked for and not installed, or excluded and needed.
    """
    needed_for = "--address" if address else "--runs-per-gpu" if runs_per_gpu not in (None, 1) else None
    if asked == "local":
        if needed_for:
            raise UserError(f"{needed_for} needs Ray, and --engine local excludes it; leave one of them out")
        return False
    installed = find_spec("ray") is not None
    if (needed_for or asked == "ray") and not installed:
        raise UserError(f"{needed_for or '--engine ray'} needs Ray, which is not installed: {INSTALL}")
    return bool(needed_for) or asked == "ray" or (cells > 1 and installed)
