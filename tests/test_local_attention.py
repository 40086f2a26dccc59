"""Local attention in long sentences: the band that is computed there is the full square, seen through the window."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lit_transformer.attention_maps import attention_maps
from lit_transformer.batch import Layout, TranslationBatch
from lit_transformer.components.mixers import build_mixers
from lit_transformer.components.mixers.band import Band
from lit_transformer.components.mixers.local import LocalAttention, computed_pairs
from lit_transformer.config import (
    AttentionConfig,
    Mask,
    Mixer,
    MixerConfig,
    ModelConfig,
    PositionConfig,
    Positions,
    Scale,
    Score,
)
from lit_transformer.flops import Work, forward_flops, training_flops
from tests.small_mixers import D, both_stacks, mixers, with_mixer
from tests.small_models import BASE, VOCAB, assert_close, batch_of, build
from tests.small_positions import INSIDE
from tests.twins.attention import naive_self_attention

RAGGED = Layout.from_lengths(torch.tensor([26, 1, 7, 25]))
LAYOUTS = {"rectangle": Layout.uniform(2, 25), "ragged": RAGGED}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "shared keys": {"kv_heads": 1},
    "additive": {"score": Score.additive},
    "bilinear": {"score": Score.bilinear},
    "talking": {"talking_heads": True},
    "learned scale": {"scale": Scale.learned},
    "-1e9": {"mask": Mask.minus_1e9},
    "normed, gated": {"qk_norm": True, "gate": True},
}
PAIRS = {  # turned positions need the plain product
    f"{kind}, {name}": (kind, options)
    for kind in (Positions.none, *INSIDE)
    for name, options in OPTIONS.items()
    if (kind, name) not in ((Positions.rotary, "additive"), (Positions.rotary, "bilinear"))
}


def local(causal: bool, window: int, positions: Positions = Positions.none, **attention: Any) -> ModelConfig:
    config = with_mixer(causal, kind=Mixer.local_attention, window=window)
    heads = replace(BASE.attention, **attention)
    return replace(config, attention=heads, positions=PositionConfig(positions, max_length=64, distance=3))


def random_part(config: ModelConfig, causal: bool) -> LocalAttention:
    part = build_mixers(config, causal)[0].double()
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return part


@both_stacks
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize(("positions", "attention"), PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("window", [1, 2])
def test_the_band_is_the_square_forward_and_backward(
    positions: Positions, attention: dict[str, Any], layout: Layout, causal: bool, window: int
) -> None:
    part = random_part(local(causal, window, positions, **attention), causal)
    x = torch.randn(layout.tokens, D, dtype=torch.float64, requires_grad=True)
    assert layout.max_seqlen > part.max_square
    banded, kept = part(x, layout)
    part.max_square = math.inf
    square, cache = part(x, layout)
    assert torch.equal(kept.keys, cache.keys)
    upstream = torch.randn_like(square)
    wanted = [x, *part.parameters()]
    results = [[y, *torch.autograd.grad(y, wanted, upstream)] for y in (banded, square)]
    for mine, twin in zip(*results, strict=True):
        assert_close(mine, twin, 1e-11)  # float64


@both_stacks
def test_the_band_is_the_naive_twin(causal: bool) -> None:
    """The square has a twin of its own; here the band meets it without the square between."""
    config = local(causal, 2, Positions.t5)
    part = random_part(config, causal)
    x = torch.randn(RAGGED.tokens, D, dtype=torch.float64)
    expected = [naive_self_attention(config, part, own, causal, 2) for own in x.split(RAGGED.lengths.tolist())]
    assert_close(part(x, RAGGED)[0], torch.cat(expected), 1e-10)


@both_stacks
def test_a_short_sentence_and_a_mask_that_leaks_take_the_square(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    query_blocks = Band.query_blocks
    monkeypatch.setattr(Band, "query_blocks", lambda band, x: used.append(x.shape[2]) or query_blocks(band, x))
    (part,) = mixers(causal, kind=Mixer.local_attention, window=2)
    keys = 4 if causal else 6
    for length in (4 * keys, 4 * keys + 1):
        part(torch.randn(length, D, dtype=torch.float64), Layout.uniform(1, length))
    assert used == [4 * keys + 1]
    leaking = random_part(local(causal, 1, mask=Mask.zero_score), causal)
    leaking(torch.randn(50, D, dtype=torch.float64), Layout.uniform(1, 50))
    assert used == [4 * keys + 1]


def test_a_later_token_changes_nothing_before_it_to_the_bit() -> None:
    part = random_part(local(True, 3, Positions.fire), True)
    x = torch.randn(30, D, dtype=torch.float64)
    before, _ = part(x, Layout.uniform(1, 30))
    assert part.max_square == 24
    for place in (1, 14, 15, 29):
        after, _ = part(torch.cat([x[:place], torch.randn_like(x[place:])]), Layout.uniform(1, 30))
        assert torch.equal(after[:place], before[:place])
        assert not torch.equal(after[place], before[place])


def test_cached_steps_equal_the_band() -> None:
    part = random_part(local(True, 2, Positions.rotary), True)
    x, cache = torch.randn(3, 18, D, dtype=torch.float64), None
    whole, _ = part(x.flatten(0, 1), Layout.uniform(3, 18))
    for place in range(18):
        y, cache = part(x[:, place], Layout.uniform(3, 1), cache)
        assert_close(y, whole.view(3, 18, D)[:, place], 1e-11)


LONG = ModelConfig(
    d_model=16,
    encoder_layers=2,
    decoder_layers=1,
    attention=AttentionConfig(heads=3, d_k=4, d_v=6),
    encoder_mixer=MixerConfig(Mixer.local_attention, window=2),
    decoder_mixer=MixerConfig(Mixer.local_attention, window=3),
    positions=PositionConfig(Positions.shaw),
    dropout=0.0,
)


@pytest.mark.parametrize("target", [23, 29], ids=["square", "band"])
def test_operations_of_the_band_are_those_that_torch_counts(target: int) -> None:
    batch = batch_of([([4, 5] * 14, [6] * target)] * 2)
    model = build(LONG)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.logits(model.hidden(batch)).sum().backward()
    work = Work.of_lengths(LONG, batch.src_layout.lengths, batch.tgt_layout.lengths)
    assert work.src_squared == 2 * 15 * 2 * 6  # 29 tokens: 15 blocks of 2 queries, each with 6 keys
    assert work.tgt_squared == 2 * (10 * 3 * 6 if target == 29 else 24 * 24)
    assert counter.get_total_flops() == training_flops(model, work)


def test_operations_of_a_ragged_batch_are_those_of_its_rectangle() -> None:
    batch = batch_of([([4, 5] * 14, [5] * 29), ([4, 5], [6])])
    model = build(LONG)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.logits(model.hidden(batch))
    s, t = batch.src_layout, batch.tgt_layout
    longest = [torch.full_like(layout.lengths, layout.max_seqlen) for layout in (s, t)]
    padded = Work.of_lengths(LONG, *longest)
    work = replace(padded, src=s.tokens, tgt=t.tokens)  # the kernel's rectangle is the only padding
    assert counter.get_total_flops() == forward_flops(model, work)


def test_pairs_grow_with_the_length_and_not_with_its_square() -> None:
    lengths = torch.tensor([1000, 2000, 4000])
    assert computed_pairs(local(False, 4), False, lengths).tolist() == [12_000, 24_000, 48_000]
    assert computed_pairs(BASE, False, lengths).tolist() == [10**6, 4 * 10**6, 16 * 10**6]


def test_maps_of_a_long_sentence_are_whole_squares() -> None:
    ids = torch.randint(4, VOCAB, (30,)).tolist()
    model = build(LONG).eval()
    banded = attention_maps(model, ids, ids)
    for part in model.modules():
        if isinstance(part, LocalAttention):
            part.max_square = math.inf
    square = attention_maps(model, ids, ids)
    for mine, twin in zip(banded.encoder + banded.decoder, square.encoder + square.decoder, strict=True):
        assert mine.shape == (3, 31, 31)
        assert_close(mine, twin, 1e-6)


def test_bfloat16_stays_near() -> None:
    part = random_part(local(False, 2, Positions.alibi), False).float()
    x = torch.randn(RAGGED.tokens, D)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = part(x, RAGGED)
    exact, _ = part(x, RAGGED)
    assert (y - exact).norm() < 0.1 * exact.norm()


def test_a_batch_of_one_short_and_one_long_pair_trains() -> None:
    model = build(LONG)
    batch = TranslationBatch.from_pairs([([4] * 40, [5] * 50), ([6], [])])
    torch.nn.functional.cross_entropy(model.logits(model.hidden(batch)), batch.tgt_out).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
