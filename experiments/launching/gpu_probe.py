"""How many runs a GPU takes at once: measured by a short probe, decided by a pure function.

    python -m experiments.launching.gpu_probe --study components        # measure here, say what pays

Runs of the study's dearest variant take steps beside each other, 1, 2, 4, ... at once, until a doubling gains less than
a tenth or the next would not fit into the GPU's memory. Where no GPU is used, memory sets no limit. This was run on
CPUs only: no GPU has seen it yet.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

from experiments.common import cli, machine
from experiments.config.study import Study, load_study
from experiments.launching.pipeline import environment
from experiments.planning.step_times import Steps, device_of, sample_of, step_flops
from lit_transformer.errors import UserError

GAIN = 1.1
"""How many times the steps a second a doubling must bring."""
FULL = 0.9
"""The share of a GPU's memory that runs may take: validation and longer sentences come on top of what was seen."""
CONTEXT = 700 << 20
"""Bytes that CUDA itself takes for each process; assumed."""
MOST = 16
WARM_UP = 3


@dataclass(frozen=True)
class Seen:
    """Runs beside each other: steps a second of all together, memory of one, and of the whole GPU (0: no limit)."""

    rate: float
    memory: int
    total: int

    def fit(self, runs: int) -> bool:
        """Say whether so many runs have room."""
        return self.total == 0 or runs * self.memory <= FULL * self.total


def most_that_pay(measure: Callable[[int], Seen | None]) -> int:
    """Double the runs while that fits and gains enough; `measure` returns None where so many runs failed.

    Raises UserError where not even one run works.
    """
    best, seen = 1, measure(1)
    if seen is None:
        raise UserError(
            "not even one run works on this GPU, as told above; where it is memory, lower data.batch_tokens and raise "
            "optim.accumulate"
        )
    while 2 * best <= MOST and seen.fit(2 * best):
        more = measure(2 * best)
        if more is None or more.rate < GAIN * seen.rate:
            break
        best, seen = 2 * best, more
    return best


def runs_that_pay(study: Study, seconds: float = 5.0) -> int:
    """Measure on this machine, and return how many runs of the study a GPU of it takes."""
    sample = sample_of(study)
    configs = {name: study.config(name, study.seeds[0]) for name in study.variants}
    dearest = max(configs, key=lambda name: step_flops(configs[name], sample))

    def told(runs: int) -> Seen | None:
        found = beside_each_other(study.name, dearest, runs, seconds)
        if found:
            print(f"{runs} at once: {found.rate:.2f} steps/s together", flush=True)
        return found

    return most_that_pay(told)


def beside_each_other(study: str, variant: str, runs: int, seconds: float) -> Seen | None:
    """Let so many processes take steps for so many seconds, all at once; None where one fails, and why is printed."""
    command = [sys.executable, "-m", __name__, "--study", study, "--one", variant, "--seconds", str(seconds)]
    own = environment(max(1, machine.cores() // runs))
    with ExitStack() as stack:
        words = stack.enter_context(TemporaryFile("w+"))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": words}
        children = [stack.enter_context(subprocess.Popen(command, text=True, env=own, **pipes)) for _ in range(runs)]
        ready = [child.stdout.readline() for child in children if child.stdout]
        for child in children:  # all at once, warm; one that failed has closed its end
            if all(ready) and child.stdin:
                child.stdin.write("go\n")
                child.stdin.flush()
        answers = [child.communicate()[0] for child in children]
        words.seek(0)
        said = words.read().strip().splitlines()
    if not all(answers) or any(child.returncode for child in children):
        print(f"{runs} at once: {said[-1] if said else 'ended without a word'}", flush=True)
        return None
    found = [json.loads(answer) for answer in answers]
    rate = sum(one["steps"] / one["seconds"] for one in found)
    return Seen(rate, max(one["memory"] for one in found), found[0]["total"])


def take_steps(study: Study, variant: str, seconds: float) -> None:
    """Be one of the runs: warm up, say so, wait for a line, take steps for so long, and print what was seen."""
    import torch

    config, sample = study.config(variant, study.seeds[0]), sample_of(study)
    machine.set_up(config.trainer.matmul.value)
    device = device_of(config)
    training = Steps(config, sample, config.data.batch_tokens, device)

    def step(number: int) -> None:
        training.passes(training.batch(number))
        training.update()

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for number in range(WARM_UP):
        step(number)
    settle()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step(WARM_UP + steps)
        settle()
        steps += 1
    spent, memory, total = time.perf_counter() - begun, 0, 0
    if device.type == "cuda":
        memory = torch.cuda.max_memory_reserved(device) + CONTEXT
        total = torch.cuda.get_device_properties(device).total_memory
    print(json.dumps({"steps": steps, "seconds": spent, "memory": memory, "total": total}), flush=True)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    parser.add_argument("--one", metavar="VARIANT", help="be one of the runs, as the probe itself asks for")
    args = parser.parse_args()
    study = load_study(args.study)
    if args.one:
        take_steps(study, args.one, args.seconds)
    else:
        print(f"{runs_that_pay(study, args.seconds)} at once pay")


if __name__ == "__main__":
    cli.run(main)
