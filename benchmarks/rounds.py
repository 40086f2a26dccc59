"""Systems that take turns: the seconds of every round, what they say beside one another, the table and its JSON."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Ids = list[int]
Translate = Callable[[Sequence[Ids]], list[Ids]]


class Span(NamedTuple):
    """The middle and the ends of what the rounds gave."""

    median: float
    least: float
    most: float


class Row(NamedTuple):
    """What is said of a system: sentences a second, times the peer's of the same round, and the share said as ours."""

    name: str
    seconds: list[float]
    rate: Span
    ratio: Span
    same: float


def measure(
    systems: Mapping[str, Translate],
    sources: Sequence[Ids],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, list[float]], dict[str, list[Ids]]]:
    """Return the seconds of every round, after one that is not counted, and the translations, by system."""
    found = {name: translate(sources) for name, translate in systems.items()}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, translate in systems.items():
            started = clock()
            translate(sources)
            seconds[name].append(clock() - started)
    return seconds, found


def rows(seconds: Mapping[str, Sequence[float]], found: Mapping[str, Sequence[Ids]], ours: str, peer: str) -> list[Row]:
    """Return a row a system. A ratio is taken within a round, so that what slows a whole round down drops out."""
    sentences = len(found[ours])
    return [
        Row(
            name,
            list(own),
            _span([sentences / value for value in own]),
            _span([other / value for other, value in zip(seconds[peer], own, strict=True)]),
            sum(map(list.__eq__, found[name], found[ours])) / sentences,
        )
        for name, own in seconds.items()
    ]


def print_table(title: str, peer: str, found: Sequence[Row]) -> None:
    """Print the rows for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title)
    for heading in ("sentences/s", "range", f"x {peer}", "range", "same as ours"):
        table.add_column(heading, justify="right")
    for row in found:
        rate, ratio = row.rate, row.ratio
        cells = [f"{rate.median:.1f}", f"{rate.least:.1f} to {rate.most:.1f}"]
        cells += [f"{ratio.median:.2f}", f"{ratio.least:.2f} to {ratio.most:.2f}", f"{row.same:.1%}"]
        table.add_row(row.name, *cells)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def plain(peer: str, found: Sequence[Row]) -> dict[str, Any]:
    """Return the rows as JSON values, by system."""
    return {
        row.name: {
            "sentences_per_second": _rounded(row.rate),
            f"times {peer}": _rounded(row.ratio),
            "same_as_ours": row.same,
            "seconds": [round(value, 4) for value in row.seconds],
        }
        for row in found
    }


def _span(values: Sequence[float]) -> Span:
    return Span(statistics.median(values), min(values), max(values))


def _rounded(span: Span) -> dict[str, float]:
    return {name: round(value, 3) for name, value in span._asdict().items()}
