"""Speed, share of the device's peak, memory and gradient norm over the steps between two validations."""

from functools import cache
from typing import Any, cast

import pytorch_lightning as pl
import torch

from experiments.common import machine
from experiments.common.device_rates import measured_rate, rate_of
from experiments.config.run_config import RunConfig
from experiments.training.callbacks import Curve
from experiments.training.probe import Probe
from lit_transformer.flops import training_flops
from lit_transformer.module import LitTransformer
from lit_transformer.training.objective import forward_passes

matrix_rate = cache(measured_rate)
"""The rate of a matrix product on this machine, measured once in a process."""


class Throughput(pl.Callback):
    """Knows what the steps since the validation before cost, from what others count; its state is in the checkpoint.

    It adds no work to a step: `History` asks for `values` once at each validation, after `Curve` and `Probe`. The peak
    of a GPU is that of its data sheet, of another device the best of a matrix product here.
    """

    def __init__(self, curve: Curve, probe: Probe, config: RunConfig) -> None:
        self.curve = curve
        self.probe = probe
        self.config = config
        self.before = {"tokens": 0.0, "flops": 0.0, "seconds": 0.0}
        self._trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Measure a CPU's peak now: later it would count as training."""
        self._trainer = trainer
        device = trainer.strategy.root_device
        if trainer.is_global_zero and device.type != "cuda":
            matrix_rate(device, self.config.trainer.precision.value)

    def state_dict(self) -> dict[str, Any]:
        return {"before": dict(self.before)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = state_dict["before"]

    def values(self) -> dict[str, float]:
        """Return the values of a validation by name: per second of training, memory in GB; on rank 0, else nothing."""
        trainer = self._trainer
        if trainer is None or not trainer.is_global_zero:
            return {}
        work = self.curve.total_work()
        network = cast(LitTransformer, trainer.lightning_module).network
        total = forward_passes(self.config.optim) * training_flops(network, work)
        now = {"tokens": float(work.tgt), "flops": float(total), "seconds": self.curve.seconds}
        tokens, flops, seconds = (now[name] - self.before[name] for name in ("tokens", "flops", "seconds"))
        self.before = now
        device = trainer.strategy.root_device
        on_gpu = device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(device) if on_gpu else machine.peak_memory()
        values = {"cost/target_tokens_per_second": tokens / max(seconds, 1e-9), "cost/memory_gb": memory / 1e9}
        precision = self.config.trainer.precision.value
        peak = rate_of({"device": torch.cuda.get_device_name(device)}) if on_gpu else matrix_rate(device, precision)
        if peak:
            values["cost/share_of_peak"] = flops / max(seconds, 1e-9) / (peak.flops * trainer.world_size)
        return {**values, "train/gradient_norm": self.probe.step_gradient}
