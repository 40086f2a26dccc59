"""What a sub-layer puts around its inner part: norms, dropout and residual, in every placement."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.kernels import FusedKernel
from lit_transformer.components.sublayer import B2T, InstanceNormB2T, build_final_norm, build_sublayer, deep_norm_scales
from lit_transformer.components.token_mixer import ChainCache, TokenMixer
from lit_transformer.config import (
    FeedForward,
    FeedForwardConfig,
    ModelConfig,
    Norm,
    NormConfig,
    Placement,
    Residual,
    ResidualConfig,
)
from lit_transformer.errors import UserError
from lit_transformer.layers import B2TLayer
from tests.norm_formulas import FORMULAS, LAYOUT, D, norm_of, standard
from tests.small_models import BASE, assert_close, batch_of, build

FINAL_NORM = (Placement.pre, Placement.sandwich, Placement.norm_former)
JOINED = {
    Residual.identity: lambda x, y: x + y,
    Residual.scaled: lambda x, y: x + 0.3 * y,
    Residual.none: lambda x, y: y,
}


class Doubler(TokenMixer):
    """A mixer whose output and cache are easy to predict."""

    def forward(self, x: Tensor, layout: Layout, cache: str | None = None) -> tuple[Tensor, str]:
        return 2 * x + 1, f"{cache} and more"


def around(config: ModelConfig, x: Tensor, *, name: str = "mixer", causal: bool = False) -> Tensor:
    """Run a sub-layer that is not the last of its layer."""
    y, _ = build_sublayer(config, Doubler(), name, causal, last=False)(x, LAYOUT)
    return y


def mixers_caches(cache: Any) -> list[str]:
    """Return the caches of the mixers in that of a sub-layer, whose instance norms may have their own."""
    if isinstance(cache, ChainCache):
        return [inner for link in cache.caches for inner in mixers_caches(link)]
    return [] if cache is None else [cache]


def admitted(placement: Placement, residual: Residual, kind: Norm) -> bool:
    try:
        return bool(replace(BASE, residual=ResidualConfig(residual), norm=NormConfig(kind, placement)))
    except UserError:
        return False


TOGETHER = [those for those in product(Placement, JOINED, Norm) if admitted(*those)]


def test_what_goes_together_is_nearly_everything() -> None:
    assert len(TOGETHER) == 6 * 3 * 8 - 2 * 8 - 3  # deep_norm and b2t without residual; instance inside the network


@pytest.mark.parametrize(("placement", "residual", "kind"), TOGETHER)
def test_the_order_of_norm_and_residual(placement: Placement, residual: Residual, kind: Norm) -> None:
    norm = NormConfig(kind=kind, placement=placement)
    x = torch.randn(7, D)
    config = replace(BASE, residual=ResidualConfig(residual, alpha=0.3), norm=norm)
    sublayer = build_sublayer(config, Doubler(), "mixer", causal=False, last=False)
    y, cache = sublayer(x, LAYOUT)
    assert mixers_caches(cache) == ["None and more"]
    assert mixers_caches(sublayer(x, LAYOUT, cache)[1]) == ["None and more and more"]

    def normed(z: Tensor) -> Tensor:
        return FORMULAS[kind](z, norm.eps)

    join = JOINED[residual]
    alpha = 0.81 * 32 ** (1 / 16)  # two layers and two
    expected = {
        Placement.post: lambda: normed(join(x, 2 * x + 1)),
        Placement.pre: lambda: join(x, 2 * normed(x) + 1),
        Placement.sandwich: lambda: join(x, normed(2 * normed(x) + 1)),
        Placement.deep_norm: lambda: normed(join(alpha * x, 2 * x + 1)),
        Placement.b2t: lambda: normed(join(x, 2 * x + 1)),  # this sub-layer is not its layer's last
        Placement.norm_former: lambda: join(x, normed(2 * normed(x) + 1)),
    }
    assert_close(y, expected[placement]())


@pytest.mark.parametrize("kind", [Norm.none, Norm.instance])
def test_b2t_adds_the_layers_input_to_its_last_sublayer_only(kind: Norm) -> None:
    config = replace(BASE, norm=NormConfig(kind, Placement.b2t))
    x, layer_input = torch.randn(7, D), torch.randn(7, D)
    y, cache = build_sublayer(config, Doubler(), "mixer", causal=False, last=True)(x, LAYOUT, None, layer_input)
    assert_close(y, FORMULAS[kind](x + layer_input + 2 * x + 1, 1e-6))
    assert mixers_caches(cache) == ["None and more"]
    assert_close(around(config, x), FORMULAS[kind](x + 2 * x + 1, 1e-6))


@pytest.mark.parametrize("network", [FeedForward.relu, FeedForward.none])
@pytest.mark.parametrize("kind", [Norm.none, Norm.instance])
def test_b2t_finds_the_last_sublayer_of_every_layer(kind: Norm, network: FeedForward) -> None:
    b2t = NormConfig(kind, Placement.b2t)
    model = build(replace(BASE, norm=b2t, feed_forward=replace(BASE.feed_forward, kind=network)))
    for stack in (model.encoder, model.decoder):
        for layer in stack.layers:
            assert isinstance(layer, B2TLayer)
            *others, last = layer.sublayers.values()
            assert isinstance(last, InstanceNormB2T if kind is Norm.instance else B2T)
            assert not any(isinstance(sublayer, B2T | InstanceNormB2T) for sublayer in others)


def test_a_b2t_layer_hands_its_input_to_its_last_sublayer() -> None:
    b2t = replace(BASE, norm=NormConfig(Norm.none, Placement.b2t))
    sublayers = {
        "mixer": build_sublayer(b2t, Doubler(), "mixer", causal=False, last=False),
        "feed_forward": build_sublayer(b2t, Doubler(), "feed_forward", causal=False, last=True),
    }
    x = torch.randn(7, D)
    y, cache = B2TLayer(sublayers)(x, LAYOUT, {})
    assert_close(y, (3 * x + 1) + x + 2 * (3 * x + 1) + 1)
    assert cache == {"mixer": "None and more", "feed_forward": "None and more"}


def test_deep_norms_numbers_for_six_layers_and_six() -> None:
    encoder, decoder = deep_norm_scales(ModelConfig(), causal=False), deep_norm_scales(ModelConfig(), causal=True)
    assert encoder == pytest.approx((1.41794, 0.49699), abs=1e-5)  # 0.81 * 6^(5/16) and 0.87 / 6^(5/16)
    assert decoder == pytest.approx((2.05977, 0.34329), abs=1e-5)  # 18^(1/4) and 72^(-1/4)


def test_deep_norms_numbers_know_both_depths() -> None:
    config = ModelConfig(encoder_layers=12, decoder_layers=3)
    encoder, decoder = deep_norm_scales(config, causal=False), deep_norm_scales(config, causal=True)
    assert encoder == pytest.approx((0.81 * 62208 ** (1 / 16), 0.87 * 62208 ** (-1 / 16)))  # 12^4 * 3
    assert decoder == pytest.approx((9**0.25, 36**-0.25))


def test_deep_norm_amplifies_the_decoders_input_too() -> None:
    config = replace(BASE, norm=NormConfig(Norm.none, Placement.deep_norm))
    x = torch.randn(7, D)
    assert_close(around(config, x, causal=True), 6**0.25 * x + 2 * x + 1)


def test_norm_former_norms_inside_the_feed_forward_network_and_not_behind_it() -> None:
    config = replace(BASE, norm=NormConfig(placement=Placement.norm_former))
    x = torch.randn(7, D)
    assert_close(around(config, x, name="feed_forward"), x + 2 * standard(x, -1, 1e-6) + 1)
    assert_close(around(config, x, name="cross"), x + standard(2 * standard(x, -1, 1e-6) + 1, -1, 1e-6))
    network = build(config).encoder.layers[0].sublayers["feed_forward"].inner
    hidden = F.layer_norm(network.fc1(x).relu(), (24,), network.norm.weight, network.norm.bias, 1e-6)
    assert_close(network(x), network.fc2(hidden))


@pytest.mark.parametrize("placement", Placement)
def test_how_many_norms_a_model_has(placement: Placement) -> None:
    model = build(replace(BASE, norm=NormConfig(placement=placement)))
    norms = sum(isinstance(module, nn.LayerNorm) for module in model.modules())
    once = 2 * 2 + 2 * 3  # one a sub-layer
    assert (
        norms
        == {
            Placement.post: once,
            Placement.pre: once + 2,
            Placement.sandwich: 2 * once + 2,
            Placement.deep_norm: once,
            Placement.b2t: once,
            Placement.norm_former: 2 * once + 2,
        }[placement]
    )


def test_dropout_falls_on_the_output_before_residual_and_norm() -> None:
    config = replace(BASE, dropout=0.5, norm=NormConfig(kind=Norm.none))
    sublayer, x = build_sublayer(config, Doubler(), "mixer", causal=False, last=False), torch.rand(40, D)
    added = sublayer(x, LAYOUT)[0] - x
    kept = added.abs() > 1e-6
    assert 0.4 < kept.double().mean() < 0.6
    assert_close(added[kept], (2 * (2 * x + 1))[kept])
    assert_close(sublayer.eval()(x, LAYOUT)[0], 3 * x + 1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", Norm)
def test_a_stack_ends_with_a_norm_where_no_sublayer_does(kind: Norm, causal: bool) -> None:
    for placement in Placement:
        if kind is Norm.instance and placement is Placement.norm_former:
            continue
        config = NormConfig(kind=kind, placement=placement)
        final, norm = build_final_norm(replace(BASE, norm=config), causal), norm_of(config, D, causal)
        expected = norm if placement in FINAL_NORM else nn.Identity()
        assert list(map(type, final.modules())) == list(map(type, expected.modules()))


@pytest.mark.parametrize("kind", [Norm.layer, Norm.rms])
@pytest.mark.parametrize("placement", Placement)
def test_both_stacks_end_normalised(placement: Placement, kind: Norm) -> None:
    model = build(replace(BASE, norm=NormConfig(kind=kind, placement=placement)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.RMSNorm):
                module.weight.fill_(1.0)
                if isinstance(module, nn.LayerNorm):
                    module.bias.zero_()
    batch = batch_of()
    for x in (model.encode_packed(batch.src, batch.src_layout).x, model.hidden(batch)):
        assert_close(x.pow(2).mean(-1), torch.ones(len(x)), 1e-3)


def test_groups_must_divide_the_width_that_norm_former_norms() -> None:
    inside = NormConfig(Norm.group, Placement.norm_former, groups=16)
    with pytest.raises(UserError, match="groups is 16; it must divide the width inside the feed-forward network, 200"):
        ModelConfig(norm=inside, feed_forward=FeedForwardConfig(d_ff=200))
    assert ModelConfig(norm=inside, feed_forward=FeedForwardConfig(kind=FeedForward.none, d_ff=200))


def test_what_needs_more_than_one_token_does_not_stand_inside_the_feed_forward_network() -> None:
    with pytest.raises(UserError, match=r"norm_former.*one token at a time.*instance.*choose another"):
        NormConfig(Norm.instance, Placement.norm_former)
    batch, experts = NormConfig(Norm.batch, Placement.norm_former), FeedForwardConfig(kind=FeedForward.experts)
    with pytest.raises(UserError, match=r"an expert may meet a single token.*choose another"):
        ModelConfig(norm=batch, feed_forward=experts)
    assert ModelConfig(norm=batch)
    assert ModelConfig(norm=NormConfig(Norm.batch), feed_forward=experts)
    assert ModelConfig(norm=NormConfig(Norm.layer, Placement.norm_former), feed_forward=experts)


def test_dropout_stands_where_section_5_4_puts_it() -> None:
    """Every sub-layer's output and both embeddings; nothing on attention weights and inside the feed-forward."""
    model = build(ModelConfig(d_model=16, encoder_layers=2, decoder_layers=3))
    rates = [name for name, module in model.named_modules() if getattr(module, "level", 0)]
    assert len(rates) == 2 + 2 * 2 + 3 * 3
    kernels = [module for module in model.modules() if isinstance(module, FusedKernel)]
    assert len(kernels) == 2 + 2 * 3
    assert all(kernel.dropout == 0 for kernel in kernels)
