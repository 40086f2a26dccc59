"""Operations and their longest chain, from the shapes alone: nothing is computed, so every length is cheap."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments.layer_costs.layers import LayerKind, build, left_out_operations
from experiments.layer_costs.settings import Settings
from lit_transformer.batch import Layout

FEW = 32


def count(kind: LayerKind, n: int, d: int, settings: Settings) -> dict[str, int]:
    """Return the operations of one pass forward and backward, those of the mixing, and the longest chain forward.

    The steps of a recurrent layer are alike, and torch counts each by itself: two short sentences tell a longer one's.
    """
    if not kind.one_way or n <= 2 * FEW:
        return counted(kind, n, d, settings)
    one, two = counted(kind, FEW, d, settings), counted(kind, 2 * FEW, d, settings)
    return {name: one[name] + (two[name] - one[name]) * (n - FEW) // FEW for name in one}


def counted(kind: LayerKind, n: int, d: int, settings: Settings) -> dict[str, int]:
    """Count every operation of the pass."""
    fused_off = torch.backends.mkldnn.flags(enabled=False, allow_tf32=None)  # torch does not see into its fused LSTM
    with torch.device("meta"):
        (part,) = build(kind, d, settings.heads, settings.kernel, settings.window)
        x = torch.empty(n, d, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH), fused_off, FlopCounterMode(display=False) as counter:
        y, _ = part(x, Layout.uniform(1, n, torch.device("meta")))
        chain = longest_chain(y)
        y.sum().backward()
    total = counter.get_total_flops()
    return {"operations": total, "mixing_operations": total - n * left_out_operations(kind, part), "chain": chain}


def longest_chain(y: Tensor) -> int:
    """Return how many operations, each waiting for the one before, lie between an input and y.

    They are counted in the graph that the backward pass would walk: one node is one kernel, however large.
    """
    depth: dict[Any, int] = {}
    stack: list[tuple[Any, bool]] = [(y.grad_fn, False)]
    while stack:
        node, ready = stack.pop()
        if node in depth:
            continue
        before = [parent for parent, _ in node.next_functions if parent is not None]
        if ready:
            depth[node] = 1 + max((depth[parent] for parent in before), default=0)
        else:
            stack.append((node, True))
            stack.extend((parent, False) for parent in before)
    return depth[y.grad_fn] - 1  # the leaf is no operation
