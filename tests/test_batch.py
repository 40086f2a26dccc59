"""Packing: the rectangle and the packed tensor say the same, and markers stand where they belong."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_transformer.batch import Layout, TranslationBatch
from lit_transformer.tokens import BOS, EOS

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=8)
SENTENCES = st.lists(st.integers(4, 50), max_size=6)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=7)


@given(LENGTHS)
def test_pack_undoes_pad_and_padding_is_finite(lengths: list[int]) -> None:
    layout = Layout.from_lengths(torch.tensor(lengths))
    packed = torch.randn(sum(lengths), 3)
    rectangle = layout.pad(packed)
    assert rectangle.shape == (len(lengths), max(lengths), 3)
    assert torch.equal(layout.pack(rectangle), packed)
    assert torch.isfinite(rectangle).all()


@given(LENGTHS)
def test_layout_says_where_tokens_lie(lengths: list[int]) -> None:
    layout = Layout.from_lengths(torch.tensor(lengths))
    expected = [(sentence, place) for sentence, length in enumerate(lengths) for place in range(length)]
    assert layout.positions.tolist() == [place for _, place in expected]
    assert layout.indices.tolist() == [sentence * max(lengths) + place for sentence, place in expected]
    assert layout.mask.sum(1).tolist() == lengths
    assert layout.mask[:, 0].all()
    assert layout.rows[layout.mask].tolist() == list(range(sum(lengths)))
    assert layout.tokens == sum(lengths)
    assert layout.sentences == len(lengths)
    starts = np.cumsum(lengths) - lengths
    for sentence, start in enumerate(starts):  # padding repeats its own sentence's first row
        assert (layout.rows[sentence][~layout.mask[sentence]] == start).all()


@pytest.mark.parametrize(("sentences", "length"), [(1, 1), (3, 1), (1, 4), (3, 4)])
def test_uniform_equals_from_lengths(sentences: int, length: int) -> None:
    one, other = Layout.uniform(sentences, length), Layout.from_lengths(torch.full((sentences,), length))
    for name in ("lengths", "positions", "indices", "rows", "mask"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.max_seqlen, one.rectangular) == (other.max_seqlen, other.rectangular) == (length, True)


def test_only_unequal_lengths_are_not_rectangular() -> None:
    assert not Layout.from_lengths(torch.tensor([2, 3])).rectangular
    assert Layout.from_lengths(torch.tensor([3, 3])).rectangular


@given(PAIRS)
def test_from_pairs_equals_the_obvious_way(pairs: list[tuple[list[int], list[int]]]) -> None:
    batch = TranslationBatch.from_pairs(pairs)
    assert batch.src.tolist() == [token for source, _ in pairs for token in [*source, EOS]]
    assert batch.tgt_in.tolist() == [token for _, target in pairs for token in [BOS, *target]]
    assert batch.tgt_out.tolist() == [token for _, target in pairs for token in [*target, EOS]]
    assert batch.src_layout.lengths.tolist() == [len(source) + 1 for source, _ in pairs]
    assert batch.tgt_layout.lengths.tolist() == [len(target) + 1 for _, target in pairs]
    assert batch.pairs.tolist() == list(range(len(pairs)))
    assert batch.target_tokens == batch.tgt_layout.tokens
    assert {batch.src.dtype, batch.tgt_in.dtype, batch.tgt_out.dtype, batch.pairs.dtype} == {torch.int64}


def test_from_pairs_takes_arrays_of_any_integer_type() -> None:
    lists = [([5, 60_000], [7]), ([8], [9, 10, 11])]
    arrays = [(np.array(s, dtype=np.uint16), np.array(t, dtype=np.int32)) for s, t in lists]
    one, other = TranslationBatch.from_pairs(lists), TranslationBatch.from_pairs(arrays, [4, 2], target_tokens=77)
    assert torch.equal(one.src, other.src)
    assert torch.equal(one.tgt_out, other.tgt_out)
    assert other.pairs.tolist() == [4, 2]
    assert other.target_tokens == 77


def test_to_moves_every_tensor() -> None:
    batch = TranslationBatch.from_pairs([([5, 6], [7]), ([8], [9, 10])]).to("meta")
    tensors = [batch.src, batch.tgt_in, batch.tgt_out, batch.pairs]
    for layout in (batch.src_layout, batch.tgt_layout):
        tensors += [layout.lengths, layout.positions, layout.indices, layout.rows, layout.mask]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (batch.target_tokens, batch.src_layout.max_seqlen) == (5, 3)
