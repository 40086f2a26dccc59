"""What a cell of the default study spends around its steps: start-up, loading, logging, checkpoints, evaluation.

    python -m benchmarks.around
    python -m benchmarks.around --steps 300 --out around.json

Start-up is the time from the birth of a training to the end of its first step, of several starts; where transformers
is installed (the extra `bench`), Lightning's torchmetrics imports it, which takes a second more. Shares
are of the processor's time of `fit`, on one thread, W&B offline. Evaluation is that of the study's results as they
stand in git: the seconds of scoring over those of training, the median over cells.
"""

import argparse
import functools
import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.rounds import show
from benchmarks.versions import described
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.cell import Cell
from experiments.config.study import Study, load_study
from lit_transformer.errors import UserError

STUDY = "components"
STARTS = 3
CHILD = "LIT_AROUND"
"""In the environment of a training under watch: what is watched, "start" or "shares"."""


def main() -> None:
    """Parse the command line, watch trainings and print what was seen; or be such a training."""
    if watched := os.environ.pop(CHILD, ""):
        return train(watched)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=cli.at_least(1), default=200, help="of the training (%(default)s)")
    parser.add_argument("--out", type=Path, help="write what was seen and the machine it is of as JSON, too")
    args = parser.parse_args()
    study = load_study(STUDY)
    before = machine.load()
    starts = [watch("start", study, args.steps)["seconds"] for _ in range(STARTS)]
    spent = watch("shares", study, args.steps)
    shares = {name: round(value / spent["fit"], 4) for name, value in spent.items() if name != "fit"}
    evaluation = scoring_over_training(study)
    lines = [["start to first step, s", f"{statistics.median(starts):.1f}"]]
    lines += [[f"{name}, share of fit", f"{value:.1%}"] for name, value in shares.items()]
    show(["a cell of the default study", ""], [*lines, ["evaluation over training", f"{evaluation:.1%}"]])
    if args.out is not None:
        found = {"start_seconds": starts, "shares": shares, "evaluation_over_training": round(evaluation, 4)}
        files.write_json(args.out, {**found, "load_before_and_after": [before, machine.load()], **described()})
    return None


def watch(what: str, study: Study, steps: int) -> dict[str, float]:
    """Run a training of the baseline in a process of its own; return what it saw, in seconds."""
    unused = f"optim.clip_norm={1 + time.time_ns() % 10**6 / 10**9}"  # a run folder that no other training has
    cell = Cell(study, study.baseline, 0, (f"optim.steps={steps}", unused))
    own = {**os.environ, CHILD: what, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.around", *cell.arguments.split(), "--wandb", "offline", "--quiet"]
    done = subprocess.run(command, env=own, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(cell.run_folder.parent, ignore_errors=True)
    if done.returncode:
        raise UserError(f"the training under watch failed; see above, or prepare {study.data_folder} first")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def scoring_over_training(study: Study) -> float:
    """Return the median over the study's cells of the seconds of scoring over those of training."""
    pairs = [(path, path.with_name("scores.json")) for path in study.folder.glob("results/*/seed*/training.json")]
    return statistics.median(
        files.read_json(scores)["seconds"] / files.read_json(training)["seconds"]
        for training, scores in pairs
        if scores.is_file()
    )


def train(watched: str) -> None:
    """Be a training with this process's arguments, and print at the end what was seen."""
    seen: dict[str, float] = {}
    watcher = end_at_first_step if watched == "start" else keep_time
    watcher(seen)
    sys.argv[:1] = ["experiments", "train"]
    runpy.run_module("experiments", run_name="__main__")
    print(json.dumps(seen))


def end_at_first_step(seen: dict[str, float]) -> None:
    """Let the process end with its first step."""
    import psutil

    from experiments.training.losses import Losses

    def note(*_: Any, **__: Any) -> None:
        print(json.dumps({"seconds": round(time.time() - psutil.Process().create_time(), 2)}), flush=True)
        os._exit(0)

    Losses.on_train_batch_end = note  # type: ignore[method-assign]


def keep_time(seen: dict[str, float]) -> None:
    """Count the processor's time of what surrounds the steps."""
    import pytorch_lightning as pl

    from data_modules.loaders import _Stream
    from experiments.training.callbacks import Curve, History, Progress
    from experiments.training.losses import Losses
    from experiments.training.probe import Probe
    from experiments.training.stopping import CheckpointWriter

    hooks = ("on_train_batch_start", "on_train_batch_end", "on_validation_start", "on_validation_end")
    kinds = {"logging": (Losses, Curve, Progress, History), "probe": (Probe,), "checkpoints": (CheckpointWriter,)}
    for kind, classes in kinds.items():
        for owner in classes:
            for name in hooks:
                if name in vars(owner):
                    setattr(owner, name, _timed(getattr(owner, name), kind, seen))
    pl.Trainer.fit = _timed(pl.Trainer.fit, "fit", seen)  # type: ignore[method-assign]
    whole = _Stream.__iter__

    def stream(self: Any) -> Iterator[Any]:
        batches = whole(self)
        following = _timed(lambda: next(batches, None), "loading", seen)
        while (batch := following()) is not None:
            yield batch

    _Stream.__iter__ = stream  # type: ignore[method-assign]


def _timed(work: Callable[..., Any], kind: str, seen: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(work)
    def timed(*args: Any, **named: Any) -> Any:
        begun = time.process_time()
        try:
            return work(*args, **named)
        finally:
            seen[kind] = seen.get(kind, 0.0) + time.process_time() - begun

    return timed


if __name__ == "__main__":
    cli.run(main)
