"""What the measurements say: exponents and paths of each kind of layer, beside the paper's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.layer_costs.fit import Exponent, exponent
from experiments.layer_costs.layers import LAYERS, LayerKind
from experiments.layer_costs.settings import Settings

Row = dict[str, Any]
NEAR = 0.15
"""An exponent that ends within so much of the paper's is called reached."""


@dataclass(frozen=True)
class Finding:
    """A kind of layer: by what is measured, its exponent of n and of d; and what does not grow as a power."""

    kind: LayerKind
    of_n: dict[str, Exponent]
    of_d: dict[str, Exponent]
    mixing_share: float
    """Of all operations at the largest n, those that the paper's O() counts."""
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
    """Fit everything, in the order of the paper's table."""
    return [_finding(settings, results, kind) for kind in LAYERS]


def along(settings: Settings, results: Row, key: str, axis: str, least: int = 0) -> list[Row]:
    """Return the rows of one kind of layer along "n", at the settings' width, or along "d", at their length."""
    fixed, at = ("d", settings.width) if axis == "n" else ("n", settings.length)
    asked = settings.lengths if axis == "n" else settings.widths
    rows = [r for r in results["rows"] if r["layer"] == key and r[fixed] == at and r[axis] in asked]
    return sorted((row for row in rows if row[axis] >= least), key=lambda row: int(row[axis]))


def _finding(settings: Settings, results: Row, kind: LayerKind) -> Finding:
    fits: dict[str, dict[str, Exponent]] = {}
    for axis, least in (("n", settings.fit_length), ("d", settings.fit_width)):
        rows = along(settings, results, kind.key, axis, least)
        sizes = [row[axis] for row in rows]
        fits[axis] = {name: exponent(sizes, [value(row) for row in rows]) for name, value in MEASURES.items()}
    every = along(settings, results, kind.key, "n")
    return Finding(
        kind=kind,
        of_n=fits["n"],
        of_d=fits["d"],
        mixing_share=every[-1]["mixing_operations"] / every[-1]["operations"],
        chain={row["n"]: row["chain"] for row in every},
        path={entry["n"]: entry["path"] for entry in results["paths"] if entry["layer"] == (kind.path_of or kind.key)},
    )


def unreached(findings: Sequence[Finding]) -> list[str]:
    """Say, a sentence for n and one for d, whose time does not grow as the paper's count at the largest sizes."""
    said = []
    for axis in ("n", "d"):
        short = []
        for found in findings:
            fits, claim = (found.of_n, found.kind.n) if axis == "n" else (found.of_d, found.kind.d)
            end, counted = fits["time"].end, fits["operations"].end
            if abs(end - claim) > NEAR:
                short.append(f"{found.kind.title} {end:.2f} against {claim} (all its operations {counted:.2f})")
        if short:
            said.append(
                f"Between the two largest sizes time does not follow the paper's power of {axis}: {'; '.join(short)}."
            )
    return said
