"""Errors that a user can fix: one line that names the place and the fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake; entry points print it as one line and exit with status 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest of `known`, or an empty string when nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""
