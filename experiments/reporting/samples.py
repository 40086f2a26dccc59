"""Sample translations side by side: a few fixed sentences, equal hypotheses grouped, differences marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.reporting.results import Record, Results
    from experiments.reporting.summary import Summary

Texts = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""Sources and references of each split."""


@dataclass(frozen=True)
class Hypothesis:
    """A translation that one or more variants share, as runs of words, each with whether it differs.

    Words differ from the reference or, where there is none, from the baseline's translation.
    """

    variants: list[str]
    words: list[tuple[str, bool]]
    exact: bool


@dataclass(frozen=True)
class Sample:
    """One sentence; source and reference are empty where the prepared corpus is not available."""

    split: str
    index: int
    source: str
    reference: str
    hypotheses: list[Hypothesis]


def samples(summary: "Summary", results: "Results", texts: Texts, each: int = 4) -> list[Sample]:
    """Pick sentences of each split at fixed places, short to long, from each variant's first scored seed."""
    picked = []
    for split in summary.splits:
        chosen = {row.variant: _first(results.of(row.variant), split) for row in summary.rows}
        lines = {variant: lines for variant, lines in chosen.items() if lines}
        if not lines:
            continue
        count = min(len(hypotheses) for hypotheses in lines.values())
        sources, references = texts.get(split, ((), ()))
        has_text = len(references) >= count
        measured = references if has_text else next(iter(lines.values()))
        for index in spread_by_length(measured[:count], each if split == summary.primary else 2):
            source, reference = (sources[index], references[index]) if has_text else ("", "")
            hypotheses = {variant: translations[index] for variant, translations in lines.items()}
            baseline = hypotheses.get(summary.baseline, "")
            picked.append(Sample(split, index, source, reference, _grouped(hypotheses, reference, baseline)))
    return picked


def spread_by_length(sentences: Sequence[str], number: int) -> list[int]:
    """Return `number` places, evenly spread over the sentences sorted by their number of words."""
    order = sorted(range(len(sentences)), key=lambda i: (len(sentences[i].split()), i))
    return list(dict.fromkeys(order[(2 * k + 1) * len(order) // (2 * number)] for k in range(number))) if order else []


def marked(hypothesis: str, reference: str) -> list[tuple[str, bool]]:
    """Split a hypothesis into runs of words, True where they differ from the reference; ‸ marks missing words."""
    words, expected = hypothesis.split(), reference.split()
    runs = []
    for tag, start, end, low, high in SequenceMatcher(None, words, expected, autojunk=False).get_opcodes():
        if end > start:
            runs.append((" ".join(words[start:end]), tag != "equal"))
        elif high > low:
            runs.append(("‸", True))
    return runs


def _grouped(hypotheses: dict[str, str], reference: str, baseline: str) -> list[Hypothesis]:
    groups: dict[str, list[str]] = {}
    for variant, hypothesis in hypotheses.items():
        groups.setdefault(hypothesis, []).append(variant)
    expected = reference or baseline
    return [
        Hypothesis(
            variants, marked(text, expected) if expected else [(text, False)], bool(reference) and text == reference
        )
        for text, variants in groups.items()
    ]


def _first(records: "list[Record]", split: str) -> list[str]:
    return next((lines for record in records if record.scored and (lines := record.hypotheses(split))), [])
