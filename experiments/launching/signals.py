"""Signals of those that start many cells: who is told to stop, and who is busy stopping."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def stop_as_on_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def told_once() -> Iterator[None]:
    """Ignore further SIGTERMs while what they ask for is being done: a scheduler sends several. Ctrl-C still works."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
