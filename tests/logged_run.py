"""A run as tests of W&B log it, a training in two parts and its scores, and the page that this must leave."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.tracking import wandb as tracking
from experiments.tracking.identity import RunIdentity
from tests.wandb_server import Server

KEY = "a" * 40
CELL = RunIdentity("table3", "no_scaling", 1, "cafe", "grammar", "no scaling", "attention.scaling sqrt -> none")
HASH = "5e" * 32
CONFIG = {
    "model": {"attention": {"heads": 4}},
    "optim": {"steps": 40},
    "variant": "no_scaling",
    "seed": 1,
    "corpus": "grammar",
    "data_hash": HASH,
}
SCORES = {
    "test": {"bleu": 31.5, "bleu_signature": "nrefs:1", "by_length": [{"words": "1-4"}]},
    "test_long": {"bleu": 3},
}
SAMPLES = [{"source": "ein Hund", "reference": "a dog", "hypothesis": "one dog"}]
FINDINGS = tracking.Findings(SCORES, "test", SAMPLES, "<p>ein Hund")
ID = CELL.run_id
LOSSES = {10: 3.0, 20: 2.0, 30: 2.5, 40: 2.25}


def train(folder: Path, mode: str, losses: dict[int, float], cost: float = 12.5) -> None:
    """Log what a training logs, from its beginning on, as a resumed one does too."""
    run = tracking.start_training(CELL, CONFIG, folder, mode)
    for number, (step, loss) in enumerate(losses.items()):
        run.log({"valid/loss": loss, tracking.STEP: step}, number)
    if len(losses) == len(LOSSES):
        run.log({"training/seconds": cost}, len(losses))
    tracking.finish()


def wandb_command(*arguments: str | Path, folder: Path) -> str:
    command = [sys.executable, "-m", "wandb", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


def inspect(folder: Path) -> dict[str, Any]:
    """Return what `wandb leet` reads from the newest files in a run folder."""
    newest = max((folder / "wandb").glob("offline-run-*/*.wandb"))
    return json.loads(wandb_command("leet", "inspect", "--summary", "--json", newest, folder=folder))


def check_page(server: Server) -> None:
    """See on the server one run with everything that was logged by a training in two parts and an evaluation."""
    assert list(server.runs) == [ID]
    run = server.runs[ID]
    assert run.group == "table3/no_scaling"
    assert run.display_name == "table3/no_scaling/seed1"
    assert run.tags == ["table3", "grammar"]
    assert run.notes == "no scaling: attention.scaling sqrt -> none"
    assert run.config["model"]["value"] == CONFIG["model"]
    assert run.config["seed"]["value"] == 1
    points = [(row["trainer/global_step"], row["valid/loss"]) for row in run.history if "valid/loss" in row]
    assert points == [(10, 3.0), (20, 2.0), (30, 2.5), (40, 2.25)]
    assert run.summary["test/bleu"] == 31.5
    assert run.summary["test_long/bleu"] == 3
    assert run.config["signatures"]["value"] == {"test": {"bleu": "nrefs:1"}}
    assert not any("signature" in key or "by_length" in key for key in run.summary)
    assert run.summary["valid/loss"]["last"] == 2.25
    assert run.summary["training/seconds"] == 12.5
    assert run.summary["samples"]["_type"] == "table-file"
    assert run.summary["samples"]["ncols"] == 3
