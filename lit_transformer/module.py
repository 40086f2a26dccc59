"""LitTransformer: the LightningModule around a built network."""

import math

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.config import OptimConfig
from lit_transformer.training.losses import plain_nats
from lit_transformer.training.objective import build_objective
from lit_transformer.training.schedules import build_schedule
from lit_transformer.transformer import Transformer


class LitTransformer(pl.LightningModule):
    """Trains and validates a `Transformer` with Adam, by the configured schedule and objective.

    Randomness of a step is a function of (seed, step, rank) alone: the generators are seeded before each one, so a
    run continues from a checkpoint as if it had never stopped, and variants of one seed meet the same streams.
    Logs `train/loss` (nats a token of the objective), `train/balance` (what a mixture of experts adds to it),
    `valid/loss` (plain nats a token), `valid/ppl` and `lr`.
    """

    def __init__(self, network: Transformer, optim: OptimConfig, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        self.optim = optim
        self.seed = seed
        self.schedule = build_schedule(optim, network.config.d_model)
        self.objective = build_objective(optim, network.softmax.num_embeddings)
        self.valid_nats = 0.0
        self.valid_tokens = 0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam as in section 5.3; the schedule is asked for the rate of every step."""
        adam = torch.optim.Adam(
            self.parameters(),
            lr=1.0,
            betas=(self.optim.beta1, self.optim.beta2),
            eps=self.optim.eps,
            fused=True,
        )
        rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda done: self.schedule(done + 1))
        return {"optimizer": adam, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_train_batch_start(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Seed the step's dropout."""
        torch.manual_seed(self.seed * 1_000_003 + batch_idx * 1009 + self.global_rank)

    def training_step(self, batch: TranslationBatch, batch_idx: int) -> Tensor:
        """Return the nats a target token of the global batch, so that every token weighs the same, and the rest.

        Under DDP gradients are averaged over ranks; the factor makes their sum the gradient of the global mean.
        """
        nats, auxiliary = self.objective(self.network, batch)
        loss = nats * (self.trainer.world_size / batch.target_tokens)
        for name, term in {"loss": loss, **auxiliary}.items():
            self.log(f"train/{name}", term.detach(), sync_dist=self.trainer.world_size > 1)
        return sum(auxiliary.values(), loss)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip here: Lightning's own clipping refuses a fused optimiser under bfloat16, though nothing is scaled."""
        if self.optim.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.optim.clip_norm)

    def on_validation_epoch_start(self) -> None:
        self.valid_nats, self.valid_tokens = 0.0, 0

    def validation_step(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Add the batch's unsmoothed nats and tokens to the running sums."""
        hidden = self.network.hidden(batch)
        self.valid_nats += float(plain_nats(hidden, self.network.softmax.weight, batch.tgt_out))
        self.valid_tokens += len(batch.tgt_out)

    def on_validation_epoch_end(self) -> None:
        """Log nats a token and perplexity: summed over all tokens of all ranks, divided once."""
        sums = torch.tensor([self.valid_nats, self.valid_tokens], dtype=torch.float64, device=self.device)
        nats, tokens = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        mean = nats / tokens
        self.log("valid/loss", mean, rank_zero_only=True)
        self.log("valid/ppl", math.exp(min(mean, 700.0)), rank_zero_only=True)
