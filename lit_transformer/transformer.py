"""The encoder-decoder Transformer (Vaswani et al. 2017, section 3), over packed tokens.

Padding exists only at the public edge: `forward(src, tgt_in)` and `encode(src)` take padded ids. Training, scoring and
decoding share `encode_packed`, `decode` and `logits`.
"""

import math
from dataclasses import dataclass
from typing import Self, assert_never, cast

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout, TranslationBatch
from lit_transformer.components.dropout import Dropout
from lit_transformer.components.experts import Experts
from lit_transformer.components.positions import PositionEncoding, build_positions
from lit_transformer.config import ModelConfig, Tying
from lit_transformer.initialisation import initialise
from lit_transformer.layers import Stack, StackCache, build_decoder, build_encoder
from lit_transformer.tokens import PAD


@dataclass(frozen=True, eq=False)
class Memory:
    """The encoder's output: x (N_s, D) and its layout."""

    x: Tensor
    layout: Layout


@dataclass(frozen=True, eq=False)
class DecoderState:
    """The decoder's cache: R rows, each a hypothesis, ordered by sentence, all of `seq_len` tokens."""

    cache: StackCache
    seq_len: int

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        """Keep, reorder or repeat hypotheses, and keep `sentences`: see `decoding.DecoderState`."""
        return type(self)(self.cache.select(rows, sentences), self.seq_len)


class TokenEmbedding(nn.Module):
    """Token vectors times a factor, plus positions, then dropout (sections 3.4, 3.5 and 5.4)."""

    def __init__(self, vectors: nn.Embedding, factor: float, positions: PositionEncoding, dropout: float) -> None:
        super().__init__()
        self.vectors = vectors
        self.factor = factor
        self.positions = positions
        self.dropout = Dropout(dropout)

    def forward(self, ids: Tensor, layout: Layout, offset: int = 0) -> Tensor:
        """(N,) ids -> (N, D)."""
        return self.dropout(self.positions(self.vectors(ids) * self.factor, layout, offset))


class Transformer(nn.Module):
    """Embeddings, encoder, decoder and output embedding; see `build_transformer`."""

    def __init__(
        self,
        config: ModelConfig,
        src_embedding: TokenEmbedding,
        tgt_embedding: TokenEmbedding,
        encoder: Stack,
        decoder: Stack,
        output_embedding: nn.Embedding,
    ) -> None:
        super().__init__()
        self.config = config
        self.src_embedding = src_embedding
        self.tgt_embedding = tgt_embedding
        self.encoder = encoder
        self.decoder = decoder
        self.output_embedding = output_embedding

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """Return the logits of the token after each of tgt_in: (B, S), (B, T) -> (B, T, V), 0 at padding.

        Ids are int64, padded on the right with PAD. Raises `ValueError` where a sentence is empty or padded elsewhere.
        """
        layout, ids = pack_ids(tgt_in, "tgt_in")
        hidden = self.decode(ids, layout, self.encode(src))
        logits = layout.pad(self.logits(hidden))  # (B, L, V)
        padded = logits.new_zeros(*tgt_in.shape, logits.shape[-1])  # (B, T, V)
        padded[:, : layout.max_seqlen] = logits.masked_fill(~layout.mask[..., None], 0.0)
        return padded

    def encode(self, src: Tensor) -> Memory:
        """Run the encoder over padded source ids: (B, S) int64."""
        layout, ids = pack_ids(src, "src")
        return self.encode_packed(ids, layout)

    def encode_packed(self, src: Tensor, layout: Layout) -> Memory:
        """Run the encoder over packed ids (N_s,)."""
        x, _ = self.encoder(self.src_embedding(src, layout), layout)
        return Memory(x, layout)

    def decode(self, tgt_in: Tensor, layout: Layout, memory: Memory) -> Tensor:
        """Run the decoder over whole target sentences: packed ids (N_t,) -> (N_t, D), the input of `logits`."""
        cache = self.decoder.init_cache(memory.x, memory.layout)
        x, _ = self.decoder(self.tgt_embedding(tgt_in, layout), layout, cache)
        return cast(Tensor, x)

    def hidden(self, batch: TranslationBatch) -> Tensor:
        """Return the decoder's output for a batch, from which `logits` predicts tgt_out: (N_t, D)."""
        return self.decode(batch.tgt_in, batch.tgt_layout, self.encode_packed(batch.src, batch.src_layout))

    def logits(self, hidden: Tensor) -> Tensor:
        """Multiply by the output embedding: (N, D) -> (N, V)."""
        return nn.functional.linear(hidden, self.output_embedding.weight)

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Return what modules add to the loss of the last pass in training, by name; once per pass, often empty."""
        losses = [module.balance_loss() for module in self.modules() if isinstance(module, Experts)]
        present = [loss for loss in losses if loss is not None]
        return {"balance": sum(present[1:], present[0])} if present else {}

    def init_cache(self, memory: Memory) -> DecoderState:
        """Return the state before the first token, one row per source sentence; projects the memory once."""
        return DecoderState(self.decoder.init_cache(memory.x, memory.layout), seq_len=0)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Feed one token per row: tokens (R,) -> logits of the next token (R, V) and the new state."""
        layout = Layout.uniform(len(tokens), 1, device=tokens.device)
        x, cache = self.decoder(self.tgt_embedding(tokens, layout, offset=state.seq_len), layout, state.cache)
        return self.logits(x), DecoderState(cache, state.seq_len + 1)

    @property
    def max_target_length(self) -> int | None:
        """The most target tokens the decoder has positions for, or None where there is no limit."""
        return self.tgt_embedding.positions.max_length


def pack_ids(ids: Tensor, name: str) -> tuple[Layout, Tensor]:
    """Pack right-padded ids (B, L): their layout and the ids (N,)."""
    lengths = (ids != PAD).sum(1)
    layout = Layout.from_lengths(lengths)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, : layout.max_seqlen] = layout.mask
    if bool((lengths == 0).any()) or not torch.equal(mask, ids != PAD):
        raise ValueError(f"{name} must hold sentences of at least one token, padded on the right only (id {PAD})")
    return layout, ids[mask]


def build_transformer(config: ModelConfig, vocab_size: int) -> Transformer:
    """Build and initialise a Transformer over a joint vocabulary of `vocab_size` ids."""
    src, tgt, output = _embeddings(config, vocab_size)
    src_positions = build_positions(config.positions, config.d_model, causal=False)
    tgt_positions = build_positions(config.positions, config.d_model, causal=True)
    factor = math.sqrt(config.d_model) if config.embeddings.scale else 1.0
    dropout = config.dropout_of("embedding")
    model = Transformer(
        config,
        TokenEmbedding(src, factor, src_positions, dropout),
        TokenEmbedding(tgt, factor, tgt_positions, dropout),
        build_encoder(config),
        build_decoder(config),
        output,
    )
    initialise(model, config)
    return model


def _embeddings(config: ModelConfig, vocab_size: int) -> tuple[nn.Embedding, nn.Embedding, nn.Embedding]:
    """Return the source, target and output embeddings; tied ones are one module."""

    def embedding() -> nn.Embedding:
        return nn.Embedding(vocab_size, config.d_model)

    src = embedding()
    match config.embeddings.tying:
        case Tying.three_way:
            return src, src, src
        case Tying.two_way:
            tgt = embedding()
            return src, tgt, tgt
        case Tying.none:
            return src, embedding(), embedding()
        case _:
            assert_never(config.embeddings.tying)
