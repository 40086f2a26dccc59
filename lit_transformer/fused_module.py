"""LitFusedTransformer: the LightningModule around a fused network, which trains K networks as one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lit_transformer.batch import FusedBatch, to_device
from lit_transformer.config import OptimConfig, require
from lit_transformer.fusion import FusedTransformer
from lit_transformer.training.losses import cross_entropy
from lit_transformer.training.objective import build_objective, forward_passes
from lit_transformer.training.optimiser import build_adam
from lit_transformer.training.randomness import step_seed
from lit_transformer.training.schedule import LearningRate

RATES = ("schedule", "warmup", "multiplier", "peak")
"""The settings of `optim` in which members may differ: those of the learning rate."""


class LitFusedTransformer(pl.LightningModule):
    """Trains and validates the members of a fused network, each as `LitTransformer` does it alone but for rounding.

    `optims` and `seeds` are the members', `optims` differing in learning rates only. The batches of a member, the
    randomness of its steps, the clipping of its gradient and its state of Adam are those of its own training. A step
    returns the sum of the members' losses, and its terms of each, (K,). After a validation `valid_losses` has the
    unsmoothed nats per token of each member. One process only. Raises `UserError` where the members do not fit.
    """

    def __init__(self, network: FusedTransformer, optims: Sequence[OptimConfig], seeds: Sequence[int]) -> None:
        super().__init__()
        assert len(optims) == len(seeds) == network.size
        self.network = network
        self.optim = optims[0]
        require_alike(optims)
        self.seeds = seeds
        self.schedules = [LearningRate(optim, network.config.d_model) for optim in optims]
        vocab_size = network.output_weights.shape[1]
        self.objective = build_objective(self.optim, vocab_size)
        self.slices: list[list[nn.Parameter]] = []
        self.valid_losses: list[float] = []
        self._valid: list[Tensor] = []
        self._valid_tokens = 0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam, with one group of parameters for all members, or one for each where their rates differ."""
        schedules = self.schedules if len(set(self.schedules)) > 1 else self.schedules[:1]
        if len(schedules) > 1:
            self.slices = self.network.slices()
        groups = [{"params": group} for group in self.slices or [list(self.network.parameters())]]
        adam = build_adam(groups, self.optim)
        rate = torch.optim.lr_scheduler.LambdaLR(adam, [schedule.after for schedule in schedules])
        return {"optimizer": adam, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_fit_start(self) -> None:
        assert self.trainer.world_size == 1, "a fused network trains in one process"

    def transfer_batch_to_device(self, batch: FusedBatch, device: torch.device, dataloader_idx: int) -> FusedBatch:
        return to_device(batch, device)

    def on_train_batch_start(self, batch: FusedBatch, batch_idx: int) -> None:
        """Seed the members' dropout of the step."""
        self.network.draws.seed([step_seed(seed, batch_idx) for seed in self.seeds], self.device)

    def training_step(self, batch: FusedBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss, the sum of the members', and its terms, (K,) each; see `LitTransformer.training_step`."""
        passes = [self.network.hidden(batch) for _ in range(forward_passes(self.optim))]
        losses = torch.stack([self._loss(passes, batch, member) for member in range(self.network.size)])  # (K,)
        losses = losses * self.trainer.accumulate_grad_batches
        return {"loss": losses.sum(), "terms": {"loss": losses.detach()}}

    def _loss(self, passes: list[Tensor], batch: FusedBatch, member: int) -> Tensor:
        """Return the objective of one member, divided by the target tokens of its step."""
        tokens, divisor = len(batch.members[member].tgt_out), batch.members[member].target_tokens
        outputs = [hidden[member, :tokens] for hidden in passes]
        targets = batch.tgt_out[member, :tokens]
        return self.objective.nats(outputs, self.network.output_weights[member], targets) / divisor

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip each member's gradient by its own norm."""
        if self.optim.clip_norm > 0:
            clip_each(self.network.parameters(), self.optim.clip_norm)
        for member, parameters in enumerate(self.slices):
            for part, whole in zip(parameters, self.network.parameters(), strict=True):
                part.grad = None if whole.grad is None else whole.grad[member]

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        self.network.zero_grad()

    def on_validation_epoch_start(self) -> None:
        self._valid, self._valid_tokens = [], 0

    def validation_step(self, batch: FusedBatch, batch_idx: int) -> None:
        """Add the members' unsmoothed nats and the tokens, the same for all, to the running sums."""
        parts = zip(self.network.hidden(batch), self.network.output_weights, batch.tgt_out, strict=True)
        self._valid.append(torch.stack([cross_entropy(*part) for part in parts]))
        self._valid_tokens += batch.tgt_out.shape[1]

    def on_validation_epoch_end(self) -> None:
        self.valid_losses = (torch.stack(self._valid).sum(0) / self._valid_tokens).tolist()


def require_alike(optims: Sequence[OptimConfig]) -> None:
    """Raise `UserError` unless the trainings of members differ in their learning rates only."""
    rest = {replace(optim, **{name: getattr(optims[0], name) for name in RATES}) for optim in optims}
    require(
        len(rest) == 1, f"a fused training has one optim, but for {', '.join(RATES)}; train the others by themselves"
    )


@torch.no_grad()
def gradient_norms(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the norm of the gradient of each of K members, (K,); parameters are (K, ...)."""
    norms = [torch.linalg.vector_norm(p.grad.flatten(1), dim=1) for p in parameters if p.grad is not None]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


@torch.no_grad()
def clip_each(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale the gradient of each of K members to a norm of at most `most`; parameters are (K, ...)."""
    clipped = [parameter for parameter in parameters if parameter.grad is not None]
    factors = (most / (gradient_norms(clipped) + 1e-6)).clamp(max=1.0)  # (K,), as in torch's clip_grad_norm_
    for parameter in clipped:
        assert parameter.grad is not None
        parameter.grad.mul_(factors.view(-1, *[1] * (parameter.dim() - 1)))
