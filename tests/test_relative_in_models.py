"""Positions inside self-attention within a model: caches, far places, shared layers, and where they cannot act."""

from dataclasses import replace

import pytest
import torch

from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import (
    AttentionConfig,
    AttentionDelta,
    Mixer,
    MixerConfig,
    PositionConfig,
    Positions,
    Scale,
    Score,
)
from lit_transformer.errors import UserError
from lit_transformer.flops import parameter_count
from lit_transformer.transformer import Memory
from tests.small_models import VOCAB, assert_close, batch_of, build
from tests.small_positions import (
    BIASES,
    SHARED,
    either_stack,
    every_inside,
    first_layers,
    model_of,
    queries_at,
    score_bias,
)
from tests.twins.model import naive_logits


@pytest.mark.parametrize("kind", BIASES)
@either_stack
def test_a_cached_step_has_the_last_row_of_the_whole_pass(kind: Positions, causal: bool) -> None:
    positions, queries = first_layers(model_of(kind), causal), queries_at(40)
    whole = score_bias(positions, queries, 40)
    for last in (1, 3):
        assert_close(score_bias(positions, queries[:, :, -last:], 40), whole[:, :, -last:], 1e-6)


@pytest.mark.parametrize("kind", BIASES)
def test_which_kinds_know_earlier_from_later(kind: Positions) -> None:
    queries = torch.ones(1, 3, 9, 4)
    bias = score_bias(first_layers(model_of(kind), causal=False), queries, 9)
    symmetric = torch.allclose(bias, bias.transpose(-1, -2))
    assert symmetric == (kind in (Positions.alibi, Positions.fire))


@every_inside
@pytest.mark.parametrize(
    "changes", [{"kv_heads": 2}, {"qk_norm": True, "scale": Scale.learned}, {"talking_heads": True}]
)
def test_with_other_attention_they_still_equal_the_twin(kind: Positions, changes: dict[str, object]) -> None:
    """Shared keys, trained scales and heads that talk; in the encoder within a window."""
    attention = replace(AttentionConfig(heads=4, d_k=4, d_v=6), **changes)
    window = MixerConfig(kind=Mixer.local_attention, window=2)
    config = replace(model_of(kind, attention, distance=2, buckets=4, threshold=3.0), encoder_mixer=window)
    model, batch = build(config).double().eval(), batch_of()
    assert_close(model.logits(model.hidden(batch)), naive_logits(model, batch), 1e-9)


@every_inside
def test_sentences_far_longer_than_any_before_are_placed(kind: Positions) -> None:
    model = build(model_of(kind)).eval()
    length = 700  # rotary's table starts with 512 places, max_length is 256
    ids = torch.randint(4, VOCAB, (1, length))
    with torch.inference_mode():
        logits = model(ids, ids)
    assert torch.isfinite(logits).all()
    assert model.max_target_length is None


@every_inside
def test_the_order_of_a_memory_is_not_looked_at(kind: Positions) -> None:
    """Relative positions act between the tokens of one sentence, never across."""
    model, batch, order = build(model_of(kind)).eval(), batch_of([([5, 6, 7, 8], [9, 10])]), [3, 0, 4, 2, 1]
    memory = model.encode_packed(batch.src, batch.src_layout)
    shuffled = Memory(memory.x[order], memory.layout)
    states, again = (model.decode(batch.tgt_in, batch.tgt_layout, it) for it in (memory, shuffled))
    assert_close(states, again)


@every_inside
def test_layers_share_what_the_source_shares(kind: Positions) -> None:
    model = build(model_of(kind))
    stacks = [
        [layer.sublayers["mixer"].inner.positions for layer in stack.layers] for stack in (model.encoder, model.decoder)
    ]
    for first, second in stacks:
        assert (first is second) == (kind in SHARED)
    assert stacks[0][0] is not stacks[1][0]
    own = {
        Positions.shaw: 2 * 33 * 4 + 2 * 17 * 4,  # layers, steps (none ahead in the decoder), d_k
        Positions.t5: 2 * 32 * 3,  # stacks, buckets, heads
        Positions.alibi: 0,
        Positions.rotary: 0,
        Positions.fire: 2 * (1 + 1 + 32 + 32 + 3 * 32),
    }[kind]
    assert parameter_count(model) - parameter_count(build(model_of(Positions.none))) == own


@every_inside
@either_stack
def test_neutral_hooks_are_neutral(kind: Positions, causal: bool) -> None:
    positions, x = first_layers(model_of(kind), causal), queries_at(5)
    if kind is Positions.rotary:
        assert score_bias(positions, x, 5) is None
    else:
        assert positions.apply_rotary(x, 3) is x
    assert ScorePositions().apply_rotary(x, 3) is x
    assert score_bias(ScorePositions(), x, 5) is None


@every_inside
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_stack_without_attention_has_no_place_for_them(kind: Positions, stack: str) -> None:
    mixer = MixerConfig(kind=Mixer.lstm)
    with pytest.raises(UserError, match=rf"kind is {kind}, which acts inside.*model\.{stack}_mixer\.kind is lstm"):
        replace(model_of(kind), **{f"{stack}_mixer": mixer})
    local = {f"{stack}_mixer": MixerConfig(kind=Mixer.local_attention)}
    assert replace(model_of(kind), **local).positions.kind is kind


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_rotary_needs_pairs_and_a_product(stack: str) -> None:
    config = model_of(Positions.rotary)
    with pytest.raises(UserError, match=rf"rotates pairs.*the {stack}'s self-attention is 5, which is odd"):
        replace(config, **{f"{stack}_attention": AttentionDelta(d_k=5)})
    for score in (Score.additive, Score.bilinear):
        with pytest.raises(UserError, match=rf"score of the {stack}'s self-attention is {score}: choose dot"):
            replace(config, **{f"{stack}_attention": AttentionDelta(score=score)})
    across = AttentionDelta(d_k=5, score=Score.additive)  # where nothing is turned
    assert replace(config, cross_attention=across).attention_at.cross.d_k == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("distance", 0),
        ("buckets", 2),
        ("buckets", 7),
        ("max_distance", 16),
        ("base", 1.0),
        ("base", float("nan")),
        ("threshold", 0.0),
    ],
)
def test_a_wrong_number_is_refused_by_its_key(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"model\.positions\.{name} is {value}; it must be"):
        PositionConfig(**{name: value})
