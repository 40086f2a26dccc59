"""The encoder-decoder Transformer (Vaswani et al. 2017, section 3), over packed tokens.

Padding exists at the public edge only: `forward(src, tgt_in)` and `encode(src)` take padded ids. Training, scoring
and decoding share `read`, `say` and `logits`.
"""

import math
from dataclasses import dataclass
from typing import Self, assert_never, cast

import torch
from torch import Tensor, nn

from lit_transformer.batch import PAD, Layout, TranslationBatch
from lit_transformer.components.dropout import Dropout
from lit_transformer.components.positions import PositionEncoding, build_positions
from lit_transformer.config import ModelConfig, Tying
from lit_transformer.initialisation import initialise
from lit_transformer.layers import StackPast, build_decoder, build_encoder


@dataclass(frozen=True, eq=False)
class Memory:
    """The encoder's output: x (N_s, D) and where its sentences lie."""

    x: Tensor
    layout: Layout


@dataclass(frozen=True, eq=False)
class DecoderState:
    """Everything the decoder remembers: R rows, each a hypothesis, sentence by sentence, all `said` tokens long."""

    past: StackPast
    said: int

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        """Keep, reorder or repeat hypotheses, and keep `sentences`: see `decoding.DecoderState`."""
        return type(self)(self.past.select(rows, sentences), self.said)


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
    """Encoder, decoder and the softmax matrix; see `build_transformer`."""

    def __init__(
        self,
        config: ModelConfig,
        src_embedding: TokenEmbedding,
        tgt_embedding: TokenEmbedding,
        softmax: nn.Embedding,
    ) -> None:
        super().__init__()
        self.config = config
        self.src_embedding = src_embedding
        self.tgt_embedding = tgt_embedding
        self.encoder = build_encoder(config)
        self.decoder = build_decoder(config)
        self.softmax = softmax

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """Return the logits of the next token after each of tgt_in: (B, S), (B, T) -> (B, T, V), 0 at padding.

        Ids are int64, padded on the right with PAD. Raises `ValueError` where a sentence is empty or padded elsewhere.
        """
        layout, ids = pack_ids(tgt_in, "tgt_in")
        hidden = self.say(ids, layout, self.encode(src))
        logits = layout.pad(self.logits(hidden))  # (B, L, V)
        padded = logits.new_zeros(*tgt_in.shape, logits.shape[-1])  # (B, T, V)
        padded[:, : layout.longest] = logits.masked_fill(~layout.mask[..., None], 0.0)
        return padded

    def encode(self, src: Tensor) -> Memory:
        """Read padded source sentences: (B, S) int64."""
        layout, ids = pack_ids(src, "src")
        return self.read(ids, layout)

    def read(self, src: Tensor, layout: Layout) -> Memory:
        """Run the encoder over packed ids (N_s,)."""
        x, _ = self.encoder(self.src_embedding(src, layout), layout, self.encoder.beginning())
        return Memory(x, layout)

    def say(self, tgt_in: Tensor, layout: Layout, memory: Memory) -> Tensor:
        """Run the decoder over whole target sentences: packed ids (N_t,) -> (N_t, D), ready for `logits`."""
        past = self.decoder.project(memory.x, memory.layout)
        x, _ = self.decoder(self.tgt_embedding(tgt_in, layout), layout, past)
        return cast(Tensor, x)

    def hidden(self, batch: TranslationBatch) -> Tensor:
        """Return the decoder's last vectors (N_t, D) of a batch: what `logits` turns into predictions of tgt_out."""
        return self.say(batch.tgt_in, batch.tgt_layout, self.read(batch.src, batch.src_layout))

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary: (N, D) -> (N, V)."""
        return nn.functional.linear(hidden, self.softmax.weight)

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Sum up, by name, what the parts add to the loss of the last pass of training; empty where none does."""
        sums: dict[str, Tensor] = {}
        for stack in (self.encoder, self.decoder):
            for _, sublayer in stack.sublayers():
                for name, loss in sublayer.inner.auxiliary_losses().items():
                    sums[name] = sums[name] + loss if name in sums else loss
        return sums

    def start(self, memory: Memory) -> DecoderState:
        """Begin decoding: project the memory once for every layer; one row a source sentence."""
        return DecoderState(self.decoder.project(memory.x, memory.layout), said=0)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Say one token a row, tokens (R,) -> logits of the next (R, V) and the new state."""
        layout = Layout.rectangle(len(tokens), 1, device=tokens.device)
        x, past = self.decoder(self.tgt_embedding(tokens, layout, offset=state.said), layout, state.past)
        return self.logits(x), DecoderState(past, state.said + 1)

    @property
    def longest_target(self) -> int | None:
        """The most target tokens the decoder can place, or None where there is no limit."""
        return self.tgt_embedding.positions.limit


def pack_ids(ids: Tensor, name: str) -> tuple[Layout, Tensor]:
    """Turn right-padded ids (B, L) into a layout and packed ids (N,)."""
    lengths = (ids != PAD).sum(1)
    layout = Layout.from_lengths(lengths)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, : layout.longest] = layout.mask
    if bool((lengths == 0).any()) or not torch.equal(mask, ids != PAD):
        raise ValueError(f"{name} must hold sentences of at least one token, padded on the right only (id {PAD})")
    return layout, ids[mask]


def build_transformer(config: ModelConfig, vocab_size: int) -> Transformer:
    """Build and initialise a Transformer over a joint vocabulary of `vocab_size` ids."""
    src, tgt, softmax = _vectors(config, vocab_size)
    factor = math.sqrt(config.d_model) if config.embeddings.scale else 1.0
    dropout = config.dropout_of("embedding")
    model = Transformer(
        config,
        TokenEmbedding(src, factor, build_positions(config.positions, config.d_model, causal=False), dropout),
        TokenEmbedding(tgt, factor, build_positions(config.positions, config.d_model, causal=True), dropout),
        softmax,
    )
    initialise(model, config)
    return model


def _vectors(config: ModelConfig, vocab_size: int) -> tuple[nn.Embedding, nn.Embedding, nn.Embedding]:
    """Return the source embedding, the target embedding and the softmax matrix; tied ones are one module."""

    def matrix() -> nn.Embedding:
        return nn.Embedding(vocab_size, config.d_model)

    src = matrix()
    match config.embeddings.tying:
        case Tying.three_way:
            return src, src, src
        case Tying.two_way:
            tgt = matrix()
            return src, tgt, tgt
        case Tying.none:
            return src, matrix(), matrix()
        case _:
            assert_never(config.embeddings.tying)
