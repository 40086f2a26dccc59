"""Convolutions with full kernels, computed as one linear layer over a window of inputs."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.mixers.windows import Windows
from lit_transformer.components.token_mixer import TokenMixer


class GatedConvolution(TokenMixer):
    """a * sigmoid(b), where a and b are the halves of a convolution D -> 2D (Gehring et al. 2017, section 3.2).

    The paper normalises the weights and halves the variance after each sum; here norms and residuals are other choices.
    """

    def __init__(self, d_model: int, windows: Windows) -> None:
        super().__init__()
        self.windows = windows
        self.convolution = nn.Linear(windows.kernel * d_model, 2 * d_model)

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        windows, cache = self.windows(x, layout, cache)  # (N, k, D)
        return F.glu(self.convolution(windows.flatten(1))), cache


class DilatedConvolution(TokenMixer):
    """W relu(dilated convolution) (Kalchbrenner et al. 2016, ByteNet, section 3.3).

    In the paper it has half the width, between two more layers of kernel width 1, with a norm before each; here it has
    the full width, and norms are a separate choice.
    """

    def __init__(self, d_model: int, windows: Windows) -> None:
        super().__init__()
        self.windows = windows
        self.convolution = nn.Linear(windows.kernel * d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        windows, cache = self.windows(x, layout, cache)  # (N, k, D)
        return self.out_proj(self.convolution(windows.flatten(1)).relu()), cache
