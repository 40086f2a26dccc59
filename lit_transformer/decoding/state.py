"""The interface of a model for decoding: a state with selectable rows, and a step function."""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

from torch import Tensor


class DecoderState(Protocol):
    """The cache of a model for S sentences in R rows, each a hypothesis.

    Rows are ordered by sentence, the same number for each. A row holds what the next token depends on: cached keys and
    values, recurrent states. What depends on the source only, such as its keys and values, is stored once per sentence.
    """

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        """Return the state whose row i is row `rows[i]` of this one and whose sentences are `sentences`, None for all.

        rows (R',) and sentences (S',) are int64 indexes into this state. Rows may be dropped, reordered and repeated;
        the result is ordered by sentence again, with the same number of rows for each.
        """
        ...


State = TypeVar("State", bound=DecoderState)

Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""(tokens (R,) int64, state of R rows) -> (logits (R, V) of the next token, the new state)."""
