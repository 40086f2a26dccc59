"""Position encodings: the paper's table and its property, offsets while decoding, and the limits."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from x_transformers.x_transformers import ScaledSinusoidalEmbedding

from lit_transformer.batch import Layout
from lit_transformer.components.positions import (
    PositionEncoding,
    Table,
    build_positions,
    concatenated_sinusoids,
    sinusoids,
)
from lit_transformer.config import ModelConfig, PositionConfig, Positions
from lit_transformer.errors import UserError
from tests.small_models import BASE, assert_close, build
from tests.twins.positions import naive_concatenated_sinusoid, naive_sinusoid

D = 16
LAYOUT = Layout.from_lengths(torch.tensor([3, 1, 4]))
every_kind = pytest.mark.parametrize("kind", Positions)
both_tables = pytest.mark.parametrize("kind", [Positions.sinusoidal, Positions.sinusoidal_concatenated])


def positions_of(kind: Positions, causal: bool, max_length: int = 32) -> PositionEncoding:
    return build_positions(PositionConfig(kind=kind, max_length=max_length), D, causal)


def added(kind: Positions, lengths: list[int], causal: bool = False, offset: int = 0) -> Tensor:
    """Return what a kind adds to sentences of these lengths: (N, D)."""
    layout = Layout.from_lengths(torch.tensor(lengths))
    return positions_of(kind, causal)(torch.zeros(layout.tokens, D), layout, offset)


def test_the_table_is_the_papers() -> None:
    expected = torch.tensor([[naive_sinusoid(place, i, D) for i in range(D)] for place in range(50)])
    assert_close(sinusoids(50, D), expected, 1e-6)
    assert sinusoids(50, D).dtype == torch.float32


def test_far_places_are_exact() -> None:
    table = sinusoids(20_001, 512)
    for dimension in (0, 1, 2, 255, 510, 511):
        assert table[20_000, dimension].item() == pytest.approx(naive_sinusoid(20_000, dimension, 512), abs=1e-6)


@pytest.mark.parametrize("k", [1, 5, 37])
def test_a_shift_is_a_rotation_of_every_frequency(k: int) -> None:
    """Section 3.5: PE(t + k) is a linear function of PE(t), the same for every t."""
    pairs = sinusoids(100, D).unflatten(1, (D // 2, 2))  # (places, frequencies, (sin, cos))
    for i in range(D // 2):
        angle = k / 10000 ** (2 * i / D)
        rotation = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        assert_close(pairs[: 100 - k, i] @ rotation.T, pairs[k:, i])


def test_wavelengths_run_from_2_pi_towards_10000_times_2_pi() -> None:
    table = sinusoids(2, 512).double()
    first, last = table[1, 0].asin(), table[1, 510].asin()
    assert 2 * math.pi / first == pytest.approx(2 * math.pi, rel=1e-5)
    assert 2 * math.pi / last == pytest.approx(2 * math.pi * 10000 ** (510 / 512), rel=1e-5)


def test_the_concatenated_table_is_tensor2tensors() -> None:
    expected = torch.tensor([[naive_concatenated_sinusoid(place, i, D) for i in range(D)] for place in range(50)])
    assert_close(concatenated_sinusoids(50, D), expected, 1e-6)
    assert concatenated_sinusoids(50, D).dtype == torch.float32
    far = concatenated_sinusoids(20_001, 512)[20_000]
    for dimension in (0, 1, 2, 255, 256, 510, 511):
        assert far[dimension].item() == pytest.approx(naive_concatenated_sinusoid(20_000, dimension, 512), abs=1e-6)


def test_the_papers_frequencies_concatenated_are_those_of_x_transformers() -> None:
    """Only the layout differs from the paper's table; the frequencies of Tensor2Tensor reach 1/10000 itself."""
    theirs = ScaledSinusoidalEmbedding(D)(torch.zeros(1, 40, D)).detach() * D**0.5
    assert_close(sinusoids(40, D).unflatten(1, (D // 2, 2)).transpose(1, 2).flatten(1), theirs, 1e-5)
    slowest = concatenated_sinusoids(2, D).double()[1, D // 2 - 1].asin()
    assert slowest.item() == pytest.approx(1e-4, rel=1e-6)


@pytest.mark.parametrize("k", [1, 5, 37])
def test_a_shift_rotates_the_concatenated_sinusoids_too(k: int) -> None:
    half = D // 2
    table = concatenated_sinusoids(100, D)
    for i in range(half):
        pairs = table[:, [i, i + half]]  # (places, (sin, cos))
        angle = k / 10000 ** (i / (half - 1))
        rotation = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        assert_close(pairs[: 100 - k] @ rotation.T, pairs[k:])


def test_concatenated_sinusoids_of_width_2_turn_once_every_2_pi() -> None:
    places = torch.arange(30.0)
    assert_close(concatenated_sinusoids(30, 2), torch.stack([places.sin(), places.cos()], 1), 1e-6)


@both_tables
def test_an_odd_width_has_no_pairs_of_sine_and_cosine(kind: Positions) -> None:
    with pytest.raises(UserError, match=r"model\.d_model is 15, which is odd.*model\.positions\.kind"):
        ModelConfig(d_model=15, positions=PositionConfig(kind=kind))


def test_a_count_is_the_place_in_the_first_coordinate() -> None:
    assert added(Positions.count, [3, 1])[:, 0].tolist() == [0, 1, 2, 0]
    assert added(Positions.count, [2, 2], causal=True, offset=300)[:, 0].tolist() == [300, 301, 300, 301]
    assert not added(Positions.count, [3, 1], offset=7)[:, 1:].any()


def test_a_layer_norm_takes_out_what_every_coordinate_gained() -> None:
    """Why the count stands in one coordinate."""
    x = torch.randn(5, D)
    norm = torch.nn.LayerNorm(D)
    assert_close(norm(x + torch.arange(5.0)[:, None]), norm(x))
    assert (norm(x + added(Positions.count, [5])) - norm(x))[1:].abs().max() > 0.1


def test_a_normalised_count_runs_from_0_to_1_in_every_sentence_of_the_encoder() -> None:
    first = added(Positions.normalised_count, [5, 1, 2, 3])[:, 0]
    assert first.tolist() == [0, 0.25, 0.5, 0.75, 1, 0, 0, 1, 0, 0.5, 1]
    assert not added(Positions.normalised_count, [5, 1, 2, 3])[:, 1:].any()


def test_a_normalised_count_of_the_decoder_is_by_the_longest_sentence() -> None:
    first = added(Positions.normalised_count, [32, 2], causal=True)[:, 0]
    assert_close(first, torch.cat([torch.arange(32), torch.arange(2)]) / 31, 1e-7)
    assert first.max() == 1
    assert not added(Positions.normalised_count, [3], causal=True)[:, 1:].any()
    alone = positions_of(Positions.normalised_count, causal=True, max_length=1)
    assert not alone(torch.zeros(1, D), Layout.uniform(1, 1), 0).any()


def test_binary_positions_are_the_bits_of_the_place() -> None:
    bits = added(Positions.binary, [300])
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert_close(bits @ 2.0 ** torch.arange(D), torch.arange(300.0), 0.0)
    assert_close(added(Positions.binary, [4], causal=True, offset=2**D + 5), added(Positions.binary, [9])[5:], 0.0)
    narrow, wide = torch.zeros(9, 3), torch.zeros(9, 100)
    for x in (narrow, wide):
        y = build_positions(PositionConfig(kind=Positions.binary), x.shape[1], False)(x, Layout.uniform(1, 9), 0)
        assert y[:, :3].tolist() == bits[:9, :3].tolist()
        assert y.shape == x.shape


@every_kind
@pytest.mark.parametrize("causal", [False, True])
def test_each_sentence_counts_from_its_own_first_token(kind: Positions, causal: bool) -> None:
    positions = positions_of(kind, causal)
    x = torch.randn(LAYOUT.tokens, D)
    together = positions(x, LAYOUT, 0)
    for start, length in ((0, 3), (3, 1), (4, 4)):
        rows = slice(start, start + length)
        assert_close(together[rows], positions(x[rows], Layout.uniform(1, length), 0), 0.0)


@every_kind
def test_an_offset_goes_on_where_the_cache_ends(kind: Positions) -> None:
    positions = positions_of(kind, causal=True)
    x = torch.randn(2, 6, D)
    whole = positions(x.flatten(0, 1), Layout.uniform(2, 6), 0).view(2, 6, D)
    for place in range(6):
        assert_close(positions(x[:, place], Layout.uniform(2, 1), place), whole[:, place], 0.0)


@pytest.mark.parametrize("kind", [kind for kind in Positions if kind.inside_attention or kind is Positions.none])
def test_where_nothing_is_added_the_embeddings_stay_themselves(kind: Positions) -> None:
    positions = positions_of(kind, causal=True)
    x = torch.randn(LAYOUT.tokens, D)
    assert positions(x, LAYOUT, 3) is x
    assert not list(positions.parameters())


@both_tables
def test_a_sinusoidal_table_grows_and_is_no_parameter(kind: Positions) -> None:
    positions = positions_of(kind, causal=False)
    assert not list(positions.parameters())
    assert not positions.state_dict()
    length = len(positions.table.rows) + 5
    y = positions(torch.zeros(length, D), Layout.uniform(1, length), 0)
    assert len(positions.table.rows) >= length
    table = sinusoids if kind is Positions.sinusoidal else concatenated_sinusoids
    assert_close(y, table(length, D), 0.0)
    assert positions.max_length is None


def test_a_table_grown_in_inference_mode_still_serves_training() -> None:
    table = Table(lambda length: torch.arange(float(length))[:, None])
    length = len(table.rows) + 1
    with torch.inference_mode():
        table(length)
    x = torch.ones(length, 1, requires_grad=True)
    (x * table(length)[:length]).sum().backward()  # a product keeps its factors for the way back
    assert_close(x.grad, torch.arange(float(length))[:, None], 0.0)


def test_learned_positions_refuse_what_is_longer() -> None:
    positions = positions_of(Positions.learned, causal=False, max_length=4)
    x = torch.zeros(4, D)
    assert positions(x, Layout.uniform(1, 4), 0).shape == (4, D)
    for layout, offset, rows in ((Layout.uniform(1, 5), 0, 5), (Layout.uniform(2, 1), 4, 2)):
        with pytest.raises(UserError, match=r"5 tokens is longer than the 4 learned.*model\.positions\.max_length"):
            positions(torch.zeros(rows, D), layout, offset)


def test_each_stack_learns_its_own_positions() -> None:
    model = build(replace(BASE, positions=PositionConfig(kind=Positions.learned, max_length=32)))
    source, target = model.src_embedding.positions.embedding, model.tgt_embedding.positions.embedding
    assert source is not target
    assert source.weight.shape == target.weight.shape == (32, BASE.d_model)
