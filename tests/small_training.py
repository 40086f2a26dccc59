"""Small training runs for tests: batches without end, a bare Lightning trainer, and what a run leaves behind."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from experiments.training.stopping import CheckpointWriter
from lit_transformer import LitTransformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import ModelConfig, OptimConfig, Schedule
from tests.small_models import BASE, PAIRS, batch_of, build

OPTIM = OptimConfig(steps=12, schedule=Schedule.linear, peak=3e-3, warmup=4)
DROPPING = replace(
    BASE,
    dropout=0.2,
    attention=replace(BASE.attention, dropout=0.1),
    feed_forward=replace(BASE.feed_forward, dropout=0.1),
)
BATCHES = [batch_of(PAIRS[:2]), batch_of(PAIRS[2:]), batch_of(PAIRS[1:]), batch_of(PAIRS[:1])]


class Endless(IterableDataset[TranslationBatch]):
    """The batches over and over, from batch number `position` on."""

    def __init__(self, batches: list[TranslationBatch], position: int = 0) -> None:
        self.batches, self.position = batches, position

    def __iter__(self) -> Iterator[TranslationBatch]:
        while True:
            yield self.batches[self.position % len(self.batches)]
            self.position += 1


def endless(batches: list[TranslationBatch], position: int = 0) -> DataLoader[TranslationBatch]:
    return DataLoader(Endless(batches, position), batch_size=None, collate_fn=lambda batch: batch)


def loader(batches: list[TranslationBatch]) -> Any:
    """Return the batches once, as for a validation."""
    return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


def trainer(steps: int, accelerator: str = "cpu", **settings: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator=accelerator,
        max_steps=steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def module(
    config: ModelConfig = DROPPING, optim: OptimConfig = OPTIM, seed: int = 0, accumulate: int = 1
) -> LitTransformer:
    torch.manual_seed(7)
    return LitTransformer(build(config), replace(optim, accumulate=accumulate), seed)


def weights(lit: LitTransformer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in lit.network.state_dict().items()}


class Losses(pl.Callback):
    """Keeps the loss of every training step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


class Rates(pl.Callback):
    """Keeps the learning rate of every optimiser step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.values.append(optimizer.param_groups[0]["lr"])


class Saver(pl.Callback):
    """Saves a checkpoint after `step` optimiser steps, from the hook of the given name."""

    def __init__(self, path: Path, hook: str, step: int) -> None:
        self.path, self.step = path, step
        setattr(self, hook, self.save)

    def save(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking and not self.path.exists():
            trainer.save_checkpoint(self.path)


class SignalAt(pl.Callback):
    """Tells a checkpoint to stop during the given batch, as a signal would."""

    def __init__(self, checkpoint: CheckpointWriter, batch: int) -> None:
        self.checkpoint, self.batch = checkpoint, batch

    def on_train_batch_start(self, trainer: pl.Trainer, lit: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            self.checkpoint.stop_signal = 15
