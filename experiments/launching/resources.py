"""How the cores and GPUs of one machine, or of a cluster's nodes, are divided among cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.common import machine
from experiments.config.study import Study
from lit_transformer.errors import UserError

GRAIN = 10_000
"""Ray counts resources in ten-thousandths; shares are rounded down to them, so that K shares of 1/K fit."""


@dataclass(frozen=True)
class Node:
    """The cores and GPUs that one machine offers."""

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


def gpu_count(study: Study) -> int:
    """Return the number of GPUs of this machine that the study's cells can use; 0 where they compute on the CPU."""
    if study.on_cpu:
        return 0
    import torch

    return torch.cuda.device_count()


def default_slots(study: Study) -> int:
    """Return how many cells run at once here by default: one on a GPU, else one per core, or per `devices` cores."""
    return 1 if gpu_count(study) else max(1, machine.cores() // study.devices)


def share_of(nodes: Sequence[Node], runs_per_gpu: int = 0, slots: int | None = None, devices: int = 1) -> Share:
    """Return the share of each cell, which trains on that many devices: GPUs, or processes on the CPU.

    With `runs_per_gpu` of at least 1, only nodes with enough GPUs count. A cell gets 1/runs_per_gpu of a GPU, or
    `devices` GPUs of its own, and an equal part of the cores, on the node where that is least. With 0 no GPU is used
    and all cores are divided by `slots`; None stands for one slot per `devices` cores.

    Raises UserError where no node can take a cell.
    """
    if runs_per_gpu:
        if devices > 1 and runs_per_gpu > 1:
            raise UserError(f"--runs-per-gpu: a cell of trainer.devices {devices} has GPUs of its own; leave one out")
        fit = [node for node in nodes if node.gpus >= devices]
        if not fit and devices > 1:
            raise UserError(f"trainer.devices is {devices}, and no node of this cluster has that many GPUs; lower it")
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
    """Round down to whole cores; below one core, cells share it."""
    return float(int(cores)) if cores >= 1 else max(_floor(cores), 1 / GRAIN)


def _floor(part: float) -> float:
    return math.floor(part * GRAIN + 1e-6) / GRAIN
