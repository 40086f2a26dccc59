"""The options of attention: against x-transformers and Llama with copied weights, and by what each is for."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention
from x_transformers.x_transformers import Attention

from lit_transformer.batch import Layout
from lit_transformer.components.attention import SelfAttention
from lit_transformer.components.cpu_kernels import matmul, softmax
from lit_transformer.components.kernels import AttentionMask, FusedKernel, build_kernel, score_scale
from lit_transformer.components.relative import ScorePositions
from lit_transformer.config import AttentionConfig, AttentionDelta, Mask, ModelConfig, Scale, Score
from lit_transformer.errors import UserError
from tests.small_models import assert_close

D, HEADS, E = 24, 4, 6
PLAIN = AttentionConfig(heads=HEADS, d_k=E, d_v=E)
LAYOUT = Layout.from_lengths(torch.tensor([5, 2, 7]))


def own(config: AttentionConfig, causal: bool = True) -> SelfAttention:
    attention = SelfAttention(config, D, ScorePositions(), causal)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return attention


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("option", ["none", "qk_norm", "talking_heads", "gate", "kv_heads"])
def test_equals_x_transformers(option: str, causal: bool) -> None:
    theirs_says = {
        "none": {},
        "qk_norm": {"qk_rmsnorm": True},
        "talking_heads": {"pre_talking_heads": True, "post_talking_heads": True},
        "gate": {"gate_values": True},
        "kv_heads": {"one_kv_head": True},
    }[option]
    ours_says = {} if option == "none" else {option: 1 if option == "kv_heads" else True}
    ours = own(replace(PLAIN, **ours_says), causal)
    theirs = Attention(D, dim_head=E, heads=HEADS, causal=causal, **theirs_says)
    with torch.no_grad():
        twins = {"in_proj.query": "to_q", "in_proj.key": "to_k", "in_proj.value": "to_v", "out_proj": "to_out"}
        for name, twin in twins.items():
            getattr(theirs, twin).weight.copy_(ours.get_submodule(name).weight)
        if option == "qk_norm":  # theirs has a gain for each head, kept as its difference to 1
            theirs.q_rmsnorm.gamma.copy_(ours.query_heads[0].weight.expand(HEADS, 1, E) - 1)
            theirs.k_rmsnorm.gamma.copy_(ours.key_heads[0].weight.expand(HEADS, 1, E) - 1)
        if option == "talking_heads":  # theirs adds what the heads say before the softmax to the scores
            before, after = theirs.attend.pre_softmax_talking_heads, theirs.attend.post_softmax_talking_heads
            before.weight.copy_((ours.kernel.talk_before.mix - torch.eye(HEADS)).T[:, :, None, None])
            after.weight.copy_(ours.kernel.talk_after.mix.T[:, :, None, None])
        if option == "gate":
            ours.gate.linear.bias.zero_()
            (linear,) = (module for module in theirs.to_v_gate.modules() if isinstance(module, torch.nn.Linear))
            linear.weight.copy_(ours.gate.linear.weight)
    x = torch.randn(LAYOUT.tokens, D)
    y, _ = ours(x, LAYOUT)
    expected = theirs(LAYOUT.pad(x), mask=LAYOUT.mask)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close(y, LAYOUT.pack(expected))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_groups_share_keys_as_in_llama(kv_heads: int) -> None:
    ours = own(replace(PLAIN, kv_heads=kv_heads))
    config = LlamaConfig(
        hidden_size=D, num_attention_heads=HEADS, num_key_value_heads=kv_heads, head_dim=E, attn_implementation="eager"
    )
    theirs = LlamaAttention(config, 0)
    with torch.no_grad():
        twins = {"in_proj.query": "q_proj", "in_proj.key": "k_proj", "in_proj.value": "v_proj", "out_proj": "o_proj"}
        for name, twin in twins.items():
            getattr(theirs, twin).weight.copy_(ours.get_submodule(name).weight)
    layout, x = Layout.uniform(2, 5), torch.randn(10, D)
    later = torch.full((5, 5), -torch.inf).triu(1)[None, None]
    unturned = (torch.ones(1, 5, E), torch.zeros(1, 5, E))  # cosines and sines of no rotation
    expected, _ = theirs(layout.pad(x), position_embeddings=unturned, attention_mask=later)
    y, seen = ours(x, layout)
    assert_close(y, layout.pack(expected))
    assert seen.keys.shape == (2, kv_heads, 5, E)  # the cache holds no more than the shared heads


def kernel_inputs() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, HEADS, 5, E), torch.randn(2, HEADS, 5, E), torch.randn(2, HEADS, 5, E)


@pytest.mark.parametrize("bias", [None, torch.randn(HEADS, 5, 5)], ids=["no bias", "bias"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("scale", Scale)
def test_the_plain_kernel_equals_the_fused_one(scale: Scale, causal: bool, bias: Tensor | None) -> None:
    fused = build_kernel(replace(PLAIN, scale=scale))
    plain = build_kernel(replace(PLAIN, scale=scale, mask=Mask.minus_1e9))
    assert isinstance(fused, FusedKernel)
    assert not isinstance(plain, FusedKernel)
    if scale is Scale.learned:
        with torch.no_grad():
            plain.learned_scale.factor.copy_(fused.learned_scale.factor.normal_())
    q, k, v = kernel_inputs()
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None]
    mask = AttentionMask(causal=True) if causal else AttentionMask(visible=real, key_padding_mask=~real)
    assert_close(plain(q, k, v, mask, bias), fused(q, k, v, mask, bias))
    assert_close(fused.fused(q, k, v, mask, bias), fused(q, k, v, mask, bias))
    assert_close(plain.weights(q, k, mask, bias), fused.weights(q, k, mask, bias))
    assert_close(fused.weights(q, k, mask, bias) @ v, fused(q, k, v, mask, bias))


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 40])
def test_rows_of_any_length_have_torchs_softmax(length: int) -> None:
    one = torch.randn(2, 3, 4, length, dtype=torch.float64, requires_grad=True)
    other = one.detach().clone().requires_grad_()
    with torch.no_grad():
        for scores in (one, other):
            scores[..., 1:][scores[..., 1:] > 1] = -torch.inf  # hidden keys, but never all
    upstream = torch.randn(2, 3, 4, length, dtype=torch.float64)
    assert_close(softmax(one), other.softmax(-1), 1e-14)
    softmax(one).backward(upstream)
    other.softmax(-1).backward(upstream)
    assert_close(one.grad, other.grad, 1e-14)


@pytest.mark.parametrize(("rows", "summed", "columns"), [(1, 6, 7), (1, 7, 6), (1, 20, 19), (1, 20, 20), (2, 3, 4)])
def test_products_of_any_size_are_torchs(rows: int, summed: int, columns: int) -> None:
    one = torch.randn(3, 2, rows, summed, dtype=torch.float64, requires_grad=True)
    other = torch.randn(3, 2, columns, summed, dtype=torch.float64).transpose(-1, -2)  # as keys are
    assert_close(matmul(one, other), torch.einsum("abqc,abcn->abqn", one, other), 1e-14)
    assert_close(matmul(one, other.contiguous()), matmul(one, other), 1e-14)


@pytest.mark.parametrize("mask", [Mask.minus_inf, Mask.minus_1e9])
@pytest.mark.parametrize("score", Score)
def test_hidden_keys_weigh_nothing(score: Score, mask: Mask) -> None:
    kernel = build_kernel(replace(PLAIN, score=score, mask=mask))
    q, k, _ = kernel_inputs()
    weights = kernel.weights(q, k, AttentionMask(causal=True), None)
    assert not weights.triu(1).any()
    assert_close(weights.sum(-1), torch.ones(2, HEADS, 5))


def test_a_score_of_zero_before_the_softmax_hides_nothing() -> None:
    kernel = build_kernel(replace(PLAIN, mask=Mask.zero_score))
    q, k, _ = kernel_inputs()
    weights = kernel.weights(q, k, AttentionMask(causal=True), None)
    assert (weights.triu(1) + torch.ones(5, 5).tril() > 0).all()  # every later key has a share
    first = torch.stack([(q[:, :, 0] * k[:, :, 0]).sum(-1) * E**-0.5, *torch.zeros(4, 2, HEADS)], -1).softmax(-1)
    assert_close(weights[:, :, 0], first)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None]
    padded = kernel.weights(q, k, AttentionMask(causal=True, key_padding_mask=~real), None)
    assert not padded[1, :, :, 3:].any()  # padding is no part of the mistake
    assert [member for member in Mask if member.leaks] == [Mask.zero_score]


def test_a_step_sees_no_later_token_whatever_the_mask() -> None:
    attention = own(replace(PLAIN, mask=Mask.zero_score))
    x = torch.randn(2, 3, D)
    first, cache = attention(x[:, 0], Layout.uniform(2, 1))
    assert cache.keys.shape[2] == 1
    whole, _ = attention(x.flatten(0, 1), Layout.uniform(2, 3))
    assert (whole.view(2, 3, D)[:, 0] - first).abs().max() > 0.01  # what training saw and decoding cannot


def test_the_scaled_softmax_keeps_its_gradient_and_the_unscaled_one_loses_it() -> None:
    """Section 3.2.1, footnote 4: large products push the softmax to where its gradient is tiny."""
    d_k = 512
    means = {}
    for scale in (Scale.inverse_sqrt, Scale.none):
        products = torch.randn(400, 10, d_k).mul(torch.randn(400, 1, d_k)).sum(-1)  # (queries, keys)
        weights = (products * score_scale(AttentionConfig(d_k=d_k, scale=scale))).softmax(-1)
        means[scale] = (weights * (1 - weights)).mean()  # d softmax_i / d score_i
    assert means[Scale.inverse_sqrt] > 0.05
    assert means[Scale.none] < means[Scale.inverse_sqrt] / 4


def test_options_begin_where_they_change_nothing() -> None:
    torch.manual_seed(0)
    x, reference = torch.randn(LAYOUT.tokens, D), SelfAttention(PLAIN, D, ScorePositions(), causal=True)
    for option in ({"score": Score.bilinear}, {"scale": Scale.learned}, {"talking_heads": True}):
        other = SelfAttention(replace(PLAIN, **option), D, ScorePositions(), causal=True)
        other.load_state_dict(reference.state_dict(), strict=False)
        assert_close(other(x, LAYOUT)[0], reference(x, LAYOUT)[0])


def test_qk_norm_forgets_the_length_of_queries_and_keys() -> None:
    attention = own(replace(PLAIN, qk_norm=True))
    x = torch.randn(LAYOUT.tokens, D)
    before, _ = attention(x, LAYOUT)
    with torch.no_grad():
        attention.in_proj.query.weight.mul_(100)
        attention.in_proj.key.weight.mul_(100)
    assert_close(attention(x, LAYOUT)[0], before, 1e-4)


def test_each_place_can_be_set_apart_and_its_mistakes_name_it() -> None:
    config = ModelConfig(
        cross_attention=AttentionDelta(heads=2, scale=Scale.none), decoder_attention=AttentionDelta(d_k=8)
    )
    assert config.attention_at.encoder == config.attention
    assert config.attention_at.cross == replace(config.attention, heads=2, scale=Scale.none)
    assert config.attention_at.decoder == replace(config.attention, d_k=8)
    with pytest.raises(UserError, match=r"^model\.cross_attention\.heads is 0; it must be at least 1$"):
        ModelConfig(cross_attention=AttentionDelta(heads=0))
    with pytest.raises(UserError, match=r"^model\.decoder_attention\.kv_heads is 3; it must divide .* 8, or be 0"):
        ModelConfig(decoder_attention=AttentionDelta(kv_heads=3))
