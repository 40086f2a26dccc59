"""Convolutions with full kernels, which join a window of inputs through one matrix."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.mixers.windows import Windows
from lit_transformer.components.part import Part


class GatedConvolution(Part):
    """a * sigmoid(b), where a and b are the halves of a convolution D -> 2D (Gehring et al. 2017, section 3.2).

    Theirs normalises the weights and halves the variance after each sum; here norms and residuals are chosen apart.
    """

    def __init__(self, d_model: int, windows: Windows) -> None:
        super().__init__()
        self.windows = windows
        self.convolve = nn.Linear(windows.kernel * d_model, 2 * d_model)

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        seen, new = self.windows(x, layout, past)  # (N, k, D)
        return F.glu(self.convolve(seen.flatten(1))), new


class DilatedConvolution(Part):
    """W relu(dilated convolution) (Kalchbrenner et al. 2016, ByteNet, section 3.3).

    Theirs works at half the width, between two more layers of width one, with a norm before each; here it has the full
    width, and norms are chosen apart.
    """

    def __init__(self, d_model: int, windows: Windows) -> None:
        super().__init__()
        self.windows = windows
        self.convolve = nn.Linear(windows.kernel * d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        seen, new = self.windows(x, layout, past)  # (N, k, D)
        return self.output(self.convolve(seen.flatten(1)).relu()), new
