"""One training of several cells of a variant: their seeds as the members of one fused network.

Each member leaves in its cell's folders what a training of its own would have left there, but for rounding and the
resume checkpoint: there is one, of all members, in `config.cell.fused_folder`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch.utils.data import IterableDataset

from data_modules.batches import PackedBatches, TokenBatchSampler, batch_loader
from data_modules.corpora.text import TRAIN
from experiments.common.io import only_writer
from experiments.config.cell import Cell, fused_folder
from experiments.config.run_config import RunConfig, short_hash
from experiments.training.callbacks import FinalValidation
from experiments.training.checkpoints import newest
from experiments.training.distributed import Processes
from experiments.training.outputs import only_writer_of, write_outputs
from experiments.training.record import summary
from experiments.training.run import (
    Options,
    Run,
    Training,
    begin,
    build,
    build_trainer,
    finish,
    logged,
    resume_point,
    set_up,
    write_record,
)
from experiments.training.stopping import CheckpointWriter
from lit_transformer.batch import FusedBatch, TranslationBatch
from lit_transformer.config import require
from lit_transformer.fused_module import LitFusedTransformer, gradient_norms
from lit_transformer.fusion import FusedTransformer, require_fusable
from lit_transformer.training.losses import perplexity


def train_fused(cells: Sequence[Cell], options: Options) -> None:
    """Bring cells of one variant to their last step together, and write the outputs of each.

    Those that are trained already are left out. Raises UserError for what the user can mend.
    """
    configs = [cell.config for cell in cells]
    for config in configs:
        require_possible(config, configs[0])
    processes, folder = Processes.of(configs[0].trainer), fused_folder(cells)
    with ExitStack() as locks:
        locks.enter_context(only_writer(folder))
        for cell in cells:
            only_writer_of(cell, locks)
        runs = [set_up(cell, options, processes) for cell in cells]
        to_train = [run for run in runs if not resume_point(run).complete]
        if to_train:
            _fit(to_train, CheckpointWriter(folder, configs[0].trainer.checkpoint_every, _identity(to_train)))
        for run in runs:
            write_outputs(run.cell)


def require_possible(config: RunConfig, first: RunConfig) -> None:
    """Raise UserError unless a cell can be a member beside the first one."""
    fix = "train the seeds one by one"
    require_fusable(config.model)
    require(config.model == first.model and config.data == first.data, f"model and data differ between seeds: {fix}")
    require(not config.trainer.compile, f"trainer.compile is true, and a fused training is not compiled: {fix}")
    require(
        config.trainer.devices * config.trainer.num_nodes == 1,
        f"trainer.devices x trainer.num_nodes is {config.trainer.devices} x {config.trainer.num_nodes}, and a fused "
        f"training has one device: {fix}",
    )
    require(
        config.optim.averaging.minutes == 0,
        f"optim.averaging.minutes is {config.optim.averaging.minutes:g}, and a fused training has another pace than "
        f"that of a single one: set optim.averaging.every, or {fix}",
    )


def _identity(runs: Sequence[Run]) -> str:
    return short_hash([run.run_hash for run in runs])


def _fit(runs: Sequence[Run], writer: CheckpointWriter) -> None:
    """Train to the end, and leave the record and the model of each member in its run folder."""
    checkpoint = newest(writer.path.parent, writer.run_hash)
    for run in runs:
        begin(run)
    if checkpoint:
        print(f"resuming from {checkpoint.path}, step {checkpoint.step} of {runs[0].config.optim.steps}", flush=True)
    trainings = [build(run) for run in runs]
    network = FusedTransformer([training.module.network for training in trainings])
    module = LitFusedTransformer(network, [run.config.optim for run in runs], [run.config.seed for run in runs])
    members = Members([Member(*each) for each in zip(runs, trainings, strict=True)])
    trainer = build_trainer(runs[0], [members, FinalValidation(), writer])
    trainer.fit(
        module,
        train_dataloaders=_training_batches(network, runs, checkpoint.step if checkpoint else 0),
        val_dataloaders=_validation_batches(network, trainings),
        ckpt_path=checkpoint.path if checkpoint else None,
        weights_only=True,
    )
    records = [member.finish(len(runs)) for member in members.members]
    for run, record in zip(runs, records, strict=True):
        write_record(run, record)
        print(summary(record), flush=True)
    for training in trainings:
        if training.averager:
            training.averager.leave()


class FusedBatches(IterableDataset[FusedBatch]):
    """Batches of one stream per member, or of one stream for all, fused on demand."""

    def __init__(self, network: FusedTransformer, streams: Sequence[Iterable[TranslationBatch]]) -> None:
        self.network, self.streams = network, streams

    def __iter__(self) -> Iterator[FusedBatch]:
        for batches in zip(*self.streams, strict=False):
            yield self.network.batch(batches * (self.network.size // len(batches)))


def _training_batches(network: FusedTransformer, runs: Sequence[Run], steps: int) -> Any:
    """Return a loader of the training batches after the first optimiser steps."""
    streams = []
    for run in runs:
        split, config = run.corpus.split(TRAIN), run.config
        lengths = split.source_lengths, split.target_lengths
        accumulate = config.optim.accumulate
        sampler = TokenBatchSampler(
            *lengths, config.data.batch_tokens, config.seed, position=steps * accumulate, accumulate=accumulate
        )
        streams.append(PackedBatches(split, sampler))
    return batch_loader(FusedBatches(network, streams))  # type: ignore[arg-type]


def _validation_batches(network: FusedTransformer, trainings: Sequence[Training]) -> Any:
    return batch_loader(FusedBatches(network, [trainings[0].data.val_dataloader()]))  # type: ignore[arg-type]


class MemberTrainer:
    """The Trainer of a fused training as one member's callbacks see it: with its own metrics, and its own end.

    A member that should stop, having diverged, does so alone: its last step is then `stopped_at`.
    """

    def __init__(self, lightning_module: pl.LightningModule) -> None:
        self.lightning_module = lightning_module
        self.callback_metrics: dict[str, float] = {}
        self.should_stop = False
        self.stopped_at: int | None = None
        self.fused: pl.Trainer | None = None

    @property
    def global_step(self) -> int:
        assert self.fused
        return self.fused.global_step if self.stopped_at is None else self.stopped_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fused, name)


class Member:
    """A member's run, its network, which shares the memory of the fused one, and the callbacks of its own."""

    def __init__(self, run: Run, training: Training) -> None:
        self.run = run
        self.module = training.module
        self.trainer = cast(Any, MemberTrainer(training.module))
        self.training = training
        self.callbacks = training.callbacks

    def share_memory(self, network: FusedTransformer, number: int) -> None:
        """Let its own network be a view of its part of the fused one."""
        self.module.to(network.output_weights.device)
        state = network.state_of(number)
        for name, parameter in self.module.network.named_parameters():
            parameter.data = state[name]

    def state_dict(self) -> dict[str, Any]:
        states = {type(callback).__name__: callback.state_dict() for callback in self.callbacks}
        return {"stopped_at": self.trainer.stopped_at, "callbacks": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trainer.stopped_at = state["stopped_at"]
        for callback in self.callbacks:
            callback.load_state_dict(state["callbacks"][type(callback).__name__])

    def call(self, hook: str, *arguments: Any) -> None:
        """Call a hook of each of its callbacks, in their order."""
        for callback in self.callbacks:
            getattr(callback, hook)(self.trainer, self.module, *arguments)

    def validated(self, loss: float) -> None:
        """Let its callbacks have the validation loss, in nats per token; one that should stop then stops."""
        self.trainer.callback_metrics = {"valid/loss": loss, "valid/ppl": perplexity(loss)}
        self.call("on_validation_end")
        if self.trainer.should_stop:
            self.trainer.stopped_at = self.trainer.global_step

    def finish(self, members: int) -> dict[str, Any]:
        """Write its model, log its history, and return its record, which says how many trained together."""
        record = {**finish(self.run, self.training, self.trainer), "fused": members}
        history = self.training.history
        with logged(self.run, history):
            history.on_fit_start(self.trainer, self.module)  # logs every row
        return record


class Members(pl.Callback):
    """Passes what happens in a fused training to the callbacks of each member. Place it before `CheckpointWriter`."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        for member in members:
            member.training.curve.share = 1 / len(members)

    @property
    def training(self) -> list[tuple[int, Member]]:
        """Those that have not diverged, and their numbers."""
        return [(k, member) for k, member in enumerate(self.members) if member.trainer.stopped_at is None]

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for member, state in zip(self.members, state_dict["members"], strict=True):
            member.load_state_dict(state)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for member in self.members:
            member.trainer.fused = trainer
            member.call("setup", stage)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number, member in enumerate(self.members):
            member.share_memory(cast(LitFusedTransformer, pl_module).network, number)
            member.call("on_fit_start")
        self._stop_if_all_have(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for _, member in self.training:
            member.call("on_train_start")
        self._restart_clocks()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        norms = gradient_norms(cast(LitFusedTransformer, pl_module).network.parameters()).double()
        for number, member in self.training:
            member.training.probe.add_norm(norms[number])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass each member its terms of the loss, and its batch."""
        for number, member in self.training:
            terms = {name: values[number] for name, values in outputs["terms"].items()}
            member.call("on_train_batch_end", {"terms": terms}, batch.members[number], batch_idx)
            if member.trainer.should_stop:  # a training of its own would now be validated, and end
                member.call("on_validation_start")
                member.validated(math.nan)
        self._stop_if_all_have(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for _, member in self.training:
            member.call("on_validation_start")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass each member its validation loss, and print a line for all."""
        losses = cast(LitFusedTransformer, pl_module).valid_losses
        for number, member in self.training:
            member.validated(losses[number])
        self._restart_clocks()
        perplexities = [member.training.curve.rows[-1]["valid_ppl"] for _, member in self.training]
        span = f"valid ppl {min(perplexities):.3f} to {max(perplexities):.3f}" if perplexities else "all have diverged"
        print(f"step {trainer.global_step:>6}/{trainer.max_steps}  {len(perplexities)} seeds  {span}", flush=True)
        self._stop_if_all_have(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for _, member in self.training:
            member.call("on_save_checkpoint", checkpoint)

    def _restart_clocks(self) -> None:
        """Let no member count as training what the others did after it, such as measuring their probes."""
        for _, member in self.training:
            member.training.curve.restart()

    def _stop_if_all_have(self, trainer: pl.Trainer) -> None:
        trainer.should_stop = trainer.should_stop or not self.training
