"""The processes of one run: one a device, started by this program, by torchrun or by Slurm's srun.

trainer.devices and trainer.num_nodes say how many there are; their ranks count from 0. Who started them:
* one process: nobody else. A cell inside a scheduler's job is a run by itself; under a torchrun of several it is a
  mistake;
* torchrun, where its variables are set (`torchrun --nproc-per-node 4 -m experiments train ... trainer.devices=4`);
* srun, where its step has as many tasks as the run has processes (`srun --ntasks-per-node=4 python -m ...`). Who starts
  cells of several devices inside a step of as many tasks must hide SLURM_STEP_NUM_TASKS from them;
* else this program, which starts one for each further device of its node. On several nodes without torchrun or srun,
  start it on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK set.
The nodes must share the run's folder. Only rank 0 writes there, to W&B or to the terminal.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.config.run_config import TrainerConfig
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

STARTED_BY = "LIT_STARTED_BY"
"""In the environment of a process that another of its run has started: that one's id."""
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
LOST = ("gloo", "NCCL", "closed by peer", "reset by peer")
"""What the libraries that connect processes say when one is gone."""


@dataclass(frozen=True)
class Processes:
    """How many processes a run has, which of them this is, and whether others than this program start them."""

    count: int
    rank: int
    environment: "ClusterEnvironment"

    @classmethod
    def of(cls, config: TrainerConfig) -> "Processes":
        """Find out from the config and the environment; raise `UserError` where they disagree."""
        count = config.devices * config.num_nodes
        environment = _environment(config, count)
        if count == 1:
            return cls(1, 0, environment)
        if STARTED_BY in os.environ:
            _die_with_parent(int(os.environ[STARTED_BY]))
        return cls(count, environment.node_rank() * config.devices + environment.local_rank(), environment)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def others_wait(self) -> bool:
        """Whether the others are running already and wait for what rank 0 says; asked before `start`."""
        return self.count > 1 and self.environment.creates_processes_externally

    def strategy(self, name: str) -> Any:
        """Return Lightning's strategy for trainer.strategy.

        Buffers are not sent about at each step: the only ones that training changes, the running statistics of batch
        norm, are each device's own there, and rank 0's at a validation and in a checkpoint.
        """
        if self.count == 1:
            return "auto"
        from pytorch_lightning.strategies import DDPStrategy

        return DDPStrategy(broadcast_buffers=False, find_unused_parameters=name.endswith("_true"))

    def start(self, trainer: "pl.Trainer") -> None:
        """Start the other processes where that is ours to do, and connect all."""
        if self.count == 1:
            return
        launcher = trainer.strategy.launcher
        assert launcher is not None
        if self.first:
            os.environ[STARTED_BY] = str(os.getpid())
        launcher.launch(_nothing, trainer=trainer)  # `fit` finds them started, and starts no more
        trainer.strategy.setup_environment()
        # Lightning asks at each batch whether rank 0 was told to stop, and makes a GPU wait for the answer; here
        # `stopping` listens to the signals.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turn what the others see of one that is gone, many frames, into a line; status 1, as a crash has."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not any(word in str(error) for word in LOST):
                raise
            asked = "run the same command again to go on from the checkpoint"
            print(f"error: rank {self.rank}: another process of this run is gone; {asked}", file=sys.stderr, flush=True)
            sys.exit(1)


def _environment(config: TrainerConfig, count: int) -> "ClusterEnvironment":
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    asked = f"trainer.devices x trainer.num_nodes is {config.devices} x {config.num_nodes}"
    if TorchElasticEnvironment.detect():
        started = int(os.environ["WORLD_SIZE"])
        if started != count:
            raise UserError(f"torchrun started {started} processes, and {asked}; make them the same")
        return TorchElasticEnvironment() if count > 1 else LightningEnvironment()
    if count > 1 and os.environ.get("SLURM_STEP_NUM_TASKS") == str(count):
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise UserError(f"Slurm: {error}") from None
    if config.num_nodes > 1 and "NODE_RANK" not in os.environ:
        raise UserError(
            f"{asked}, and this is no torchrun and no srun of {count} tasks; start it by one of them, or on each node "
            "with MASTER_ADDR, MASTER_PORT and NODE_RANK set"
        )
    return LightningEnvironment()


def _die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that started it dies, however it dies: no orphan trains on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""
