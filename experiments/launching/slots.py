"""How the cores and GPUs of one machine, or of a cluster's nodes, are shared out among cells. Nothing here runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lit_transformer.errors import UserError

AUTO = "auto"
"""As many runs a GPU as a probe finds to pay (gpu_probe.py)."""
GRAIN = 10_000
"""Ray counts resources in ten-thousandths; shares are rounded down to them, so that K shares of 1/K fit."""


@dataclass(frozen=True)
class Node:
    """What one machine offers: cores that may be used, and GPUs."""

    cores: int
    gpus: int = 0


@dataclass(frozen=True)
class Share:
    """What one cell gets: threads for each of its processes, and its part of a node's cores and GPUs."""

    threads: int
    cpus: float
    gpus: float = 0.0

    def slots(self, node: Node) -> int:
        """Return how many cells of this share fit on a node at once."""
        by_cores = int(node.cores * GRAIN) // round(self.cpus * GRAIN)
        return min(by_cores, node.gpus * GRAIN // round(self.gpus * GRAIN)) if self.gpus else by_cores


def share_of(nodes: Sequence[Node], runs_per_gpu: int = 0, slots: int | None = None, devices: int = 1) -> Share:
    """Return what each cell gets, which trains on so many devices: GPUs, or processes on the CPU.

    With `runs_per_gpu` of at least 1, only nodes with enough GPUs count, and a cell gets that part of a GPU, or several
    of its own, and its equal part of the cores, on the node where that is least. With 0 no GPU is used and all cores
    are divided by `slots`, where None as many as there are cores, or groups of so many as a cell has devices.

    Raises UserError where no node can take a cell.
    """
    if runs_per_gpu:
        if devices > 1 and runs_per_gpu > 1:
            raise UserError(f"--runs-per-gpu: a cell of trainer.devices {devices} has GPUs to itself; leave one out")
        fit = [node for node in nodes if node.gpus >= devices]
        if not fit and devices > 1:
            raise UserError(f"trainer.devices is {devices}, and no node of this cluster has so many GPUs; lower it")
        if not fit:
            raise UserError("no node of this cluster has a GPU; leave --runs-per-gpu out, or add such a node")
        cores = devices * min(node.cores / (node.gpus * runs_per_gpu) for node in fit)
        gpus = float(devices) if devices > 1 else _floor(1 / runs_per_gpu)
        return Share(max(1, int(cores / devices)), _part(cores), gpus)
    total = sum(node.cores for node in nodes)
    if not total:
        raise UserError("no node of this cluster offers a core; start its nodes with `ray start --num-cpus`")
    cores = min(total / (slots or max(1, total // devices)), max(node.cores for node in nodes))
    return Share(max(1, int(cores / devices)), _part(cores))


def _part(cores: float) -> float:
    """Whole cores from one on; below, cells share one."""
    return float(int(cores)) if cores >= 1 else max(_floor(cores), 1 / GRAIN)


def _floor(part: float) -> float:
    return math.floor(part * GRAIN + 1e-6) / GRAIN
