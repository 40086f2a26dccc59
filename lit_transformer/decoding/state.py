"""What a search needs of a model: a state whose rows can be picked, and a function that feeds one token a row."""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

from torch import Tensor


class DecoderState(Protocol):
    """All that a model remembers of the S sentences it is decoding, in R rows, each a hypothesis.

    Rows lie sentence by sentence, as many for one as for another. A row holds what the next token depends on: cached
    keys and values, recurrent states. What is of the source alone, the projected memory, is kept once a sentence.
    """

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        """Return the state whose row i is row `rows[i]` of this one, and whose sentences are `sentences`, None for all.

        rows (R',) and sentences (S',) are int64 indexes into this state. Rows may drop, reorder and repeat: those of
        each sentence that stays come together, in the order of the sentences, and are as many for each.
        """
        ...


State = TypeVar("State", bound=DecoderState)

# (tokens (R,) int64, state of R rows) -> (logits (R, V) of the token after them, state that has read them)
Step = Callable[[Tensor, State], tuple[Tensor, State]]
