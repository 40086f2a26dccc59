"""BLEU's sufficient statistics of each sentence: they add up to the corpus score, so that sentences can be resampled.

evaluate writes sentences.csv beside scores.json, one row per sentence of every scored split, in the order of the test
set: the lengths of hypothesis and reference in BLEU's tokens, and the matching n-grams, n from 1 to 4. It holds no
text, so that it may be published whatever the corpus.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.config.bleu_tokenizer import USUAL
from lit_transformer.errors import UserError

HEADER = ("split", "hypothesis", "reference", "right1", "right2", "right3", "right4")
ORDERS = 4
Counts = NDArray[np.int64]


def count_sentences(references: Sequence[str], hypotheses: Sequence[str], tokenizer: str = USUAL) -> Counts:
    """Return (sentences, 6) counts of sacreBLEU's BLEU: two lengths and the matching n-grams, n from 1 to 4."""
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize=tokenizer, effective_order=True)  # changes the score of a sentence, not its counts
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        sentence = bleu.sentence_score(hypothesis, [reference])
        rows.append((sentence.sys_len, sentence.ref_len, *sentence.counts))
    return np.array(rows, dtype=np.int64).reshape(-1, 2 + ORDERS)


def summands(counts: ArrayLike) -> Counts:
    """Return (..., 10) from (..., 6): the counts, then all n-grams of the hypothesis; they sum over any sentences."""
    values = np.asarray(counts, dtype=np.int64)
    totals = np.maximum(values[..., :1] - np.arange(ORDERS), 0)  # (..., 4)
    return np.concatenate([values, totals], axis=-1)


def corpus_bleu(sums: ArrayLike) -> NDArray[np.float64]:
    """Return BLEU (...) of sums (..., 10), as sacreBLEU computes it by default: all four orders, smoothed.

    An order without a match counts as 1 / 2^k matches, k counting such orders from the shortest; a corpus without a
    matching word, or without an n-gram of some order, scores 0.
    """
    values = np.asarray(sums, dtype=float)
    hypothesis, reference = values[..., 0], values[..., 1]
    right, total = values[..., 2 : 2 + ORDERS], values[..., 2 + ORDERS :]
    none = right == 0
    with np.errstate(all="ignore"):
        precision = np.where(none, 0.5 ** np.cumsum(none, axis=-1), right) / total
        short = np.where(hypothesis < reference, np.exp(1 - reference / hypothesis), 1.0)
        score = 100 * short * np.exp(np.log(precision).mean(axis=-1))
    return np.where(none.all(axis=-1) | (total == 0).any(axis=-1), 0.0, score)


def write_counts(splits: Mapping[str, Counts]) -> str:
    """Return the text of sentences.csv."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for split, counts in splits.items():
        writer.writerows([split, *row] for row in counts.tolist())
    return out.getvalue()


def read_counts(path: Path) -> dict[str, Counts]:
    """Return the counts by split; empty where there is no such file. Raises UserError for a file of another kind."""
    if not path.exists():
        return {}
    rows_by_split: dict[str, list[list[int]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
            if tuple(header) != HEADER:
                raise ValueError(f"its columns are {', '.join(header)}")
            for split, *numbers in rows:
                counts = [int(number) for number in numbers]
                if len(counts) != 2 + ORDERS:
                    raise ValueError(f"a row has {len(counts)} numbers")
                rows_by_split.setdefault(split, []).append(counts)
    except ValueError as error:
        raise UserError(f"{path}: not the counts of sentences ({error}); evaluate this cell again") from None
    return {split: np.array(rows, dtype=np.int64) for split, rows in rows_by_split.items()}
