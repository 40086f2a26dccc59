"""The artifacts of a run: the corpus that it read, by its hash, and the model that it left. A version is its content.

The corpus is never uploaded; the model's files only on request, else the artifact refers to where they are.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from experiments.tracking.login import reason, warn

if TYPE_CHECKING:
    import wandb

PATIENCE = 60
"""Seconds to wait for a server to take note of the corpus."""


@dataclass(frozen=True)
class TrainedModel:
    """The folder of a trained model, what is known of it, and whether it is uploaded."""

    folder: Path
    metadata: dict[str, Any]
    upload: bool = False


def log_model(run: "wandb.Run", model: TrainedModel) -> None:
    """Make a model an output of a run, online or offline."""
    import wandb

    artifact = wandb.Artifact(f"model-{run.id}", "model", description=run.name, metadata=model.metadata)
    if model.upload:
        artifact.add_dir(str(model.folder), name="model")  # under their own names they would be the version referred to
    else:
        artifact.add_reference(model.folder.resolve().as_uri())
    run.log_artifact(artifact)


def use_dataset(run: "wandb.Run", corpus: str, data_hash: str) -> None:
    """Make a corpus an input of an online run; `python -m experiments sync` does so for a run that was offline."""
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", corpus), "dataset", metadata={"data_hash": data_hash})
    artifact.add_reference(f"sha256:{data_hash}", name="corpus")

    def use() -> None:
        try:
            run.use_artifact(artifact)
        except Exception as error:
            warn(f"the corpus is not noted as an input ({reason(error)})")

    noting = Thread(target=use, daemon=True)  # W&B would wait for a server that is away as long as that lasts
    noting.start()
    noting.join(PATIENCE)
