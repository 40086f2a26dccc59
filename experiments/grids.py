"""A table of text for the terminal and for a page, where its columns are not those of one study."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Cell:
    """A cell's text, what it sorts by where that is a number, and the style of a verdict."""

    text: str
    sort: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Grid:
    """Titles, rows, and which columns hold numbers; the first column names the row."""

    titles: list[str]
    rows: list[list[Cell]]
    numeric: list[bool] = field(default_factory=list)

    def is_numeric(self, place: int) -> bool:
        return bool(self.numeric) and self.numeric[place]


def print_grid(grid: Grid, console: Console) -> None:
    """Print a grid: to a terminal as wide as it is, elsewhere plain and whole."""
    if console.is_terminal:
        console.print(_fitted(grid))
        return
    rows = [grid.titles, *([cell.text for cell in row] for row in grid.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(grid.titles))]
    for row in rows:
        console.out("  ".join(_aligned(grid, row, widths)).rstrip(), highlight=False)


def _aligned(grid: Grid, row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        text.rjust(width) if grid.is_numeric(place) else text.ljust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def _fitted(grid: Grid) -> Table:
    table = Table(box=None)
    for place, title in enumerate(grid.titles):
        table.add_column(title, justify="right" if grid.is_numeric(place) else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(cell.text for cell in row))
    return table
