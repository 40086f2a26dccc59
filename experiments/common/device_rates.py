"""Floating-point rates: of GPUs by their data sheets, of this machine by a matrix product; and time x rate.

The paper's Table 2 counts training FLOPs as time x number of GPUs x an assumed sustained rate. Counted from the
arithmetic instead, its base model takes less than a third of that. A column of FLOPs says which of the two it shows:
`training_flops` of a result is the arithmetic, `time_times_rate` of its seconds the other.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lit_transformer.errors import UserError, nearest

if TYPE_CHECKING:
    import torch

UTILISATION = 0.3
"""The share of a GPU's peak that training is assumed to reach where nothing was measured."""
LAYER_SECONDS = 1.5e-3
"""Assumed shortest time of a training step on a GPU, per layer, for launching its kernels."""


@dataclass(frozen=True)
class Rate:
    """FLOP/s, and where the figure comes from: "measured, bfloat16", "peak of H200, bfloat16"."""

    flops: float
    origin: str

    def __str__(self) -> str:
        return f"{self.flops / 1e12:,.3g} TFLOP/s ({self.origin})"


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: its dense peak of 16-bit matrix products by the maker's data sheet."""

    peak: float
    kind: str = "bfloat16"


GPUS = {
    "P100": Gpu(9.5e12, "float32, sustained, the paper's figure"),
    "V100": Gpu(125e12, "float16"),
    "T4": Gpu(65e12, "float16"),
    "L4": Gpu(121e12),
    "L40S": Gpu(362e12),
    "RTX4090": Gpu(165e12),
    "A100": Gpu(312e12),
    "H100": Gpu(989e12),
    "H200": Gpu(989e12),
    "B200": Gpu(2250e12),
}


def gpu_rate(name: str) -> Rate:
    """Return the peak of a GPU by its name in GPUS; raise UserError for another name."""
    gpu = gpu_named(name)
    return Rate(gpu.peak, f"peak of {name}, {gpu.kind}")


def gpu_named(name: str) -> Gpu:
    """Return a kind of GPU by its name in GPUS; raise UserError for another name."""
    if name not in GPUS:
        raise UserError(f"no GPU '{name}'{nearest(name, GPUS)} (known: {', '.join(GPUS)})")
    return GPUS[name]


def time_times_rate(seconds: float, rate: Rate) -> float:
    """Return training FLOPs as the paper's Table 2 counts them: seconds x FLOP/s."""
    return seconds * rate.flops


def rate_of(record: Mapping[str, Any]) -> Rate | None:
    """Return the rate of the device of a training.json: its own measurement, else the peak of its GPU, else None."""
    measured = record.get("matrix_flops_per_second")
    if measured:
        return Rate(float(measured), f"measured matrix product, {record.get('precision', 'float32')}")
    words = re.split(r"[^A-Za-z0-9]+", str(record.get("device", "")))
    names = {*words, *(first + second for first, second in pairwise(words))}  # "RTX 4090" too
    return next((gpu_rate(name) for name in GPUS if name in names), None)


def measured_rate(device: "torch.device", precision: str, min_seconds: float = 0.2) -> Rate:
    """Return the best rate of a large square matrix product in `precision`, float32 or bfloat16.

    On the CPU it depends on `machine.set_up` and the threads in use, as a training does. Takes about `min_seconds`.
    """
    import torch

    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.ones(side, side, dtype=kind, device=device) for _ in range(2))
    now = clock(device)
    best, begun = 0.0, now()
    with torch.no_grad():
        while best == 0.0 or now() - begun < min_seconds:
            started = now()
            torch.mm(a, b)
            best = max(best, 2 * side**3 / (now() - started))
    return Rate(best, f"measured matrix product, {precision}")


def clock(device: "torch.device") -> Callable[[], float]:
    """Return a clock in seconds: on a GPU wall time after its queue is empty.

    On a CPU, processor time for one thread, which other programs on the machine lengthen less than wall time; wall time
    for several threads, since they also wait for each other.
    """
    import torch

    def gpu() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    if device.type == "cuda":
        return gpu
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter
