"""Reads and writes probe.csv of a cell, without torch; `training.probe` takes the measurements."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.common.io import write_text
from lit_transformer.errors import UserError

COLUMNS = ("step", "part", "layer", "measure", "value")

Key = tuple[str, int | None, str]
"""Part, layer (from 1; None for a part without layers) and measure."""
LAST: Key = ("all", None, "step_gradient_largest")
"""The last row of every validation."""


def write_probe(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of step, part, layer, measure and value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for step, part, layer, name, value in rows:
        writer.writerow((step, part, "" if layer is None else layer, name, f"{value:.6g}"))
    write_text(path, text.getvalue())


def read_probe(path: Path, steps: int | None = None) -> list[tuple[int, Key, float]]:
    """Return the step, key and value of each row with a finite value; nothing where there is no file.

    Raises UserError for a file that no probe wrote or that is cut short; `steps` are those of a finished training.
    """
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        rows = [
            (int(row["step"]), (row["part"], int(row["layer"] or 0) or None, row["measure"]), float(row["value"]))
            for row in csv.DictReader(io.StringIO(text, newline=""))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not written by a probe ({error}); train this cell again") from None
    whole = steps is None or (rows and rows[-1][:2] == (steps, LAST))
    if not whole or not text.endswith("\n"):
        raise UserError(f"{path}: cut short; train this cell again")
    return [row for row in rows if math.isfinite(row[2])]
