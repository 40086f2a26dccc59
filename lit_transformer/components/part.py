"""The one protocol of everything inside a sub-layer: mixers, feed-forward networks and norms are parts.

A part takes packed tokens, their layout and what it remembers of the tokens before; it returns packed tokens and what
it remembers now. No past means that the tokens begin their sentences, so a whole sentence is one step from the
beginning, and decoding is many steps of one token: the same forward serves both. What is returned as the new past is
of use where every sentence has as many tokens (`layout.rectangular`), as in decoding; training drops it.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import Tensor, nn

from lit_transformer.batch import Layout


class Past(Protocol):
    """What a part remembers of R rows, each a hypothesis of one of S sentences; they lie sentence by sentence."""

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        """Keep, reorder or repeat rows (R',), and keep the sentences (S',), None for all; see `DecoderState`."""
        ...


@dataclass(frozen=True, eq=False)
class Rows:
    """A past of tensors whose first dimension is the rows: (R, ...)."""

    tensors: tuple[Tensor, ...]

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return type(self)(tuple(tensor.index_select(0, rows) for tensor in self.tensors))


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of the matrix products of one forward pass.

    query: for each token that the part changes. key: for each token that it reads, the same tokens unless it reads the
    encoder's output. pair: for each pair of the two in one sentence.
    """

    query: int = 0
    key: int = 0
    pair: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.query + other.query, self.key + other.key, self.pair + other.pair)


class Part(nn.Module):
    """Something inside a sub-layer; see the head of this file."""

    def forward(self, x: Tensor, layout: Layout, past: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D) and the new past, or None where there is nothing to remember."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Return what a forward pass costs: by default every linear layer once for each token."""
        return Cost(query=linear_cost(self))

    def idle_parameters(self) -> int:
        """Return how many of its parameters one token does not use: none, but in a mixture of experts."""
        return 0

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Hand out, once, what the last pass of training adds to the loss, by name and weighted: as a rule nothing."""
        return {}


class PerToken(Part):
    """A part that knows nothing of sentences: `inner` works on the last dimension of (N, D)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, layout: Layout, past: None = None) -> tuple[Tensor, None]:
        return self.inner(x), None


def linear_cost(module: nn.Module) -> int:
    """Return the operations of each linear layer in `module`, used once."""
    return sum(2 * part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))
