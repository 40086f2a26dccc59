"""Attention restricted to a neighbourhood (Vaswani et al. 2017, section 4; Luong et al. 2015, local attention).

A sentence that is long against the window costs what its band costs, O(r n d) for r places in sight of n. In a shorter
one the band would save little, so its full square is computed and the far scores hidden: the same result to rounding.
"""

import math

import torch
from torch import Tensor

from lit_transformer.batch import Layout
from lit_transformer.components.attention import SelfAttention, key_padding
from lit_transformer.components.cache import KeyValues
from lit_transformer.components.kernels import View
from lit_transformer.components.mixers.band import Band
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig, Mixer, ModelConfig


class LocalAttention(SelfAttention):
    """Every token attends to the tokens at most `window` places away; a causal one to itself and those before it."""

    def __init__(
        self, config: AttentionConfig, d_model: int, positions: ScorePositions, causal: bool, window: int
    ) -> None:
        super().__init__(config, d_model, positions, causal)
        self.window = window
        self.band = Band(window, 0 if causal else window)
        self.longest_square = longest_square(config, self.band)

    def forward(self, x: Tensor, layout: Layout, past: KeyValues | None = None) -> tuple[Tensor, KeyValues]:
        """(N, D) -> (N, D): whole sentences, or one new token a sentence after those of the past."""
        if layout.longest <= self.longest_square:
            return super().forward(x, layout, past)
        asked, keys, values = self.projected(x)
        queries = self.positions.turn(self.queries(asked, layout), 0)
        keys, values = self.key_values(keys, values, layout)
        keys = self.positions.turn(keys, 0)
        blocks = self.band.queries(queries)  # (B*P, H, window, E_k)
        bias = _for_each_sentence(self.positions.over(blocks, self.band.span(layout)), blocks)
        mixed = self.kernel(blocks, self.band.around(keys), self.band.around(values), self.band.view(layout), bias)
        joined = self.band.joined(mixed, layout.sentences, layout.longest)  # (B, H, L, E_v)
        return self.joined(joined, x, layout), KeyValues(keys, values)

    def view(self, layout: Layout, keys: int) -> View:
        """Say what is looked at by the last tokens of `keys`. A padded query sees itself, so no softmax is empty."""
        real = key_padding(layout).visible
        near = self._near(keys, layout.lengths.device)[keys - layout.longest :]  # (Q, K)
        if real is None or self.causal:
            return View(visible=near, real=real)
        itself = torch.eye(keys, dtype=torch.bool, device=near.device)
        return View(visible=near & real | itself, real=real)  # (B, 1, Q, K)

    def _near(self, keys: int, device: torch.device) -> Tensor:
        """Say which of all places see which: (K, K)."""
        places = torch.arange(keys, device=device)
        back = places[:, None] - places  # (K, K)
        nearest = 0 if self.causal else -self.window
        return (nearest <= back) & (back <= self.window)


def longest_square(config: AttentionConfig, band: Band) -> float:
    """Return the length up to which the full square is computed: beyond it, the band saves three products in four.

    Before that its small products and its copies of keys cost a CPU more than they save.

    A mask that leaks shows what it hides, the whole sentence, so with it the square is computed at any length.
    """
    return math.inf if config.mask.leaks else 4 * band.keys


def pairs_met(config: ModelConfig, causal: bool, lengths: Tensor) -> Tensor:
    """Return how many pairs of a query and a key a mixer of one stack computes, of sentences (B,) int64 alone: (B,)."""
    mixer = config.decoder_mixer if causal else config.encoder_mixer
    if mixer.kind is not Mixer.local_attention:
        return lengths * lengths
    band = Band(mixer.window, 0 if causal else mixer.window)
    attention = config.attention_at.decoder if causal else config.attention_at.encoder
    in_band = band.blocks(lengths) * (band.window * band.keys)
    return torch.where(lengths > longest_square(attention, band), in_band, lengths * lengths)


def _for_each_sentence(bias: Tensor | None, blocks: Tensor) -> Tensor | None:
    """Repeat a bias of the P blocks of one sentence, (P, H, Q, K), for those of all; one for all blocks stays."""
    if bias is None or len(bias) in (1, len(blocks)):
        return bias
    return bias.repeat(len(blocks) // len(bias), 1, 1, 1)
