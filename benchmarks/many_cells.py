"""Many empty cells through the launcher: is any lost, and what do DVC, a no-op and the report cost?

    python -m benchmarks.many_cells --cells 200 --slots 2 --out many_cells.json

Works in a scratch copy of the project (or --keep FOLDER). One small cell is trained and scored; the stages of all cells
copy its results, under the real dvc.yaml with its dependencies, and the report is the real one.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.common import cli, machine
from experiments.common.io import write_json
from experiments.config.study import ROOT, load_study
from experiments.launching.stages import Stages
from lit_transformer.errors import UserError

STUDY = "experiments/studies/components"
SEEDS = 5
HEAD = """name: components
question: What does the pipeline cost where cells cost nothing?
corpus: grammar
baseline: v0
seeds: [0, 1, 2, 3, 4]
base:
  recipe: paper
  model:
    d_model: 16
    encoder_layers: 1
    decoder_layers: 1
    attention: {heads: 2, d_k: 8, d_v: 8}
    feed_forward: {d_ff: 32}
  data:
    vocab_size: 400
    batch_tokens: 512
    grammar: {train: 800, valid: 20, test: 20, test_long: 6, test_comp: 6}
  optim: {steps: 40, schedule: constant, warmup: 4, peak: 0.003}
  trainer: {accelerator: cpu, validate_every: 20}
  decode: {extra_length: 3}
variants:
  v0: {}
"""
# A stage of an empty cell: what the same stage of the trained cell wrote, under the name of this one.
STAGE = """
import json, shutil, sys
from pathlib import Path
kind, named = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
variant, seed = named["--variant"], int(named["--seed"])
for top in Path("template", kind).iterdir():
    shutil.copytree(top, Path("STUDY", top.name, variant, f"seed{seed}"), dirs_exist_ok=True)
if kind == "train":
    path = Path("STUDY/results", variant, f"seed{seed}", "training.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "variant": variant, "seed": seed}))
""".replace("STUDY", STUDY)


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and seconds of processor cores."""

    seconds: float
    core_seconds: float


def main() -> None:
    """Parse the command line, run, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=200, help=f"a multiple of {SEEDS} (%(default)s)")
    parser.add_argument("--slots", type=int, default=machine.cores(), help="cells at once (%(default)s)")
    parser.add_argument("--keep", type=cli.user_path, help="work in this new folder and leave it")
    parser.add_argument("--out", type=cli.user_path, help="write the measurements as JSON")
    args = parser.parse_args()
    if args.cells < SEEDS or args.cells % SEEDS:
        raise UserError(f"--cells is {args.cells}; it must be a multiple of {SEEDS}, the seeds of a variant")
    with ExitStack() as stack:
        top = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages = Stages.of(load_study("components")).file
        measured = measure(copy(top / "project", stages, args.cells), stages, args.cells, args.slots)
    print(json.dumps(measured, indent=1))
    if args.out:
        write_json(args.out, measured)


def copy(project: Path, stages: Path, cells: int) -> Path:
    """Copy the project with a study of that many empty cells."""
    skip = shutil.ignore_patterns(
        ".git", ".venv", "runs", "data", "wandb", "results", "models", "report", "tmp", "*cache"
    )
    shutil.copytree(ROOT, project, ignore=skip)
    (project / STUDY / "study.yaml").write_text(HEAD)
    timed(project, "-m", "dvc", "config", "--local", "core.no_scm", "true")
    template(project)
    lines = [f"  v{number}: {{optim: {{peak: {3e-3 + number * 1e-6:.6f}}}}}\n" for number in range(1, cells // SEEDS)]
    (project / STUDY / "study.yaml").write_text(HEAD + "".join(lines))
    (project / "stage.py").write_text(STAGE)
    commands = re.sub(
        r"python -m experiments (train|evaluate)", r"python -S stage.py \1", (project / stages).read_text()
    )
    (project / stages).write_text(commands)
    (project / stages).with_name("dvc.lock").unlink(missing_ok=True)
    return project


def template(project: Path) -> None:
    """Train and score one cell, and keep the files that each stage of it writes."""
    cell = ("--study", "components", "--variant", "v0", "--seed", "0", "--wandb", "disabled")
    timed(project, "-m", "experiments", "prepare", "--study", "components")
    outputs = {top: project / STUDY / top / "v0/seed0" for top in ("results", "models")}
    old: set[Path] = set()
    for kind in ("train", "evaluate"):
        timed(project, "-m", "experiments", kind, *cell)
        for top, folder in outputs.items():
            for path in {path for path in folder.rglob("*") if path.is_file()} - old:
                target = project / "template" / kind / top / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
                old.add(path)
    for folder in outputs.values():
        shutil.rmtree(folder)


def measure(project: Path, stages: Path, cells: int, slots: int) -> dict[str, object]:
    """Run every cell, then nothing, then the report alone; return the times and how many cells were lost.

    Seconds have passed on the clock; core-seconds are those that processors spent on it, whatever else they did.
    """
    launch = ["-m", "experiments", "launch", "--study", "components"]
    everything, printed = timed(project, *launch, "--slots", str(slots))
    lock = (project / stages).with_name("dvc.lock").read_text()
    busy = [line for line in printed.splitlines() if line.startswith("Slots were busy")]
    status, _ = timed(project, "-m", "dvc", "status", "--json", str(stages))
    no_op, printed = timed(project, *launch)
    assert "Nothing to do" in printed, printed
    report, _ = timed(project, "-m", "experiments", "report", "--study", "components")
    return {
        "cells": cells,
        "slots": slots,
        "lost": 2 * cells - len(re.findall(r"^  (?:train|evaluate)@\S+:$", lock, re.MULTILINE)),
        "core_seconds_per_cell": round((everything.core_seconds - report.core_seconds) / cells, 2),
        "everything": asdict(everything),
        "no_op": asdict(no_op),
        "dvc_status": asdict(status),
        "report": asdict(report),
        "lock_bytes": len(lock),
        "slots_line": busy[0] if busy else "",
        "load": machine.load(),
        **{key: value for key, value in machine.describe().items() if key in ("machine", "git_commit")},
    }


def timed(project: Path, *arguments: str) -> tuple[Cost, str]:
    """Run Python in the project; return what it cost and what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project)}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, env=environment)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise UserError(f"{' '.join(arguments)} failed: {(done.stderr or done.stdout)[-300:]}")
    core_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(round(seconds, 1), round(core_seconds, 1)), done.stdout


if __name__ == "__main__":
    cli.run(main)
