"""Signals of processes that start cells: every request to stop acts as Ctrl-C, and its repetitions do not."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def interrupt_on_signals() -> None:
    """Let SIGTERM, SIGHUP and SIGUSR1, which a scheduler sends before it takes the machine, act as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def repeated_signals_ignored() -> Iterator[None]:
    """Ignore SIGTERM and SIGUSR1 while stopping: a scheduler sends several. Ctrl-C still works."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
