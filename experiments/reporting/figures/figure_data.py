"""What the pictures draw, as plain rows: no plotting library here."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from experiments.reporting.results import Record, Results
from experiments.reporting.statistics import estimate, noise_floor
from experiments.reporting.summary import Row, Summary
from experiments.reporting.tables import bracketed

Rows = list[dict[str, Any]]
POINTS = 120
"""Most points of a drawn curve; curves.csv keeps all."""


def difference_row(row: Row) -> dict[str, Any]:
    """Return a variant's difference to the baseline for drawing."""
    found = row.difference
    text = bracketed(found) if found else row.verdict.value
    entry: dict[str, Any] = {"variant": row.variant, "verdict": row.verdict.value, "text": text}
    if found:
        entry |= {"mean": found.mean, "low": found.low, "high": found.high}
    return entry


def curve_rows(summary: Summary, results: Results) -> Rows:
    """Return a panel for each variant: the mean of its finished seeds with their range, and each diverged seed.

    The mean stands only at steps that every finished seed has, so that its n never changes along the line.
    """
    reference = _mean_curve(results.of(summary.baseline))
    rows: Rows = []
    for row in summary.rows:
        records = results.of(row.variant)
        mean = _mean_curve(records)
        last = f" · ppl {math.exp(mean[-1]['loss']):.3g}" if mean else ""
        common = {"panel": f"{row.variant}{last}", "verdict": row.verdict.value}
        if row.variant != summary.baseline:
            rows += [{**common, **point, "kind": "baseline", "line": "baseline"} for point in reference]
        rows += [{**common, **point, "kind": "mean", "line": "mean"} for point in mean]
        for record in records:
            if record.diverged:
                rows += [{**common, **point} for point in _diverged_curve(record)]
    drawn = {row["panel"] for row in rows if row["kind"] != "baseline"}
    return [row for row in rows if row["panel"] in drawn]


def length_rows(summary: Summary, results: Results) -> tuple[str, Rows]:
    """Return exact match in percent, mean over seeds, by variant, split and length in words.

    Where hardly a sentence matches exactly (under 5 % everywhere), BLEU takes its place.
    """
    for key, title in (("exact_match", "exact match (%)"), ("bleu", "BLEU")):
        rows = [entry for row in summary.rows for entry in _lengths_of(row.variant, summary, results, key)]
        if key == "bleu" or max((entry["value"] for entry in rows), default=0) >= 5:
            return title, rows
    raise AssertionError("BLEU always serves")


def length_lines(summary: Summary, results: Results) -> tuple[list[str], Rows]:
    """Return lengths in words, short to long, and BLEU at each: a variant's mean, the baseline's and its noise floor.

    The lengths of the split on which the study is judged, then from other splits those beyond: `split` says which.
    """
    places: dict[str, str] = {}
    for split in summary.splits:
        for words in _lengths_known(results, split):
            places.setdefault(words, split)
    ordered = sorted(places, key=_first_number)
    rows: Rows = []
    for row in summary.rows:
        for split in dict.fromkeys(places.values()):
            line = [entry for entry in _line(row, summary, results, split) if places[entry["words"]] == split]
            rows += [entry | {"place": ordered.index(entry["words"]), "split": split} for entry in line]
    return ordered, rows


def attention_rows(attention: dict[str, Any], least: float = 0.02) -> Rows:
    """Return the last layer's cross-attention: head -1 is the mean over heads; weights under `least` are left out."""
    layer = attention["cross"][-1]
    heads = len(layer)
    rows: Rows = []
    for t in range(len(attention["target"])):
        for s in range(len(attention["source"])):
            weights = [layer[head][t][s] for head in range(heads)]
            for head, weight in enumerate([sum(weights) / heads, *weights]):
                if weight >= least:
                    rows.append({"head": head - 1, "t": t, "s": s, "weight": round(weight, 3)})
    return rows


def moved_apart(heights: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Move label heights (pixels, downwards) apart to at least `gap`, in order, inside top to bottom where they fit."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [heights[i] for i in order]
    for i in range(len(placed)):
        placed[i] = max(placed[i], top if i == 0 else placed[i - 1] + gap)
    limit = bottom
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    result = [0.0] * len(heights)
    for i, height in zip(order, placed, strict=True):
        result[i] = height
    return result


def _losses(record: Record) -> dict[int, float]:
    found = {int(row["step"]): row["valid_loss"] for row in record.curve}
    return {step: loss for step, loss in found.items() if math.isfinite(loss) and loss > 0}


def _mean_curve(records: list[Record]) -> Rows:
    curves = [_losses(record) for record in records if not record.diverged and record.curve]
    if not curves:
        return []
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    every = max(1, len(steps) // POINTS)
    kept = [step for i, step in enumerate(steps) if i % every == 0 or i == len(steps) - 1]
    rows = []
    for step in kept:
        losses = [curve[step] for curve in curves]
        rows.append({"step": step, "loss": sum(losses) / len(losses), "low": min(losses), "high": max(losses)})
    return rows


def _diverged_curve(record: Record) -> Rows:
    line = f"seed {record.seed}"
    rows: Rows = [{"step": step, "loss": loss, "kind": "seed", "line": line} for step, loss in _losses(record).items()]
    return [*rows, {**rows[-1], "kind": "stop"}] if rows else []


def _by_length(variant: str, results: Results, split: str, key: str) -> dict[str, dict[int, float]]:
    """Return a score by length and seed."""
    found: dict[str, dict[int, float]] = {}
    for record in results.of(variant):
        for bucket in record.splits.get(split, {}).get("by_length", []) if record.scored else ():
            if bucket.get(key) is not None and bucket.get("sentences"):
                found.setdefault(bucket["words"], {})[record.seed] = float(bucket[key])
    return found


def _lengths_known(results: Results, split: str) -> list[str]:
    """Return the lengths that any variant has, in the order of the file."""
    variants = dict.fromkeys(record.variant for record in results.records)
    return list(dict.fromkeys(words for variant in variants for words in _by_length(variant, results, split, "bleu")))


def _line(row: Row, summary: Summary, results: Results, split: str) -> Rows:
    """Return a variant's BLEU by length in one split; the floor is that of the baseline at each."""
    own = _by_length(row.variant, results, split, "bleu")
    base = _by_length(summary.baseline, results, split, "bleu")
    common = {"variant": row.variant, "verdict": row.verdict.value}
    rows: Rows = []
    for words, scores in own.items():
        found = estimate(list(scores.values()))
        assert found is not None
        point = {"words": words, "bleu": found.mean, "low": found.low, "high": found.high}
        rows.append({**common, **point, "kind": "mean"})
    if not own or row.variant == summary.baseline:
        return rows
    for words, scores in base.items():
        mean = sum(scores.values()) / len(scores)
        rows.append({**common, "words": words, "bleu": mean, "kind": "baseline"})
        own_floor = noise_floor(list(scores.values()))
        if own_floor:
            low, high = max(0.0, mean - own_floor.half_width), mean + own_floor.half_width
            rows.append({**common, "words": words, "bleu": mean, "low": low, "high": high, "kind": "floor"})
    return rows


def _first_number(words: str) -> int:
    return int("".join(itertools.takewhile(str.isdigit, words)) or 0)


def _lengths_of(variant: str, summary: Summary, results: Results, key: str) -> Rows:
    rows: Rows = []
    for split in summary.splits:
        for words, scores in _by_length(variant, results, split, key).items():
            mean = sum(scores.values()) / len(scores)
            rows.append({"variant": variant, "split": split, "words": words, "value": mean})
    return rows
