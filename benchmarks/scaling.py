"""Time and memory of our training step against sequence length, width, batch and vocabulary, with fitted exponents.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --axis length width --out scaling.json

One setting of the small model varies at a time. Every point has its own process; its memory is what a step adds. The
exponent is the slope of a log-log fit with its 95 % interval; `end` is the slope between the two largest points, the
better asymptotic estimate while several terms share the cost.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.environment import describe
from benchmarks.sizes import SIZES, VOCABULARY
from benchmarks.workers import start_workers
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.layer_costs.findings import fit_exponent
from lit_transformer.config import AttentionConfig, FeedForwardConfig, ModelConfig
from lit_transformer.tokens import UNK

TOKENS, LENGTH = 2048, 16
"""Tokens per batch on either side, and per sentence, with EOS."""


@dataclass(frozen=True)
class Point:
    """A setting to measure; all sentences have the same length, so that nothing else varies."""

    model: ModelConfig = SIZES["small"]
    vocab_size: int = VOCABULARY
    tokens: int = TOKENS
    length: int = LENGTH


def _width(d_model: int) -> Point:
    heads = d_model // 64
    attention = AttentionConfig(heads=heads, d_k=64, d_v=64)
    feed_forward = FeedForwardConfig(d_ff=4 * d_model)
    model = replace(SIZES["small"], d_model=d_model, attention=attention, feed_forward=feed_forward)
    return Point(model)


AXES: dict[str, tuple[str, list[int], Callable[[int], Point]]] = {
    "length": ("tokens per sentence", [16, 64, 256, 1024], lambda n: Point(length=n)),
    "width": ("d_model", [128, 256, 512, 1024], _width),
    "batch": ("tokens per batch", [512, 1024, 2048, 4096, 8192], lambda n: Point(tokens=n)),
    "vocabulary": ("V", [1000, 4000, 16000, 64000], lambda n: Point(vocab_size=n)),
}
"""By axis: the name of its variable, the values, and the point of a value."""


class Steps:
    """Training steps at one point, in its own process."""

    def __init__(self, point: Point, args: argparse.Namespace) -> None:
        machine.set_up("medium")
        import torch

        from benchmarks.trainers import Task, build
        from experiments.common.device_rates import clock

        torch.set_num_threads(args.threads)
        self.device = torch.device(args.device)
        self.now = clock(self.device)
        self.steps = args.steps
        task = Task(point.model, point.vocab_size, args.precision == "bfloat16", self.device.type)
        self.stepper = build("lit_transformer", task)
        random = np.random.default_rng(0)
        ids = random.integers(UNK + 1, point.vocab_size, (2, point.tokens // point.length, point.length - 1))
        self.batch = self.stepper.trainer.prepare(list(zip(*ids, strict=True)))
        self.before = self._memory()

    def turn(self) -> float:
        """Return the median seconds of a step, after one warm-up step."""
        self.stepper.step(self.batch)
        seconds = []
        for _ in range(self.steps):
            started = self.now()
            self.stepper.step(self.batch)
            seconds.append(self.now() - started)
        return median(seconds)

    def finish(self) -> dict[str, float]:
        """Return the memory that training added, in bytes: gradients, Adam's state and activations."""
        return {"memory": self._memory() - self.before}

    def _memory(self) -> float:
        import torch

        return float(torch.cuda.max_memory_allocated() if self.device.type == "cuda" else machine.peak_memory())


def main() -> None:
    """Parse the command line, measure every point and print one table per axis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", nargs="+", choices=list(AXES), default=list(AXES), help="axes to measure (all)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=5, help="timed steps per point (5)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=cli.user_path, help="also write the tables and the machine as JSON")
    args = parser.parse_args()
    load = [machine.load()]
    axes = {axis: measure(axis, args) for axis in args.axis}
    if args.out is not None:
        settings = {name: value for name, value in vars(args).items() if name != "out"}
        load.append(machine.load())
        files.write_json(args.out, {"settings": settings, "load_before_and_after": load, **describe(), "axes": axes})


def measure(axis: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure the points of an axis, print them and return them as JSON values."""
    what, values, point = AXES[axis]
    seconds, memory = [], []
    for value in values:
        with start_workers({axis: partial(Steps, point(value), args)}) as workers:
            seconds.append(workers[axis].turn())
            memory.append(workers[axis].finish()["memory"])
    fits = {"time": fit_exponent(values, seconds), "memory": fit_exponent(values, memory)}
    print(f"\n{what:>18} {'ms/step':>10} {'tokens/s':>9} {'MB added':>9}")
    for value, time, size in zip(values, seconds, memory, strict=True):
        print(f"{value:>18,} {1000 * time:>10,.0f} {point(value).tokens / time:>9,.0f} {size / 1e6:>9,.0f}")
    for name, fit in fits.items():
        print(f"{name:>18} grows with power {fit}, {fit.end:.2f} at the end")
    points = [
        {"value": value, "seconds": round(time, 5), "bytes": size}
        for value, time, size in zip(values, seconds, memory, strict=True)
    ]
    return {"what": what, "points": points, "exponents": {name: vars(fit) for name, fit in fits.items()}}


if __name__ == "__main__":
    cli.run(main)
