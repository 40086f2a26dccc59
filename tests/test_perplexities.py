"""Perplexities and bits: by hand from given nats, and against every token's probability, one sentence at a time."""

import math

import pytest
import torch

from data_modules.config import DataConfig
from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import PreparedCorpus, prepare
from experiments.scoring.perplexity import per_unit, perplexities, reference_nats
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import Ensemble
from lit_transformer.tokens import BOS, EOS
from lit_transformer.transformer import Transformer, build_transformer
from tests.small_models import BASE

REFERENCES = ["der kleine Hund bellt .", "ja", "die Größe  der alten Katze", "der Hund schläft , die Katze nicht ."]
SOURCES = ["the small dog barks .", "yes", "the size of the old cat", "the dog sleeps , the cat does not ."]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    pairs = ParallelText(SOURCES, REFERENCES)
    raw = RawCorpus("tiny", "en", "de", {"train": pairs, "valid": pairs, "test": pairs}, [])
    return prepare(raw, DataConfig(vocab_size=290), tmp_path_factory.mktemp("corpus") / "tiny")


@pytest.fixture(scope="module")
def network(corpus: PreparedCorpus) -> Transformer:
    torch.manual_seed(3)
    found = build_transformer(BASE, corpus.vocab_size).double().eval()
    with torch.no_grad():
        found.output_embedding.weight.mul_(3)  # far from even, so that a wrong target would show
    return found


def test_by_hand():
    """12 bits over 6 tokens, 3 words and, blanks counted and line ends not, 5 + 1 characters."""
    found = per_unit(12 * math.log(2), 6, ["ab cd", "é"])
    assert found["ppl"] == pytest.approx(2 ** (12 / 6))
    assert found["ppl_word"] == pytest.approx(2 ** (12 / 3))
    assert found["bits_per_character"] == pytest.approx(12 / 6)
    assert set(found) == {
        f"{name}{end}" for name in ("ppl", "ppl_word", "bits_per_character") for end in ("", "_signature")
    }


def test_a_model_that_is_sure_and_wrong_has_a_number():
    found = per_unit(1e6, 10, ["a b"])
    assert math.isfinite(found["ppl"])
    assert math.isfinite(found["ppl_word"])


def test_against_every_tokens_probability(corpus: PreparedCorpus, network: Transformer):
    """Each reference alone, token by token, the end of the sentence too; whatever the batches are."""
    nats, tokens = 0.0, 0
    for source, reference in zip(SOURCES, REFERENCES, strict=True):
        src, tgt = corpus.tokenizer.encode(source), corpus.tokenizer.encode(reference)
        batch = TranslationBatch.from_pairs([(src, tgt)])
        assert batch.tgt_in.tolist() == [BOS, *tgt]
        with torch.no_grad():
            probabilities = torch.softmax(network.hidden(batch) @ network.output_embedding.weight.T, dim=-1)  # (T, V)
        for place, token in enumerate([*tgt, EOS]):
            nats -= math.log(float(probabilities[place, token]))
            tokens += 1
    words = 5 + 1 + 5 + 8
    characters = 23 + 2 + 26 + 36
    for batch_tokens in (16, 1000):
        found = perplexities([network], Ensemble.probabilities, corpus, "test", batch_tokens)
        assert found["ppl"] == pytest.approx(math.exp(nats / tokens), rel=1e-6)
        assert found["ppl_word"] == pytest.approx(math.exp(nats / words), rel=1e-5)
        assert found["bits_per_character"] == pytest.approx(nats / math.log(2) / characters, rel=1e-6)
        assert reference_nats([network], Ensemble.probabilities, corpus, "test", batch_tokens)[1] == tokens


def test_every_unit_has_the_same_nats(corpus: PreparedCorpus, network: Transformer):
    """ln ppl x tokens = ln ppl_word x words = bits ln 2 x characters: what makes vocabularies comparable."""
    nats, tokens = reference_nats([network], Ensemble.probabilities, corpus, "test", 1000)
    found = perplexities([network], Ensemble.probabilities, corpus, "test", 1000)
    assert math.log(found["ppl"]) * tokens == pytest.approx(nats)
    assert math.log(found["ppl_word"]) * sum(len(line.split()) for line in REFERENCES) == pytest.approx(nats)
    assert found["bits_per_character"] * math.log(2) * len("".join(REFERENCES)) == pytest.approx(nats)
