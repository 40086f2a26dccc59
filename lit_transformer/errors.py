"""Errors that a user can fix: one line that names the place and the fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake; entry points print it as one line and exit with `status`."""

    status = 2


class TemporaryFailure(UserError):
    """Nobody's mistake: the same command succeeds later, such as after an interruption that wrote a checkpoint."""

    status = 75  # EX_TEMPFAIL of sysexits.h


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest of `known`, or an empty string when nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""
