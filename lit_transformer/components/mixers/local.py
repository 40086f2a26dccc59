"""Attention restricted to a neighbourhood (Vaswani et al. 2017, section 4; Luong et al. 2015, local attention).

A sentence that is long compared to the window costs its band, O(r n d) for r visible keys of n. In a shorter one the
band would save little, so the full matrix is computed and distant scores are masked: the same result but for rounding.
"""

import math

import torch
from torch import Tensor

from lit_transformer.batch import Layout
from lit_transformer.components.attention import SelfAttention
from lit_transformer.components.cache import KVCache
from lit_transformer.components.kernels import AttentionMask
from lit_transformer.components.mixers.band import Band
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig, Mixer, ModelConfig


class LocalAttention(SelfAttention):
    """Every token attends to the tokens at most `window` away; a causal one to itself and those before it."""

    def __init__(
        self, config: AttentionConfig, d_model: int, positions: ScorePositions, causal: bool, window: int
    ) -> None:
        super().__init__(config, d_model, positions, causal)
        self.window = window
        self.band = Band(window, 0 if causal else window)
        self.max_square = max_square(config, self.band)

    def forward(self, x: Tensor, layout: Layout, cache: KVCache | None = None) -> tuple[Tensor, KVCache]:
        """(N, D) -> (N, D): whole sentences, or one new token per sentence after those of the cache."""
        if layout.max_seqlen <= self.max_square:
            return super().forward(x, layout, cache)
        q, k, v = self.in_proj(x)
        queries = self.positions.apply_rotary(self.split_queries(q, layout), 0)
        keys, values = self.split_kv(k, v, layout)
        keys = self.positions.apply_rotary(keys, 0)
        blocks, band = self.band.query_blocks(queries), self.band  # (B*P, H, window, E_k)
        bias = _repeat_per_sentence(self.positions.score_bias(blocks, band.span(layout)), blocks)
        out = self.kernel(blocks, band.key_blocks(keys), band.key_blocks(values), band.mask(layout), bias)
        out = band.merge_blocks(out, layout.sentences, layout.max_seqlen)  # (B, H, L, E_v)
        return self.output_projection(out, x, layout), KVCache(keys, values)

    def mask(self, layout: Layout, seq_len: int) -> AttentionMask:
        """Return the mask of the last of `seq_len` tokens. A padded query sees itself, so no row is empty."""
        mask = super().mask(layout, seq_len)
        near = self._near(seq_len, layout.lengths.device)[seq_len - layout.max_seqlen :]  # (Q, K)
        if mask.visible is None:
            return mask._replace(visible=near, causal=False)
        diagonal = torch.eye(seq_len, dtype=torch.bool, device=near.device)
        return mask._replace(visible=near & mask.visible | diagonal)  # (B, 1, Q, K)

    def _near(self, seq_len: int, device: torch.device) -> Tensor:
        """Return which positions see which: (K, K)."""
        positions = torch.arange(seq_len, device=device)
        back = positions[:, None] - positions  # (K, K)
        nearest = 0 if self.causal else -self.window
        return (nearest <= back) & (back <= self.window)


def max_square(config: AttentionConfig, band: Band) -> float:
    """Return the greatest length at which the full matrix is computed: beyond it the band saves three products in four.

    Below, its small products and its copies of keys cost a CPU more than they save. A mask that leaks lets the whole
    sentence through, so with it the full matrix is computed at any length.
    """
    return math.inf if config.mask.leaks else 4 * band.keys


def computed_pairs(config: ModelConfig, causal: bool, lengths: Tensor) -> Tensor:
    """Return the query-key pairs that a mixer of one stack computes per sentence, given their lengths (B,): (B,)."""
    mixer = config.decoder_mixer if causal else config.encoder_mixer
    if mixer.kind is not Mixer.local_attention:
        return lengths * lengths
    band = Band(mixer.window, 0 if causal else mixer.window)
    attention = config.attention_at.decoder if causal else config.attention_at.encoder
    in_band = band.blocks(lengths) * (band.window * band.keys)
    return torch.where(lengths > max_square(attention, band), in_band, lengths * lengths)


def _repeat_per_sentence(bias: Tensor | None, blocks: Tensor) -> Tensor | None:
    """Repeat a bias of one sentence's P blocks, (P, H, Q, K), for all sentences; a bias shared by all blocks stays."""
    if bias is None or len(bias) in (1, len(blocks)):
        return bias
    return bias.repeat(len(blocks) // len(bias), 1, 1, 1)
