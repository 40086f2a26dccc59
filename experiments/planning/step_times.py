"""What a step of training costs on this machine: a few steps on the batches that training would meet."""

import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from experiments.common.device_rates import clock
from experiments.common.stand_ins import import_lightning
from experiments.config.run_config import Precision, RunConfig
from experiments.config.study import Study
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import torch

    from data_modules.prepared import Split
    from lit_transformer.batch import TranslationBatch

STEPS = 20
"""Timed steps of a probe, or as many as fit into SECONDS, after WARM_UP steps that are not timed."""
SECONDS = 5.0
PATIENCE = 20.0
"""Seconds that may pass meanwhile, where others use the machine too."""
WARM_UP = 2
CPU_FLOPS = 2e11
"""Most operations of a probed step on a CPU; a batch of more is cut, and its time scaled by the operations."""
RANDOM_PAIRS = 20_000
RANDOM_LENGTH = (25.0, 0.5)
"""Median and spread (of the logarithm) of the random lengths of a corpus that is not prepared."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The training pairs that a plan reckons with: the prepared corpus's, else random ones; `origin` says which."""

    source_lengths: NDArray[np.int64]
    target_lengths: NDArray[np.int64]
    vocab_size: int
    origin: str
    split: "Split | None" = None

    @cache  # noqa: B019 - a sample lives as long as the plan that is printed
    def batches(self, batch_tokens: int) -> list[NDArray[np.int64]]:
        """Return the batches of one epoch, pair indices each."""
        from data_modules.batches import plan_batches

        return plan_batches(self.source_lengths, self.target_lengths, batch_tokens, seed=0, epoch=0)

    def batch(self, pairs: NDArray[np.int64]) -> "TranslationBatch":
        """Build a batch; ids of random pairs are random too."""
        from lit_transformer.batch import TranslationBatch

        if self.split is not None:
            return TranslationBatch.from_pairs([self.split[int(pair)] for pair in pairs])
        draw = np.random.default_rng(0).integers
        sides = (self.source_lengths, self.target_lengths)
        source, target = ([draw(4, self.vocab_size, side[pair] - 1) for pair in pairs] for side in sides)
        return TranslationBatch.from_pairs(list(zip(source, target, strict=True)))


def sample_of(study: Study) -> Sample:
    """Return the training pairs of the study's prepared corpus, or random ones where it is not prepared."""
    from data_modules.prepared import PreparedCorpus

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
    import torch

    from lit_transformer.flops import Work, training_flops
    from lit_transformer.training.objective import forward_passes

    lengths = (torch.from_numpy(side) for side in (sample.source_lengths, sample.target_lengths))
    epoch = training_flops(config.model, sample.vocab_size, Work.of_lengths(config.model, *lengths))
    batches = len(sample.batches(config.data.batch_tokens))
    return epoch * forward_passes(config.optim) * config.optim.accumulate / batches


def shape_of(config: RunConfig) -> Hashable:
    """Return what the time of a step depends on: two configs of the same shape need one probe.

    A dropout rate above 0 is as good as any other; rates of the loss and of the optimiser cost nothing.
    """
    model = replace(config.model, dropout=0.1 if config.model.dropout > 0 else 0.0)
    trainer, optim = config.trainer, config.optim
    settings = (trainer.accelerator, trainer.precision, trainer.matmul, optim.r_drop > 0, optim.accumulate)
    return model, config.data.batch_tokens, settings


@dataclass(frozen=True)
class Measured:
    """A probe: seconds of a step by `rates.clock`, how many steps were timed, and what makes the figure less sure.

    `tokens` is the budget of the probed batches, below data.batch_tokens where they were `cut`. `busy` is the processor
    time over the time that passed and the threads: well below 1 where others used the processor.
    """

    seconds: float
    steps: int
    tokens: int
    cut: bool
    busy: float


def device_of(config: RunConfig) -> "torch.device":
    """Return the device that training would take here."""
    import torch

    wants = config.trainer.accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants and torch.cuda.is_available() else "cpu")


def probe(config: RunConfig, sample: Sample) -> Measured:
    """Time steps of one variant as training takes them, on this machine and with the threads in use."""
    import torch

    device = device_of(config)
    flops, tokens = step_flops(config, sample), config.data.batch_tokens
    if device.type == "cpu" and flops > CPU_FLOPS * config.optim.accumulate:
        longest = int(max(sample.source_lengths.max(), sample.target_lengths.max()))
        tokens = max(longest, int(tokens * CPU_FLOPS * config.optim.accumulate / flops))
    try:
        passes, update, steps, busy = _time(config, sample, tokens, device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of data.batch_tokens = {tokens} does not fit into this GPU's memory; lower it and raise "
            "optim.accumulate as many times, or leave the probe out with --no-probe"
        ) from None
    return Measured(passes * flops + update, steps, tokens, tokens < config.data.batch_tokens, busy)


class Steps:
    """The steps of a training, taken by hand on drawn batches, with its own optimiser and clipping."""

    def __init__(self, config: RunConfig, sample: Sample, tokens: int, device: "torch.device") -> None:
        import torch

        import_lightning()
        from lit_transformer import LitTransformer, build_transformer

        torch.manual_seed(0)
        self.sample, self.device = sample, device
        self.module = LitTransformer(build_transformer(config.model, sample.vocab_size), config.optim).to(device)
        self.adam = cast(dict[str, Any], self.module.configure_optimizers())["optimizer"]
        self.plan = sample.batches(tokens)
        self.bfloat16 = config.trainer.precision is Precision.bfloat16

    def batch(self, number: int) -> "TranslationBatch":
        """Return a batch on the device, the same for the same number."""
        return self.sample.batch(self.plan[number % len(self.plan)]).to(self.device)

    def passes(self, batch: "TranslationBatch") -> None:
        """Go forward and backward."""
        import torch

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            nats, auxiliary = self.module.objective(self.module.network, batch)
        sum(auxiliary.values(), nats / batch.target_tokens).backward()

    def update(self) -> None:
        """Clip, and change the weights."""
        self.module.on_before_optimizer_step(self.adam)
        self.adam.step()
        self.adam.zero_grad()


def _time(config: RunConfig, sample: Sample, tokens: int, device: "torch.device") -> tuple[float, float, int, float]:
    """Return seconds of forward and backward for each operation, seconds of an update, timed steps, and `busy`."""
    import torch

    steps = Steps(config, sample, tokens, device)
    cut = replace(config, data=replace(config.data, batch_tokens=tokens))
    expected = step_flops(cut, sample) / config.optim.accumulate
    halves: list[tuple[float, float]] = []
    begun = used = 0.0
    now = clock(device)
    for place in range(WARM_UP + STEPS):
        if place == WARM_UP:
            begun, used = time.perf_counter(), time.process_time()
        batch = steps.batch(place)
        started = now()
        steps.passes(batch)
        between = now()
        steps.update()
        halves.append((between - started, now() - between))
        spent = sum(passes + update for passes, update in halves[WARM_UP:])
        if place > WARM_UP and (spent > SECONDS or time.perf_counter() - begun > PATIENCE):
            break
    passed, busy = time.perf_counter() - begun, time.process_time() - used
    timed = np.median(halves[WARM_UP:], axis=0)
    threads = 1 if device.type == "cuda" else torch.get_num_threads()
    return float(timed[0]) / expected, float(timed[1]), len(halves) - WARM_UP, min(1.0, busy / (passed * threads))
