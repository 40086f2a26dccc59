"""Training systems: the same model on the same sentence pairs, each with its library's recommended code.

All have the architecture of a `ModelConfig` with the paper's choices, tied embeddings, dropout only where the paper has
it, and torch's fused Adam. Each docstring names what differs. `benchmarks.learners` has them from their own initial
values.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.random_pairs import Pairs, padded_pairs
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import DecodeConfig, ModelConfig, OptimConfig, Schedule
from lit_transformer.errors import UserError
from lit_transformer.export.marian import Marian, to_marian
from lit_transformer.tokens import EOS, PAD
from lit_transformer.training.schedule import LearningRate

MAX_POSITIONS = 128
"""Size of position tables, for the models that have one."""
CONSTANT_RATE = OptimConfig(schedule=Schedule.constant, peak=1e-4, warmup=0)


class Task(NamedTuple):
    """Model, vocabulary, precision (float32 or bfloat16 autocast), device, loss and optimiser of a training."""

    model: ModelConfig
    vocab_size: int
    bfloat16: bool
    device: str
    optim: OptimConfig = CONSTANT_RATE

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)


class Trainer(NamedTuple):
    """A system: its network, its batch format, and its loss (nats per token) of a batch."""

    network: nn.Module
    prepare: Callable[[Pairs], Any]
    loss: Callable[[Any], Tensor]


class Stepper:
    """Training steps: forward, backward and Adam's update, its rate and clipping those of the task."""

    def __init__(self, trainer: Trainer, task: Task) -> None:
        self.trainer, self.task = trainer, task
        self.parameters = list(trainer.network.parameters())
        self.rate = LearningRate(task.optim, task.model.d_model)
        self.steps = 0
        betas = (task.optim.beta1, task.optim.beta2)
        self.adam = torch.optim.Adam(self.parameters, lr=1.0, betas=betas, eps=task.optim.eps, fused=True)

    def step(self, batch: Any) -> Tensor:
        """Train on a prepared batch and return its loss."""
        with self.task.autocast():
            loss = self.trainer.loss(batch)
        loss.backward()
        if self.task.optim.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.task.optim.clip_norm)
        self.steps += 1
        for group in self.adam.param_groups:
            group["lr"] = self.rate(self.steps)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return loss.detach()


def ours(task: Task, compiled: bool = False) -> Trainer:
    """lit_transformer: packed tokens."""
    from lit_transformer import LitTransformer, Transformer, build_transformer
    from lit_transformer.training.compiling import CompiledHidden

    network, hidden = (
        build_transformer(task.model, task.vocab_size),
        CompiledHidden() if compiled else Transformer.hidden,
    )
    module = LitTransformer(network, task.optim, hidden=hidden).to(task.device).train()

    def loss(batch: TranslationBatch) -> Tensor:
        nats, auxiliary = module.objective(module.network, batch)
        return sum(auxiliary.values(), nats / batch.target_tokens)

    return Trainer(module, lambda pairs: TranslationBatch.from_pairs(pairs).to(task.device), loss)


def ours_compiled(task: Task) -> Trainer:
    """lit_transformer with `trainer.compile`."""
    return ours(task, compiled=True)


class TorchLoop(nn.Module):
    """A careful user's model around nn.Transformer, which has an additional norm after each stack."""

    position_table: Tensor

    def __init__(self, model: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.scale = math.sqrt(model.d_model)
        self.embedding = nn.Embedding(vocab_size, model.d_model)
        nn.init.normal_(self.embedding.weight, std=model.d_model**-0.5)
        angles = torch.arange(MAX_POSITIONS)[:, None] * 10000 ** (-torch.arange(0, model.d_model, 2) / model.d_model)
        position_table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (MAX_POSITIONS, D)
        self.register_buffer("position_table", position_table, persistent=False)
        self.dropout = nn.Dropout(model.dropout)
        self.layers = nn.Transformer(
            model.d_model,
            model.attention.heads,
            model.encoder_layers,
            model.decoder_layers,
            model.feed_forward.d_ff,
            model.dropout,
            batch_first=True,
        )
        for name, module in self.layers.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.Dropout) and name.endswith(".dropout"):  # after the activation
                module.p = 0.0

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """(B, S) and (B, T) -> logits (B, T, V)."""
        causal_mask = nn.Transformer.generate_square_subsequent_mask(tgt_in.shape[1], device=tgt_in.device)
        src_padding_mask = torch.zeros_like(src, dtype=causal_mask.dtype).masked_fill(src == PAD, -torch.inf)
        tgt_padding_mask = torch.zeros_like(tgt_in, dtype=causal_mask.dtype).masked_fill(tgt_in == PAD, -torch.inf)
        hidden = self.layers(
            self._embed(src),
            self._embed(tgt_in),
            tgt_mask=causal_mask,
            src_key_padding_mask=src_padding_mask,
            tgt_key_padding_mask=tgt_padding_mask,
            memory_key_padding_mask=src_padding_mask,
            tgt_is_causal=True,
        )
        return nn.functional.linear(hidden, self.embedding.weight)

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.embedding(ids) * self.scale + self.position_table[: ids.shape[1]])
        return embedded


def torch_loop(task: Task) -> Trainer:
    """torch.nn.Transformer in a plain loop."""
    return padded(TorchLoop(task.model, task.vocab_size), task)


def compiled_loop(task: Task) -> Trainer:
    """torch.nn.Transformer under torch.compile with dynamic shapes."""
    trainer = torch_loop(task)
    compiled = torch.compile(trainer.network, dynamic=True)
    return trainer._replace(loss=lambda batch: _smoothed_loss(compiled(*batch[:2]), batch[2], task))


class MarianLoop(nn.Module):
    """A MarianMTModel of a config.json, with its own initial values."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import MarianConfig, MarianMTModel

        self.marian = MarianMTModel(MarianConfig(**config))

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """(B, S) and (B, T) -> logits (B, T, V)."""
        output = self.marian(
            input_ids=src, attention_mask=(src != PAD).long(), decoder_input_ids=tgt_in, use_cache=False
        )
        logits: Tensor = output.logits
        return logits


def hugging_face(task: Task) -> Trainer:
    """Hugging Face MarianMTModel, initialised with our weights."""
    marian = our_marian(task)
    network = MarianLoop(marian.config)
    network.marian.load_state_dict(marian.tensors, strict=False)  # all but the tied ones
    return padded(network, task)


def our_marian(task: Task) -> Marian:
    """Return our model of a task, converted to Marian."""
    from lit_transformer import build_transformer

    return to_marian(build_transformer(task.model, task.vocab_size), DecodeConfig())


def x_transformer(task: Task, sublayer_dropout: float = 0.0) -> Any:
    """Build x-transformers' encoder-decoder, with tied embeddings and dropout of the embeddings."""
    from x_transformers import XTransformer

    model = task.model
    stacks: dict[str, Any] = {}
    for stack, depth in (("enc", model.encoder_layers), ("dec", model.decoder_layers)):
        stacks |= {
            f"{stack}_num_tokens": task.vocab_size,
            f"{stack}_depth": depth,
            f"{stack}_heads": model.attention.heads,
            f"{stack}_attn_dim_head": model.attention.d_k,
            f"{stack}_attn_sublayer_dropout": sublayer_dropout,
            f"{stack}_ff_mult": model.feed_forward.d_ff / model.d_model,
            f"{stack}_ff_sublayer_dropout": sublayer_dropout,
            f"{stack}_max_seq_len": MAX_POSITIONS,
            f"{stack}_emb_dropout": model.dropout,
        }
    network: Any = XTransformer(dim=model.d_model, tie_token_emb=True, ignore_index=PAD, pad_value=PAD, **stacks)
    decoder = network.decoder.net
    decoder.to_logits.weight = decoder.token_emb.emb.weight
    return network


def x_transformers(task: Task) -> Trainer:
    """x-transformers with its defaults: pre-norm, learned positions, dropout on embeddings only, no label smoothing."""
    network = x_transformer(task).to(task.device).train()

    def prepare(pairs: Pairs) -> tuple[Tensor, Tensor]:
        src, tgt_in, tgt_out = (torch.from_numpy(side) for side in padded_pairs(pairs))
        return src.to(task.device), torch.cat([tgt_in[:, :1], tgt_out], dim=1).to(task.device)  # BOS ... EOS

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        mean: Tensor = network(*batch, mask=batch[0] != PAD)
        return mean

    return Trainer(network, prepare, loss)


def joeynmt(task: Task) -> Trainer:
    """JoeyNMT 2.3's model and loss, initialised with our weights; raises UserError when it is not installed."""
    from benchmarks.joeynmt_model import to_joeynmt

    network = to_joeynmt(our_marian(task))
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout):
            extra = name.endswith(("_att.dropout", "pwff_layer.2"))  # on attention weights and after the activation
            module.p = 0.0 if extra else task.model.dropout
    network.loss_function = ("crossentropy", task.optim.label_smoothing)
    network.to(task.device).train()
    from joeynmt.batch import Batch

    def prepare(pairs: Pairs) -> Any:
        src, tgt_in, tgt_out = (torch.from_numpy(side) for side in padded_pairs(pairs))
        tgt = torch.cat([tgt_in[:, :1], tgt_out], dim=1)  # BOS ... EOS
        lengths, order = (src != PAD).sum(1), torch.arange(len(src))
        return Batch(src, lengths, None, tgt, None, order, torch.device(task.device), PAD, EOS)

    def loss(batch: Any) -> Tensor:
        nats, *_ = network(return_type="loss", **vars(batch))
        mean: Tensor = nats / batch.ntokens
        return mean

    return Trainer(network, prepare, loss)


TRAINERS: dict[str, Callable[[Task], Trainer]] = {
    "lit_transformer": ours,
    "lit_transformer, compiled": ours_compiled,
    "torch.nn loop": torch_loop,
    "torch.nn loop, compiled": compiled_loop,
    "Hugging Face Marian": hugging_face,
    "x-transformers": x_transformers,
    "JoeyNMT": joeynmt,
}


def build(name: str, task: Task) -> Stepper:
    """Build a system by name; raises UserError when its package is missing."""
    torch.manual_seed(0)
    try:
        return Stepper(TRAINERS[name](task), task)
    except ImportError as error:
        raise UserError(f"{name} needs the package {error.name}; `make bench` installs it") from None


def padded(network: nn.Module, task: Task) -> Trainer:
    """Return a trainer of a network from (src, tgt_in) to logits."""
    network.to(task.device).train()

    def prepare(pairs: Pairs) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(side).to(task.device) for side in padded_pairs(pairs))

    return Trainer(network, prepare, lambda batch: _smoothed_loss(network(*batch[:2]), batch[2], task))


def _smoothed_loss(logits: Tensor, tgt_out: Tensor, task: Task) -> Tensor:
    """(B, T, V) and (B, T) -> label-smoothed nats per target token."""
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), tgt_out.flatten(), ignore_index=PAD, label_smoothing=task.optim.label_smoothing
    )
