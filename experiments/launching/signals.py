"""Signals of those that start many cells: who is told to stop, and who is busy stopping."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def stop_as_on_ctrl_c() -> None:
    """Let SIGTERM, SIGHUP and SIGUSR1, a scheduler's word before it takes the machine, do what Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def told_once() -> Iterator[None]:
    """Ignore what a scheduler sends while what it asks for is being done: it sends several. Ctrl-C still works."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
