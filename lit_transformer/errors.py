"""Errors that a user can fix: one line that names the place and the fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake; entry points print it as one line and exit with `status`.

    What no line can hold, of text that the message quotes, becomes spaces: line breaks, control characters, and
    surrogates.
    """

    status = 2

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else " " for sign in message))


class TemporaryFailure(UserError):
    """Nobody's mistake: the same command succeeds later, such as after an interruption that wrote a checkpoint."""

    status = 75  # EX_TEMPFAIL of sysexits.h


def nearest(word: object, known: Iterable[object]) -> str:
    """Return "; did you mean 'x'?" for the closest of `known`, or an empty string when nothing is close.

    In YAML a word may be a number or a truth value: what counts is how it is written.
    """
    matches = difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""
