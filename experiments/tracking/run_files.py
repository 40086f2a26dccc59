"""What W&B leaves of a run in the run's folder: a piece for each time that it was opened.

A training's piece holds numbered rows from the first that the server was not known to have; an evaluation's the scores.
Online pieces were sent as they grew, as far as the server was there. A run that has one keeps its offline pieces under
`held`/, where `wandb sync runs/*/*/*/wandb/offline-run-*` does not find them: only the server knows how many rows it
has, so `experiments.commands.sync` asks it and sends the others.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

TRAINING = "training"  # a file that marks the piece of a training
HELD = "held"


@dataclass(frozen=True)
class Piece:
    """One opening of a run: a folder with W&B's own log of it, which may end anywhere."""

    path: Path

    @property
    def online(self) -> bool:
        return not self.path.name.startswith("offline-")

    @property
    def held(self) -> bool:
        return self.path.parents[1].name == HELD

    @property
    def of_training(self) -> bool:
        return (self.path / TRAINING).exists()

    @property
    def sent(self) -> bool:
        """Whether all of it is known to be on the server; W&B's own command leaves the same mark."""
        return any(self.path.glob("*.synced"))

    @property
    def waits(self) -> bool:
        """Whether nothing of it can be on the server."""
        return not (self.online or self.sent)

    def mark_sent(self) -> None:
        for log in self.path.glob("*.wandb"):
            log.with_name(f"{log.name}.synced").touch()

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """What W&B had written when this was first asked, up to where a killed process stopped."""
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(self.path)]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows of the history by number, without W&B's own columns."""
        items = [record["history"]["item"] for record in self.records if record["type"] == "history"]
        return {item["_step"]: {key: item[key] for key in item if not key.startswith("_")} for item in items}

    def summary_keys(self) -> set[str]:
        """Return the names of the values that its summary was given."""
        given = [record["summary"].get("update", {}) for record in self.records if record["type"] == "summary"]
        return {key for update in given for key in update if not key.startswith("_")}

    def arguments(self) -> dict[str, Any]:
        """Return what `wandb.init` was given, so that another process can open the same run; empty if cut before."""
        runs = [record["run"] for record in self.records if record["type"] == "run"]
        if not runs:
            return {}
        run = runs[0]
        names = {"run_id": "id", "display_name": "name", "run_group": "group"}
        kept = ("project", "run_id", "display_name", "run_group", "job_type", "tags")
        config = {key: value for key, value in run["config"]["update"].items() if not key.startswith("_")}
        return {**{names.get(key, key): run[key] for key in kept if key in run}, "config": config}


def pieces_of(folder: Path, run_id: str = "*") -> list[Piece]:
    """Return the pieces of a run in its folder, or of all that are there, the oldest first."""
    places = [folder / "wandb", folder / HELD / "wandb"]
    found = [path for place in places for path in place.glob(f"*run-*-{run_id}") if any(path.glob("*.wandb"))]
    return [Piece(path) for path in sorted(found, key=lambda path: path.name.removeprefix("offline-"))]


def folder_of(place: Path) -> Path:
    """Return the run folder of a place that pieces lie in."""
    return place.parent if place.name == HELD else place


def rows_by_number(pieces: list[Piece]) -> dict[int, dict[str, Any]]:
    """Return all rows that trainings logged; a resumed training repeats those of before, with the same numbers."""
    return {number: row for piece in pieces if piece.of_training for number, row in piece.rows().items()}


def offline_place(folder: Path, run_id: str) -> Path:
    """Return where the next offline piece of a run belongs: apart, once the server may have some of its rows."""
    return folder / HELD if was_online(pieces_of(folder, run_id)) else folder


def was_online(pieces: list[Piece]) -> bool:
    """Say whether the server may have rows of a training that no mark tells of."""
    return any(piece.of_training and (piece.online or piece.held) for piece in pieces)


def hold(folder: Path, run_id: str) -> None:
    """Set the offline pieces of a run apart that were not sent: the server is about to get their rows."""
    for piece in pieces_of(folder, run_id):
        if piece.waits and not piece.held:
            place = folder / HELD / "wandb"
            place.mkdir(parents=True, exist_ok=True)
            piece.path.rename(place / piece.path.name)


def rows_sent(folder: Path, run_id: str) -> int:
    """Count the rows of a run's training that are known to be on the server."""
    return max(rows_by_number([piece for piece in pieces_of(folder, run_id) if piece.sent]), default=-1) + 1


def drop_unsent(folder: Path, run_id: str) -> None:
    """Remove the offline pieces of a training that were not sent: the one that begins now will hold all their rows."""
    for piece in pieces_of(folder, run_id):
        if piece.of_training and piece.waits:
            shutil.rmtree(piece.path)
