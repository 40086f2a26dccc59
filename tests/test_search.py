"""Greedy and beam search against naive twins and brute force, over toy language models that are exact look-ups."""

import math
from dataclasses import dataclass, field
from typing import Self

import pytest
import torch
from torch import Tensor

from lit_transformer.config import Stop
from lit_transformer.decoding import (
    EnsembleState,
    beam_search,
    ensemble_step,
    greedy_search,
    length_penalty,
)
from lit_transformer.decoding.candidates import BLOCK, largest
from lit_transformer.errors import UserError
from lit_transformer.tokens import BOS, EOS, PAD
from tests.references import every_sequence, naive_beam, naive_beam_to_the_limit, naive_greedy

ALPHAS = [0.0, 0.6, 1.0, 2.0]


@dataclass
class ToyState:
    """The sentence of each row and what an automaton has made of its tokens, both (R,); and the sentences (S,)."""

    sentence: Tensor
    memory: Tensor
    kept: Tensor

    def select(self, rows: Tensor, sentences: Tensor | None = None) -> Self:
        kept = self.kept if sentences is None else self.kept[sentences]
        promised = kept.repeat_interleave(len(rows) // len(kept))
        assert torch.equal(self.sentence[rows], promised), "rows lie sentence by sentence, as many for each"
        return type(self)(self.sentence[rows], self.memory[rows], kept)


@dataclass
class Toy:
    """A language model whose next token depends on sentence and history through a table: logits (B, M, V)."""

    table: Tensor
    steps: int = 0
    rows: list[int] = field(default_factory=list)

    @classmethod
    def random(cls, seed: int, sentences: int, vocabulary: int, sharpness: float = 2.0, eos: float = 0.0) -> Self:
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(sentences, 101, vocabulary, generator=generator) * sharpness
        table[:, :, EOS] += eos
        return cls(table)

    def begin(self, sentences: list[int] | None = None) -> ToyState:
        chosen = torch.tensor(range(len(self.table)) if sentences is None else sentences, dtype=torch.long)
        return ToyState(chosen, torch.zeros_like(chosen), chosen)

    def step(self, tokens: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
        self.steps += 1
        self.rows.append(len(tokens))
        assert len(tokens) == len(state.memory)
        memory = (state.memory * 31 + tokens * 17 + 5) % self.table.shape[1]
        return self.table[state.sentence, memory], ToyState(state.sentence, memory, state.kept)

    def next_log_probs(self, sentence: int):
        def function(tokens: list[int]) -> list[float]:
            memory = 0
            for token in [BOS, *tokens]:
                memory = (memory * 31 + token * 17 + 5) % self.table.shape[1]
            return self.table[sentence, memory].double().log_softmax(0).tolist()

        return function


def limits(*lengths: int) -> Tensor:
    return torch.tensor(lengths)


def assert_same(found, expected) -> None:
    """Compare hypotheses with (score, log_prob, tokens) of a twin."""
    assert [hypothesis.tokens for hypothesis in found] == [tokens for _, _, tokens in expected]
    assert [hypothesis.score for hypothesis in found] == pytest.approx([score for score, _, _ in expected], abs=1e-5)
    assert [hypothesis.log_prob for hypothesis in found] == pytest.approx([total for _, total, _ in expected], abs=1e-5)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_that_holds_everything_is_brute_force(alpha: float, seed: int) -> None:
    toy = Toy.random(seed, sentences=3, vocabulary=5)
    found = beam_search(toy.step, toy.begin(), beam=40, alpha=alpha, max_lengths=limits(4, 4, 3), nbest=40)
    for sentence, length in enumerate([4, 4, 3]):
        everything = every_sequence(toy.next_log_probs(sentence), alpha, length)
        assert len(everything) == 2 ** (length + 1) - 1
        assert_same(found[sentence], everything)
        assert math.fsum(math.exp(h.log_prob) for h in found[sentence]) < 1  # PAD and BOS have their share


@pytest.mark.parametrize("beam", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("seed", "vocabulary", "eos"), [(0, 7, 0.0), (1, 30, 2.0), (2, 300, 6.0), (3, 5, -3.0)])
def test_equals_the_naive_search_run_to_the_end(
    beam: int, alpha: float, seed: int, vocabulary: int, eos: float
) -> None:
    toy = Toy.random(seed, sentences=6, vocabulary=vocabulary, eos=eos)
    lengths = [1, 2, 9, 12, 12, 7]
    for nbest in {1, beam}:
        found = beam_search(toy.step, toy.begin(), beam=beam, alpha=alpha, max_lengths=limits(*lengths), nbest=nbest)
        for sentence, length in enumerate(lengths):
            assert_same(found[sentence], naive_beam(toy.next_log_probs(sentence), beam, alpha, length)[:nbest])


@pytest.mark.parametrize("beam", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("seed", "vocabulary", "eos"), [(0, 7, 0.0), (1, 30, 2.0), (2, 300, 6.0), (3, 5, -3.0)])
def test_a_search_until_nothing_is_better_equals_the_naive_one_run_to_the_limit(
    beam: int, alpha: float, seed: int, vocabulary: int, eos: float
) -> None:
    toy = Toy.random(seed, sentences=6, vocabulary=vocabulary, eos=eos)
    lengths = [1, 2, 9, 12, 12, 7]
    options = {"beam": beam, "alpha": alpha, "max_lengths": limits(*lengths), "stop": Stop.nothing_better}
    for nbest in {1, beam}:
        found = beam_search(toy.step, toy.begin(), nbest=nbest, **options)
        for sentence, length in enumerate(lengths):
            expected = naive_beam_to_the_limit(toy.next_log_probs(sentence), beam, alpha, length)[:nbest]
            assert_same(found[sentence], expected)


def test_the_two_ends_differ_and_the_later_one_finds_no_worse() -> None:
    """Of 200 sentences some end better where the search goes on after W are finished; alone or in a batch."""
    toy = Toy.random(3, sentences=200, vocabulary=12, eos=1.0)
    options = {"beam": 3, "alpha": 1.0, "max_lengths": torch.arange(200) % 12 + 3}
    early, late = (beam_search(toy.step, toy.begin(), stop=stop, **options) for stop in Stop)
    pairs = [(a.score, b.score) for [a], [b] in zip(early, late, strict=True) if a.tokens != b.tokens]
    assert 0 < len(pairs) < 100
    assert any(later > earlier + 1e-6 for earlier, later in pairs)
    for sentence in range(0, 200, 9):
        own = {**options, "max_lengths": options["max_lengths"][sentence : sentence + 1]}
        assert beam_search(toy.step, toy.begin([sentence]), stop=Stop.nothing_better, **own)[0] == late[sentence]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [6, 500])
def test_beam_one_is_greedy(dtype: torch.dtype, vocabulary: int) -> None:
    toy = Toy.random(4, sentences=40, vocabulary=vocabulary, eos=2.0)
    toy.table = toy.table.to(dtype)  # in bfloat16 many logits are equal
    max_lengths = torch.arange(40) % 15 + 1
    greedy = greedy_search(toy.step, toy.begin(), max_lengths=max_lengths, alpha=0.6)
    beam = beam_search(toy.step, toy.begin(), beam=1, alpha=0.6, max_lengths=max_lengths)
    assert [found.tokens for found in greedy] == [found[0].tokens for found in beam]
    assert [found.score for found in greedy] == pytest.approx([found[0].score for found in beam], abs=1e-5)
    assert [found.tokens for found in greedy] == [
        naive_greedy(toy.next_log_probs(sentence), length) for sentence, length in enumerate(max_lengths.tolist())
    ]
    assert {len(found.tokens) for found in greedy} > {0, 1, 2, 3}


@pytest.mark.parametrize("beam", [1, 4])
def test_a_sentence_does_not_see_the_others(beam: int) -> None:
    toy = Toy.random(5, sentences=12, vocabulary=9, eos=1.0)
    max_lengths = torch.arange(12) * 2 + 1
    together = beam_search(toy.step, toy.begin(), beam=beam, alpha=0.6, max_lengths=max_lengths, nbest=beam)
    greedy = greedy_search(toy.step, toy.begin(), max_lengths=max_lengths)
    for sentence in range(12):
        length = max_lengths[sentence : sentence + 1]
        [alone] = beam_search(toy.step, toy.begin([sentence]), beam=beam, alpha=0.6, max_lengths=length, nbest=beam)
        assert alone == together[sentence]
        assert greedy_search(toy.step, toy.begin([sentence]), max_lengths=length) == [greedy[sentence]]


def test_looking_rarely_for_finished_sentences_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy.random(6, sentences=20, vocabulary=9, eos=1.0)
    max_lengths = torch.arange(20) + 1
    arguments = {"beam": 3, "alpha": 0.6, "max_lengths": max_lengths, "nbest": 3}
    always = beam_search(toy.step, toy.begin(), **arguments)
    greedy = greedy_search(toy.step, toy.begin(), max_lengths=max_lengths)
    monkeypatch.setattr("lit_transformer.decoding.search._may_sync", lambda length, device: length % 8 == 0)
    assert beam_search(toy.step, toy.begin(), **arguments) == always
    assert greedy_search(toy.step, toy.begin(), max_lengths=max_lengths) == greedy


def test_stops_early_and_drops_finished_sentences() -> None:
    toy = Toy.random(7, sentences=10, vocabulary=8, eos=3.0)
    max_lengths = torch.full((10,), 60)
    beam_search(toy.step, toy.begin(), beam=4, alpha=0.6, max_lengths=max_lengths)
    assert toy.rows[0] == 10
    assert toy.rows[1] % 4 == 0
    assert toy.steps < 60
    assert toy.rows[-1] < 40
    assert toy.rows[1:] == sorted(toy.rows[1:], reverse=True)
    toy.rows, before = [], toy.steps
    greedy_search(toy.step, toy.begin(), max_lengths=max_lengths)
    assert toy.steps - before < 60
    assert toy.rows[-1] < 10


def test_the_bound_stops_a_search_that_cannot_improve() -> None:
    """EOS first with 90 %: one finished hypothesis of a beam of 4, better than anything the live ones can become."""
    table = torch.full((1, 101, 6), math.log(0.1 / 5))
    table[:, :, EOS] = math.log(0.9)
    toy = Toy(table)
    [[best]] = beam_search(toy.step, toy.begin(), beam=4, alpha=0.6, max_lengths=limits(50))
    assert toy.steps == 1
    assert best.tokens == []
    assert best.log_prob == pytest.approx(math.log(0.9))


@pytest.mark.parametrize("seed", range(4))
def test_nbest_is_sorted_distinct_and_clean(seed: int) -> None:
    toy = Toy.random(seed, sentences=8, vocabulary=12, eos=1.0)
    toy.table[:, :, [PAD, BOS]] += 10  # tempting, and never to be generated
    max_lengths = torch.arange(8) * 2 + 2
    for length, ranked in zip(
        max_lengths.tolist(),
        beam_search(toy.step, toy.begin(), beam=6, alpha=0.8, max_lengths=max_lengths, nbest=6),
        strict=True,
    ):
        assert len(ranked) == 6
        assert [found.score for found in ranked] == sorted((found.score for found in ranked), reverse=True)
        assert len({tuple(found.tokens) for found in ranked}) == 6
        for found in [*ranked, *greedy_search(toy.step, toy.begin(), max_lengths=max_lengths)]:
            assert not {PAD, BOS, EOS} & set(found.tokens)
        assert all(len(found.tokens) <= length for found in ranked)


def test_a_hypothesis_without_eos_ends_as_it_is_at_its_limit() -> None:
    toy = Toy.random(8, sentences=2, vocabulary=9)
    toy.table[:, :, EOS] = -torch.inf
    greedy = greedy_search(toy.step, toy.begin(), max_lengths=limits(3, 5), alpha=1.0)
    beam = beam_search(toy.step, toy.begin(), beam=4, alpha=1.0, max_lengths=limits(3, 5))
    for length, found in zip([3, 5, 3, 5], [*greedy, *(ranked[0] for ranked in beam)], strict=True):
        assert len(found.tokens) == length
        assert found.score == pytest.approx(found.log_prob / ((5 + length) / 6))


def test_length_penalty_by_hand() -> None:
    assert length_penalty(1, 0.6) == 1
    assert length_penalty(7, 1.0) == 2
    assert length_penalty(19, 0.5) == 2
    assert length_penalty(100, 0.0) == 1
    # Two translations: [] with P = 0.4 and [3] with P = 0.6 * 0.6 = 0.36; |Y| is 1 and 2.
    table = torch.full((1, 101, 4), -torch.inf)
    first, second = 22, (22 * 31 + 3 * 17 + 5) % 101
    table[0, first, [EOS, 3]] = torch.tensor([0.4, 0.6]).log()
    table[0, second, [EOS, 3]] = torch.tensor([0.6, 0.4]).log()
    toy = Toy(table)
    for alpha, tokens, score in [(0.0, [], math.log(0.4)), (1.0, [3], math.log(0.36) * 6 / 7)]:
        [[best, *_]] = beam_search(toy.step, toy.begin(), beam=3, alpha=alpha, max_lengths=limits(2), nbest=3)
        assert best.tokens == tokens
        assert best.score == pytest.approx(score)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("columns", [BLOCK - 1, 20 * BLOCK, 20 * BLOCK + 13])
def test_largest_is_topk(k: int, columns: int) -> None:
    values = torch.stack([torch.randperm(columns) for _ in range(50)]).float()
    values[0, -1], values[1, 0] = 1e6, 1e6
    top, place = largest(values, k)
    expected = values.topk(k, 1)
    assert torch.equal(top, expected.values)
    assert torch.equal(place, expected.indices)
    equal = torch.randint(3, (50, columns))
    assert torch.equal(largest(equal.float(), 1)[1][:, 0], equal.argmax(1))


def test_an_ensemble_searches_the_mean_of_its_members() -> None:
    toys = [Toy.random(seed, sentences=3, vocabulary=6) for seed in (1, 2)]
    mixed = Toy(torch.stack([toy.table.softmax(-1) for toy in toys]).mean(0).log())
    arguments = {"beam": 3, "alpha": 0.6, "max_lengths": limits(4, 6, 8), "nbest": 3}
    expected = beam_search(mixed.step, mixed.begin(), **arguments)
    begin = EnsembleState([toy.begin() for toy in toys])
    found = beam_search(ensemble_step([toy.step for toy in toys]), begin, **arguments)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, [(each.score, each.log_prob, each.tokens) for each in other])


def test_no_sentences_and_no_numbers() -> None:
    toy = Toy.random(0, sentences=2, vocabulary=6)
    none = torch.zeros(0, dtype=torch.long)
    assert beam_search(toy.step, toy.begin([]), beam=2, alpha=0.6, max_lengths=none) == []
    assert greedy_search(toy.step, toy.begin([]), max_lengths=none) == []
    toy.table[:] = torch.nan  # a diverged model still gives one hypothesis a sentence
    assert len(greedy_search(toy.step, toy.begin(), max_lengths=limits(3, 3))) == 2
    assert [len(ranked) for ranked in beam_search(toy.step, toy.begin(), beam=2, alpha=0.6, max_lengths=limits(3, 3))]
    assert list(map(len, beam_search(toy.step, toy.begin(), beam=2, alpha=0.6, max_lengths=limits(3, 3)))) == [1, 1]


@pytest.mark.parametrize(
    "wrong", [{"beam": 0}, {"alpha": -0.1}, {"nbest": 0}, {"nbest": 5}, {"max_lengths": limits(0)}]
)
def test_wrong_settings_are_said_in_one_line(wrong: dict) -> None:
    toy = Toy.random(0, sentences=1, vocabulary=6)
    with pytest.raises(UserError, match=r"^decode: [^\n]*$"):
        beam_search(toy.step, toy.begin(), **{"beam": 4, "alpha": 0.6, "max_lengths": limits(3), **wrong})


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same() -> None:
    toy = Toy.random(9, sentences=30, vocabulary=500, eos=5.0)
    max_lengths = torch.arange(30) + 1
    arguments = {"beam": 4, "alpha": 0.6, "nbest": 4}
    beam = beam_search(toy.step, toy.begin(), max_lengths=max_lengths, **arguments)
    greedy = greedy_search(toy.step, toy.begin(), max_lengths=max_lengths)
    toy.table = toy.table.cuda()
    begin = ToyState(*(rows.cuda() for rows in vars(toy.begin()).values()))
    found = beam_search(toy.step, begin, max_lengths=max_lengths.cuda(), **arguments)
    for one, other in zip(found, beam, strict=True):
        assert_same(one, [(each.score, each.log_prob, each.tokens) for each in other])
    assert_same(
        greedy_search(toy.step, begin, max_lengths=max_lengths.cuda()),
        [(each.score, each.log_prob, each.tokens) for each in greedy],
    )
