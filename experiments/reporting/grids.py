"""Tables of text for the terminal, Markdown and a page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TableCell:
    """A cell's text, the number it sorts by if it has one, and the style of a verdict."""

    text: str
    sort: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Grid:
    """Column titles, rows, and which columns are numeric; the first column names the row."""

    titles: list[str]
    rows: list[list[TableCell]]
    numeric: list[bool] = field(default_factory=list)

    def is_numeric(self, place: int) -> bool:
        return bool(self.numeric) and self.numeric[place]


def print_grid(grid: Grid, console: Console) -> None:
    """Print a table: fitted to a terminal's width, elsewhere plain and complete."""
    if console.is_terminal:
        console.print(_fitted(grid))
        return
    rows = [grid.titles, *([cell.text for cell in row] for row in grid.rows)]
    print_plain(rows, [grid.is_numeric(place) for place in range(len(grid.titles))], console)


def markdown_grid(grid: Grid) -> str:
    """Return a table as Markdown."""
    lines = ["| " + " | ".join(map(_in_a_cell, grid.titles)) + " |"]
    lines.append("|" + "|".join("--:" if grid.is_numeric(place) else ":--" for place in range(len(grid.titles))) + "|")
    lines += ["| " + " | ".join(_in_a_cell(cell.text) for cell in row) + " |" for row in grid.rows]
    return "\n".join(lines)


def without_tags(text: str) -> str:
    """Return text for Markdown, in which "<" before a letter or sign begins HTML, scripts included; "< 0.05" stays."""
    return re.sub(r"<(?=\S)", "&lt;", text)


def print_plain(rows: Sequence[Sequence[str]], numeric: Sequence[bool], console: Console) -> None:
    """Print rows, titles first, as aligned columns without cutting any; numeric columns are right-aligned."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(numeric))]
    for row in rows:
        cells = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, numeric, strict=True)
        ]
        console.out("  ".join(cells).rstrip(), highlight=False)


def _in_a_cell(text: str) -> str:
    return without_tags(text).replace("|", "\\|")


def _fitted(grid: Grid) -> Table:
    table = Table(box=None)
    for place, title in enumerate(grid.titles):
        table.add_column(Text(title), justify="right" if grid.is_numeric(place) else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(cell.text) for cell in row))
    return table
