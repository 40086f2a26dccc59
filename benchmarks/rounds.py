"""Interleaved timing: systems take turns in rounds; their rates and ratios as a table and as JSON."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Ids = list[int]
Translate = Callable[[Sequence[Ids]], list[Ids]]
Turn = Callable[[], float]
"""Runs the work once and returns its seconds."""


class Span(NamedTuple):
    """Median, minimum and maximum over rounds."""

    median: float
    least: float
    most: float

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.least:{form}} to {self.most:{form}})"


class Row(NamedTuple):
    """Timings of a system: units of work per second, and the ratio to the peer in the same round."""

    name: str
    seconds: list[float]
    rate: Span
    ratio: Span


class Column(NamedTuple):
    """A further column: its title and number format in the table, its key in JSON, and the value of each system."""

    title: str
    form: str
    key: str
    values: Mapping[str, float]


def take_turns(systems: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every round by system, after one warm-up round."""
    for turn in systems.values():
        turn()
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, turn in systems.items():
            seconds[name].append(turn())
    return seconds


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Turn:
    """Return a turn that times the work."""

    def turn() -> float:
        started = clock()
        work()
        return clock() - started

    return turn


def rows(seconds: Mapping[str, Sequence[float]], units: float, peer: str) -> list[Row]:
    """Return one row per system. Ratios are taken within a round, so that a slowdown of the machine cancels out.

    `units` is the work of a turn, such as the number of sentences.
    """
    return [
        Row(
            name,
            list(timings),
            _span([units / value for value in timings]),
            _span([peer_value / value for peer_value, value in zip(seconds[peer], timings, strict=True)]),
        )
        for name, timings in seconds.items()
    ]


def print_table(title: str, unit: str, peer: str, table: Sequence[Row], columns: Sequence[Column] = ()) -> None:
    """Print the rows as a table."""
    lines = []
    for row in table:
        cells = [f"{column.values[row.name]:{column.form}}" if row.name in column.values else "" for column in columns]
        lines.append([row.name, f"{row.rate:,.1f}", f"{row.ratio:.2f}", *cells])
    show([title, f"{unit}/s", f"x {peer}", *(column.title for column in columns)], lines)


def show(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table: left-aligned names and right-aligned numbers, not wrapped in a file."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(header):
        table.add_column(heading, justify="right" if index else "left")
    for line in lines:
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: left-aligned names and right-aligned numbers."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "".join("| " + " | ".join(line) + " |\n" for line in (header, rule, *lines))


def lead(systems: Mapping[str, Any], peer: str, ours: str) -> float:
    """Return our speed over a peer's, the median over rounds, from the systems of a benchmark's JSON."""
    pairs = zip(systems[peer]["seconds"], systems[ours]["seconds"], strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def two_decimals(ratio: float | None) -> str:
    """Return a ratio as text, a dash for none."""
    return "–" if ratio is None else f"{ratio:.2f}"


def as_json(unit: str, peer: str, table: Sequence[Row], columns: Sequence[Column] = ()) -> dict[str, Any]:
    """Return the rows as JSON values, by system."""
    return {
        row.name: {
            f"{unit.replace(' ', '_')}_per_second": _rounded(row.rate),
            f"times {peer}": _rounded(row.ratio),
            **{column.key: column.values[row.name] for column in columns if row.name in column.values},
            "seconds": [round(value, 4) for value in row.seconds],
        }
        for row in table
    }


def _span(values: Sequence[float]) -> Span:
    return Span(statistics.median(values), min(values), max(values))


def _rounded(span: Span) -> dict[str, float]:
    return {name: round(value, 3) for name, value in span._asdict().items()}
