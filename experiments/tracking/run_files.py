"""The files that W&B leaves in a run folder: one folder for each time that the run was opened.

A training's holds the numbered rows of its history from the first that the server was not known to have; an
evaluation's holds the scores. Online files were sent as they grew, as far as the server answered. A run that has some
keeps its offline files under `aside`/, where `wandb sync runs/*/*/*/wandb/offline-run-*` does not find them: only the
server knows how many rows it has, so `tracking.sync` reads its count and sends the rest.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

TRAINING = "training"  # a file that marks the files of a training
ASIDE = "aside"


@dataclass(frozen=True)
class RunFiles:
    """One opening of a run: a folder with W&B's log of it, which may end anywhere."""

    path: Path

    @property
    def online(self) -> bool:
        return not self.path.name.startswith("offline-")

    @property
    def aside(self) -> bool:
        return self.path.parents[1].name == ASIDE

    @property
    def of_training(self) -> bool:
        return (self.path / TRAINING).exists()

    @property
    def synced(self) -> bool:
        """Whether all of it is known to be on the server; W&B's own command leaves the same mark."""
        return any(self.path.glob("*.synced"))

    @property
    def only_local(self) -> bool:
        """Whether none of it can be on the server."""
        return not (self.online or self.synced)

    def mark_synced(self) -> None:
        for log in self.path.glob("*.wandb"):
            log.with_name(f"{log.name}.synced").touch()

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of the log at the first access, up to where a killed process stopped."""
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(self.path)]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows of the history by number, without W&B's own columns."""
        items = [record["history"]["item"] for record in self.records if record["type"] == "history"]
        return {item["_step"]: {key: item[key] for key in item if not key.startswith("_")} for item in items}

    def summary_keys(self) -> set[str]:
        """Return the names of the values in its summary."""
        updates = [record["summary"].get("update", {}) for record in self.records if record["type"] == "summary"]
        return {key for update in updates for key in update if not key.startswith("_")}

    def init_arguments(self) -> dict[str, Any]:
        """Return the arguments of `wandb.init` that open the same run again; empty where the log has no run yet."""
        runs = [record["run"] for record in self.records if record["type"] == "run"]
        if not runs:
            return {}
        run = runs[0]
        names = {"run_id": "id", "display_name": "name", "run_group": "group"}
        keys = ("project", "entity", "run_id", "display_name", "run_group", "job_type", "tags", "notes")
        config = {key: value for key, value in run["config"]["update"].items() if not key.startswith("_")}
        return {**{names.get(key, key): run[key] for key in keys if key in run}, "config": config}


def find_run_files(folder: Path, run_id: str = "*") -> list[RunFiles]:
    """Return the files of a run in its folder, or of every run there, oldest first."""
    parents = [folder / "wandb", folder / ASIDE / "wandb"]
    paths = [path for parent in parents for path in parent.glob(f"*run-*-{run_id}") if any(path.glob("*.wandb"))]
    return [RunFiles(path) for path in sorted(paths, key=lambda path: path.name.removeprefix("offline-"))]


def run_folder(parent: Path) -> Path:
    """Return the run folder that a `wandb` folder with this parent belongs to."""
    return parent.parent if parent.name == ASIDE else parent


def history_rows(run_files: Sequence[RunFiles]) -> dict[int, dict[str, Any]]:
    """Return all rows that trainings logged, by number; a resumed training repeats earlier rows under their numbers."""
    return {number: row for files in run_files if files.of_training for number, row in files.rows().items()}


def synced_rows(run_files: Sequence[RunFiles]) -> int:
    """Return the number of rows of a run's training that are known to be on the server."""
    return max(history_rows([files for files in run_files if files.synced]), default=-1) + 1


def may_have_rows(run_files: Sequence[RunFiles]) -> bool:
    """Return whether the server may have rows of a training that are not marked as synced."""
    return any(files.of_training and (files.online or files.aside) for files in run_files)


def offline_folder(folder: Path, run_files: Sequence[RunFiles]) -> Path:
    """Return the folder for the next offline files of a run: apart, once the server may have some of its rows."""
    return folder / ASIDE if may_have_rows(run_files) else folder


def drop_local(run_files: Sequence[RunFiles]) -> list[RunFiles]:
    """Remove a training's offline files that were not sent, and return the others.

    A training that starts now logs all rows again.
    """
    remaining = []
    for files in run_files:
        if files.of_training and files.only_local:
            shutil.rmtree(files.path)
        else:
            remaining.append(files)
    return remaining


def set_aside(folder: Path, run_files: Sequence[RunFiles]) -> list[RunFiles]:
    """Move the offline files of a run that were not sent under `aside`/, and return all of its files.

    The server is about to get their rows.
    """
    target = folder / ASIDE / "wandb"
    moved = []
    for files in run_files:
        if files.only_local and not files.aside:
            target.mkdir(parents=True, exist_ok=True)
            files = RunFiles(files.path.rename(target / files.path.name))
        moved.append(files)
    return moved
