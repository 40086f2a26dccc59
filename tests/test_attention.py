"""Attention by the paper's equation, its facts, its cache, and the weights handed out for people."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_transformer.attention_maps import cross_attention
from lit_transformer.batch import Layout
from lit_transformer.components.attention import CrossAttention, SelfAttention
from lit_transformer.components.kernels import score_scale
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig, Cross, ModelConfig, PositionConfig, Positions, Scale
from lit_transformer.tokens import EOS
from tests.small_models import BASE, VARIANTS, assert_close, batch_of, build, padded

D = 12
WIDTHS = [(1, 12, 12), (3, 4, 4), (3, 5, 7), (2, 1, 9)]  # heads, d_k, d_v
every_width = pytest.mark.parametrize(("heads", "d_k", "d_v"), WIDTHS)


def own(config: AttentionConfig, causal: bool) -> SelfAttention:
    return SelfAttention(config, D, ScorePositions(), causal)


def identity_attention(scale: Scale = Scale.inverse_sqrt) -> SelfAttention:
    """One head whose four projections are the identity: softmax(scale * x x^T) x."""
    attention = own(AttentionConfig(heads=1, d_k=D, d_v=D, scale=scale), causal=True)
    with torch.no_grad():
        for linear in (attention.in_proj.query, attention.in_proj.key, attention.in_proj.value, attention.out_proj):
            linear.weight.copy_(torch.eye(D))
    return attention


@every_width
def test_equation_1_head_by_head(heads: int, d_k: int, d_v: int) -> None:
    attention = own(AttentionConfig(heads=heads, d_k=d_k, d_v=d_v), causal=False)
    x = torch.randn(6, D)
    y, _ = attention(x, Layout.uniform(1, 6))
    heads_out = []
    for q, k, v in zip(
        attention.in_proj.query(x).split(d_k, 1),
        attention.in_proj.key(x).split(d_k, 1),
        attention.in_proj.value(x).split(d_v, 1),
        strict=True,
    ):
        heads_out.append(torch.softmax(q @ k.T / d_k**0.5, -1) @ v)
    assert_close(y, attention.out_proj(torch.cat(heads_out, 1)))


@every_width
def test_a_padded_key_is_never_looked_at(heads: int, d_k: int, d_v: int) -> None:
    config = AttentionConfig(heads=heads, d_k=d_k, d_v=d_v)
    layout = Layout.from_lengths(torch.tensor([2, 5, 1]))
    x, memory = torch.randn(8, D), torch.randn(8, D)
    for attention in (own(config, causal=False), own(config, causal=True), CrossAttention(config, D)):

        def run(rows: slice, where: Layout, attention: torch.nn.Module = attention) -> Tensor:
            cache = attention.init_cache(memory[rows], where) if isinstance(attention, CrossAttention) else None
            return attention(x[rows], where, cache)[0]

        together = run(slice(0, 8), layout)
        for start, length in ((0, 2), (2, 5), (7, 1)):
            rows = slice(start, start + length)
            assert_close(run(rows, Layout.uniform(1, length)), together[rows])


def test_the_first_row_of_a_causal_softmax_is_one() -> None:
    x = torch.randn(7, D)
    layout = Layout.from_lengths(torch.tensor([4, 3]))
    y, _ = identity_attention()(x, layout)
    assert_close(y[0], x[0])
    assert_close(y[4], x[4])
    assert (y[1:4] - x[1:4]).abs().max() > 0.01


def test_causal_weights_by_hand() -> None:
    x = torch.randn(3, D)
    y, _ = identity_attention()(x, Layout.uniform(1, 3))
    scores = (x @ x.T / D**0.5).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
    assert_close(y, scores.softmax(-1) @ x)


@pytest.mark.parametrize("scale", Scale)
def test_scale_is_what_multiplies_the_scores(scale: Scale) -> None:
    x = torch.randn(4, D)
    factor = {Scale.inverse_sqrt: D**-0.5, Scale.inverse: 1 / D, Scale.learned: D**-0.5, Scale.none: 1.0}[scale]
    y, _ = identity_attention(scale)(x, Layout.uniform(1, 4))
    scores = (factor * x @ x.T).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
    assert_close(y, scores.softmax(-1) @ x)


@pytest.mark.parametrize("d_k", [16, 64, 256])
def test_products_of_unit_vectors_have_variance_d_k(d_k: int) -> None:
    """Section 3.2.1, footnote 4: why the scores are divided by sqrt(d_k)."""
    products = (torch.randn(20_000, d_k) * torch.randn(20_000, d_k)).sum(1)
    assert products.var().item() == pytest.approx(d_k, rel=0.06)
    scaled = products * score_scale(AttentionConfig(d_k=d_k))
    assert scaled.var().item() == pytest.approx(1.0, rel=0.06)
    assert abs(products.mean().item()) < 4 * (d_k / 20_000) ** 0.5


def test_an_encoder_without_positions_does_not_know_the_order() -> None:
    model = build(replace(BASE, positions=PositionConfig(kind=Positions.none))).eval()
    src, order = torch.tensor([[5, 9, 7, 12, 4]]), torch.tensor([3, 0, 4, 2, 1])
    assert_close(model.encode(src[:, order]).x, model.encode(src).x[order])


@pytest.mark.parametrize("kind", [kind for kind in Positions if kind is not Positions.none])
def test_an_encoder_with_positions_knows_the_order(kind: Positions) -> None:
    model = build(replace(BASE, positions=PositionConfig(kind=kind))).eval()
    src, order = torch.tensor([[5, 9, 7, 12, 4]]), torch.tensor([3, 0, 4, 2, 1])
    assert (model.encode(src[:, order]).x - model.encode(src).x[order]).abs().max() > 0.01


@every_width
def test_one_cached_token_after_another_equals_all_at_once(heads: int, d_k: int, d_v: int) -> None:
    attention = own(AttentionConfig(heads=heads, d_k=d_k, d_v=d_v), causal=True)
    x = torch.randn(3, 5, D)  # (B, T, D)
    whole, _ = attention(x.flatten(0, 1), Layout.uniform(3, 5))
    cache, layout = None, Layout.uniform(3, 1)
    for place in range(5):
        y, cache = attention(x[:, place], layout, cache)
        assert_close(y, whole.view(3, 5, D)[:, place])
    assert cache.keys.shape == (3, heads, 5, d_k)
    assert cache.values.shape == (3, heads, 5, d_v)


def test_attention_dropout_acts_in_training_only_and_keeps_the_mean() -> None:
    attention = own(AttentionConfig(heads=2, d_k=4, d_v=4, dropout=0.5), causal=False)
    x, layout = torch.randn(5, D), Layout.uniform(1, 5)
    with torch.no_grad():
        drawn = torch.stack([attention(x, layout)[0] for _ in range(2000)])
        exact = attention.eval()(x, layout)[0]
        assert torch.equal(attention(x, layout)[0], exact)
    assert drawn.std(0).min() > 0.01
    assert (drawn.mean(0) - exact).abs().max() < 5 * drawn.std(0).max() / 2000**0.5


EVERY_ATTENTION = {
    name: config for name, config in VARIANTS.items() if name.startswith(("attention", "cross", "shared"))
}


@pytest.mark.parametrize("config", EVERY_ATTENTION.values(), ids=EVERY_ATTENTION.keys())
@torch.no_grad()
def test_attention_maps_are_the_weights_that_mixed_the_values(config: ModelConfig) -> None:
    model, cross = build(config).eval(), config.attention_at.cross
    src, tgt = [5, 6, 7], [8, 9, 10, 11]
    maps = cross_attention(model, src, tgt)
    if config.cross_mixer.kind is not Cross.attention:
        assert maps is None
        return
    assert maps.shape == (2, cross.heads, 5, 4)  # (layers, H, T with EOS, S with EOS)
    if not cross.talking_heads:
        assert_close(maps.sum(-1), torch.ones(2, cross.heads, 5))
    assert not any(getattr(module, "_forward_pre_hooks", {}) for module in model.modules())

    inner = model.decoder.layers[-1].sublayers["cross"].inner
    caught = {}
    inner.gate.register_forward_pre_hook(lambda _, inputs: caught.update(mixed=inputs[0]))
    rectangles = padded(batch_of([(src, tgt)]))
    assert rectangles[0].tolist() == [[*src, EOS]]
    model(*rectangles[:2])
    memory = model.encode(rectangles[0])
    values = inner.init_cache(memory.x, memory.layout).values[0]  # (G, S, E)
    values = values.repeat_interleave(cross.heads // len(values), 0)  # (H, S, E)
    assert_close((maps[-1] @ values).transpose(0, 1).flatten(1), caught["mixed"])
