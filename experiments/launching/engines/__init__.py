"""Engines run jobs in slots: the interface, and the choice between child processes and Ray.

An engine takes jobs and reports the start and the end of each attempt; retries are the same for both (cells.py).

processes.py   one machine: one child process per slot
ray_tasks.py   several GPUs, or a cluster: one Ray task per attempt
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from experiments.launching.attempts import End, Job
from lit_transformer.errors import UserError

INSTALL = "pip install -c constraints.txt -e '.[cluster]'"


@dataclass(frozen=True)
class Started:
    """An attempt has its slot and runs."""

    job: Job


@dataclass(frozen=True)
class Ended:
    """An attempt is over; every one that started ends, unless the engine is stopped."""

    job: Job
    end: End


class Engine(Protocol):
    """Runs jobs in slots."""

    @property
    def slots(self) -> int:
        """How many jobs run at once at this moment: nodes come and go."""

    def submit(self, job: Job) -> None:
        """Queue a job; it starts when a slot is free, after those that were submitted before."""

    def poll(self, seconds: float) -> list[Started | Ended]:
        """Return what has happened since the last call; wait at most `seconds` for something."""

    def stop(self) -> None:
        """Stop every attempt after a checkpoint; return when none of their processes is left."""

    def close(self) -> None:
        """Release what the engine holds; after the last job, or after `stop`."""


def needs_ray(engine: str, address: str | None, cells: int, runs_per_gpu: int | None) -> bool:
    """Return whether Ray runs the cells: where the user chose it, or where several cells at once use GPUs.

    `engine` is auto, local or ray; `cells` the number of cells that the GPUs of this machine hold, one run per GPU;
    `runs_per_gpu` None where the user gave none. Where Ray is neither installed nor required, one cell at a time uses
    the GPU, without it.

    Raises UserError where Ray is required and either not installed or excluded.
    """
    required_by = "--address" if address else "--runs-per-gpu" if runs_per_gpu not in (None, 1) else None
    if engine == "local":
        if required_by:
            raise UserError(f"{required_by} needs Ray, and --engine local excludes it; leave one of them out")
        return False
    installed = find_spec("ray") is not None
    if (required_by or engine == "ray") and not installed:
        raise UserError(f"{required_by or '--engine ray'} needs Ray, which is not installed: {INSTALL}")
    return bool(required_by) or engine == "ray" or (cells > 1 and installed)
