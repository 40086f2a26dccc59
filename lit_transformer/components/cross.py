"""What a decoder layer reads of the source: attention, or one source token fixed beforehand.

`context` is the encoder-decoder before attention: one vector has to say the whole source. It is the encoder's at the
last source token, the end of the sentence, where a network that reads forwards has seen everything. Cho et al. 2014
give it to the state and to the output of their one layer, Sutskever et al. 2014 make it the decoder's first state; here
each layer joins it to its token behind its mixer, so that the mixer of the next layer reads it.

`aligned` stands one network upon the other, place by place: ByteNet (Kalchbrenner et al. 2016, section 3.1). Theirs
reads the source once, below the decoder's bottom layer, and its encoder says more beyond the end of the sentence; here
every layer reads it, and beyond the end the last token stays.
"""

from dataclasses import dataclass
from typing import Any, Self, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.attention import CrossAttention
from lit_transformer.components.part import Part
from lit_transformer.config import Cross, ModelConfig


@dataclass(frozen=True, eq=False)
class SourceTokens:
    """Source tokens that R rows may read, in order.

    memory (N_s, D), which stays in place; starts (R,) the row's first token in it; furthest (R,) how many places after
    that its last one stands; said, the target tokens so far.
    """

    memory: Tensor
    starts: Tensor
    furthest: Tensor
    said: int = 0

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return type(self)(
            self.memory, self.starts.index_select(0, rows), self.furthest.index_select(0, rows), self.said
        )

    def at(self, layout: Layout) -> Tensor:
        """Return the source token at the place of each new target token: (N, D)."""
        rows = layout.cells // layout.longest  # (N,)
        places = (layout.positions + self.said).minimum(self.furthest.index_select(0, rows))
        return self.memory.index_select(0, self.starts.index_select(0, rows) + places)

    def after(self, tokens: int) -> Self:
        """Go on by so many target tokens."""
        return type(self)(self.memory, self.starts, self.furthest, self.said + tokens)


class FixedReading(Part):
    """W [x; m], m a source token that is the same whatever x is (Luong et al. 2015, eq. 5, without its tanh)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.output = nn.Linear(2 * d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, SourceTokens]:
        """(N, D) and the source tokens to read -> (N, D) and the same, further on."""
        assert isinstance(past, SourceTokens), "a decoder's past begins with `Stack.project`"
        joined = torch.cat([x, past.at(layout)], dim=-1)  # (N, 2D)
        return self.output(joined), past.after(layout.longest)

    def project(self, memory: Tensor, layout: Layout) -> SourceTokens:
        """Return what each sentence may read of the encoder's output (N_s, D)."""
        raise NotImplementedError


class Context(FixedReading):
    """The source's last token, whatever the place."""

    def project(self, memory: Tensor, layout: Layout) -> SourceTokens:
        return SourceTokens(memory, layout.lengths.cumsum(0) - 1, torch.zeros_like(layout.lengths))


class Aligned(FixedReading):
    """The source token at the target token's own place."""

    def project(self, memory: Tensor, layout: Layout) -> SourceTokens:
        return SourceTokens(memory, layout.lengths.cumsum(0) - layout.lengths, layout.lengths - 1)


def build_cross(config: ModelConfig) -> CrossAttention | FixedReading:
    """Build what one layer of the decoder reads the source with."""
    match config.cross_mixer.kind:
        case Cross.attention:
            return CrossAttention(config.attention_at.cross, config.d_model)
        case Cross.context:
            return Context(config.d_model)
        case Cross.aligned:
            return Aligned(config.d_model)
        case _:
            assert_never(config.cross_mixer.kind)
