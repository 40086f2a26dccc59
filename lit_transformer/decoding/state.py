"""What a search needs of a model: a state whose rows can be picked, and a function that feeds one token a row."""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

from torch import Tensor


class DecoderState(Protocol):
    """All that a model remembers of the sentences it is decoding, one row a hypothesis.

    A row holds whatever the next token depends on: cached keys and values, recurrent states, the memory of its source.
    """

    def select(self, rows: Tensor, same_sentences: bool = False) -> Self:
        """Return the state whose row i is row `rows[i]` of this one; rows (R,) int64 may drop, reorder and repeat.

        `same_sentences` promises that there are as many rows as before, and that row i is of the same sentence as row
        i was: what belongs to the sentence and not to the hypothesis may stay where it is.
        """
        ...


State = TypeVar("State", bound=DecoderState)

# (tokens (R,) int64, state of R rows) -> (logits (R, V) of the token after them, state that has read them)
Step = Callable[[Tensor, State], tuple[Tensor, State]]
