"""Weights laid out once for the products of a search, instead of anew in each of them.

On a CPU the matrix library copies a weight into the order that its kernels read before it multiplies. A search of a few
rows does that at every step, and spends up to a third of its time there. oneDNN can keep the copy.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

ROWS = 128
"""The rows of a product that the order is chosen for; others work as well."""


class Network(Protocol):
    """What is packed: its linear layers, and the matrix of its vocabulary, by which `logits` multiplies."""

    softmax: nn.Embedding

    def logits(self, hidden: Tensor) -> Tensor: ...

    def modules(self) -> Iterator[nn.Module]: ...


@contextmanager
def packed_weights(networks: Sequence[Network]) -> Iterator[None]:
    """Let networks multiply by packed copies of their float32 weights while the block lasts.

    What is computed is the same but for rounding. The weights must not change meanwhile. Elsewhere than on an x86 CPU,
    and within another such block of the same network, this does nothing.
    """
    with ExitStack() as undo:
        for network in networks:
            if _can_pack(network.softmax.weight) and "logits" not in vars(network):
                _replace(network, "logits", _product(network.softmax.weight, None), undo)
                joined: set[nn.Module] = set()
                for module in network.modules():  # a module comes before what it is made of
                    if hasattr(module, "projected"):
                        parts: list[Any] = [module.query, module.key, module.value]
                        joined.update(parts)
                        _replace(module, "projected", _product_of_all(parts), undo)
                    elif type(module) is nn.Linear and module not in joined and _can_pack(module.weight):
                        _replace(module, "forward", _product(module.weight, module.bias), undo)
        yield


def _can_pack(weight: Tensor) -> bool:
    known = weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return known and platform.machine() in ("x86_64", "AMD64") and not torch.is_autocast_enabled("cpu")


def _product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Return x (N, in) -> (N, out), as `torch.nn.functional.linear`."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
    return partial(_linear, packed=packed, bias=bias)


def _product_of_all(parts: Sequence[Any]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return what linear layers, with biases or all without, make of the same x (N, in), as one product."""
    bias = None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
    product = _product(torch.cat([part.weight.detach() for part in parts]), bias)
    widths = [part.out_features for part in parts]
    return lambda x: product(x).split(widths, -1)


def _linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _replace(module: object, name: str, method: Any, undo: ExitStack) -> None:
    """Put a method into one object, and let `undo` take it away."""
    setattr(module, name, method)
    undo.callback(delattr, module, name)
