"""Which run on W&B is a cell's, where its files are, and what its page says. The user's WANDB_* variables win."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from experiments.common import machine
from experiments.config.cell import Cell
from experiments.config.run_config import to_dict

PROJECT = "lit_transformer"
"""The project of a user who names none."""
VARIABLES = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "notes": "WANDB_NOTES",
    "tags": "WANDB_TAGS",
}
"""The variable of the environment that takes the place of each argument of `wandb.init`."""


@dataclass(frozen=True)
class RunIdentity:
    """The run of one cell and config: the same for its training and its evaluation, on any machine.

    `label` says in words what the variant is, `delta` which settings differ from the baseline's.
    """

    study: str
    variant: str
    seed: int
    config_hash: str
    corpus: str = ""
    label: str = ""
    delta: str = ""

    @property
    def run_id(self) -> str:
        """12 characters that depend on the cell and its config alone; within a sweep, the id that its agent gives."""
        if "WANDB_SWEEP_ID" in os.environ and (given := os.environ.get("WANDB_RUN_ID")):
            return given
        return _hashed(self.study, self.variant, str(self.seed), self.config_hash)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `wandb.init` that name the run; a group is the seeds of one variant of one study."""
        return {
            "project": PROJECT,
            "id": self.run_id,
            "name": f"{self.study}/{self.variant}/seed{self.seed}",
            "group": f"{self.study}/{self.variant}",
            "job_type": self.study,
            "tags": [tag for tag in (self.study, self.corpus.replace(":", "-")[:60]) if tag],
            "notes": f"{self.label}: {self.delta}",
        }


def identity_of(cell: Cell, run_hash: str) -> RunIdentity:
    """Return the run of a cell that is trained with the config, data and code of `run_hash`."""
    study, delta = cell.study, cell.study.describe(cell.variant, cell.training_overrides)
    return RunIdentity(study.name, cell.label, cell.seed, run_hash, study.corpus, study.label(cell.variant), delta)


def page_config(cell: Cell, identity: RunIdentity, data_hash: str) -> dict[str, Any]:
    """Return what a run's page lists as its config: all settings, what was changed, and where it ran."""
    described = machine.describe()
    return {
        **to_dict(cell.config),
        "study": identity.study,
        "variant": identity.variant,
        "seed": identity.seed,
        "label": identity.label,
        "delta": identity.delta,
        "is_baseline": cell.label == cell.study.baseline,
        "corpus": identity.corpus,
        "data_hash": data_hash,
        "run_hash": identity.config_hash,
        "commit": described.pop("git_commit"),
        **described,
    }


def with_user_variables(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `wandb.init` with those that the user's environment sets in their place."""
    given = {name: os.environ[variable] for name, variable in VARIABLES.items() if os.environ.get(variable)}
    tags = {"tags": given["tags"].split(",")} if "tags" in given else {}
    return {**arguments, **given, **tags}


def files_folder(run_folder: Path) -> Path:
    """Return the folder of a run's W&B files, `wandb` in it: its run folder, or the like of it below $WANDB_DIR."""
    own = os.environ.get("WANDB_DIR")
    return Path(own, *run_folder.parts[1:]) if own else run_folder


def _hashed(*parts: str) -> str:
    """Return 12 hex digits; ids hold the default project, so that a run keeps its id in any project."""
    return sha256("\0".join([PROJECT, *parts]).encode()).hexdigest()[:12]
