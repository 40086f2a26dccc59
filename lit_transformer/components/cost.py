"""The cost of a module: floating-point operations of its matrix products."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of the matrix products of one forward pass.

    query: per token of the module's input. key: per token that it attends to, the same tokens unless these are the
    encoder's. pair: per pair of the two within a sentence.
    """

    query: int = 0
    key: int = 0
    pair: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.query + other.query, self.key + other.key, self.pair + other.pair)


class CostedModule(nn.Module):
    """A module whose cost is not that of its linear layers, each applied once per token."""

    def cost(self) -> Cost:
        """Return the cost of a forward pass."""
        raise NotImplementedError


def cost_of(module: nn.Module) -> Cost:
    """Return the cost of a forward pass of any module."""
    return module.cost() if isinstance(module, CostedModule) else Cost(query=linear_cost(module))


def linear_cost(module: nn.Module) -> int:
    """Return the operations per token of the linear layers in `module`, each applied once."""
    return sum(2 * layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))
