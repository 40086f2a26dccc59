"""The time of a training step on this machine, from a few steps on batches of the study's corpus."""

import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.batches import plan_batches
from data_modules.prepared import PreparedCorpus, Split
from experiments.common.device_rates import clock
from experiments.config.run_config import Precision, RunConfig
from experiments.config.study import Study
from lit_transformer import LitTransformer, build_transformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.errors import UserError
from lit_transformer.flops import Work, build_on_meta, training_flops
from lit_transformer.training.objective import forward_passes

STEPS = 20
"""Timed steps, or as many as fit into SECONDS, after WARM_UP steps that are not timed."""
SECONDS = 5.0
PATIENCE = 20.0
"""Most seconds of wall time, where other programs use the machine too."""
WARM_UP = 2
CPU_FLOPS = 2e11
"""Most operations of a timed step on a CPU; a larger batch is cut, and its time scaled by the operations."""
RANDOM_PAIRS = 20_000
RANDOM_LENGTH = (25.0, 0.5)
"""Median and spread (of the logarithm) of the random lengths of a corpus that is not prepared."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The training pairs that a plan is based on: the prepared corpus's, else random ones; `origin` says which."""

    source_lengths: NDArray[np.int64]
    target_lengths: NDArray[np.int64]
    vocab_size: int
    origin: str
    split: Split | None = None

    @cache  # noqa: B019 - a sample lives as long as the plan that is printed
    def batches(self, batch_tokens: int) -> list[NDArray[np.int64]]:
        """Return the batches of one epoch, pair indices each."""
        return plan_batches(self.source_lengths, self.target_lengths, batch_tokens, seed=0, epoch=0)

    def batch(self, pairs: NDArray[np.int64]) -> TranslationBatch:
        """Build a batch; random pairs have random ids."""
        if self.split is not None:
            return TranslationBatch.from_pairs([self.split[int(pair)] for pair in pairs])
        draw = np.random.default_rng(0).integers
        sides = (self.source_lengths, self.target_lengths)
        source, target = ([draw(4, self.vocab_size, side[pair] - 1) for pair in pairs] for side in sides)
        return TranslationBatch.from_pairs(list(zip(source, target, strict=True)))


def sample_of(study: Study) -> Sample:
    """Return the training pairs of the study's prepared corpus, or random ones where it is not prepared."""
    if (study.data_folder / "corpus.json").exists():
        corpus = PreparedCorpus.open(study.data_folder)
        split = corpus.split("train")
        origin = f"the prepared corpus, {len(split):,} pairs"
        return Sample(split.source_lengths, split.target_lengths, corpus.vocab_size, origin, split)
    config = study.data_config
    random = np.random.default_rng(0)
    source = random.lognormal(np.log(RANDOM_LENGTH[0]), RANDOM_LENGTH[1], RANDOM_PAIRS)
    sides = (source, source * random.lognormal(0.0, 0.2, RANDOM_PAIRS))
    lengths = [np.clip(np.round(side), 2, config.max_length).astype(np.int64) for side in sides]
    mean = np.mean(lengths)
    origin = f"random lengths, {mean:.0f} tokens on average, and {config.vocab_size:,} ids: the corpus is not prepared"
    return Sample(lengths[0], lengths[1], config.vocab_size, origin)


def step_flops(config: RunConfig, sample: Sample) -> float:
    """Return the operations of a step of training, on average over an epoch."""
    lengths = (torch.from_numpy(side) for side in (sample.source_lengths, sample.target_lengths))
    model = build_on_meta(config.model, sample.vocab_size)
    epoch = training_flops(model, Work.of_lengths(config.model, *lengths))
    batches = len(sample.batches(config.data.batch_tokens))
    return epoch * forward_passes(config.optim) * config.optim.accumulate / batches


def shape_of(config: RunConfig) -> Hashable:
    """Return the settings that the time of a step depends on: configs of the same shape are timed once.

    All dropout rates above 0 take the same time; the settings of the loss and of the optimiser take none.
    """
    model = replace(config.model, dropout=0.1 if config.model.dropout > 0 else 0.0)
    trainer, optim = config.trainer, config.optim
    settings = (trainer.accelerator, trainer.precision, trainer.matmul, optim.r_drop > 0, optim.accumulate)
    return model, config.data.batch_tokens, settings


@dataclass(frozen=True)
class StepTime:
    """The measured time of a step, by `device_rates.clock`, and what it was measured on.

    `steps` were timed. `tokens` is the budget of their batches, below data.batch_tokens where they were `cut`. `busy`
    is the processor time over wall time and threads: well below 1 where other programs used the processor.
    """

    seconds: float
    steps: int
    tokens: int
    cut: bool
    busy: float


def device_of(config: RunConfig) -> torch.device:
    """Return the device that a training would use here."""
    wants = config.trainer.accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants and torch.cuda.is_available() else "cpu")


def time_step(config: RunConfig, sample: Sample) -> StepTime:
    """Time training steps of one variant on this machine, with the threads in use.

    Raises UserError where a batch does not fit into the GPU's memory.
    """
    device = device_of(config)
    flops, tokens = step_flops(config, sample), config.data.batch_tokens
    if device.type == "cpu" and flops > CPU_FLOPS * config.optim.accumulate:
        longest = int(max(sample.source_lengths.max(), sample.target_lengths.max()))
        tokens = max(longest, int(tokens * CPU_FLOPS * config.optim.accumulate / flops))
    try:
        seconds_per_flop, update, steps, busy = _time(config, sample, tokens, device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of data.batch_tokens = {tokens} does not fit into this GPU's memory; lower it and raise "
            "optim.accumulate as many times, or measure nothing with --no-probe"
        ) from None
    return StepTime(seconds_per_flop * flops + update, steps, tokens, tokens < config.data.batch_tokens, busy)


class Steps:
    """Training steps without a Trainer, on batches of a sample, with the training's optimiser and clipping."""

    def __init__(self, config: RunConfig, sample: Sample, tokens: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.sample, self.device = sample, device
        self.module = LitTransformer(build_transformer(config.model, sample.vocab_size), config.optim).to(device)
        self.adam = cast(dict[str, Any], self.module.configure_optimizers())["optimizer"]
        self.batches = sample.batches(tokens)
        self.bfloat16 = config.trainer.precision is Precision.bfloat16

    def batch(self, number: int) -> TranslationBatch:
        """Return a batch on the device, always the same for a number."""
        return self.sample.batch(self.batches[number % len(self.batches)]).to(self.device)

    def forward_backward(self, batch: TranslationBatch) -> None:
        """Compute the loss and its gradient."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            nats, auxiliary = self.module.objective(self.module.network, batch)
        sum(auxiliary.values(), nats / batch.target_tokens).backward()

    def update(self) -> None:
        """Clip the gradient and update the weights."""
        self.module.on_before_optimizer_step(self.adam)
        self.adam.step()
        self.adam.zero_grad()


def _time(config: RunConfig, sample: Sample, tokens: int, device: torch.device) -> tuple[float, float, int, float]:
    """Return seconds of forward and backward per operation, seconds of an update, timed steps, and `busy`."""
    steps = Steps(config, sample, tokens, device)
    cut = replace(config, data=replace(config.data, batch_tokens=tokens))
    operations = step_flops(cut, sample) / config.optim.accumulate
    times: list[tuple[float, float]] = []  # of forward and backward, and of the update
    wall_start = processor_start = 0.0
    now = clock(device)
    for number in range(WARM_UP + STEPS):
        if number == WARM_UP:
            wall_start, processor_start = time.perf_counter(), time.process_time()
        batch = steps.batch(number)
        start = now()
        steps.forward_backward(batch)
        middle = now()
        steps.update()
        times.append((middle - start, now() - middle))
        spent = sum(sum(pair) for pair in times[WARM_UP:])
        if number > WARM_UP and (spent > SECONDS or time.perf_counter() - wall_start > PATIENCE):
            break
    wall, processor = time.perf_counter() - wall_start, time.process_time() - processor_start
    passes, update = np.median(times[WARM_UP:], axis=0)
    threads = 1 if device.type == "cuda" else torch.get_num_threads()
    return float(passes) / operations, float(update), len(times) - WARM_UP, min(1.0, processor / (wall * threads))
