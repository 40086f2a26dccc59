"""Position encodings: the paper's table and its property, offsets while decoding, and the limits."""

import math
from dataclasses import replace

import pytest
import torch

from lit_transformer.batch import Layout
from lit_transformer.components.positions import SinusoidalPositions, build_positions, sinusoids
from lit_transformer.config import PositionConfig, Positions
from lit_transformer.errors import UserError
from tests.small_models import BASE, assert_close, build
from tests.twins.positions import naive_sinusoid

D = 16
LAYOUT = Layout.from_lengths(torch.tensor([3, 1, 4]))
every_kind = pytest.mark.parametrize("kind", Positions)


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


@every_kind
def test_each_sentence_counts_from_its_own_first_token(kind: Positions) -> None:
    positions = build_positions(PositionConfig(kind=kind, max_length=32), D)
    x = torch.randn(LAYOUT.tokens, D)
    together = positions(x, LAYOUT, 0)
    for start, length in ((0, 3), (3, 1), (4, 4)):
        rows = slice(start, start + length)
        assert_close(together[rows], positions(x[rows], Layout.rectangle(1, length), 0), 0.0)


@every_kind
def test_an_offset_goes_on_where_the_cache_ends(kind: Positions) -> None:
    positions = build_positions(PositionConfig(kind=kind, max_length=32), D)
    x = torch.randn(2, 6, D)
    whole = positions(x.flatten(0, 1), Layout.rectangle(2, 6), 0).view(2, 6, D)
    for place in range(6):
        assert_close(positions(x[:, place], Layout.rectangle(2, 1), place), whole[:, place], 0.0)


def test_no_positions_change_nothing() -> None:
    positions = build_positions(PositionConfig(kind=Positions.none), D)
    x = torch.randn(LAYOUT.tokens, D)
    assert positions(x, LAYOUT, 3) is x
    assert not list(positions.parameters())


def test_the_sinusoidal_table_grows_and_is_no_parameter() -> None:
    positions = SinusoidalPositions(D)
    assert not list(positions.parameters())
    assert not positions.state_dict()
    size = len(positions.table)
    x = torch.zeros(size + 5, D)
    y = positions(x, Layout.rectangle(1, size + 5), 0)
    assert_close(y, sinusoids(size + 5, D), 0.0)
    assert positions.limit is None


def test_a_table_grown_in_inference_mode_still_serves_training() -> None:
    positions = SinusoidalPositions(D)
    length = len(positions.table) + 1
    with torch.inference_mode():
        positions(torch.zeros(length, D), Layout.rectangle(1, length), 0)
    x = torch.zeros(length, D, requires_grad=True)
    positions(x, Layout.rectangle(1, length), 0).sum().backward()
    assert_close(x.grad, torch.ones(length, D), 0.0)


def test_learned_positions_refuse_what_is_longer() -> None:
    positions = build_positions(PositionConfig(kind=Positions.learned, max_length=4), D)
    x = torch.zeros(4, D)
    assert positions(x, Layout.rectangle(1, 4), 0).shape == (4, D)
    for layout, offset, rows in ((Layout.rectangle(1, 5), 0, 5), (Layout.rectangle(2, 1), 4, 2)):
        with pytest.raises(UserError, match=r"5 tokens is longer than the 4 learned.*model\.positions\.max_length"):
            positions(torch.zeros(rows, D), layout, offset)


def test_each_stack_learns_its_own_positions() -> None:
    model = build(replace(BASE, positions=PositionConfig(kind=Positions.learned, max_length=32)))
    source, target = model.src_embedding.positions.embedding, model.tgt_embedding.positions.embedding
    assert source is not target
    assert source.weight.shape == target.weight.shape == (32, BASE.d_model)
