"""Attention kernels: from queries, keys and values to mixed values, as rectangles.

A kernel takes queries (B, H, Q, E_k), keys (B, G, K, E_k) and values (B, G, K, E_v), G heads of keys shared by H of
queries, a `View` and the bias of the positions, and returns (B, H, Q, E_v). `weights` says plainly what it mixes by.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class View(NamedTuple):
    """Which keys a query may look at. visible: bool, broadcast to (B, H, Q, K), None for all; causal: none later."""

    visible: Tensor | None = None
    causal: bool = False

    def over(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """Return both in one mask, None where everything is visible; the last query stands at the last key."""
        if not self.causal:
            return self.visible
        q, k = queries.shape[2], keys.shape[2]
        earlier = torch.ones(q, k, dtype=torch.bool, device=keys.device).tril(k - q)  # (Q, K)
        return earlier if self.visible is None else earlier & self.visible


class Kernel(nn.Module):
    """softmax(scale * Q K^T + bias) V for every head (section 3.2.1, eq. 1), by torch's fused kernel."""

    def __init__(self, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = dropout

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, view: View, bias: Tensor | None) -> Tensor:
        mask, causal = view
        if bias is not None:
            visible, causal = view.over(queries, keys), False
            mask = bias if visible is None else bias.masked_fill(~visible, -torch.inf)
        return F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            scale=self.scale,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )  # (B, H, Q, E_v)

    def weights(self, queries: Tensor, keys: Tensor, view: View, bias: Tensor | None) -> Tensor:
        """Return the weights of the values, slowly and plainly: (B, H, Q, K), every row sums to 1."""
        scores = queries @ shared_out(keys, queries).transpose(-1, -2) * self.scale  # (B, H, Q, K)
        scores = scores if bias is None else scores + bias
        visible = view.over(queries, keys)
        return (scores if visible is None else scores.masked_fill(~visible, -torch.inf)).float().softmax(-1)


def shared_out(keys: Tensor, queries: Tensor) -> Tensor:
    """Repeat each of G heads for the queries' heads that share it: (B, G, K, E) -> (B, H, K, E)."""
    return keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
