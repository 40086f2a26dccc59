"""The processes of one run: one per device, started by this program, by torchrun or by Slurm's srun.

Their number is trainer.devices x trainer.num_nodes. They are started by
* nobody, for a run of one process: inside a scheduler's job, too; under a torchrun of several it is an error;
* torchrun, where its variables are set (`torchrun --nproc-per-node 4 -m experiments train ... trainer.devices=4`);
* srun, where its step has as many tasks as the run has processes (`srun --ntasks-per-node=4 python -m ...`). A launcher
  of multi-device cells inside a step of as many tasks must hide SLURM_STEP_NUM_TASKS from them;
* this program otherwise, which starts one for each further device of its node. On several nodes without torchrun or
  srun, start it on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK set.
The nodes must share the run's folder. Only rank 0 writes there, to W&B and to the terminal.
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
"""Environment variable of a process that rank 0 of its run has started: rank 0's process id."""
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
LOST = ("gloo", "NCCL", "closed by peer", "reset by peer")
"""Words in the error messages of gloo and NCCL when a process is gone."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run: their number, this one's rank, and the environment that started them."""

    count: int
    rank: int
    environment: "ClusterEnvironment"

    @classmethod
    def of(cls, config: TrainerConfig) -> "Processes":
        """Detect the processes from the config and the environment; raise `UserError` where they disagree."""
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
        """Whether the other ranks are running already and wait for rank 0's broadcast; valid before `start`."""
        return self.count > 1 and self.environment.creates_processes_externally

    def strategy(self, name: str) -> Any:
        """Return Lightning's strategy for trainer.strategy.

        Buffers are not broadcast at each step: the only ones that training changes, the running statistics of batch
        norm, stay per device while training, and are rank 0's at a validation and in a checkpoint.
        """
        if self.count == 1:
            return "auto"
        from pytorch_lightning.strategies import DDPStrategy

        return DDPStrategy(broadcast_buffers=False, find_unused_parameters=name.endswith("_true"))

    def start(self, trainer: "pl.Trainer") -> None:
        """Start the other processes unless torchrun or srun did, and connect all of them."""
        if self.count == 1:
            return
        launcher = trainer.strategy.launcher
        assert launcher is not None
        if self.first:
            os.environ[STARTED_BY] = str(os.getpid())
        launcher.launch(lambda: None, trainer=trainer)  # `fit` finds them started, and starts no more
        trainer.strategy.setup_environment()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turn the traceback that the loss of another process causes here into one line; exit status 1, a crash."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not any(word in str(error) for word in LOST):
                raise
            fix = "run the same command again to go on from the checkpoint"
            print(f"error: rank {self.rank}: another process of this run is gone; {fix}", file=sys.stderr, flush=True)
            sys.exit(1)


def _environment(config: TrainerConfig, count: int) -> "ClusterEnvironment":
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    configured = f"trainer.devices x trainer.num_nodes is {config.devices} x {config.num_nodes}"
    if TorchElasticEnvironment.detect():
        started = int(os.environ["WORLD_SIZE"])
        if started != count:
            raise UserError(f"torchrun started {started} processes, and {configured}; make them the same")
        return TorchElasticEnvironment() if count > 1 else LightningEnvironment()
    if count > 1 and os.environ.get("SLURM_STEP_NUM_TASKS") == str(count):
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise UserError(f"Slurm: {error}") from None
    if config.num_nodes > 1 and "NODE_RANK" not in os.environ:
        raise UserError(
            f"{configured}, and this is no torchrun and no srun of {count} tasks; start it by one of them, or on each "
            "node with MASTER_ADDR, MASTER_PORT and NODE_RANK set"
        )
    return LightningEnvironment()


def _die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies, for whatever reason, so that no orphan trains on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
