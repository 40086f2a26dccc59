"""Two epochs in a plain Trainer: `python tests/sharded.py CORPUS FOLDER [--sharded] [--resume]`, sharded over two.

It writes into FOLDER, from rank 0: run.json, with each step's loss over all ranks, what a test gives, the best
translations and the shape that each parameter has on this device, and last.ckpt; and epoch=0.ckpt, from which
`--resume` goes on.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy

from data_modules.prepared import PreparedCorpus
from data_modules.translation import TranslationDataModule
from lit_transformer import LitTransformer
from lit_transformer.config import DecodeConfig, OptimConfig, Schedule
from tests.small_corpus import CONFIG
from tests.small_models import BASE, build

OPTIM = OptimConfig(steps=60, schedule=Schedule.linear, peak=3e-3, warmup=4, clip_norm=0.5)


class MeanLosses(pl.Callback):
    """Keeps the loss of every step, the mean over ranks of what each gives the optimiser."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(trainer.strategy.reduce(outputs["loss"].detach().clone(), reduce_op="mean")))


def run(corpus: PreparedCorpus, folder: Path, sharded: bool, resume: bool) -> None:
    torch.manual_seed(7)
    lit = LitTransformer(build(BASE, corpus.vocab_size), OPTIM, decode=DecodeConfig(beam=2))
    strategy = ModelParallelStrategy(2, 1, save_distributed_checkpoint=False) if sharded else "auto"
    losses, every = MeanLosses(), ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2 if sharded else 1,
        strategy=strategy,
        max_epochs=2,
        callbacks=[losses, every],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = TranslationDataModule(corpus, CONFIG, seed=7)
    trainer.fit(lit, datamodule=data, ckpt_path=folder / "epoch=0.ckpt" if resume else None, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    local = [getattr(value, "to_local", lambda value=value: value)() for value in lit.parameters()]
    held = {name: list(value.shape) for (name, _), value in zip(lit.named_parameters(), local, strict=True)}
    (metrics, *_) = trainer.test(lit, datamodule=data, verbose=False)
    batches = (trainer.predict(lit, datamodule=data) or [])[0]
    own = {pair: best.tokens for batch in batches for pair, best in batch.items()}
    shares: list[Any] = [own]
    if sharded:
        shares = [None, None]
        torch.distributed.all_gather_object(shares, own)
    predicted = sorted((pair, tokens) for share in shares for pair, tokens in share.items())
    if trainer.is_global_zero:
        result = {"losses": losses.values, "metrics": metrics, "predicted": predicted, "held": held}
        (folder / "run.json").write_text(json.dumps(result))


if __name__ == "__main__":
    run(PreparedCorpus.open(sys.argv[1]), Path(sys.argv[2]), "--sharded" in sys.argv, "--resume" in sys.argv)
