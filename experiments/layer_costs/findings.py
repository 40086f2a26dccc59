"""Exponents and path lengths of each kind of layer, fitted to the measurements, beside the paper's claims."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.layer_costs.layers import LAYERS, LayerKind
from experiments.layer_costs.settings import Settings
from experiments.reporting.statistics import LEVEL

Row = dict[str, Any]
NEAR = 0.15
"""A time exponent this close to the paper's is called reached."""


@dataclass(frozen=True)
class Exponent:
    """y grows as x^`value`, with the 95 % interval `low` to `high`; `end` is the power between the two largest x.

    The interval shows how well a single power fits the points. Where two terms share the cost, the exponent still
    changes with x, and `end` is the better estimate of its limit.
    """

    value: float
    low: float
    high: float
    end: float
    points: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """Fit log y = a + b log x to at least three points by least squares."""
    from scipy import stats

    assert len(x) == len(y) >= 3
    log_x, log_y = (np.log(np.asarray(values, float)) for values in (x, y))
    (slope, _), covariance = np.polyfit(log_x, log_y, 1, cov=True)
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * np.sqrt(covariance[0, 0])
    last = np.argsort(log_x)[-2:]
    end = float(np.diff(log_y[last])[0] / np.diff(log_x[last])[0])
    return Exponent(float(slope), float(slope - half), float(slope + half), end, len(x))


@dataclass(frozen=True)
class Finding:
    """A kind of layer: the exponents of n and d of each measure, and what does not grow as a power."""

    kind: LayerKind
    of_n: dict[str, Exponent]
    of_d: dict[str, Exponent]
    mixing_share: float
    """The share of operations at the largest n that the paper's O() counts."""
    chain: dict[int, int]
    """The longest chain of operations, by n."""
    path: dict[int, int]
    """The longest path between two tokens, by n."""


MEASURES: dict[str, Callable[[Row], float]] = {
    "mixing": lambda row: float(row["mixing_operations"]),
    "operations": lambda row: float(row["operations"]),
    "time": lambda row: min(row["seconds"]),
    "memory": lambda row: float(row["peak_bytes"]),
}


def find(settings: Settings, results: Row) -> list[Finding]:
    """Return the findings, in the order of the paper's table."""
    return [_finding(settings, results, kind) for kind in LAYERS]


def rows_along(settings: Settings, results: Row, key: str, axis: str, least: int = 0) -> list[Row]:
    """Return the rows of one kind of layer over "n" at the fixed width, or over "d" at the fixed length."""
    fixed, at = ("d", settings.width) if axis == "n" else ("n", settings.length)
    sizes = settings.lengths if axis == "n" else settings.widths
    rows = [r for r in results["rows"] if r["layer"] == key and r[fixed] == at and r[axis] in sizes]
    return sorted((row for row in rows if row[axis] >= least), key=lambda row: int(row[axis]))


def _finding(settings: Settings, results: Row, kind: LayerKind) -> Finding:
    fits: dict[str, dict[str, Exponent]] = {}
    for axis, least in (("n", settings.fit_length), ("d", settings.fit_width)):
        rows = rows_along(settings, results, kind.key, axis, least)
        sizes = [row[axis] for row in rows]
        fits[axis] = {name: fit_exponent(sizes, [value(row) for row in rows]) for name, value in MEASURES.items()}
    all_n = rows_along(settings, results, kind.key, "n")
    return Finding(
        kind=kind,
        of_n=fits["n"],
        of_d=fits["d"],
        mixing_share=all_n[-1]["mixing_operations"] / all_n[-1]["operations"],
        chain={row["n"]: row["chain"] for row in all_n},
        path={entry["n"]: entry["path"] for entry in results["paths"] if entry["layer"] == (kind.path_of or kind.key)},
    )


def unreached(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence for n and one for d, each with the layers whose time does not grow as the paper claims."""
    sentences = []
    for axis in ("n", "d"):
        layers = []
        for finding in findings:
            fits, claim = (finding.of_n, finding.kind.n) if axis == "n" else (finding.of_d, finding.kind.d)
            end, counted = fits["time"].end, fits["operations"].end
            if abs(end - claim) > NEAR:
                layers.append(f"{finding.kind.title} {end:.2f} against {claim} (all its operations {counted:.2f})")
        if layers:
            sentences.append(
                f"Between the two largest sizes time does not follow the paper's power of {axis}: {'; '.join(layers)}."
            )
    return sentences
