"""How well a model predicts the references: nats summed over a split, then divided by tokens, words and characters.

All three share the nats: the plain cross-entropy of every target token under teacher forcing, the end-of-sentence token
included, in the one segmentation that the tokenizer gives. Tokens are those tokens, so that a perplexity per token
compares models of one vocabulary only. Words and characters belong to the text, so that those two compare models of
different vocabularies; the end of a sentence costs nats there and counts as neither.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lit_transformer.config import Ensemble

if TYPE_CHECKING:
    from data_modules.prepared import PreparedCorpus
    from lit_transformer import Transformer
    from lit_transformer.batch import TranslationBatch

PER_TOKEN = "per:token|eos:nats-and-tokens|smoothing:no"
PER_WORD = "per:word|words:between-blanks|eos:nats-only|smoothing:no"
PER_CHARACTER = "per:character|characters:code-points-with-blanks|eos:nats-only|smoothing:no"
ROWS = 256
"""Target tokens of which an ensemble's probabilities are held at once."""


def perplexities(
    networks: Sequence["Transformer"], kind: Ensemble, corpus: "PreparedCorpus", split: str, batch_tokens: int
) -> dict[str, Any]:
    """Return perplexity per token and per word and bits per character of a split's references, signed.

    Of several networks the next-token distributions are joined into one, by `kind`.
    """
    nats, tokens = reference_nats(networks, kind, corpus, split, batch_tokens)
    return per_unit(nats, tokens, corpus.split(split).target_text)


def reference_nats(
    networks: Sequence["Transformer"], kind: Ensemble, corpus: "PreparedCorpus", split: str, batch_tokens: int
) -> tuple[float, int]:
    """Return the nats of a split's references and their tokens, the end of each sentence included in both."""
    import torch

    from data_modules.batches import evaluation_loader

    nats, tokens = 0.0, 0
    with torch.inference_mode():
        for cpu_batch in evaluation_loader(corpus, split, batch_tokens):
            batch = cpu_batch.to(networks[0].output_embedding.weight.device)
            nats += _nats(networks[0], batch) if len(networks) == 1 else _joined_nats(networks, kind, batch)
            tokens += len(batch.tgt_out)
    return nats, tokens


def _nats(network: "Transformer", batch: "TranslationBatch") -> float:
    """Return the nats of a batch's references."""
    from lit_transformer.training.losses import cross_entropy

    return float(cross_entropy(network.hidden(batch), network.output_embedding.weight, batch.tgt_out))


def _joined_nats(networks: Sequence["Transformer"], kind: Ensemble, batch: "TranslationBatch") -> float:
    """Return the nats of a batch's references; of the logits only some rows are held at once."""
    from lit_transformer.decoding.ensemble import mean_log_probs

    hidden = [network.hidden(batch) for network in networks]  # each (N, D)
    nats = 0.0
    for start in range(0, len(batch.tgt_out), ROWS):
        rows = slice(start, start + ROWS)
        logits = [network.logits(own[rows]) for network, own in zip(networks, hidden, strict=True)]
        log_probs = mean_log_probs(logits, kind).gather(1, batch.tgt_out[rows, None])  # (ROWS, 1)
        nats -= float(log_probs.double().sum())
    return nats


def per_unit(nats: float, tokens: int, references: Iterable[str]) -> dict[str, Any]:
    """Divide the nats of references by what they consist of.

    Words are what blanks part, punctuation on them. Characters are the Unicode code points of each line as the corpus
    was prepared: blanks and punctuation count, line ends do not.
    """
    lines = list(references)
    words = sum(len(line.split()) for line in lines)
    characters = sum(map(len, lines))
    return {
        "ppl": _exponential(nats / tokens),
        "ppl_signature": PER_TOKEN,
        "ppl_word": _exponential(nats / words),
        "ppl_word_signature": PER_WORD,
        "bits_per_character": nats / characters / math.log(2),
        "bits_per_character_signature": PER_CHARACTER,
    }


def _exponential(nats: float) -> float:
    """Return e to the nats, and a number even where a model is so sure and so wrong that it would overflow."""
    return math.exp(min(nats, 700.0))
