"""Scores of translations, each beside a signature that says exactly how it was computed.

scores.json holds a score of a split as `name` and `name_signature`. Numbers with different signatures never share a
column of a report.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from experiments.config.bleu_tokenizer import USUAL

if TYPE_CHECKING:
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

BUCKETS = ((1, 4), (5, 9), (10, 14), (15, 18), (19, 24), (25, 32), (33, None))
"""Source lengths in words, for scores by length."""
OWN_BLEU: dict[str, dict[str, Any]] = {"multi30k": {"tokenize": "13a", "lowercase": True}}
"""sacreBLEU's options for corpora whose published scores are computed in their own way, by the corpus's name.

Work on Multi30k lower-cases. A corpus that is not named here has no `bleu_own`. The generated one needs none: its text
has punctuation attached to words, as any other, so that 13a is right for it.
"""
EXACT_MATCH = "unit:sentence|case:mixed|blanks:as-they-are"


def score(
    sources: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    language: str,
    corpus: str = "",
    tokenizer: str = USUAL,
) -> dict[str, Any]:
    """Return every score of one test set, of plain text: BLEU in four ways, chrF, chrF++, TER, exact matches, lengths.

    `language` is the code of the target language, for the tokenizer of the paper's BLEU; `tokenizer` is sacreBLEU's
    name of that of `bleu`, which fits the language; `corpus` is a name as in study.yaml. Scores are percentages, and
    TER alone is better the lower it is. The brevity penalty and the length ratio (hypotheses to references, in tokens)
    are factors: those of `bleu`, and so is their signature.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    lines, targets = list(hypotheses), [list(references)]
    bleu = BLEU(tokenize=tokenizer)
    corpus_score = bleu.corpus_score(lines, targets)
    signature = str(bleu.get_signature())
    scores = {"sentences": len(references), **_signed("bleu", corpus_score.score, signature)}
    scores |= _signed("brevity_penalty", corpus_score.bp, signature)
    scores |= _signed("length_ratio", corpus_score.ratio, signature)
    metrics: dict[str, BLEU | CHRF | TER] = {"bleu_intl": BLEU(tokenize="intl")}
    if options := OWN_BLEU.get(short_name(corpus)):
        metrics["bleu_own"] = BLEU(**options)
    metrics |= {"chrf": CHRF(), "chrfpp": CHRF(word_order=2), "ter": TER()}
    for name, metric in metrics.items():
        scores |= _signed(name, metric.corpus_score(lines, targets).score, str(metric.get_signature()))
    scores |= _signed("bleu_paper", *paper_bleu(references, hypotheses, language))
    scores |= _signed("exact_match", exact_match(references, hypotheses), EXACT_MATCH)
    return scores | {"by_length": by_length(sources, references, hypotheses, tokenizer)}


def short_name(corpus: str) -> str:
    """Return a corpus's name without its origin: "hub:bentrevett/multi30k:de-en" is "multi30k"."""
    return corpus.removeprefix("hub:").partition(":")[0].rstrip("/").rpartition("/")[2].lower()


def paper_bleu(references: Sequence[str], hypotheses: Sequence[str], language: str) -> tuple[float, str]:
    """Return BLEU as Vaswani et al. 2017 report it, and its signature.

    Cased and unsmoothed, on Moses tokens with hyphenated compounds split, as in the script that the authors released
    (tensor2tensor, utils/get_ende_bleu.sh), which since 2018 first replaces Unicode punctuation in the translations.
    Its reference, tokenized beforehand, has plain quotes as well; here both sides go through the same steps.

    The tokens are those of sacremoses, a port of Moses's scripts, without XML escapes, which changes no token boundary.
    It uses the abbreviations of English for an unknown language. It differs from Moses where a line ends with an
    abbreviation or a German ordinal and its period: Moses makes two tokens of a final "10.", sacremoses one (on
    Multi30k 2 of 1,000 lines of test2016 in German, none in English). It also splits Chinese and Japanese characters.
    """
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    tokens = [[paper_tokens(line, language) for line in side] for side in (hypotheses, references)]
    score = bleu.corpus_score(tokens[0], [tokens[1]]).score
    tokenizer = f"moses-{language}+unicode-punctuation+compounds"
    signature = str(bleu.get_signature()).replace("tok:none", f"tok:{tokenizer}")
    return score, f"{signature}|sacremoses:{version('sacremoses')}"


def paper_tokens(line: str, language: str) -> str:
    """Return the tokens of the paper's BLEU, separated by blanks: "rich-text" is "rich ##AT##-##AT## text".

    The script's expression matches left to right without overlap: of "a-b-c" it splits only the first hyphen.
    """
    tokenizer, punctuation = _moses(language)
    words = " ".join(tokenizer.tokenize(punctuation.replace_unicode_punct(line), escape=False))
    return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", words)


def exact_match(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the percentage of hypotheses that equal their reference letter for letter."""
    return 100.0 * sum(map(str.__eq__, references, hypotheses)) / len(references)


def by_length(
    sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], tokenizer: str = USUAL
) -> list[dict[str, Any]]:
    """Return exact match and corpus BLEU for each bucket of source length that has sentences."""
    from sacrebleu.metrics.bleu import BLEU

    rows = []
    for low, high in BUCKETS:
        inside = [i for i, text in enumerate(sources) if low <= len(text.split()) <= (high or len(text))]
        if not inside:
            continue
        bucket_references, bucket_hypotheses = [references[i] for i in inside], [hypotheses[i] for i in inside]
        rows.append(
            {
                "words": f"{low}-{high}" if high else f"{low}+",
                "sentences": len(inside),
                "exact_match": exact_match(bucket_references, bucket_hypotheses),
                "bleu": BLEU(tokenize=tokenizer).corpus_score(bucket_hypotheses, [bucket_references]).score,
            }
        )
    return rows


def _signed(name: str, value: float, signature: str) -> dict[str, float | str]:
    return {name: value, f"{name}_signature": signature}


@cache
def _moses(language: str) -> "tuple[MosesTokenizer, MosesPunctNormalizer]":
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    return MosesTokenizer(lang=language), MosesPunctNormalizer(lang=language)
