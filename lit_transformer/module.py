"""LitTransformer: the LightningModule around a built network."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler

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
    Logs `valid/loss` (plain nats a token) and `valid/ppl`, the same on every rank; a training step returns its terms.
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

    def training_step(self, batch: TranslationBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss to be lowered, and its terms by name: `loss`, the objective's, and what parts add to it.

        A step's gradient is that of the objective's nats over the target tokens of all its batches on all ranks, so
        that every token weighs the same. Lightning takes the mean over the batches, DDP over the ranks: the factor
        makes their sum of it. What parts add is of each batch by itself, and the mean of these.
        """
        nats, auxiliary = self.objective(self.network, batch)
        shares = self.trainer.world_size * self.trainer.accumulate_grad_batches
        terms = {"loss": nats * (shares / batch.target_tokens), **auxiliary}
        loss = sum(auxiliary.values(), terms["loss"])
        return {"loss": loss, "terms": {name: term.detach() for name, term in terms.items()}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip here: Lightning's own clipping refuses a fused optimiser under bfloat16, though nothing is scaled."""
        if self.optim.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.optim.clip_norm)

    def on_validation_start(self) -> None:
        """Give every rank the running statistics of the first, which are those that a checkpoint keeps."""
        if self.trainer.world_size > 1:
            learnt = dict(self.network.named_parameters(remove_duplicate=False))
            for name, value in self.network.state_dict().items():
                if name not in learnt:
                    torch.distributed.broadcast(value, 0)

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
        self.log("valid/loss", mean)
        self.log("valid/ppl", math.exp(min(mean, 700.0)))
