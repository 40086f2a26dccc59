"""Position encodings: how a token learns its place in the sentence.

Hook: `forward(x, layout, offset)` adds to the embeddings; `offset` tokens of each sentence came before these, so a
cached decoding step passes the number of tokens already said.
"""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.config import PositionConfig, Positions
from lit_transformer.errors import UserError


class PositionEncoding(nn.Module):
    """What every encoding has beside `forward`: the longest sentence it can place, or None where there is no limit."""

    limit: int | None = None


class NoPositions(PositionEncoding):
    """Leaves the embeddings as they are: the encoder sees a bag of tokens, and the decoder only what came before."""

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        return x


class SinusoidalPositions(PositionEncoding):
    """Sines and cosines of geometrically spaced frequencies, interleaved (Vaswani et al. 2017, section 3.5).

    PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i + 1) = cos(same). No parameter, nothing in the state_dict: the
    table is a buffer that grows when a longer sentence comes.
    """

    table: Tensor

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.register_buffer("table", sinusoids(512, d_model), persistent=False)

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        needed = layout.longest + offset
        if needed > len(self.table):
            self.table = sinusoids(2 ** math.ceil(math.log2(needed)), self.d_model).to(self.table)
        return x + self.table.index_select(0, layout.positions + offset)


def sinusoids(length: int, d_model: int) -> Tensor:
    """Return the paper's table (length, d_model), float32; angles in float64, so that far places stay exact."""
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)  # (D/2,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (length, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class LearnedPositions(PositionEncoding):
    """One trained vector a place (Gehring et al. 2017); Table 3, row E."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(max_length, d_model)
        self.limit = max_length

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D); raises `UserError` where a sentence is longer than the table."""
        rows = self.embedding.num_embeddings
        if layout.longest + offset > rows:
            raise UserError(
                f"a sentence of {layout.longest + offset} tokens is longer than the {rows} learned positions: "
                "raise model.positions.max_length and train again"
            )
        return x + self.embedding(layout.positions + offset)


def build_positions(config: PositionConfig, d_model: int) -> PositionEncoding:
    """Build the position encoding of one stack."""
    match config.kind:
        case Positions.sinusoidal:
            return SinusoidalPositions(d_model)
        case Positions.learned:
            return LearnedPositions(config.max_length, d_model)
        case Positions.none:
            return NoPositions()
        case _:
            assert_never(config.kind)
