"""LitTransformer: the LightningModule around a built network."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler

from lit_transformer.batch import TranslationBatch
from lit_transformer.config import OptimConfig
from lit_transformer.training.losses import cross_entropy
from lit_transformer.training.objective import Hidden, build_objective
from lit_transformer.training.schedule import LearningRate
from lit_transformer.transformer import Transformer


class LitTransformer(pl.LightningModule):
    """Trains and validates a `Transformer` with Adam and the configured schedule and objective.

    The randomness of a step is a function of (seed, step, rank): the generators are seeded before each, so that a run
    resumes from a checkpoint as if never interrupted, and variants with one seed draw the same numbers. Logs
    `valid/loss` (unsmoothed, nats per token) and `valid/ppl`, the same on every rank; a training step returns its loss
    terms. `hidden` computes the decoder's output in training and validation; `CompiledHidden` does so compiled.
    """

    def __init__(
        self, network: Transformer, optim: OptimConfig, seed: int = 0, hidden: Hidden = Transformer.hidden
    ) -> None:
        super().__init__()
        self.network = network
        self.optim = optim
        self.seed = seed
        self.hidden = hidden
        self.schedule = LearningRate(optim, network.config.d_model)
        self.objective = build_objective(optim, network.output_embedding.num_embeddings, hidden)
        self.valid_nats = torch.zeros((), dtype=torch.float64)
        self.valid_tokens = 0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam (section 5.3), its learning rate set by the schedule at every step."""
        adam = torch.optim.Adam(
            self.parameters(),
            lr=1.0,
            betas=(self.optim.beta1, self.optim.beta2),
            eps=self.optim.eps,
            fused=True,
        )
        rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda steps: self.schedule(steps + 1))
        return {"optimizer": adam, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def transfer_batch_to_device(
        self, batch: TranslationBatch, device: torch.device, dataloader_idx: int
    ) -> TranslationBatch:
        """Copy a batch to a GPU from pinned memory: from other memory every copy waits for the steps before it."""
        return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch.to(device)

    def on_train_batch_start(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Seed the step's dropout."""
        torch.manual_seed(self.seed * 1_000_003 + batch_idx * 1009 + self.global_rank)

    def training_step(self, batch: TranslationBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss, and its terms by name: `loss`, the objective's, and the auxiliary losses.

        A step's gradient is that of the objective divided by the target tokens of all its batches on all ranks, so that
        every token has the same weight. Lightning averages over the batches and DDP over the ranks; the factor turns
        these means into sums. Auxiliary losses are computed per batch and averaged.
        """
        nats, auxiliary = self.objective(self.network, batch)
        batches = self.trainer.world_size * self.trainer.accumulate_grad_batches
        terms = {"loss": nats * (batches / batch.target_tokens), **auxiliary}
        loss = sum(auxiliary.values(), terms["loss"])
        return {"loss": loss, "terms": {name: term.detach() for name, term in terms.items()}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip gradients here: Lightning refuses to with a fused optimiser under bfloat16, though nothing is scaled."""
        if self.optim.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.optim.clip_norm)

    def on_validation_start(self) -> None:
        """Broadcast the running statistics of rank 0, those that a checkpoint saves."""
        if self.trainer.world_size > 1:
            parameters = dict(self.network.named_parameters(remove_duplicate=False))
            for name, value in self.network.state_dict().items():
                if name not in parameters:
                    torch.distributed.broadcast(value, 0)

    def on_validation_epoch_start(self) -> None:
        self.valid_nats, self.valid_tokens = torch.zeros((), dtype=torch.float64, device=self.device), 0

    def validation_step(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Add the batch's unsmoothed nats and tokens to the running sums."""
        hidden = self.hidden(self.network, batch)
        self.valid_nats += cross_entropy(hidden, self.network.output_embedding.weight, batch.tgt_out)
        self.valid_tokens += len(batch.tgt_out)

    def on_validation_epoch_end(self) -> None:
        """Log nats per token and perplexity over all tokens of all ranks."""
        sums = torch.stack([self.valid_nats, self.valid_nats.new_tensor(self.valid_tokens)])
        nats, tokens = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        mean = nats / tokens
        self.log("valid/loss", mean)
        self.log("valid/ppl", math.exp(min(mean, 700.0)))
