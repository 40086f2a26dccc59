"""Position encodings that are added to the embeddings; those inside self-attention are in `relative`.

`forward(x, layout, offset)` adds them to embeddings (N, D), where `offset` is the number of earlier tokens per
sentence, in a decoding step the length of the cache.
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
    """Base class. `max_length` is the length of the longest sentence it can encode, None where there is no limit."""

    max_length: int | None = None


class NoPositions(PositionEncoding):
    """Leaves the embeddings as they are: without positions inside attention the encoder sees a bag of tokens."""

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        return x


class Table(nn.Module):
    """One row per position, computed by `make(length)`: no parameter, not in the state_dict, grown when needed."""

    rows: Tensor

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.make = make
        self.register_buffer("rows", make(512), persistent=False)

    def forward(self, length: int) -> Tensor:
        """Return at least `length` rows."""
        if length > len(self.rows):
            with torch.inference_mode(False):  # training may use these rows too
                self.rows = self.make(2 ** math.ceil(math.log2(length))).to(self.rows)
        return self.rows


class SinusoidalPositions(PositionEncoding):
    """Adds sines and cosines of geometrically spaced frequencies (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.table = Table(make)

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        return x + self.table(layout.max_seqlen + offset).index_select(0, layout.positions + offset)


def sinusoids(length: int, width: int, base: float = 10000.0) -> Tensor:
    """Return the paper's table (length, width), float32: PE(pos, 2i) = sin(pos / base^(2i/width)), then its cosine.

    Angles are computed in float64, so that those of late positions are accurate.
    """
    frequencies = torch.exp(-math.log(base) * torch.arange(0, width, 2, dtype=torch.float64) / width)  # (D/2,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (length, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def concatenated_sinusoids(length: int, width: int) -> Tensor:
    """Return the table (length, width) of Vaswani et al. 2018, Tensor2Tensor: all sines, then all cosines, float32.

    The wavelengths run from 2 pi to 10000 times 2 pi, both included: frequency i is 10000^(-i / (width/2 - 1)). At
    width 2 the only frequency is 1.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / max(half - 1, 1))  # (D/2,)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (length, D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


class LearnedPositions(PositionEncoding):
    """One trained vector per position (Gehring et al. 2017); Table 3, row E."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(max_length, d_model)
        self.max_length = max_length

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D); raises `UserError` where a sentence is longer than the table."""
        rows = self.embedding.num_embeddings
        if layout.max_seqlen + offset > rows:
            raise UserError(
                f"a sentence of {layout.max_seqlen + offset} tokens is longer than the {rows} learned positions: "
                "raise model.positions.max_length and train again"
            )
        return x + self.embedding(layout.positions + offset)


class Count(PositionEncoding):
    """Adds the position, 0, 1, 2, ..., to the first coordinate: for teaching, since it outgrows the embedding.

    Not to every coordinate, because a LayerNorm removes what is added to all of them alike.
    """

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        return x + first_coordinate(layout.positions + offset, x)


class RelativeToLength(PositionEncoding):
    """Adds position / (length - 1) to the first coordinate: 0 at the first token, 1 at the last, 0 if there is one.

    The step between neighbours depends on the sentence. For the encoder, which knows the whole sentence.
    """

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        assert offset == 0, "the length of an unfinished sentence is unknown"
        steps = (layout.lengths - 1).clamp(min=1).index_select(0, layout.sentence_ids)  # (N,)
        return x + first_coordinate(layout.positions.to(x.dtype) / steps, x)


class RelativeToMaxLength(PositionEncoding):
    """Adds position / (max_length - 1) to the first coordinate: for the decoder, whose final length is unknown.

    Beyond `max_length` it exceeds 1.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.steps = max(max_length - 1, 1)

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        return x + first_coordinate((layout.positions + offset).to(x.dtype) / self.steps, x)


class Binary(PositionEncoding):
    """Adds bit i of the position to coordinate i, the lowest bit first, as many bits as there are coordinates."""

    def forward(self, x: Tensor, layout: Layout, offset: int) -> Tensor:
        """Add the encoding: (N, D) -> (N, D)."""
        width = x.shape[1]
        positions = layout.positions + offset
        bits = positions[:, None] >> torch.arange(min(width, 63), device=x.device) & 1  # (N, bits)
        return x + F.pad(bits, (0, width - bits.shape[1])).to(x.dtype)


def first_coordinate(values: Tensor, x: Tensor) -> Tensor:
    """Return values (N,) as the first of D coordinates, the others 0: (N, D) as x."""
    return F.pad(values[:, None].to(x.dtype), (0, x.shape[1] - 1))


def build_positions(config: PositionConfig, d_model: int, causal: bool) -> PositionEncoding:
    """Build what one stack adds to its embeddings. `causal`: the decoder, whose length is unknown."""
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
            return RelativeToMaxLength(config.max_length) if causal else RelativeToLength()
        case Positions.binary:
            return Binary()
        case Positions.none | Positions.shaw | Positions.t5 | Positions.alibi | Positions.rotary | Positions.fire:
            return NoPositions()
        case _:
            assert_never(config.kind)
