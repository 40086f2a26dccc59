"""Position encodings that are added to the embeddings: how a token learns its place in the sentence.

Hook: `forward(x, layout, offset)` adds to the embeddings; `offset` tokens of each sentence came before these, so a
cached decoding step passes the number of tokens already said. Positions inside self-attention are in `relative`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.config import PositionConfig, Positions
from lit_transformer.errors import UserError


class PositionEncoding(nn.Module):
    """What every encoding has beside `forward`: the longest sentence it can place, or None where there is no limit."""

    limit: int | None = None


class NoPositions(PositionEncoding):
    """Leaves the embeddings as they are: without positions inside attention the encoder sees a bag of tokens."""

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        return x


class Table(nn.Module):
    """A row for every place, by `make(length)`: no parameter, nothing in the state_dict; it grows when it must."""

    rows: Tensor

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.make = make
        self.register_buffer("rows", make(512), persistent=False)

    def forward(self, length: int) -> Tensor:
        """Return at least `length` rows."""
        if length > len(self.rows):
            with torch.inference_mode(False):  # training may meet these rows too
                self.rows = self.make(2 ** math.ceil(math.log2(length))).to(self.rows)
        return self.rows


class SinusoidalPositions(PositionEncoding):
    """Adds sines and cosines of geometrically spaced frequencies (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.table = Table(make)

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        return x + self.table(layout.longest + offset).index_select(0, layout.positions + offset)


def sinusoids(length: int, width: int, base: float = 10000.0) -> Tensor:
    """Return the paper's table (length, width), float32: PE(pos, 2i) = sin(pos / base^(2i/width)), then its cosine.

    Angles are in float64, so that far places stay exact.
    """
    frequencies = torch.exp(-math.log(base) * torch.arange(0, width, 2, dtype=torch.float64) / width)  # (D/2,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (length, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def concatenated_sinusoids(length: int, width: int) -> Tensor:
    """Return the table (length, width) of Vaswani et al. 2018, Tensor2Tensor: all sines, then all cosines, float32.

    The wavelengths run from 2 pi to 10000 times 2 pi, both included: frequency i is 10000^(-i / (width/2 - 1)). At
    width 2 there is one frequency, 1, and no exponent to speak of.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / max(half - 1, 1))  # (D/2,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (length, D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


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


class Count(PositionEncoding):
    """Adds the place, 0, 1, 2, ..., to the first coordinate: for teaching, since it outgrows what the token says.

    Why not to every coordinate: what is added to all of them alike, a LayerNorm takes out again.
    """

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        return x + in_the_first_coordinate(layout.positions + offset, x)


class PartOfTheSentence(PositionEncoding):
    """Adds place / (length - 1) to the first coordinate: 0 at the first token, 1 at the last, 0 where it is alone.

    A step between neighbours differs from sentence to sentence. For the encoder, which knows the whole sentence.
    """

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        assert offset == 0, "the length of a sentence that goes on is not known"
        steps = (layout.lengths - 1).clamp(min=1).index_select(0, layout.cells // layout.longest)  # (N,)
        return x + in_the_first_coordinate(layout.positions.to(x.dtype) / steps, x)


class PartOfTheLongest(PositionEncoding):
    """Adds place / (max_length - 1) to the first coordinate: for the decoder, which does not know how it will end.

    A sentence longer than `max_length` goes on beyond 1.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.steps = max(max_length - 1, 1)

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        return x + in_the_first_coordinate((layout.positions + offset).to(x.dtype) / self.steps, x)


class Binary(PositionEncoding):
    """Adds bit i of the place to coordinate i, the lowest bit first, as many bits as there are coordinates."""

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        width = x.shape[1]
        places = layout.positions + offset
        bits = places[:, None] >> torch.arange(min(width, 63), device=x.device) & 1  # (N, bits of a place)
        return x + F.pad(bits, (0, width - bits.shape[1])).to(x.dtype)


def in_the_first_coordinate(values: Tensor, x: Tensor) -> Tensor:
    """Return values (N,) beside zeros, of the shape of x (N, D)."""
    return F.pad(values[:, None].to(x.dtype), (0, x.shape[1] - 1))


def build_positions(config: PositionConfig, d_model: int, causal: bool) -> PositionEncoding:
    """Build what one stack adds to its embeddings. `causal`: the decoder, which does not know its length."""
    match config.kind:
        case Positions.sinusoidal:
            return SinusoidalPositions(partial(sinusoids, width=d_model))
        case Positions.sinusoidal_concatenated:
            return SinusoidalPositions(partial(concatenated_sinusoids, width=d_model))
        case Positions.learned:
            return LearnedPositions(config.max_length, d_model)
        case Positions.count:
            return Count()
        case Positions.normalised_count:
            return PartOfTheLongest(config.max_length) if causal else PartOfTheSentence()
        case Positions.binary:
            return Binary()
        case Positions.none | Positions.shaw | Positions.t5 | Positions.alibi | Positions.rotary | Positions.fire:
            return NoPositions()
        case _:
            assert_never(config.kind)
