"""Windows: for every token the inputs of a convolution, so that the convolution is one linear layer.

The cost is that of the real tokens. Beyond a sentence there are zeros, as in a padded convolution.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import TensorCache


class Windows(nn.Module):
    """Gathers `kernel` inputs per token, `dilation` positions apart: (N, D) -> (N, k, D), the earliest first."""

    def __init__(self, kernel: int, dilation: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.dilation = dilation
        self.reach = (kernel - 1) * dilation  # from the first to the last of a window

    def forward(self, x: Tensor, layout: Layout, cache: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def gather(self, padded: Tensor, layout: Layout) -> Tensor:
        """Cut the windows out of sentences padded by the reach: (B, reach + L, D) -> (N, k, D)."""
        starts = range(0, self.reach + 1, self.dilation)
        windows = [padded[:, start : start + layout.max_seqlen] for start in starts]
        return layout.pack(torch.stack(windows, dim=2))  # (B, L, k, D) -> (N, k, D)


class CentredWindows(Windows):
    """The token is in the middle of its window; kernel is odd."""

    def forward(self, x: Tensor, layout: Layout, cache: None) -> tuple[Tensor, None]:
        padded = layout.pad(x)  # (B, L, D)
        if not layout.rectangular:
            padded = padded.masked_fill(~layout.mask[..., None], 0.0)
        side = self.reach // 2
        return self.gather(F.pad(padded, (0, 0, side, side)), layout), None


class CausalWindows(Windows):
    """The token is the last of its window; the cache holds the last `reach` inputs (R, reach, D)."""

    def forward(self, x: Tensor, layout: Layout, cache: TensorCache | None) -> tuple[Tensor, TensorCache]:
        before = x.new_zeros(layout.sentences, self.reach, x.shape[1]) if cache is None else cache.tensors[0]
        padded = torch.cat([before, layout.pad(x)], dim=1)  # (B, reach + L, D)
        return self.gather(padded, layout), TensorCache((padded[:, layout.max_seqlen :],))


def build_windows(kernel: int, dilation: int, causal: bool) -> Windows:
    """Build the windows of one layer. `causal`: no token sees a later one."""
    return CausalWindows(kernel, dilation) if causal else CentredWindows(kernel, dilation)
