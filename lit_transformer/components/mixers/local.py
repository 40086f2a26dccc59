"""Attention restricted to a neighbourhood (Vaswani et al. 2017, section 4; Luong et al. 2015, local attention).

The scores are computed over the full square and the far ones hidden, so it costs what full attention costs: what is
studied is the reach, not the speed.
"""

import torch
from torch import Tensor

from lit_transformer.batch import Layout
from lit_transformer.components.attention import SelfAttention, key_padding
from lit_transformer.components.kernels import View
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig


class LocalAttention(SelfAttention):
    """Every token attends to the tokens at most `window` places away; a causal one to itself and those before it."""

    def __init__(
        self, config: AttentionConfig, d_model: int, positions: ScorePositions, causal: bool, window: int
    ) -> None:
        super().__init__(config, d_model, positions, causal)
        self.window = window

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
