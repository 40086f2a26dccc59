"""Average attention (Zhang et al. 2018): a mean of the tokens so far instead of a weighted one.

In the paper it is in the decoder only, with a feed-forward network of d_ff units; here of d_model by default. In the
encoder every token gets the mean of its whole sentence, a deviation.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import TensorCache
from lit_transformer.components.precision import upcast
from lit_transformer.components.token_mixer import TokenMixer


class AverageAttention(TokenMixer):
    """i * x + f * g, where g = FFN(mean) and the gates i, f = sigmoid(W [x; g]) (section 3.1, eqs. 1 to 3)."""

    def __init__(self, d_model: int, width: int, mean: nn.Module) -> None:
        super().__init__()
        self.mean = mean
        self.network = nn.Sequential(nn.Linear(d_model, width), nn.ReLU(), nn.Linear(width, d_model))
        self.gates = nn.Linear(2 * d_model, 2 * d_model)

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D)."""
        mean, cache = self.mean(x, layout, cache)  # (N, D)
        g = self.network(mean)
        input_gate, forget_gate = self.gates(torch.cat([x, g], dim=-1)).sigmoid().chunk(2, dim=-1)  # (N, D) each
        return input_gate * x + forget_gate * g, cache


class RunningMean(nn.Module):
    """The mean of a token and all before it; the cache is their sum (R, D) and their number (R, 1)."""

    def forward(self, x: Tensor, layout: Layout, cache: TensorCache | None) -> tuple[Tensor, TensorCache]:
        """(x_1 + ... + x_i) / i at token i, summed in float32 or wider: (N, D) -> (N, D)."""
        sums = layout.pad(upcast(x)).cumsum(1)  # (B, L, D); padding comes last
        counts = torch.arange(1, layout.max_seqlen + 1, device=x.device)[:, None].expand(layout.sentences, -1, 1)
        if cache is not None:
            sums, counts = sums + cache.tensors[0][:, None], counts + cache.tensors[1][:, None]
        mean = layout.pack(sums / counts).to(x.dtype)
        return mean, TensorCache((sums[:, -1], counts[:, -1]))


class SentenceMean(nn.Module):
    """The mean of all tokens of the sentence."""

    def forward(self, x: Tensor, layout: Layout, cache: None) -> tuple[Tensor, None]:
        padded = layout.pad(upcast(x)).masked_fill(~layout.mask[..., None], 0.0)  # (B, L, D)
        mean = padded.sum(1) / layout.lengths[:, None]  # (B, D)
        return mean.to(x.dtype).index_select(0, layout.sentence_ids), None
