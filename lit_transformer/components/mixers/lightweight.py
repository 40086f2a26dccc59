"""Lightweight and dynamic convolutions (Wu et al. 2019): one kernel for each group of features, its weights sum to 1.

Beside the source: kernels are as wide in every layer, and none of their weights is dropped in training.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.mixers.windows import Windows
from lit_transformer.components.part import Part


class LightweightConvolution(Part):
    """Gated linear units, a convolution of each feature by itself, and a linear layer (section 3 and figure 2)."""

    def __init__(self, d_model: int, windows: Windows, kernels: nn.Module) -> None:
        super().__init__()
        self.input = nn.Linear(d_model, 2 * d_model)
        self.windows = windows
        self.kernels = kernels
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        x = F.glu(self.input(x))
        seen, new = self.windows(x, layout, past)  # (N, k, D)
        weights = self.kernels(x).softmax(-1).transpose(-1, -2)  # (N or 1, k, H)
        heads = seen.unflatten(-1, (weights.shape[-1], -1))  # (N, k, H, D / H)
        mixed = (heads * weights[..., None]).sum(1)  # (N, H, D / H)
        return self.output(mixed.flatten(1)), new


class SharedKernels(nn.Module):
    """The same kernels for every token (section 3): (N, D) -> (1, H, k), before the softmax."""

    def __init__(self, heads: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, kernel)))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[None]


class DynamicKernels(nn.Module):
    """Every token makes its own kernels, linearly (section 4): (N, D) -> (N, H, k), before the softmax."""

    def __init__(self, d_model: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.make = nn.Linear(d_model, heads * kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.make(x)
        return weights.unflatten(-1, (self.heads, -1))
