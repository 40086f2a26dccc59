"""Contestants of `benchmarks.learning`: the networks of `benchmarks.trainers`, each from its own initial values.

All see the same batches, loss and schedule. Dropout is where the paper has it: on embeddings and on the outputs of
sub-layers.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import trainers
from benchmarks.trainers import MarianLoop, Task, TorchLoop, Trainer, our_marian, padded, x_transformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.tokens import PAD
from lit_transformer.training.losses import cross_entropy


class Learner(NamedTuple):
    """A system that trains, and its cross-entropy of a batch without smoothing: nats, summed over the target tokens."""

    trainer: Trainer
    nats: Callable[[Any], Tensor]


def ours(task: Task) -> Learner:
    """lit_transformer."""
    trainer = trainers.ours(task)
    network: Any = trainer.network.network

    def nats(batch: TranslationBatch) -> Tensor:
        return cross_entropy(network.hidden(batch), network.output_embedding.weight, batch.tgt_out)

    return Learner(trainer, nats)


def torch_transformer(task: Task) -> Learner:
    """torch.nn.Transformer, which brings no embeddings: they are drawn as ours."""
    warnings.filterwarnings("ignore", message="The PyTorch API of nested tensors")  # which it uses in evaluation
    return _peer(TorchLoop(task.model, task.vocab_size), task)


def marian(task: Task) -> Learner:
    """Hugging Face MarianMTModel: every matrix, embeddings included, normal with `init_std` 0.02."""
    return _peer(MarianLoop(our_marian(task).config), task)


class XTransformersLoop(nn.Module):
    """x-transformers' encoder-decoder without its own loss, which has no label smoothing."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.network = x_transformer(task, sublayer_dropout=task.model.dropout)

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """(B, S) and (B, T) -> logits (B, T, V)."""
        mask = src != PAD
        memory = self.network.encoder(src, mask=mask, return_embeddings=True)
        logits: Tensor = self.network.decoder.net(tgt_in, context=memory, context_mask=mask)
        return logits


def x_transformers(task: Task) -> Learner:
    """x-transformers, pre-norm with learned positions; nn.Linear's initial values and embeddings by He's rule."""
    return _peer(XTransformersLoop(task), task)


LEARNERS: dict[str, Callable[[Task], Learner]] = {
    "lit_transformer": ours,
    "torch.nn.Transformer": torch_transformer,
    "Hugging Face Marian": marian,
    "x-transformers": x_transformers,
}


def build(name: str, task: Task, seed: int) -> Learner:
    """Build a contestant by name, its initial values from a seed; raises ImportError when its package is missing."""
    torch.manual_seed(seed)
    return LEARNERS[name](task)


def _peer(network: nn.Module, task: Task) -> Learner:
    """Return a learner of a network from (src, tgt_in) to logits."""

    def nats(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        src, tgt_in, tgt_out = batch
        logits = network(src, tgt_in).float()
        return nn.functional.cross_entropy(logits.flatten(0, 1), tgt_out.flatten(), ignore_index=PAD, reduction="sum")

    return Learner(padded(network, task), nats)
