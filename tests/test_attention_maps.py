"""The weights of every attention in every variant: their shapes, their sums, and what they may not see."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_transformer.attention_maps import attention_maps, cross_attention
from lit_transformer.batch import TranslationBatch
from lit_transformer.components.attention import MultiHeadAttention
from lit_transformer.config import AttentionConfig, Cross, Mask, Mixer, MixerConfig, ModelConfig
from tests.small_models import BASE, assert_close, build, every_variant

SRC, TGT = [5, 6, 7, 8], [9, 10, 11]
S, T = 5, 4  # with EOS, with BOS or EOS
ATTENDING = (Mixer.attention, Mixer.local_attention)


def check(layers: list[Tensor | None], config: AttentionConfig, shape: tuple[int, int], causal: bool) -> None:
    for weights in layers:
        assert weights is not None
        assert weights.shape == (config.heads, *shape)
        if not config.talking_heads:
            assert_close(weights.sum(-1), torch.ones(config.heads, shape[0]))
            assert weights.min() >= 0
        if causal and config.mask is not Mask.zero_score:
            assert not weights.triu(1).any()


@every_variant
def test_every_variant_shows_what_it_has(config: ModelConfig) -> None:
    maps = attention_maps(build(config).eval(), SRC, TGT)
    at = config.attention_at
    assert (len(maps.encoder), len(maps.decoder)) == (config.encoder_layers, config.decoder_layers)
    assert len(maps.cross) == config.decoder_layers
    if config.cross_mixer.kind is Cross.attention:
        check(maps.cross, at.cross, (T, S), causal=False)
    else:
        assert maps.cross == [None] * len(maps.cross)
        assert cross_attention(build(config), SRC, TGT) is None
    for layers, mixer, attention, places, causal in (
        (maps.encoder, config.encoder_mixer, at.encoder, S, False),
        (maps.decoder, config.decoder_mixer, at.decoder, T, True),
    ):
        if mixer.kind in ATTENDING:
            check(layers, attention, (places, places), causal)
        else:
            assert layers == [None] * len(layers)


def test_a_mask_that_leaks_is_seen_to_leak() -> None:
    leaking = replace(BASE, attention=replace(BASE.attention, mask=Mask.zero_score))
    assert all(layer is not None and layer.triu(1).any() for layer in attention_maps(build(leaking), SRC, TGT).decoder)


def test_local_attention_does_not_see_far() -> None:
    near = MixerConfig(Mixer.local_attention, window=1)
    maps = attention_maps(build(replace(BASE, encoder_mixer=near, decoder_mixer=near)).eval(), SRC, TGT)
    places = torch.arange(S)
    far = (places[:, None] - places).abs() > 1
    for layer in maps.encoder:
        assert layer is not None
        assert not layer[:, far].any()
        assert (layer[:, ~far] > 0).all()
    for layer in maps.decoder:
        assert layer is not None
        assert not layer[:, 2:, 0].any()


@pytest.mark.parametrize("name", ["encoder", "decoder", "cross"])
@torch.no_grad()
def test_the_weights_are_those_that_mixed_the_values(name: str) -> None:
    """They rebuild what the last layer's kernel returned, from its values."""
    network = build(replace(BASE, attention=replace(BASE.attention, kv_heads=1))).eval()
    stack = network.encoder if name == "encoder" else network.decoder
    inner = stack.layers[-1].sublayers["cross" if name == "cross" else "mixer"].inner
    assert isinstance(inner, MultiHeadAttention)
    seen = {}
    hook = inner.kernel.register_forward_hook(lambda _, inputs, output: seen.update(values=inputs[2], mixed=output))
    network.hidden(TranslationBatch.from_pairs([(SRC, TGT)]))
    hook.remove()
    weights = getattr(attention_maps(network, SRC, TGT), name)[-1]
    assert_close(weights @ seen["values"][0], seen["mixed"][0])  # one head of values for all


def test_layers_stand_bottom_first_and_no_hook_stays() -> None:
    network = build(BASE).eval()
    maps = attention_maps(network, SRC, TGT)
    assert not any(module._forward_pre_hooks for module in network.modules())
    with torch.no_grad():
        network.encoder.layers[1].sublayers["mixer"].inner.in_proj.query.weight.mul_(2)
    changed = attention_maps(network, SRC, TGT)
    assert torch.equal(maps.encoder[0], changed.encoder[0])
    assert not torch.equal(maps.encoder[1], changed.encoder[1])
    assert torch.equal(cross_attention(network, SRC, TGT), torch.stack(changed.cross))


def test_an_empty_target_has_one_place() -> None:
    maps = attention_maps(build(BASE).eval(), [5], [])
    assert [tuple(layer.shape) for layer in maps.cross] == [(3, 1, 2)] * 2
