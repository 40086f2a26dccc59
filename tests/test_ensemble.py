"""Ensembles: one of one, of equals, against an uncached twin that multiplies and adds probabilities by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_transformer.config import Ensemble, Mixer, MixerConfig, PositionConfig, Positions
from lit_transformer.decoding import EnsembleState, beam_search, ensemble_step, greedy_search
from lit_transformer.decoding.ensemble import mean_log_probs
from lit_transformer.tokens import BOS
from lit_transformer.transformer import Transformer
from tests.references import NextLogProbs, naive_beam
from tests.small_models import BASE, PAIRS, VOCAB, batch_of, build
from tests.twins.model import naive_pair

LSTM = replace(BASE, decoder_layers=1, d_model=12, decoder_mixer=MixerConfig(Mixer.lstm, width=7))
LEARNED = replace(BASE, positions=PositionConfig(Positions.learned, max_length=32))
LIMITS = torch.tensor([6, 9, 4, 7])
every_kind = pytest.mark.parametrize("kind", Ensemble)


@pytest.fixture(scope="module")
def networks() -> list[Transformer]:
    """Return three networks of three architectures, one vocabulary, that say several tokens before EOS."""
    torch.manual_seed(3)
    built = [build(config).double().eval() for config in (BASE, LSTM, LEARNED)]
    with torch.no_grad():
        for network in built:
            network.output_embedding.weight.mul_(2.0)
    return built


def search(networks: Sequence[Transformer], kind: Ensemble, beam: int, nbest: int = 1):
    batch = batch_of()
    with torch.inference_mode():
        begin = EnsembleState(
            [network.init_cache(network.encode_packed(batch.src, batch.src_layout)) for network in networks]
        )
        step = ensemble_step([network.step for network in networks], kind)
        return beam_search(step, begin, beam=beam, alpha=0.6, max_lengths=LIMITS, nbest=nbest)


def naive_ensemble(networks: Sequence[Transformer], kind: Ensemble, source: list[int]) -> NextLogProbs:
    """Read the whole prefix again at every token, with the slow twin of each network; join with Python's numbers."""
    src = batch_of([(source, [])]).src

    def function(tokens: list[int]) -> list[float]:
        prefix = torch.tensor([BOS, *tokens])
        members = [naive_pair(network, src, prefix)[-1].double().softmax(0).tolist() for network in networks]
        columns = list(zip(*members, strict=True))
        if kind is Ensemble.probabilities:
            return [math.log(sum(column) / len(column)) for column in columns]
        products = [math.prod(column) ** (1 / len(column)) for column in columns]
        return [math.log(product / sum(products)) for product in products]

    return function


@every_kind
@pytest.mark.parametrize("beam", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_equals_the_naive_search_without_caches(networks: list[Transformer], kind: Ensemble, beam: int) -> None:
    """The step joins in float32: scores to 1e-4, tokens exactly."""
    lengths = set()
    for chosen in (networks[:2], networks):
        found = search(chosen, kind, beam, nbest=beam)
        for (source, _), limit, ranked in zip(PAIRS, LIMITS.tolist(), found, strict=True):
            with torch.no_grad():
                expected = naive_beam(naive_ensemble(chosen, kind, source), beam, 0.6, limit)[:beam]
            assert [hypothesis.tokens for hypothesis in ranked] == [tokens for _, _, tokens in expected]
            assert [h.score for h in ranked] == pytest.approx([score for score, _, _ in expected], abs=1e-4)
            assert [h.log_prob for h in ranked] == pytest.approx([total for _, total, _ in expected], abs=1e-4)
            lengths |= {len(hypothesis.tokens) for hypothesis in ranked}
    assert max(lengths) >= 4


@every_kind
@pytest.mark.parametrize("members", [1, 2, 3])
def test_one_model_and_equal_models_are_the_model(networks: list[Transformer], kind: Ensemble, members: int) -> None:
    batch = batch_of()
    for network in networks:
        with torch.inference_mode():
            state = network.init_cache(network.encode_packed(batch.src, batch.src_layout))
            alone = beam_search(network.step, state, beam=4, alpha=0.6, max_lengths=LIMITS, nbest=4)
        found = search([network] * members, kind, beam=4, nbest=4)
        for ranked, expected in zip(found, alone, strict=True):
            assert [hypothesis.tokens for hypothesis in ranked] == [hypothesis.tokens for hypothesis in expected]
            assert [h.score for h in ranked] == pytest.approx([h.score for h in expected], abs=1e-5)


@every_kind
def test_the_order_of_the_members_is_nothing(networks: list[Transformer], kind: Ensemble) -> None:
    found, other = search(networks, kind, beam=4), search(networks[::-1], kind, beam=4)
    assert [ranked[0].tokens for ranked in found] == [ranked[0].tokens for ranked in other]


def test_the_two_ways_by_hand() -> None:
    """p = (0.8, 0.1, 0.1) and q = (0.2, 0.7, 0.1): means 0.5, 0.4, 0.1; roots of products 0.4, 0.265 and 0.1."""
    logits = [torch.tensor([[0.8, 0.1, 0.1]]).log() + 3.0, torch.tensor([[0.2, 0.7, 0.1]]).log()]
    assert mean_log_probs(logits, Ensemble.probabilities).exp()[0].tolist() == pytest.approx([0.5, 0.4, 0.1])
    roots = [0.4, math.sqrt(0.07), 0.1]
    expected = [root / sum(roots) for root in roots]
    assert mean_log_probs(logits, Ensemble.log_probabilities).exp()[0].tolist() == pytest.approx(expected)


@every_kind
def test_a_member_is_a_distribution_whatever_it_adds_to_its_logits(kind: Ensemble) -> None:
    logits = [torch.randn(5, VOCAB), torch.randn(5, VOCAB)]
    shifted = [logits[0] + torch.randn(5, 1), logits[1] - 7.0]
    joined = mean_log_probs(logits, kind)
    torch.testing.assert_close(joined, mean_log_probs(shifted, kind))
    torch.testing.assert_close(joined.exp().sum(1), torch.ones(5))


def test_the_ways_differ_in_who_may_forbid_a_token() -> None:
    sure, against = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[-30.0, 1.0, 0.0]])
    assert mean_log_probs([sure, against], Ensemble.probabilities).argmax() == 0
    assert mean_log_probs([sure, against], Ensemble.log_probabilities).argmax() == 1


@every_kind
def test_selecting_rows_selects_them_in_every_member(networks: list[Transformer], kind: Ensemble) -> None:
    batch, rows = batch_of(), torch.tensor([2, 0, 0, 3, 1])
    step = ensemble_step([network.step for network in networks], kind)

    def after(tokens: Tensor, state: EnsembleState, rows: Tensor) -> Tensor:
        _, state = step(tokens, state)
        return step(tokens[rows], state.select(rows, rows))[0]

    with torch.inference_mode():
        begin = EnsembleState(
            [network.init_cache(network.encode_packed(batch.src, batch.src_layout)) for network in networks]
        )
        tokens = torch.tensor([5, 6, 7, 8])
        picked, whole = after(tokens, begin, rows), after(tokens, begin, torch.arange(4))
    torch.testing.assert_close(picked, whole[rows])


def test_greedy_search_takes_ensembles_too(networks: list[Transformer]) -> None:
    batch = batch_of()
    with torch.inference_mode():
        begin = EnsembleState(
            [network.init_cache(network.encode_packed(batch.src, batch.src_layout)) for network in networks]
        )
        found = greedy_search(ensemble_step([network.step for network in networks]), begin, max_lengths=LIMITS)
    beam = search(networks, Ensemble.probabilities, beam=1)
    assert [hypothesis.tokens for hypothesis in found] == [ranked[0].tokens for ranked in beam]


def test_members_and_states_must_be_as_many(networks: list[Transformer]) -> None:
    batch = batch_of()
    begin = EnsembleState([networks[0].init_cache(networks[0].encode_packed(batch.src, batch.src_layout))])
    with pytest.raises(ValueError, match="shorter"):
        ensemble_step([network.step for network in networks])(torch.tensor([5] * 4), begin)
