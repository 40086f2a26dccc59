"""One training step by several ranks at once, as a script: `python tests/ranks.py ROOT RANKS-ACCUMULATE ...`.

In the project of `killing` it trains by gloo for a step without dropout and saves to RANKS-ACCUMULATE.pt what rank 0
has then: each parameter's gradient, the curve's row, the work counted, and the pairs that every rank met.
"""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed

from data_modules.prepared import PreparedCorpus
from data_modules.translation import TranslationDataModule
from experiments.config.run_config import TrainerConfig
from experiments.config.study import load_study
from experiments.training.callbacks import Curve
from experiments.training.distributed import Processes
from experiments.training.losses import Losses
from lit_transformer import LitTransformer, build_transformer

BUDGET = 500
"""Tokens of a global batch: of many lengths, and two or three batches an epoch."""


class Watch(pl.Callback):
    """Keeps the pairs of the step's batches and the gradient that the optimiser sees."""

    def __init__(self) -> None:
        self.pairs: list[list[int]] = []
        self.gradients: dict[str, torch.Tensor] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.pairs.append(batch.pairs.tolist())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.gradients = {name: value.grad.clone() for name, value in pl_module.network.named_parameters()}


def step(out: Path, ranks: int, accumulate: int) -> None:
    """Train for one step as one of `ranks`."""
    study = load_study("killed")
    config = study.config("base", 3, (f"data.batch_tokens={BUDGET}",))
    corpus = PreparedCorpus.open(study.data_folder)
    processes = Processes.of(TrainerConfig(accelerator="cpu", devices=ranks))
    torch.manual_seed(1)
    network = build_transformer(replace(config.model, dropout=0.0), corpus.vocab_size)
    optim = replace(config.optim, steps=1, accumulate=accumulate, clip_norm=0.0)
    module = LitTransformer(network, optim, 3)
    losses, watch = Losses(), Watch()
    curve = Curve(out.with_suffix(".csv"), losses, lambda: 1.0)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=processes.strategy("auto"),
        plugins=[processes.environment],
        callbacks=[losses, watch, curve],
        max_steps=1,
        accumulate_grad_batches=accumulate,
        val_check_interval=accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    processes.start(trainer)
    trainer.fit(module, datamodule=TranslationDataModule(corpus, config.data, seed=3, endless=True))
    pairs: list[Any] = [watch.pairs] * ranks
    if ranks > 1:
        torch.distributed.all_gather_object(pairs, watch.pairs)
    if processes.first:
        work = vars(curve.total_work())
        torch.save({"gradients": watch.gradients, "row": curve.rows[-1], "work": work, "pairs": pairs}, out)


def _start(out: Path, ranks: int, accumulate: int) -> None:
    """Run `step` in as many processes, and wait for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            if ranks > 1:
                os.environ.update(LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            step(out, ranks, accumulate)
            os._exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses):
        sys.exit(1)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for name in sys.argv[2:]:
        _start(Path(f"{name}.pt"), *map(int, name.split("-")))
