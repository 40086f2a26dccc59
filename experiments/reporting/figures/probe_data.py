"""What the probes of a study's cells saw, as plain rows and as a table: no plotting library here."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from experiments.reporting.figures.figure_data import Rows
from experiments.reporting.results import Results
from experiments.reporting.statistics import estimate
from experiments.reporting.summary import Summary
from experiments.training.probe_csv import Key

PLACES = ("encoder", "decoder", "cross")
COLUMNS = ("variant", "step", "part", "layer", "measure", "mean", "low", "high", "n")
HEADLINE = (
    ("spread of|scores|before", "score_std", True),
    ("spread of|scores|after", "score_std", False),
    ("softmax|gradient|before, %", "jacobian", True),
    ("softmax|gradient|after, %", "jacobian", False),
    ("weight on|hidden|keys, %", "hidden_weight", False),
)
"""Title in lines, measure and whether before the first step, else after the last: means over a model's attentions."""
LARGEST_STEP = "largest|gradient|of a step"


@dataclass(frozen=True)
class Seen:
    """The values of one variant by step and key, one a seed that finished."""

    values: dict[int, dict[Key, list[float]]]

    @cached_property
    def steps(self) -> list[int]:
        return sorted(self.values)

    def mean(self, step: int, keys: Iterable[Key]) -> float | None:
        """Return the mean over keys and seeds, None where nothing was measured."""
        found = [value for key in keys for value in self.values[step].get(key, [])]
        return sum(found) / len(found) if found else None

    def keys(self, step: int, measure: str, parts: Sequence[str] = PLACES) -> list[Key]:
        """Return the keys of a measure at a step, of some parts."""
        return [key for key in self.values[step] if key[2] == measure and key[0] in parts]


def seen(summary: Summary, results: Results) -> dict[str, Seen]:
    """Read what each variant's finished cells measured; a variant whose cells all diverged shows those."""
    found = {}
    for row in summary.rows:
        records = results.of(row.variant)
        values: dict[int, dict[Key, list[float]]] = {}
        for record in [record for record in records if not record.diverged] or records:
            for step, key, value in record.probe():
                values.setdefault(step, {}).setdefault(key, []).append(value)
        if values:
            found[row.variant] = Seen(values)
    return found


def softmax_rows(summary: Summary, measured: dict[str, Seen]) -> Rows:
    """Return, for each variant and kind of attention, the gradient that the softmax lets through at each step."""
    rows: Rows = []
    for variant, own in measured.items():
        verdict = summary.row(variant).verdict.value
        for step in own.steps:
            for part in PLACES:
                value = own.mean(step, own.keys(step, "jacobian", (part,)))
                if value is not None:
                    rows.append({"variant": variant, "verdict": verdict, "step": step, "part": part, "value": value})
    return rows


def gradient_rows(measured: dict[str, Seen]) -> tuple[list[str], Rows]:
    """Return the parts of a model from the embedding up, and the norm of each one's gradient over the training.

    `when`: before the first step, in the middle of the training, and at its end. A norm of 0 has no logarithm and is
    left out.
    """
    places: dict[Key, None] = {}
    rows: Rows = []
    for variant, own in measured.items():
        moments = {"at first": own.steps[0], "half-way": own.steps[len(own.steps) // 2], "at last": own.steps[-1]}
        for when, step in moments.items():
            for key in own.keys(step, "gradient", ("embedding", "encoder", "decoder")):
                places.setdefault(key)
                value = own.mean(step, [key])
                if value:
                    rows.append({"variant": variant, "when": when, "place": place_name(key), "value": value})
    ordered = sorted(places, key=lambda key: (("embedding", "encoder", "decoder").index(key[0]), key[1] or 0))
    return [place_name(key) for key in ordered], rows


def headline_rows(measured: dict[str, Seen]) -> Rows:
    """Return the numbers that explain most, a row a variant and column: means over its attentions and seeds."""
    rows: Rows = []
    for variant, own in measured.items():
        for title, name, first in HEADLINE:
            step = own.steps[0] if first else own.steps[-1]
            value = own.mean(step, own.keys(step, name))
            if value is not None:
                value *= 100 if title.endswith("%") else 1
                rows.append({"variant": variant, "column": title, "value": value, "text": _short(value)})
        steps = [own.mean(step, [("all", None, "step_gradient_largest")]) for step in own.steps]
        largest = max((value for value in steps if value is not None), default=None)
        if largest is not None:
            rows.append({"variant": variant, "column": LARGEST_STEP, "value": largest, "text": _short(largest)})
    return rows


def split_rows(summary: Summary) -> Rows:
    """Return BLEU of every variant on every split, with its interval over seeds."""
    rows: Rows = []
    for row in summary.rows:
        for split in summary.splits:
            found = row.score(split, "bleu")
            if found:
                rows.append(
                    {"variant": row.variant, "split": split, "bleu": found.mean, "low": found.low, "high": found.high}
                )
    return rows


def probe_csv(measured: dict[str, Seen]) -> str:
    """Return every measure before the first step and at the last, with its 95 % interval over seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for variant, own in measured.items():
        for step in dict.fromkeys((own.steps[0], own.steps[-1])):
            for (part, layer, measure), values in own.values[step].items():
                found = estimate(values)
                assert found
                ends = ["" if end is None else f"{end:.6g}" for end in (found.low, found.high)]
                writer.writerow(
                    (variant, step, part, "" if layer is None else layer, measure, f"{found.mean:.6g}", *ends, found.n)
                )
    return out.getvalue()


def place_name(key: Key) -> str:
    """Return a part as a reader sees it: "encoder 2"."""
    return key[0] if key[1] is None else f"{key[0]} {key[1]}"


def _short(value: float) -> str:
    """Return two significant digits, more for large numbers."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
