"""Average attention (Zhang et al. 2018): a mean of the tokens so far instead of a weighted one.

Theirs is in the decoder alone, and its network has d_ff units; here d_model, unless said. In the encoder every token
gets the mean of its whole sentence, a deviation.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.part import Part, Rows
from lit_transformer.components.precision import widened


class AverageAttention(Part):
    """i * x + f * g, where g = FFN(mean) and the gates i, f = sigmoid(W [x; g]) (section 3.1, eqs. 1 to 3)."""

    def __init__(self, d_model: int, width: int, mean: nn.Module) -> None:
        super().__init__()
        self.mean = mean
        self.network = nn.Sequential(nn.Linear(d_model, width), nn.ReLU(), nn.Linear(width, d_model))
        self.gates = nn.Linear(2 * d_model, 2 * d_model)

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        mean, new = self.mean(x, layout, past)  # (N, D)
        read = self.network(mean)
        keep, add = self.gates(torch.cat([x, read], dim=-1)).sigmoid().chunk(2, dim=-1)  # (N, D) each
        return keep * x + add * read, new


class RunningMean(nn.Module):
    """The mean of a token and all before it; the past is their sum (R, D) and their number (R, 1)."""

    def forward(self, x: Tensor, layout: Layout, past: Rows | None) -> tuple[Tensor, Rows]:
        sums = layout.pad(widened(x)).cumsum(1)  # (B, L, D); padding stands last
        counts = torch.arange(1, layout.longest + 1, device=x.device)[:, None].expand(layout.sentences, -1, 1)
        if past is not None:
            sums, counts = sums + past.tensors[0][:, None], counts + past.tensors[1][:, None]
        mean = layout.pack(sums / counts).to(x.dtype)
        return mean, Rows((sums[:, -1], counts[:, -1]))


class SentenceMean(nn.Module):
    """The mean of all tokens of the sentence."""

    def forward(self, x: Tensor, layout: Layout, past: None) -> tuple[Tensor, None]:
        rectangle = layout.pad(widened(x)).masked_fill(~layout.mask[..., None], 0.0)  # (B, L, D)
        mean = rectangle.sum(1) / layout.lengths[:, None]  # (B, D)
        return mean.to(x.dtype).index_select(0, layout.cells // layout.longest), None
