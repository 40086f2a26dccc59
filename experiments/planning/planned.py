"""A study before it runs: what each of its cells will cost, and what that was reckoned with."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.common.device_rates import LAYER_SECONDS, Gpu, Rate
from experiments.planning.step_times import Measured


@dataclass(frozen=True)
class Fleet:
    """Some GPUs of one kind: `name` as in `rates.GPUS`, how many, and the share of their peak that is assumed."""

    name: str
    gpu: Gpu
    count: int
    utilisation: float

    def seconds(self, flops: float, steps: int, layers: int) -> float:
        """Return the time of a training of so many operations: at the assumed rate, but no faster than its kernels."""
        return max(flops / (self.gpu.peak * self.utilisation), steps * layers * LAYER_SECONDS)


@dataclass(frozen=True)
class Line:
    """One cell of a variant; `seconds` on this machine, `fleet_seconds` on one GPU of each fleet."""

    variant: str
    parameters: int
    steps: int
    flops: float
    measured: Measured | None
    fleet_seconds: tuple[float, ...]
    disk: int

    @property
    def seconds(self) -> float | None:
        return None if self.measured is None else self.measured.seconds * self.steps


@dataclass(frozen=True)
class Plan:
    """A study's lines, and what they were reckoned with."""

    study: str
    corpus: str
    seeds: int
    lines: list[Line]
    origin: str
    on_gpu: bool
    threads: int
    slots: int
    rate: Rate | None
    fleets: tuple[Fleet, ...]
    data_disk: int
    result_disk: int
    done: int
    separable: str

    @property
    def cells(self) -> int:
        return self.seeds * len(self.lines)

    def total(self, values: Iterable[float]) -> float:
        """Sum up a figure a variant over all cells."""
        return self.seeds * sum(values)

    def span(self, seconds: Sequence[float], slots: int) -> float:
        """Return when the last cell ends, cells being taken in the order of `launch` by so many slots."""
        return makespan(list(seconds) * self.seeds, slots)


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Return when the last of these jobs ends, each being taken by the first free of so many slots, in this order."""
    free = [0.0] * slots
    for own in seconds:
        heapq.heapreplace(free, free[0] + own)
    return max(free)
