"""Layers with copied weights equal torch.nn's, outputs and gradients, though ours see no padding."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.config import (
    AttentionConfig,
    FeedForward,
    FeedForwardConfig,
    ModelConfig,
    NormConfig,
    Placement,
)
from lit_transformer.layers import Layer, build_decoder, build_encoder
from tests.small_models import assert_close

CONFIG = ModelConfig(
    d_model=16,
    encoder_layers=1,
    decoder_layers=1,
    attention=AttentionConfig(heads=2, d_k=8, d_v=8, bias=True),  # the widths and biases that torch.nn knows
    feed_forward=FeedForwardConfig(d_ff=24),
    norm=NormConfig(eps=1e-5),
    dropout=0.0,
)
SRC, TGT = torch.tensor([5, 1, 3, 5]), torch.tensor([2, 6, 1, 4])

Match = tuple[list[Tensor], Tensor]  # parameters of ours that, stacked, are one of torch's


def attention_matches(ours: nn.Module, theirs: nn.MultiheadAttention) -> Iterator[Match]:
    projections = [ours.in_proj.query, ours.in_proj.key, ours.in_proj.value]
    yield [linear.weight for linear in projections], theirs.in_proj_weight
    yield [linear.bias for linear in projections], theirs.in_proj_bias
    yield [ours.out_proj.weight], theirs.out_proj.weight
    yield [ours.out_proj.bias], theirs.out_proj.bias


def layer_matches(ours: Layer, theirs: nn.Module) -> list[Match]:
    parts = ours.sublayers
    matches = [*attention_matches(parts["mixer"].inner, theirs.self_attn)]
    if "cross" in parts:
        matches += attention_matches(parts["cross"].inner, theirs.multihead_attn)
    network = parts["feed_forward"].inner
    for linear, twin in ((network.fc1, theirs.linear1), (network.fc2, theirs.linear2)):
        matches += [([linear.weight], twin.weight), ([linear.bias], twin.bias)]
    for number, sublayer in enumerate(parts.values(), 1):
        norm = sublayer.norm
        twin = getattr(theirs, f"norm{number}")
        matches += [([norm.weight], twin.weight), ([norm.bias], twin.bias)]
    assert len(matches) == len(list(theirs.parameters()))
    assert sum(len(mine) for mine, _ in matches) == len(list(ours.parameters()))
    return matches


def randomise_and_copy(matches: list[Match]) -> None:
    with torch.no_grad():
        for mine, twin in matches:
            for parameter in mine:
                parameter.normal_(std=0.4)
            twin.copy_(torch.cat(mine))


def same_gradients(matches: list[Match]) -> None:
    for mine, twin in matches:
        assert_close(torch.cat([parameter.grad for parameter in mine]), twin.grad)


def leaf(layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the same random vectors packed and padded (the padding holds noise), both leaves of a graph."""
    packed = torch.randn(layout.tokens, CONFIG.d_model)
    noise = torch.randn(layout.sentences, layout.max_seqlen, CONFIG.d_model)
    rectangle = torch.where(layout.mask[..., None], layout.pad(packed), noise)
    return packed.requires_grad_(), rectangle.requires_grad_()


@pytest.mark.parametrize("kind", [FeedForward.relu, FeedForward.gelu])  # those that torch has
@pytest.mark.parametrize("placement", [Placement.post, Placement.pre])
def test_encoder_layer_equals_torch(placement: Placement, kind: FeedForward) -> None:
    config = replace(
        CONFIG,
        norm=replace(CONFIG.norm, placement=placement),
        feed_forward=replace(CONFIG.feed_forward, kind=kind),
    )
    (ours,) = build_encoder(config).layers
    theirs = nn.TransformerEncoderLayer(
        16, 2, 24, dropout=0.0, activation=str(kind), batch_first=True, norm_first=placement is Placement.pre
    )
    matches = layer_matches(ours, theirs)
    randomise_and_copy(matches)
    layout = Layout.from_lengths(SRC)
    x, rectangle = leaf(layout)
    y, _ = ours(x, layout, {})
    expected = layout.pack(theirs(rectangle, src_key_padding_mask=~layout.mask))
    assert_close(y, expected)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    expected.backward(upstream)
    assert_close(x.grad, layout.pack(rectangle.grad))
    same_gradients(matches)


@pytest.mark.parametrize("placement", [Placement.post, Placement.pre])
def test_decoder_layer_equals_torch(placement: Placement) -> None:
    (ours,) = build_decoder(replace(CONFIG, norm=replace(CONFIG.norm, placement=placement))).layers
    theirs = nn.TransformerDecoderLayer(16, 2, 24, dropout=0.0, batch_first=True, norm_first=placement is Placement.pre)
    matches = layer_matches(ours, theirs)
    randomise_and_copy(matches)
    src, tgt = Layout.from_lengths(SRC), Layout.from_lengths(TGT)
    memory, memory_rectangle = leaf(src)
    x, rectangle = leaf(tgt)
    y, _ = ours(x, tgt, ours.init_cache(memory, src))
    later = torch.ones(tgt.max_seqlen, tgt.max_seqlen, dtype=torch.bool).triu(1)
    expected = tgt.pack(
        theirs(
            rectangle,
            memory_rectangle,
            tgt_mask=later,
            tgt_key_padding_mask=~tgt.mask,
            memory_key_padding_mask=~src.mask,
        )
    )
    assert_close(y, expected)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    expected.backward(upstream)
    assert_close(x.grad, tgt.pack(rectangle.grad))
    assert_close(memory.grad, src.pack(memory_rectangle.grad))
    same_gradients(matches)
