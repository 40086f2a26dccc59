"""Cells per hour on one device: seeds of the default study's baseline, several processes at once, or fused in one.

    python -m benchmarks.processes --device cuda
    python -m benchmarks.processes --device cpu --processes 1 2 --out processes.json

Every process is a real `python -m experiments train`, of `--steps` steps and with its share of the cores, in a scratch
copy of the project. A whole cell is taken to need the same seconds to start, validate and end, and for its steps their
seconds times all steps over `--steps`; evaluation is not included. Results are written after every number of cells.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environment import describe
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.cell import Cell
from experiments.config.study import ROOT, load_study
from lit_transformer.errors import UserError

STUDY = "components"
CODE = ("lit_transformer", "data_modules", "experiments", "pyproject.toml")
SKIPPED = shutil.ignore_patterns("__pycache__", "published", "models", "results", "report")


def main() -> None:
    """Parse the command line, measure and print."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])}
        run_all(project, [["prepare", "--study", STUDY]], environment)
        record: dict[str, Any] = {"steps": args.steps, **describe()}
        for way, counts in (("processes", args.processes), ("fused", args.fused)):
            for count in counts:
                result = measure(project, environment, args, count, fused=way == "fused")
                record.setdefault(way, {})[count] = result
                print(f"{way} {count}: {result['cells_per_hour']:,.0f} cells per hour", flush=True)
                if args.out is not None:
                    files.write_json(args.out, record)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    number = cli.at_least(1)
    parser.add_argument("--processes", type=number, nargs="*", default=[1, 2, 4, 8], metavar="K", help="(1 2 4 8)")
    parser.add_argument("--fused", type=number, nargs="*", default=[], metavar="K", help="K seeds as one: --seeds 0-K")
    parser.add_argument("--steps", type=cli.at_least(1), default=300, help="optimiser steps of each (%(default)s)")
    parser.add_argument("--out", type=cli.user_path, help="also write the measurements and the machine as JSON")
    return parser


def copy_project(folder: Path) -> Path:
    """Copy the code of the project, so that no run, corpus or result of the user's is touched; return its folder."""
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=SKIPPED)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def measure(
    project: Path, environment: dict[str, str], args: argparse.Namespace, count: int, fused: bool
) -> dict[str, Any]:
    """Train `count` seeds at once; return cells per hour, seconds, target tokens per second, memory of a process."""
    study = load_study(STUDY)
    steps = study.config(study.baseline, study.seeds[0]).optim.steps
    overrides = (
        f"optim.steps={args.steps}",
        f"trainer.validate_every={args.steps}",
        f"trainer.accelerator={args.device}",
    )
    cells = [Cell(study, study.baseline, seed, overrides) for seed in range(count)]
    each = ["--wandb", "disabled", "--quiet"]
    if fused:
        seeds = ["--study", STUDY, "--variant", study.baseline, "--seeds", f"0-{count - 1}", *overrides]
        commands = [["train", *seeds, *each]]
    else:
        commands = [["train", *cell.arguments, *each] for cell in cells]
    started = time.perf_counter()
    threads = max(1, machine.cores() // len(commands))
    run_all(project, commands, environment | {"OMP_NUM_THREADS": str(threads)})
    wall = time.perf_counter() - started
    records = [files.read_json(project / cell.record_path) for cell in cells]
    shutil.rmtree(project / "runs" / STUDY)
    # the seconds of a fused cell are its share of the training
    training = median(record["seconds"] * record.get("fused", 1) for record in records)
    return {
        "cells_per_hour": round(3600 * count / (wall - training + training * steps / args.steps), 3),
        "wall_seconds": round(wall, 2),
        "training_seconds": round(training, 2),
        "target_tokens_per_second": round(sum(record["target_tokens"] for record in records) / training),
        "peak_memory_gb": round(max(record["peak_memory_bytes"] for record in records) / 1e9, 3),
    }


def run_all(project: Path, commands: Sequence[Sequence[str]], environment: dict[str, str]) -> None:
    """Run commands of `python -m experiments` at once in the project; raise UserError for one that fails."""
    with ExitStack() as stack:
        running = []
        for number, command in enumerate(commands):
            log = stack.enter_context((project / f"log{number}.txt").open("w+"))
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments", *command],
                cwd=project,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            running.append((process, log))
        failed = [log for process, log in running if process.wait() != 0]
        for log in failed:
            log.seek(0)
            lines = log.read().strip().splitlines() or ["no output"]
            raise UserError(f"python -m experiments {commands[0][0]} failed: {lines[-1]}")


if __name__ == "__main__":
    cli.run(main)
