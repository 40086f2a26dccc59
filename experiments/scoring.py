"""Scores of translations, each with the signature that says exactly how it was computed."""

from collections.abc import Sequence
from typing import Any

BUCKETS = ((1, 4), (5, 9), (10, 14), (15, 18), (19, 24), (25, 32), (33, None))
"""Source lengths in words, for scores by length."""


def score(sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Any]:
    """Return BLEU and chrF (sacreBLEU, cased, on plain text), exact matches and lengths of one test set."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, chrf = BLEU(), CHRF()
    found = bleu.corpus_score(list(hypotheses), [list(references)])
    characters = chrf.corpus_score(list(hypotheses), [list(references)])
    return {
        "sentences": len(references),
        "bleu": found.score,
        "bleu_signature": str(bleu.get_signature()),
        "brevity_penalty": found.bp,
        "length_ratio": found.ratio,
        "chrf": characters.score,
        "chrf_signature": str(chrf.get_signature()),
        "exact_match": exact_match(references, hypotheses),
        "by_length": by_length(sources, references, hypotheses),
    }


def exact_match(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the percentage of hypotheses that equal their reference letter for letter."""
    return 100.0 * sum(map(str.__eq__, references, hypotheses)) / len(references)


def by_length(sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]) -> list[dict[str, Any]]:
    """Return exact match and corpus BLEU for each bucket of source length that has sentences."""
    from sacrebleu.metrics.bleu import BLEU

    rows = []
    for low, high in BUCKETS:
        inside = [i for i, text in enumerate(sources) if low <= len(text.split()) <= (high or len(text))]
        if not inside:
            continue
        own_references, own_hypotheses = [references[i] for i in inside], [hypotheses[i] for i in inside]
        rows.append(
            {
                "words": f"{low}-{high}" if high else f"{low}+",
                "sentences": len(inside),
                "exact_match": exact_match(own_references, own_hypotheses),
                "bleu": BLEU().corpus_score(own_hypotheses, [own_references]).score,
            }
        )
    return rows
