"""How a decoder layer reads the source: by attention, or one source token fixed in advance.

`context` is the encoder-decoder before attention: a single vector stands for the whole source, the encoder's output at
its last token, the end of the sentence, where a network that reads forwards has seen everything. Cho et al. 2014 give
it to the state and the output of their single layer, Sutskever et al. 2014 make it the decoder's initial state; here
each layer concatenates it to the output of its mixer, so that the mixer of the next layer reads it.

`aligned` stacks the decoder on the encoder, position by position: ByteNet (Kalchbrenner et al. 2016, section 3.1).
ByteNet reads the source once, below the decoder's first layer, and its encoder continues beyond the end of the
sentence; here every layer reads it, and beyond the end the last token is repeated.
"""

from dataclasses import dataclass, replace
from typing import Any, Self, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.attention import CrossAttention
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import Cross, ModelConfig


@dataclass(frozen=True, eq=False)
class SourceCache:
    """The source tokens that each of R rows reads, one per target token.

    memory (N_s, D), not copied; starts (R,) index of the row's first token in it; last (R,) offset of its last token
    from there; seq_len, the target tokens so far.
    """

    memory: Tensor
    starts: Tensor
    last: Tensor
    seq_len: int = 0

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return replace(self, starts=self.starts.index_select(0, rows), last=self.last.index_select(0, rows))

    def tokens(self, layout: Layout) -> Tensor:
        """Return the source token for each new target token: (N, D)."""
        rows = layout.sentence_ids  # (N,)
        offsets = (layout.positions + self.seq_len).minimum(self.last.index_select(0, rows))
        return self.memory.index_select(0, self.starts.index_select(0, rows) + offsets)

    def advance(self, tokens: int) -> Self:
        """Return the cache after `tokens` more target tokens."""
        return replace(self, seq_len=self.seq_len + tokens)


class FixedReading(TokenMixer):
    """W [x; m], m a source token that does not depend on x (Luong et al. 2015, eq. 5, without its tanh)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.out_proj = nn.Linear(2 * d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, SourceCache]:
        """(N, D) and the source tokens -> (N, D) and the advanced cache."""
        assert isinstance(cache, SourceCache), "a decoder's cache begins with `Stack.init_cache`"
        both = torch.cat([x, cache.tokens(layout)], dim=-1)  # (N, 2D)
        return self.out_proj(both), cache.advance(layout.max_seqlen)

    def init_cache(self, memory: Tensor, layout: Layout) -> SourceCache:
        """Return the tokens of the encoder's output (N_s, D) that each sentence reads."""
        raise NotImplementedError


class Context(FixedReading):
    """The source's last token, for every target token."""

    def init_cache(self, memory: Tensor, layout: Layout) -> SourceCache:
        return SourceCache(memory, layout.rows[:, 0] + layout.lengths - 1, torch.zeros_like(layout.lengths))


class Aligned(FixedReading):
    """The source token at the target token's own position."""

    def init_cache(self, memory: Tensor, layout: Layout) -> SourceCache:
        return SourceCache(memory, layout.rows[:, 0], layout.lengths - 1)


def build_cross(config: ModelConfig) -> CrossAttention | FixedReading:
    """Build what reads the source in one layer of the decoder."""
    match config.cross_mixer.kind:
        case Cross.attention:
            return CrossAttention(config.attention_at.cross, config.d_model)
        case Cross.context:
            return Context(config.d_model)
        case Cross.aligned:
            return Aligned(config.d_model)
        case _:
            assert_never(config.cross_mixer.kind)
