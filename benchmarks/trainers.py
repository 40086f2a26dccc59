"""The systems that train: one step each of the same model on the same pairs, with what each offers for it.

All have the layers and the sizes of a `ModelConfig` with the paper's choices, tied embeddings, dropout where the paper
has it and nowhere else, and torch's fused Adam. What differs is said beside each.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.pairs import Pairs, padded_pairs
from lit_transformer.batch import EOS, PAD, TranslationBatch
from lit_transformer.config import DecodeConfig, ModelConfig, OptimConfig
from lit_transformer.errors import UserError

DROPOUT, SMOOTHING = 0.1, 0.1
PLACES = 128
"""Places of models that want to know how many there are."""


class Task(NamedTuple):
    """What is trained and how: float32 or bfloat16 by autocast."""

    model: ModelConfig
    vocab_size: int
    bfloat16: bool
    device: str

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)


class Trainer(NamedTuple):
    """A system: its network, how it wants a batch, and the summed or mean loss of one."""

    network: nn.Module
    prepare: Callable[[Pairs], Any]
    loss: Callable[[Any], Tensor]


class Stepper:
    """Forward, backward and update of a trainer."""

    def __init__(self, trainer: Trainer, task: Task) -> None:
        self.trainer, self.task = trainer, task
        self.adam = torch.optim.Adam(trainer.network.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def step(self, batch: Any) -> Tensor:
        """Train on a prepared batch and return its loss."""
        with self.task.autocast():
            loss = self.trainer.loss(batch)
        loss.backward()
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return loss.detach()


def ours(task: Task) -> Trainer:
    """Our own: packed."""
    from lit_transformer import LitTransformer, build_transformer

    module = LitTransformer(build_transformer(task.model, task.vocab_size), OptimConfig()).to(task.device).train()

    def loss(batch: TranslationBatch) -> Tensor:
        nats, auxiliary = module.objective(module.network, batch)
        return sum(auxiliary.values(), nats / batch.target_tokens)

    return Trainer(module, lambda pairs: TranslationBatch.from_pairs(pairs).to(task.device), loss)


def ours_compiled(task: Task) -> Trainer:
    """The same with `trainer.compile`."""
    from lit_transformer.training.compiling import compile_network

    trainer = ours(task)
    compile_network(trainer.network.network)  # type: ignore[arg-type]
    return trainer


class TorchLoop(nn.Module):
    """What a careful person writes around nn.Transformer. It has a norm more at the end of each stack."""

    places: Tensor

    def __init__(self, model: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.scale = math.sqrt(model.d_model)
        self.embedding = nn.Embedding(vocab_size, model.d_model)
        nn.init.normal_(self.embedding.weight, std=model.d_model**-0.5)
        angles = torch.arange(PLACES)[:, None] * 10000 ** (-torch.arange(0, model.d_model, 2) / model.d_model)
        places = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (PLACES, D)
        self.register_buffer("places", places, persistent=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.layers = nn.Transformer(
            model.d_model,
            model.attention.heads,
            model.encoder_layers,
            model.decoder_layers,
            model.feed_forward.d_ff,
            DROPOUT,
            batch_first=True,
        )
        for name, module in self.layers.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.Dropout) and name.endswith(".dropout"):  # behind the activation
                module.p = 0.0

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """(B, S) and (B, T) -> logits (B, T, V)."""
        later = nn.Transformer.generate_square_subsequent_mask(tgt_in.shape[1], device=tgt_in.device)
        no_source = torch.zeros_like(src, dtype=later.dtype).masked_fill(src == PAD, -torch.inf)
        no_target = torch.zeros_like(tgt_in, dtype=later.dtype).masked_fill(tgt_in == PAD, -torch.inf)
        hidden = self.layers(
            self._embedded(src),
            self._embedded(tgt_in),
            tgt_mask=later,
            src_key_padding_mask=no_source,
            tgt_key_padding_mask=no_target,
            memory_key_padding_mask=no_source,
            tgt_is_causal=True,
        )
        return nn.functional.linear(hidden, self.embedding.weight)

    def _embedded(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.embedding(ids) * self.scale + self.places[: ids.shape[1]])
        return embedded


def torch_loop(task: Task) -> Trainer:
    """torch.nn.Transformer in a plain loop."""
    return _padded(TorchLoop(task.model, task.vocab_size), task)


def compiled_loop(task: Task) -> Trainer:
    """The same through torch.compile, with dynamic shapes."""
    trainer = torch_loop(task)
    compiled = torch.compile(trainer.network, dynamic=True)
    return trainer._replace(loss=lambda batch: _smoothed(compiled(*batch[:2]), batch[2]))


def hugging_face(task: Task) -> Trainer:
    """MarianMTModel of Hugging Face, with our first weights."""
    from transformers import MarianConfig, MarianMTModel

    from lit_transformer import build_transformer
    from lit_transformer.export.marian import to_marian

    marian = to_marian(build_transformer(task.model, task.vocab_size), DecodeConfig())
    network = MarianMTModel(MarianConfig(**marian.config))
    network.load_state_dict(marian.tensors, strict=False)  # all but those that are tied
    trainer = _padded(network, task)

    def loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        src, tgt_in, tgt_out = batch
        logits = network(
            input_ids=src, attention_mask=(src != PAD).long(), decoder_input_ids=tgt_in, use_cache=False
        ).logits
        return _smoothed(logits, tgt_out)

    return trainer._replace(loss=loss)


def x_transformers(task: Task) -> Trainer:
    """XTransformer: pre-norm, as it comes, trained positions, dropout of the embeddings alone, no label smoothing."""
    from x_transformers import XTransformer

    model = task.model
    stacks: dict[str, Any] = {}
    for stack, depth in (("enc", model.encoder_layers), ("dec", model.decoder_layers)):
        stacks |= {
            f"{stack}_num_tokens": task.vocab_size,
            f"{stack}_depth": depth,
            f"{stack}_heads": model.attention.heads,
            f"{stack}_attn_dim_head": model.attention.d_k,
            f"{stack}_ff_mult": model.feed_forward.d_ff / model.d_model,
            f"{stack}_max_seq_len": PLACES,
            f"{stack}_emb_dropout": DROPOUT,
        }
    network = XTransformer(dim=model.d_model, tie_token_emb=True, ignore_index=PAD, pad_value=PAD, **stacks)
    decoder = network.decoder.net
    decoder.to_logits.weight = decoder.token_emb.emb.weight
    network.to(task.device).train()

    def prepare(pairs: Pairs) -> tuple[Tensor, Tensor]:
        src, tgt_in, tgt_out = (torch.from_numpy(side) for side in padded_pairs(pairs))
        return src.to(task.device), torch.cat([tgt_in[:, :1], tgt_out], dim=1).to(task.device)  # BOS ... EOS

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        said: Tensor = network(*batch, mask=batch[0] != PAD)
        return said

    return Trainer(network, prepare, loss)


def joeynmt(task: Task) -> Trainer:
    """JoeyNMT 2.3's model, with our first weights, and its loss; raises `UserError` where it is not installed."""
    from benchmarks.joeynmt_model import to_joeynmt
    from lit_transformer import build_transformer
    from lit_transformer.export.marian import to_marian

    network = to_joeynmt(to_marian(build_transformer(task.model, task.vocab_size), DecodeConfig()))
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout):
            inside = name.endswith(("_att.dropout", "pwff_layer.2"))  # of attention's weights, behind the activation
            module.p = 0.0 if inside else DROPOUT
    network.loss_function = ("crossentropy", SMOOTHING)
    network.to(task.device).train()
    from joeynmt.batch import Batch

    def prepare(pairs: Pairs) -> Any:
        src, tgt_in, tgt_out = (torch.from_numpy(side) for side in padded_pairs(pairs))
        whole = torch.cat([tgt_in[:, :1], tgt_out], dim=1)  # BOS ... EOS
        lengths, order = (src != PAD).sum(1), torch.arange(len(src))
        return Batch(src, lengths, None, whole, None, order, torch.device(task.device), PAD, EOS)

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
    """Build a system by its name; raises `UserError` where its package is missing."""
    torch.manual_seed(0)
    try:
        return Stepper(TRAINERS[name](task), task)
    except ImportError as error:
        raise UserError(f"{name} needs the package {error.name}; `make bench` installs it") from None


def _padded(network: nn.Module, task: Task) -> Trainer:
    """Return a trainer of a network from (src, tgt_in) to logits."""
    network.to(task.device).train()

    def prepare(pairs: Pairs) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(side).to(task.device) for side in padded_pairs(pairs))

    return Trainer(network, prepare, lambda batch: _smoothed(network(*batch[:2]), batch[2]))


def _smoothed(logits: Tensor, tgt_out: Tensor) -> Tensor:
    """(B, T, V) and (B, T) -> nats a token that is not padding."""
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), tgt_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
    )
