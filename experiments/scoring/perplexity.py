"""Perplexity of the references: their nats over a split, divided by tokens, words and characters.

The nats are the cross-entropy of every target token under teacher forcing, EOS included, in the one segmentation that
the tokenizer gives. A perplexity per token compares models of one vocabulary only. Words and characters belong to the
text, so that those two compare models of different vocabularies; there EOS adds nats and counts as neither.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lit_transformer.config import Ensemble

if TYPE_CHECKING:  # a report reads the signatures, and need not wait for torch
    from data_modules.prepared import PreparedCorpus
    from lit_transformer import Transformer
    from lit_transformer.batch import TranslationBatch

PER_TOKEN = "per:token|eos:nats-and-tokens|smoothing:no"
PER_WORD = "per:word|words:between-blanks|eos:nats-only|smoothing:no"
PER_CHARACTER = "per:character|characters:code-points-with-blanks|eos:nats-only|smoothing:no"
ROWS = 256
"""Target tokens whose ensemble probabilities are in memory at once."""


def perplexities(
    networks: Sequence["Transformer"], kind: Ensemble, corpus: "PreparedCorpus", split: str, batch_tokens: int
) -> dict[str, Any]:
    """Return perplexity per token and per word and bits per character of a split's references, signed.

    The next-token distributions of several networks are combined into one, by `kind`.
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
            nats += _nats(networks[0], batch) if len(networks) == 1 else _ensemble_nats(networks, kind, batch)
            tokens += len(batch.tgt_out)
    return nats, tokens


def _nats(network: "Transformer", batch: "TranslationBatch") -> float:
    """Return the nats of a batch's references."""
    from lit_transformer.training.losses import cross_entropy

    return float(cross_entropy(network.hidden(batch), network.output_embedding.weight, batch.tgt_out))


def _ensemble_nats(networks: Sequence["Transformer"], kind: Ensemble, batch: "TranslationBatch") -> float:
    """Return the nats of a batch's references under the combined distribution, ROWS tokens at a time."""
    from lit_transformer.decoding.ensemble import mean_log_probs

    hidden = [network.hidden(batch) for network in networks]  # each (N, D)
    nats = 0.0
    for start in range(0, len(batch.tgt_out), ROWS):
        rows = slice(start, start + ROWS)
        logits = [network.logits(states[rows]) for network, states in zip(networks, hidden, strict=True)]
        log_probs = mean_log_probs(logits, kind).gather(1, batch.tgt_out[rows, None])  # (ROWS, 1)
        nats -= float(log_probs.double().sum())
    return nats


def per_unit(nats: float, tokens: int, references: Iterable[str]) -> dict[str, Any]:
    """Divide the nats of references by what they consist of.

    Words are separated by blanks and include punctuation. Characters are the Unicode code points of each line as the
    corpus was prepared, with blanks and punctuation, without line ends.
    """
    from lit_transformer.training.losses import perplexity

    lines = list(references)
    words = sum(len(line.split()) for line in lines)
    characters = sum(map(len, lines))
    return {
        "ppl": perplexity(nats / tokens),
        "ppl_signature": PER_TOKEN,
        "ppl_word": perplexity(nats / words),
        "ppl_word_signature": PER_WORD,
        "bits_per_character": nats / characters / math.log(2),
        "bits_per_character_signature": PER_CHARACTER,
    }
