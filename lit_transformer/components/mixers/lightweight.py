"""Lightweight and dynamic convolutions (Wu et al. 2019): one kernel per group of features, its weights summing to 1.

Deviations: kernels have the same width in every layer, and their weights have no dropout.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.mixers.windows import Windows
from lit_transformer.components.token_mixer import TokenMixer


class LightweightConvolution(TokenMixer):
    """Gated linear units, a convolution of each feature by itself, and a linear layer (section 3 and figure 2)."""

    def __init__(self, d_model: int, windows: Windows, kernels: nn.Module) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, 2 * d_model)
        self.windows = windows
        self.kernels = kernels
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        x = F.glu(self.in_proj(x))
        windows, cache = self.windows(x, layout, cache)  # (N, k, D)
        weights = self.kernels(x).softmax(-1).transpose(-1, -2)  # (N or 1, k, H)
        heads = windows.unflatten(-1, (weights.shape[-1], -1))  # (N, k, H, D / H)
        mixed = (heads * weights[..., None]).sum(1)  # (N, H, D / H)
        return self.out_proj(mixed.flatten(1)), cache


class SharedKernels(nn.Module):
    """The same kernels for every token (section 3): (N, D) -> (1, H, k), before the softmax."""

    def __init__(self, heads: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, kernel)))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[None]


class DynamicKernels(nn.Module):
    """Every token predicts its own kernels, linearly (section 4): (N, D) -> (N, H, k), before the softmax."""

    def __init__(self, d_model: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear = nn.Linear(d_model, heads * kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.linear(x)
        return weights.unflatten(-1, (self.heads, -1))
