"""Windows: for every token the inputs that a convolution joins, so that the convolution is one linear layer.

The cost is that of the real tokens. Where no token stands there are zeros, as in a padded convolution.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.part import Rows


class Windows(nn.Module):
    """Gathers `kernel` inputs a token, `dilation` places apart: (N, D) -> (N, k, D), the earliest first."""

    def __init__(self, kernel: int, dilation: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.dilation = dilation
        self.reach = (kernel - 1) * dilation  # from the first to the last of a window

    def forward(self, x: Tensor, layout: Layout, past: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def gather(self, line: Tensor, layout: Layout) -> Tensor:
        """Cut the windows out of sentences that have the reach around them: (B, reach + L, D) -> (N, k, D)."""
        starts = range(0, self.reach + 1, self.dilation)
        windows = [line[:, start : start + layout.longest] for start in starts]
        return layout.pack(torch.stack(windows, dim=2))  # (B, L, k, D) -> (N, k, D)


class CentredWindows(Windows):
    """The token stands in the middle; kernel is odd."""

    def forward(self, x: Tensor, layout: Layout, past: None) -> tuple[Tensor, None]:
        rectangle = layout.pad(x)  # (B, L, D)
        if not layout.rectangular:
            rectangle = rectangle.masked_fill(~layout.mask[..., None], 0.0)
        side = self.reach // 2
        return self.gather(F.pad(rectangle, (0, 0, side, side)), layout), None


class CausalWindows(Windows):
    """The token stands last, so no later one is seen; the past is the last `reach` inputs (R, reach, D)."""

    def forward(self, x: Tensor, layout: Layout, past: Rows | None) -> tuple[Tensor, Rows]:
        before = x.new_zeros(layout.sentences, self.reach, x.shape[1]) if past is None else past.tensors[0]
        line = torch.cat([before, layout.pad(x)], dim=1)  # (B, reach + L, D)
        return self.gather(line, layout), Rows((line[:, layout.longest :],))


def build_windows(kernel: int, dilation: int, causal: bool) -> Windows:
    """Build the windows of one layer. `causal`: no token sees a later one."""
    return CausalWindows(kernel, dilation) if causal else CentredWindows(kernel, dilation)
