"""Beam search over every model that a config can describe equals a search that runs each prefix from its beginning."""

import pytest
import torch

from lit_transformer.config import ModelConfig
from lit_transformer.decoding import beam_search
from lit_transformer.transformer import Transformer
from tests.references import NextLogProbs, naive_beam
from tests.small_models import BASE, VARIANTS, build

SOURCES = [[5, 6, 7, 2], [4, 2], [7, 4, 4, 3, 5, 2]]  # with EOS
LONGEST = 5
WORDS = 8  # a small vocabulary leaves sentences a fair chance to end
EVERY = 8  # of this many variants one is met in the quick tests too

variants = [
    pytest.param(config, id=name, marks=() if place % EVERY == 0 else pytest.mark.slow)
    for place, (name, config) in enumerate(VARIANTS.items())
    if not config.attention_at.decoder.mask.leaks  # there a prefix sees itself otherwise than step by step
]


def uncached(model: Transformer, source: list[int]) -> NextLogProbs:
    """Return the log-probabilities after a prefix, from a full pass over it alone."""
    src = torch.tensor([source])

    def after(tokens: list[int]) -> list[float]:
        return model(src, torch.tensor([[1, *tokens]]))[0, -1].log_softmax(-1).tolist()

    return after


@torch.no_grad()
def assert_equals_uncached(config: ModelConfig, beam: int) -> None:
    torch.manual_seed(3)
    model = build(config, WORDS).double().eval()
    src = torch.nn.utils.rnn.pad_sequence([torch.tensor(source) for source in SOURCES], batch_first=True)
    state = model.init_cache(model.encode(src))
    found = beam_search(
        model.step, state, beam=beam, alpha=0.6, max_lengths=torch.full((len(SOURCES),), LONGEST), nbest=1
    )
    for source, hypotheses in zip(SOURCES, found, strict=True):
        score, log_prob, tokens = naive_beam(uncached(model, source), beam, 0.6, LONGEST)[0]
        assert hypotheses[0].tokens == tokens
        assert hypotheses[0].score == pytest.approx(score, rel=1e-5, abs=1e-6)
        assert hypotheses[0].log_prob == pytest.approx(log_prob, rel=1e-5, abs=1e-6)  # steps are rounded to float32


@pytest.mark.parametrize("config", variants)
def test_beam_4_equals_the_uncached_search(config: ModelConfig) -> None:
    assert_equals_uncached(config, 4)


@pytest.mark.parametrize("beam", [1, 2, 8])
def test_other_beams_too(beam: int) -> None:
    assert_equals_uncached(BASE, beam)
