"""Scalability of the launcher: a thousand empty runs. Is any lost, and how long do a no-op and a report take?

    python -m benchmarks.many_cells --cells 1000 --slots 2 --out benchmarks/results/many_cells.json

Works in a temporary copy of the project (or --keep FOLDER), on a study whose stages write results at once instead of
training: the real dvc.yaml with its dependencies, and the real report. Each run takes as long as DVC and Python need to
start, about two seconds of one core.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

from experiments.common import cli, machine
from experiments.common.io import write_json
from experiments.config.study import ROOT
from lit_transformer.errors import UserError

STUDY = "experiments/studies/components"
HEAD = """name: components
question: What does the pipeline cost where cells cost nothing?
corpus: grammar
baseline: v0
seeds: [{seeds}]
base: {{recipe: paper, model: {{}}, data: {{}}, optim: {{}}, trainer: {{accelerator: cpu}}, decode: {{}}}}
variants:
"""
# A stage of an empty run copies the results of a trained one: the report reads numbers, not weights.
STAGE = """
import json, shutil, sys
from pathlib import Path
kind, named = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
if kind == "prepare":
    Path("data/components").mkdir(parents=True, exist_ok=True)
    Path("data/components/nothing").write_text("")
    sys.exit()
variant, seed = named["--variant"], int(named["--seed"])
folder = Path("STUDY/results", variant, f"seed{seed}")
folder.mkdir(parents=True, exist_ok=True)
if kind == "train":
    for name in ("curve.csv", "probe.csv"):
        shutil.copy(Path("template", name), folder / name)
    record = json.loads(Path("template/training.json").read_text())
    (folder / "training.json").write_text(json.dumps({**record, "variant": variant, "seed": seed}))
else:
    shutil.copy("template/sentences.csv", folder / "sentences.csv")
    shutil.copy("template/scores.json", folder / "scores.json")
""".replace("STUDY", STUDY)


def main() -> None:
    """Parse the command line, run, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000, help="a multiple of 5 (%(default)s)")
    parser.add_argument("--slots", type=int, default=machine.cores(), help="cells at once (%(default)s)")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    if args.cells < 5 or args.cells % 5:
        raise UserError(f"--cells is {args.cells}; it must be a multiple of 5, the seeds per variant")
    with ExitStack() as stack:
        top = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        results = measure(copy(top / "project", args.cells), args.cells, args.slots)
    print(json.dumps(results, indent=1))
    if args.out:
        write_json(cli.STARTED_IN / args.out, results)


def copy(project: Path, cells: int) -> Path:
    """Copy the project, with a study of `cells` empty runs, five seeds per variant."""
    skip = shutil.ignore_patterns(".git", ".venv", "runs", "data", "wandb", "results", "report", "tmp", "*cache")
    shutil.copytree(ROOT, project, ignore=skip)
    shutil.copytree(ROOT / STUDY / "results/base/seed0", project / "template")
    lines = [f"  v{number}: {{optim: {{peak: {1e-3 + number * 1e-6:.6f}}}}}\n" for number in range(cells // 5)]
    (project / STUDY / "study.yaml").write_text(HEAD.format(seeds="0, 1, 2, 3, 4") + "".join(lines))
    (project / "stage.py").write_text(STAGE)
    stages = (project / "dvc.yaml").read_text()
    for kind in ("prepare", "train", "evaluate"):
        stages = stages.replace(f"python -m experiments {kind}", f"python -S stage.py {kind}")
    (project / "dvc.yaml").write_text(stages)
    (project / "dvc.lock").unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"], cwd=project, check=True)
    return project


def measure(project: Path, cells: int, slots: int) -> dict[str, object]:
    """Launch every run, then a no-op, then the report; return their seconds and the number of missing stages."""
    launch = ["-m", "experiments", "launch", "--study", "components", "--slots", str(slots)]
    first, printed = timed(project, *launch)
    records = yaml.load((project / "dvc.lock").read_text(), Loader=yaml.CSafeLoader)["stages"]
    stages = [name for name in records if name.startswith(("train@", "evaluate@"))]
    busy = [line for line in printed.splitlines() if line.startswith("The slots were busy")]
    idle, printed_idle = timed(project, *launch)
    assert "Nothing to do" in printed_idle, printed_idle
    report, _ = timed(project, "-m", "experiments", "report", "--study", "components")
    return {
        "cells": cells,
        "slots": slots,
        "lost": 2 * cells - len(stages),
        "all_seconds": round(first, 1),
        "seconds_a_cell_and_slot": round(first * slots / cells, 2),
        "no_op_seconds": round(idle, 1),
        "report_seconds": round(report, 1),
        "lock_bytes": (project / "dvc.lock").stat().st_size,
        "slots_said": busy[0] if busy else "",
        "load": machine.load(),
        **{key: value for key, value in machine.describe().items() if key in ("machine", "git_commit")},
    }


def timed(project: Path, *arguments: str) -> tuple[float, str]:
    """Run Python in the project; return its seconds and output."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, env=env)
    if done.returncode:
        raise UserError(f"{' '.join(arguments)} failed: {(done.stderr or done.stdout)[-300:]}")
    return time.perf_counter() - begun, done.stdout


if __name__ == "__main__":
    cli.run(main)
