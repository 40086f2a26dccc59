"""An evaluation's scores as a run's page shows them: a few headlines, a table of all, and their signatures.

Scores are by split, and those of averaged weights by split under "averaged": {"test": {"bleu": 30.0}} is test/bleu.
Lists, such as BLEU by sentence length, are left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

MOST_HEADLINES = 12
SIGNATURE = "_signature"


def headline(scores: Mapping[str, Any], primary: str) -> dict[str, float]:
    """Return the scores that a run's summary holds, by name: those of the primary split first."""
    values = {f"{split}/{name}": value for split, name, value in _numbers(scores)}
    others = [split for split in scores if split not in (primary, "averaged")]
    names = [f"{primary}/{name}" for name in ("bleu", "chrf", "ppl", "exact_match")]
    names += [f"{split}/bleu" for split in others]
    names += [f"averaged/{primary}/bleu", *(f"{split}/ppl" for split in others)]
    return {name: values[name] for name in [name for name in names if name in values][:MOST_HEADLINES]}


def score_rows(scores: Mapping[str, Any]) -> list[list[Any]]:
    """Return every score: its split, name, value and signature, empty where it has none."""
    signed = signatures(scores)
    return [[split, name, value, signed.get(split, {}).get(name, "")] for split, name, value in _numbers(scores)]


def signatures(scores: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the signature of each score that has one, by split and name."""
    signed: dict[str, dict[str, str]] = {}
    for split, own in _by_split(scores):
        for key, value in own.items():
            if key.endswith(SIGNATURE):
                signed.setdefault(split, {})[key.removesuffix(SIGNATURE)] = str(value)
    return signed


def _numbers(scores: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    for split, own in _by_split(scores):
        for name, value in own.items():
            if isinstance(value, int | float):
                yield split, name, float(value)


def _by_split(scores: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for split, own in scores.items():
        if split == "averaged":
            yield from ((f"averaged/{name}", averaged) for name, averaged in own.items())
        else:
            yield split, own
