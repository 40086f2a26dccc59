"""LitTransformer: the LightningModule around a built network."""

import hashlib
import math
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Self, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, GradientAccumulationScheduler
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.optim.lr_scheduler import LambdaLR

from lit_transformer.batch import TranslationBatch, to_device
from lit_transformer.config import DecodeConfig, ModelConfig, OptimConfig, Schedule
from lit_transformer.config.plain import from_plain, to_plain
from lit_transformer.errors import UserError
from lit_transformer.training.losses import cross_entropy, perplexity
from lit_transformer.training.objective import Hidden, build_objective
from lit_transformer.training.optimiser import build_adam
from lit_transformer.training.randomness import step_seed
from lit_transformer.training.schedule import LearningRate, with_highest_rate
from lit_transformer.transformer import Transformer, build_transformer

if TYPE_CHECKING:
    from lit_transformer.decoding import Hypothesis

Plain = Mapping[str, Any]
"""A config or a network as a checkpoint holds it: nested dicts of numbers, names, booleans and None."""


class LitTransformer(pl.LightningModule):
    """Trains, validates and tests a `Transformer`, with Adam and the configured schedule and objective; and translates.

    The randomness of a step is a function of (seed, step, rank): the generators are seeded before each, so that a run
    resumes from a checkpoint as if never interrupted, and variants with one seed draw the same numbers. A training step
    logs `train/loss` (the objective, nats per token of this rank's batch) and what modules add to the loss, such as
    `train/balance`, and returns its loss terms; a validation logs `valid/loss` (unsmoothed, nats per token) and
    `valid/ppl`, the same on every rank; a test likewise for each split.

    `hidden` computes the decoder's output in training, validation and test; `CompiledHidden` does so compiled. `decode`
    is for `predict_step`. `load_from_checkpoint` builds the network again and passes `network`, `optim` and `decode` as
    plain values.
    """

    def __init__(
        self,
        network: Transformer | Plain,
        optim: OptimConfig | Plain,
        seed: int = 0,
        hidden: Hidden = Transformer.hidden,
        decode: DecodeConfig | Plain = DecodeConfig(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.network = network if isinstance(network, Transformer) else _build(network)
        self.optim = optim if isinstance(optim, OptimConfig) else from_plain(OptimConfig, optim, "optim")
        self.decode = decode if isinstance(decode, DecodeConfig) else from_plain(DecodeConfig, decode, "decode")
        self.seed = seed
        self.hidden = hidden
        vocab_size = self.network.output_embedding.num_embeddings
        self.schedule = LearningRate(self.optim, self.network.config.d_model)
        self.objective = build_objective(self.optim, vocab_size, hidden)
        self.sums: list[list[Any]] = []  # nats and tokens per loader of an evaluation
        hyperparameters = {
            "network": _describe(self.network),
            "optim": to_plain(self.optim),
            "seed": seed,
            "decode": to_plain(self.decode),
        }
        self.save_hyperparameters(hyperparameters)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **named: Any) -> Self:
        """Load what a Trainer saved, without pickles; arguments are Lightning's.

        A network with modules of one's own, which `build_transformer` does not build, is given as `network`. Raises
        UserError where the file is not a checkpoint of a LitTransformer, or not of this network.
        """
        named.setdefault("weights_only", True)
        try:
            return super().load_from_checkpoint(checkpoint_path, *args, **named)
        except UserError as error:
            raise UserError(f"{checkpoint_path}: {error}") from None
        except (OSError, EOFError, LookupError, TypeError, ValueError, RuntimeError, UnpicklingError) as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            raise UserError(f"{checkpoint_path} is not a checkpoint of this LitTransformer ({reason})") from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise UserError where the checkpoint is of a network with other modules, though its weights might fit."""
        saved = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {}).get("network")
        if isinstance(saved, Mapping) and saved["modules"] != self.hparams["network"]["modules"]:
            raise UserError(
                "the checkpoint is of a network with other modules; build that network, "
                "and give it to load_from_checkpoint(path, network=...) or to LitTransformer before `fit`"
            )

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """Return the logits of the token after each of tgt_in: (B, S), (B, T) int64 -> (B, T, V)."""
        logits: Tensor = self.network(src, tgt_in)
        return logits

    @property
    def learning_rate(self) -> float:
        """The highest rate of the schedule; setting it scales the schedule, as Lightning's LR finder does."""
        return self.schedule.highest

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.optim = with_highest_rate(self.optim, self.network.config.d_model, rate)
        self.schedule = LearningRate(self.optim, self.network.config.d_model)
        self.hparams["optim"] = to_plain(self.optim)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam (section 5.3), its learning rate set by the schedule at every step."""
        adam = build_adam(self.parameters(), self.optim)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": LambdaLR(adam, self.next_rate), "interval": "step"}}

    def next_rate(self, steps: int) -> float:
        """Return the learning rate of the step after the first `steps`."""
        return self.schedule.after(steps)  # of the schedule by now: an LR finder replaces it

    def configure_model(self) -> None:
        """Shard the weights, gradients and Adam's state over the devices of a ModelParallelStrategy (FSDP2).

        The whole module is one group, gathered for a training step: the decoder projects the encoder's output for all
        of its layers before it runs the first.
        """
        if self.device_mesh is not None and not isinstance(self, FSDPModule):
            fully_shard(self, mesh=self.device_mesh["data_parallel"])
            register_fsdp_forward_method(cast(Any, self), "training_step")

    def configure_callbacks(self) -> list[Callback]:
        """Return what a sharded module needs around an evaluation."""
        return [_Gather()] if isinstance(self.trainer.strategy, ModelParallelStrategy) else []

    def setup(self, stage: str) -> None:
        """Raise UserError for settings of the Trainer with which a step would not be that of `optim`."""
        strategy = self.trainer.strategy
        sizes = "ModelParallelStrategy(data_parallel_size=DEVICES, tensor_parallel_size=1)"
        if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy):
            raise UserError(
                f"{type(strategy).__name__} is not supported: nothing tests it; use strategy='ddp', or, to shard the "
                f"model, {sizes}"
            )
        if isinstance(strategy, ModelParallelStrategy) and strategy.device_mesh["tensor_parallel"].size() > 1:
            raise UserError(f"tensor parallelism is not supported; use {sizes}")
        if stage != "fit":
            return
        configured, expected = self.trainer.accumulate_grad_batches, self.optim.accumulate
        if configured != expected:
            raise UserError(
                f"Trainer(accumulate_grad_batches={configured}) and OptimConfig(accumulate={expected}) differ; "
                "make them the same"
            )
        if any(isinstance(callback, GradientAccumulationScheduler) for callback in cast(Any, self.trainer).callbacks):
            raise UserError("GradientAccumulationScheduler is not supported; optim.accumulate holds for all steps")

    def on_train_start(self) -> None:
        """Begin with the schedule's rate, whatever `LearningRateFinder` has left in the optimiser.

        Raises UserError where the Trainer takes more steps than the schedule has.
        """
        steps = self.trainer.estimated_stepping_batches
        if self.optim.schedule in (Schedule.linear, Schedule.cosine) and steps > self.optim.steps:
            raise UserError(
                f"the Trainer takes {steps} steps, and the schedule `{self.optim.schedule}` ends after "
                f"OptimConfig(steps={self.optim.steps}); raise steps, or lower max_epochs or max_steps"
            )
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                for group in config.scheduler.optimizer.param_groups:
                    group["lr"] = self.next_rate(self.trainer.global_step)

    def transfer_batch_to_device(
        self, batch: TranslationBatch, device: torch.device, dataloader_idx: int
    ) -> TranslationBatch:
        return to_device(batch, device)

    def on_train_batch_start(self, batch: TranslationBatch, batch_idx: int) -> None:
        """Seed the batch's dropout by its number from the start of training."""
        per_epoch = self.trainer.num_training_batches
        number = batch_idx if per_epoch == math.inf else self.current_epoch * int(per_epoch) + batch_idx
        torch.manual_seed(step_seed(self.seed, number, self.global_rank))

    def training_step(self, batch: TranslationBatch, batch_idx: int) -> dict[str, Any]:
        """Return the loss, and its terms by name: `loss`, the objective's, and the auxiliary losses.

        A step's gradient is that of the objective divided by the target tokens of all its batches on all ranks, so that
        every token has the same weight. Lightning averages over the batches and DDP over the ranks; the factor turns
        these means into sums. Auxiliary losses are computed per batch and averaged.
        """
        nats, auxiliary = self.objective(self.network, batch)
        batches = self._step_batches(batch)
        terms = {"loss": nats * (batches / batch.target_tokens), **auxiliary}
        loss = sum(auxiliary.values(), terms["loss"])
        self.log("train/loss", nats.detach() / len(batch.tgt_out))  # stays on the device until a logger reads it
        for name, term in auxiliary.items():
            self.log(f"train/{name}", term.detach())
        return {"loss": loss, "terms": {name: term.detach() for name, term in terms.items()}}

    def _step_batches(self, batch: TranslationBatch) -> int:
        """Return the batches of an optimiser step over all ranks; raise UserError where the batch counts others."""
        batches = self.trainer.world_size * self.optim.accumulate
        if batch.step_batches not in (None, batches):
            raise UserError(
                f"the training batches are made for steps of {batch.step_batches} batches over all devices, and the "
                f"Trainer takes {batches}; give `fit` the data module itself, datamodule=..., not its loader"
            )
        return batches

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
        self.sums = []

    def validation_step(self, batch: TranslationBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._add(batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Log nats per token and perplexity over all tokens of all ranks."""
        self._log_losses(["valid"])

    def on_test_epoch_start(self) -> None:
        self.sums = []

    def test_step(self, batch: TranslationBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._add(batch, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log `<split>/loss` and `<split>/ppl` of every test split, under the data module's names if it has any."""
        self._log_losses(getattr(cast(Any, self.trainer).datamodule, "test_splits", ["test"]))

    def predict_step(self, batch: TranslationBatch, batch_idx: int, dataloader_idx: int = 0) -> "dict[int, Hypothesis]":
        """Translate by the search of `decode`; return each sentence's best hypothesis by its index in the split."""
        from lit_transformer.inference import translate_batch  # imported here: a training never decodes

        best = translate_batch([self.network], batch, self.decode)
        return {pair: hypotheses[0] for pair, hypotheses in zip(batch.pairs.tolist(), best, strict=True)}

    def _add(self, batch: TranslationBatch, loader: int) -> None:
        """Add the batch's unsmoothed nats and tokens to the sums of its loader."""
        while len(self.sums) <= loader:
            self.sums.append([torch.zeros((), dtype=torch.float64, device=self.device), 0])
        hidden = self.hidden(self.network, batch)
        nats = cross_entropy(hidden, self.network.output_embedding.weight, batch.tgt_out)
        self.sums[loader][0] += nats  # stays on the device, so that no batch waits for the one before
        self.sums[loader][1] += len(batch.tgt_out)

    def _log_losses(self, names: list[str]) -> None:
        """Log the loss and the perplexity of each loader; loaders beyond the names have their number appended."""
        sums = torch.tensor(self.sums, dtype=torch.float64, device=self.device)  # (loaders, 2)
        for loader, (nats, tokens) in enumerate(self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()):
            name = names[loader] if loader < len(names) else f"{names[0]}{loader}"
            self.log(f"{name}/loss", nats / tokens)
            self.log(f"{name}/ppl", perplexity(nats / tokens))


class _Gather(Callback):
    """Gathers the weights of a sharded module for an evaluation.

    The devices have different numbers of batches and of decoding steps there, and every gathering waits for all.
    """

    def gather(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with torch.inference_mode(False), torch.no_grad():  # the next training step uses the same tensors
            cast(FSDPModule, pl_module).unshard()

    def release(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        cast(FSDPModule, pl_module).reshard()

    on_validation_epoch_start = on_test_epoch_start = on_predict_epoch_start = gather
    on_validation_epoch_end = on_test_epoch_end = on_predict_epoch_end = release


def _describe(network: Transformer) -> dict[str, Any]:
    """Return what a network is built from, and a hash of its modules, as plain values."""
    return {
        "config": to_plain(network.config),
        "vocab_size": network.output_embedding.num_embeddings,
        "modules": _modules(network),
    }


def _modules(network: Transformer) -> str:
    """Return 12 hex digits of the names and classes of all modules."""
    names = "\n".join(f"{name} {type(module).__name__}" for name, module in network.named_modules())
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _build(plain: Plain) -> Transformer:
    """Build the network that `_describe` described, with new weights."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers do not depend on the initial values
        return build_transformer(from_plain(ModelConfig, plain["config"], "model"), plain["vocab_size"])
