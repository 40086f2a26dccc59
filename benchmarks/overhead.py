"""Overhead of one run of the default study: start-up, data loading, logging, checkpoints and evaluation.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --steps 300 --out overhead.json

Start-up is the time from process start to the end of the first step, the median of several starts; where transformers
is installed, torchmetrics imports it, which adds a second. Shares are of the CPU time of `Trainer.fit` on one thread,
W&B offline, by a sampling profiler. Evaluation is the seconds of scoring over those of training, the median over the
study's results, which must be there.
"""

import argparse
import json
import os
import runpy
import shutil
import signal
import statistics
import subprocess
import sys
import time
from types import FrameType
from typing import NoReturn

import psutil

from benchmarks.environment import describe
from benchmarks.rounds import show
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.cell import Cell
from experiments.config.study import ROOT, Study, load_study
from lit_transformer.errors import UserError

STUDY = "components"
STARTS = 3
INTERVAL = 0.005
"""Seconds between two samples."""
MODE = "LIT_OVERHEAD"
"""Environment variable of a training under measurement: "start" or "shares"."""
KINDS = {
    "data_modules/batches.py": "loading",
    "experiments/training/losses.py": "logging",
    "experiments/training/callbacks.py": "logging",
    "experiments/training/history.py": "logging",
    "experiments/training/probe.py": "probe",
    "experiments/training/stopping.py": "checkpoints",
}
"""What the code of a file counts as, with everything that it calls."""


def main() -> None:
    """Parse the command line, measure trainings and print the result; or be such a training."""
    if mode := os.environ.pop(MODE, ""):
        return train(mode)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=cli.at_least(1), default=200, help="steps of the training (%(default)s)")
    parser.add_argument("--out", type=cli.user_path, help="also write the measurements and the machine as JSON")
    args = parser.parse_args()
    study = load_study(STUDY)
    load_before = machine.load()
    starts = [measure("start", study, args.steps)["seconds"] for _ in range(STARTS)]
    seconds = measure("shares", study, args.steps)
    shares = {name: round(value / seconds["fit"], 4) for name, value in seconds.items() if name != "fit"}
    evaluation = scoring_over_training(study)
    lines = [["start to first step, s", f"{statistics.median(starts):.1f}"]]
    lines += [[f"{name}, share of fit", f"{value:.1%}"] for name, value in shares.items()]
    show(["one run of the default study", ""], [*lines, ["evaluation over training", f"{evaluation:.1%}"]])
    if args.out is not None:
        record = {"start_seconds": starts, "shares": shares, "evaluation_over_training": round(evaluation, 4)}
        files.write_json(args.out, {**record, "load_before_and_after": [load_before, machine.load()], **describe()})
    return None


def measure(mode: str, study: Study, steps: int) -> dict[str, float]:
    """Run a training of the baseline in a new process; return its measurements in seconds."""
    unique = f"optim.clip_norm={1 + time.time_ns() % 10**6 / 10**9}"  # so that its run folder is new
    cell = Cell(study, study.baseline, 0, (f"optim.steps={steps}", unique))
    env = {**os.environ, MODE: mode, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.overhead", *cell.arguments, "--wandb", "offline", "--quiet"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(cell.run_folder.parent, ignore_errors=True)
    if done.returncode:
        raise UserError(f"the measured training failed; see above, or prepare {study.data_folder} first")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def scoring_over_training(study: Study) -> float:
    """Return the seconds of scoring over those of training, the median over the study's results."""
    pairs = [(path, path.with_name("scores.json")) for path in study.folder.glob("results/*/seed*/training.json")]
    ratios = [
        files.read_json(scores)["seconds"] / files.read_json(training)["seconds"]
        for training, scores in pairs
        if scores.is_file()
    ]
    if not ratios:
        raise UserError(f"study {study.name} has no scores; run: make ablation STUDY={study.name}")
    return statistics.median(ratios)


def train(mode: str) -> None:
    """Train with this process's arguments under the profiler, and print its measurements at the end."""
    profiler = Profiler(mode)
    profiler.start()
    sys.argv.insert(1, "train")
    runpy.run_module("experiments", run_name="__main__")
    profiler.stop()
    print(json.dumps(profiler.seconds))


class Profiler:
    """Samples the main thread's stack on a timer signal.

    CPU time since the last sample goes to the outermost frame within `Trainer.fit` that has a kind. A signal during a
    long operation is handled when it returns, so no time is lost. In mode "start" the process ends with the first step.
    """

    def __init__(self, mode: str) -> None:
        self.first_step_only = mode == "start"
        self.seconds: dict[str, float] = dict.fromkeys(["fit", *KINDS.values()], 0.0)
        self.kinds = {str(ROOT / path): kind for path, kind in KINDS.items()}
        self.last = time.process_time()

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _sample(self, signum: int, frame: FrameType | None) -> None:
        now = time.process_time()
        elapsed, self.last = now - self.last, now
        kind = ""
        while frame is not None:
            if frame.f_code.co_qualname == "Trainer.fit":
                self.seconds["fit"] += elapsed
                if kind:
                    self.seconds[kind] += elapsed
                if self.first_step_only and frame.f_locals["self"].global_step:
                    self.stop()
                    self._end_process()
                return
            kind = self.kinds.get(frame.f_code.co_filename, kind)
            frame = frame.f_back

    @staticmethod
    def _end_process() -> NoReturn:
        print(json.dumps({"seconds": round(time.time() - psutil.Process().create_time(), 2)}), flush=True)
        os._exit(0)


if __name__ == "__main__":
    cli.run(main)
