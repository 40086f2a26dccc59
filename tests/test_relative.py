"""Positions inside self-attention: against reference implementations, and what their sources say of them."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import T5Config, Wav2Vec2BertConfig
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as turn_by_gptj
from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertSelfAttention
from x_transformers.x_transformers import AlibiPositionalBias, RelativePositionBias, RotaryEmbedding
from x_transformers.x_transformers import apply_rotary_pos_emb as turn_by_x_transformers

from lit_transformer.batch import Layout
from lit_transformer.components.attention import SelfAttention
from lit_transformer.components.relative import FirePositions, RotaryPositions, alibi_slopes, build_score_positions
from lit_transformer.config import AttentionConfig, Positions, Scale
from tests.small_models import BASE, assert_close
from tests.small_positions import either_stack, first_layers, model_of, queries_at, score_bias
from tests.twins.relative import naive_bias, naive_slope


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (64, 300), (4, 3)])
@either_stack
def test_t5_buckets_are_those_of_transformers(buckets: int, max_distance: int, causal: bool) -> None:
    config = model_of(Positions.t5, buckets=buckets, max_distance=max_distance)
    steps = torch.arange(-1000, 1 if causal else 1001)
    theirs = T5Attention._relative_position_bucket(steps, not causal, buckets, max_distance)
    assert torch.equal(first_layers(config, causal).bucket(steps), theirs)
    used = buckets if causal else buckets - 1  # no later key stands 0 places away
    assert len(theirs.unique()) == used


@pytest.mark.parametrize("queries", [1, 7, 150])
@either_stack
def test_t5_scores_are_those_of_transformers_and_x_transformers(queries: int, causal: bool) -> None:
    positions = first_layers(model_of(Positions.t5), causal)
    widths = {"num_heads": 3, "d_kv": 4, "d_model": 16}
    transformers = T5Attention(T5Config(is_decoder=causal, **widths), has_relative_attention_bias=True, layer_idx=0)
    x_transformers = RelativePositionBias(scale=1.0, causal=causal, heads=3)
    for theirs in (transformers, x_transformers):
        theirs.relative_attention_bias.load_state_dict(positions.scores.state_dict())
    bias = score_bias(positions, queries_at(queries), 150)
    seen = torch.ones(150, 150).tril()[-queries:].bool() if causal else torch.ones(queries, 150).bool()
    expected = transformers.compute_bias(queries, 150, past_seen_tokens=150 - queries)
    assert bias.shape == (1, 3, queries, 150)
    assert_close(bias[..., seen], expected[..., seen], 0.0)
    assert_close(bias[0][..., seen], x_transformers(queries, 150)[..., seen], 0.0)


def test_alibi_slopes_are_the_papers() -> None:
    eight = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert alibi_slopes(8) == eight
    assert alibi_slopes(12) == pytest.approx([*eight, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])
    assert alibi_slopes(1) == [2**-8]


@pytest.mark.parametrize("heads", range(1, 18))
@either_stack
def test_alibi_is_that_of_x_transformers(heads: int, causal: bool) -> None:
    positions = first_layers(model_of(Positions.alibi, AttentionConfig(heads=heads, d_k=4, d_v=4)), causal)
    for queries in (1, 40):
        bias = score_bias(positions, queries_at(queries, heads), 40)
        assert_close(bias[0], AlibiPositionalBias(heads)(queries, 40), 1e-6)
    assert alibi_slopes(heads) == pytest.approx([naive_slope(head, heads) for head in range(heads)])
    assert not positions.state_dict()
    assert not list(positions.parameters())


@pytest.mark.parametrize("base", [10000.0, 500.0])
def test_rotary_is_that_of_x_transformers_and_gptj(base: float) -> None:
    x = torch.randn(2, 3, 30, 8)  # (B, H, L, E)
    turned = RotaryPositions(8, base).apply_rotary(x, 0)
    assert_close(turned, turn_by_x_transformers(x, *RotaryEmbedding(8, base=base)(torch.arange(30))))
    if base == 10000:
        sin, cos = create_sinusoidal_positions(30, 8)[None].chunk(2, -1)  # (1, L, E/2) each
        assert_close(turned, turn_by_gptj(x.transpose(1, 2), sin, cos).transpose(1, 2))


def test_a_rotary_score_depends_on_the_distance_only() -> None:
    """Su et al. 2021, eq. 16. In float64: a score far away equals the score here."""
    positions = RotaryPositions(8, 10000.0).double()
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    for step in (0, 1, 7, 400):
        here = positions.apply_rotary(query, step) @ positions.apply_rotary(key, 0).transpose(-1, -2)
        for first in (1, 50, 3000):
            there = positions.apply_rotary(query, first + step) @ positions.apply_rotary(key, first).transpose(-1, -2)
            assert_close(there, here, 1e-6)  # the table is rounded to float32
    apart = positions.apply_rotary(query, 1) @ positions.apply_rotary(key, 0).transpose(-1, -2)
    assert (apart - query @ key.transpose(-1, -2)).abs() > 1e-3


def test_rotary_keeps_lengths_and_the_first_place() -> None:
    x = torch.randn(2, 3, 600, 8)
    turned = RotaryPositions(8, 10000.0).apply_rotary(x, 0)
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert_close(turned[:, :, 0], x[:, :, 0], 0.0)
    assert (turned - x)[:, :, 1:].abs().amax(-1).min() > 1e-3


def test_rotary_turns_one_new_token_as_in_the_sentence() -> None:
    positions, x = RotaryPositions(8, 10000.0), torch.randn(2, 3, 700, 8)
    whole = positions.apply_rotary(x, 0)
    for place in (0, 5, 699):
        assert_close(positions.apply_rotary(x[:, :, [place]], place), whole[:, :, [place]], 0.0)
    assert positions.apply_rotary(x.bfloat16(), 0).dtype is torch.bfloat16


@pytest.mark.parametrize("length", [3, 12])
def test_shaw_is_that_of_transformers(length: int) -> None:
    """With a distance of 4, so that the longer sentence has steps that are clipped."""
    attention = AttentionConfig(heads=4, d_k=4, d_v=4, bias=True)
    config = Wav2Vec2BertConfig(
        hidden_size=16, num_attention_heads=4, position_embeddings_type="relative_key", attn_implementation="eager",
        left_max_position_embeddings=4, right_max_position_embeddings=4, attention_dropout=0.0,
    )  # fmt: skip
    theirs = Wav2Vec2BertSelfAttention(config)
    ours = SelfAttention(attention, 16, first_layers(model_of(Positions.shaw, attention, distance=4), False), False)
    projections = (("in_proj.query", "q"), ("in_proj.key", "k"), ("in_proj.value", "v"), ("out_proj", "out"))
    for mine, other in projections:
        ours.get_submodule(mine).load_state_dict(getattr(theirs, f"linear_{other}").state_dict())
    ours.positions.vectors.load_state_dict(theirs.distance_embedding.state_dict())
    x = torch.randn(2, length, 16)
    expected, _ = theirs(x)
    y, _ = ours(x.flatten(0, 1), Layout.uniform(2, length))
    assert_close(y.view(2, length, 16), expected)


@either_stack
def test_shaw_does_not_tell_steps_beyond_its_distance(causal: bool) -> None:
    positions = first_layers(model_of(Positions.shaw, distance=3), causal)
    bias = score_bias(positions, queries_at(9), 9)[0, 0]  # (Q, K), row i in steps of j - i
    assert_close(bias[8, :6], bias[8, 5].expand(6), 0.0)
    assert (bias[8, 5:8] - bias[8, 6:9]).abs().min() > 1e-4
    assert_close(bias[0, 3:], bias[0, 3].expand(6), 0.0)
    assert len(positions.vectors.weight) == (4 if causal else 7)


@pytest.mark.parametrize("scale", Scale)
@either_stack
def test_shaw_scales_as_the_scores_are_scaled(scale: Scale, causal: bool) -> None:
    config = model_of(Positions.shaw, replace(BASE.attention, scale=scale), distance=2)
    positions, queries = first_layers(config, causal), queries_at(5)
    bias = score_bias(positions, queries, 5)
    for head in range(3):
        for i in range(5):
            for j in range(i + 1 if causal else 5):
                expected = naive_bias(config, positions, queries[1, head, i], i, j, head, causal)
                assert_close(bias[1, head, i, j], expected)


def test_a_trained_scale_of_shaw_starts_where_the_scores_start() -> None:
    config = model_of(Positions.shaw, replace(BASE.attention, scale=Scale.learned))
    fixed, trained = (build_score_positions(it, False)[0] for it in (model_of(Positions.shaw), config))
    trained.vectors.load_state_dict(fixed.vectors.state_dict())
    queries = queries_at(6)
    assert_close(score_bias(trained, queries, 6), score_bias(fixed, queries, 6))


def fire(c: float = 0.1, threshold: float = 64.0) -> FirePositions:
    positions = FirePositions(heads=3, threshold=50.0)
    with torch.no_grad():
        positions.log_c.fill_(c / 0.1).log_()
        positions.log_threshold.fill_(threshold / 50).log_()
    return positions


@pytest.mark.parametrize("threshold", [64.0, 6.5])
def test_fire_is_the_papers_network_of_the_papers_parts(threshold: float) -> None:
    positions = fire(c=0.7, threshold=threshold)
    network = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 3, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(positions.slope[:, None])
        network[0].bias.copy_(positions.offset)
        network[2].weight.copy_(positions.output)
    places = torch.arange(20.0)
    distances, later = (places[:, None] - places).abs(), torch.maximum(places[:, None], places)
    parts = (0.7 * distances + 1).log() / (0.7 * later.clamp(min=threshold) + 1).log()
    assert parts.max() <= 1
    expected = network(parts[..., None]).permute(2, 0, 1)
    assert_close(score_bias(positions, queries_at(20), 20)[0], expected)
    assert_close(score_bias(positions, queries_at(1), 20)[0], expected[:, -1:])


def test_fire_sees_the_distance_alone_up_to_its_threshold() -> None:
    bias = score_bias(fire(threshold=10.0), queries_at(30), 30)[0]  # (H, Q, K)
    one_apart = bias.diagonal(-1, 1, 2)  # (H, 29), key i - 1 of query i = 1, ..., 29
    assert_close(one_apart[:, :10], one_apart[:, :1].expand(3, 10))
    assert (one_apart[:, 10:] - one_apart[:, :1]).abs().max() > 1e-4


def test_fire_stays_in_the_range_it_was_trained_in() -> None:
    """However far the places: parts of the way from 0 to 1, so no output is beyond those of that range."""
    positions = fire(threshold=8.0)
    near, far = score_bias(positions, queries_at(1), 9)[0], score_bias(positions, queries_at(1), 100_000)[0]
    assert_close(near[:, :, 0], far[:, :, 0])  # the furthest key, at part 1 of either
    assert_close(near[:, :, -1], far[:, :, -1], 0.0)
    parts = torch.linspace(0, 1, 10_001)
    curve = ((parts[:, None] * positions.slope + positions.offset).relu() @ positions.output.T).T  # (H, 10001)
    assert (far.amax(-1) <= curve.amax(-1, keepdim=True) + 1e-3).all()
    assert (far.amin(-1) >= curve.amin(-1, keepdim=True) - 1e-3).all()
