"""Systems that take turns: the seconds of every round, what they say beside one another, the table and its JSON."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Ids = list[int]
Translate = Callable[[Sequence[Ids]], list[Ids]]
Turn = Callable[[], float]
"""Does its work once and returns the seconds it took."""


class Span(NamedTuple):
    """The middle and the ends of what the rounds gave."""

    median: float
    least: float
    most: float

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.least:{form}} to {self.most:{form}})"


class Row(NamedTuple):
    """What is said of a system: units of work a second, and times the peer's of the same round."""

    name: str
    seconds: list[float]
    rate: Span
    ratio: Span


class Column(NamedTuple):
    """One more figure of every system: what the table calls it, and how it is written there, its key in JSON."""

    title: str
    form: str
    key: str
    values: Mapping[str, float]


def take_turns(systems: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every round by system, after a round that is not counted."""
    for turn in systems.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, turn in systems.items():
            seconds[name].append(turn())
    return seconds


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Turn:
    """Return a turn that does the work under a clock."""

    def turn() -> float:
        started = clock()
        work()
        return clock() - started

    return turn


def rows(seconds: Mapping[str, Sequence[float]], units: float, peer: str) -> list[Row]:
    """Return a row a system. A ratio is taken within a round, so that what slows a whole round down drops out.

    `units`: what every system does in a turn, such as sentences.
    """
    return [
        Row(
            name,
            list(own),
            _span([units / value for value in own]),
            _span([other / value for other, value in zip(seconds[peer], own, strict=True)]),
        )
        for name, own in seconds.items()
    ]


def print_table(title: str, unit: str, peer: str, found: Sequence[Row], columns: Sequence[Column] = ()) -> None:
    """Print the rows for people."""
    lines = []
    for row in found:
        extra = [f"{column.values[row.name]:{column.form}}" if row.name in column.values else "" for column in columns]
        lines.append([row.name, f"{row.rate:,.1f}", f"{row.ratio:.2f}", *extra])
    show([title, f"{unit}/s", f"x {peer}", *(column.title for column in columns)], lines)


def show(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table of names and, at the right of their columns, figures; in a file it is not folded."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(header):
        table.add_column(heading, justify="right" if place else "left")
    for line in lines:
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def plain(unit: str, peer: str, found: Sequence[Row], columns: Sequence[Column] = ()) -> dict[str, Any]:
    """Return the rows as JSON values, by system."""
    return {
        row.name: {
            f"{unit.replace(' ', '_')}_per_second": _rounded(row.rate),
            f"times {peer}": _rounded(row.ratio),
            **{column.key: column.values[row.name] for column in columns if row.name in column.values},
            "seconds": [round(value, 4) for value in row.seconds],
        }
        for row in found
    }


def _span(values: Sequence[float]) -> Span:
    return Span(statistics.median(values), min(values), max(values))


def _rounded(span: Span) -> dict[str, float]:
    return {name: round(value, 3) for name, value in span._asdict().items()}
