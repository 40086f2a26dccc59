"""What each initialisation makes of Xavier's draws: the same seed, every matrix, and the factor between the two.

The fused law is compared with torch.nn's own layers, too.
"""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.config import (
    AttentionConfig,
    EmbeddingConfig,
    FeedForward,
    FeedForwardConfig,
    Initialisation,
    Mixer,
    MixerConfig,
    ModelConfig,
    Norm,
    NormConfig,
    Placement,
    Residual,
    ResidualConfig,
    Tying,
)
from lit_transformer.transformer import build_transformer
from tests.small_models import BASE, VOCAB, assert_close

DEEPER = replace(BASE, encoder_layers=3, decoder_layers=2)
WIDE = replace(
    BASE,
    d_model=128,
    encoder_layers=1,
    decoder_layers=1,
    attention=AttentionConfig(heads=4, d_k=32, d_v=32),
    feed_forward=FeedForwardConfig(d_ff=512),
)
ENCODER_FIXUP, DECODER_FIXUP = 0.67 * 3**-0.25, 18**-0.25
ENCODER_BETA, DECODER_BETA = 0.87 * 162 ** (-1 / 16), 24**-0.25  # 3^4 * 2
QKV = re.compile(r"(mixer|cross)\.inner\.in_proj\.(query|key|value)\.weight$")
CARRIES = re.compile(r"(mixer|cross)\.inner\.(in_proj\.value|out_proj)\.|feed_forward\.inner\.(fc1|fc2)\.")


def drawn(config: ModelConfig, **changes: object) -> dict[str, Tensor]:
    """Return the initial values after the same seed."""
    torch.manual_seed(5)
    return dict(build_transformer(replace(config, **changes), VOCAB).named_parameters())


def factors(config: ModelConfig, law: Initialisation = Initialisation.xavier_uniform, **changes: object) -> dict:
    """Return how many times its plain draw each matrix of a config is, and check that it is so everywhere."""
    plain = drawn(replace(config, norm=NormConfig()), initialisation=law)
    found = {}
    for name, matrix in drawn(config, **changes).items():
        if matrix.dim() > 1:
            found[name] = (matrix.norm() / plain[name].norm()).item()
            assert_close(matrix, found[name] * plain[name], 1e-6)
    return found


def expected(name: str, encoder: float, decoder: float) -> float:
    return (decoder if name.startswith("decoder") else encoder) if CARRIES.search(name) else 1.0


def test_fused_qkv_divides_every_input_projection_of_attention_by_the_root_of_2() -> None:
    """Of heads whose width is not the model's, and keys that heads share, too."""
    config = replace(DEEPER, attention=replace(DEEPER.attention, kv_heads=1))
    found = factors(config, initialisation=Initialisation.xavier_fused_qkv)
    for name, factor in found.items():
        assert factor == pytest.approx(0.5**0.5 if QKV.search(name) else 1.0, rel=1e-5), name
    assert sum(factor < 1 for factor in found.values()) == 3 * 3 + 2 * 6


def test_fused_qkv_leaves_other_mixers_alone() -> None:
    config = replace(DEEPER, encoder_mixer=MixerConfig(Mixer.dynamic_convolution, heads=2))
    found = factors(config, initialisation=Initialisation.xavier_fused_qkv)
    assert {factor for name, factor in found.items() if name.startswith("encoder")} == {1.0}


def test_fused_qkv_draws_each_matrix_as_torch_does() -> None:
    """Uniform matrices: the largest of 16,384 draws is the bound to 1 %, the standard deviation 1/sqrt(3) of it."""
    config = replace(WIDE, initialisation=Initialisation.xavier_fused_qkv)
    network, theirs = build_transformer(config, VOCAB), nn.Transformer(128, 4, 1, 1, 512, batch_first=True)
    encoder, decoder = network.encoder.layers[0].sublayers, network.decoder.layers[0].sublayers
    torch_encoder, torch_decoder = theirs.encoder.layers[0], theirs.decoder.layers[0]
    attentions = [
        (encoder["mixer"].inner, torch_encoder.self_attn),
        (decoder["mixer"].inner, torch_decoder.self_attn),
        (decoder["cross"].inner, torch_decoder.multihead_attn),
        (decoder["cross"].inner, nn.MultiheadAttention(128, 4)),
    ]
    pairs = []
    for ours, attention in attentions:
        in_proj = [ours.in_proj.query.weight, ours.in_proj.key.weight, ours.in_proj.value.weight]
        pairs += list(zip(in_proj, attention.in_proj_weight.chunk(3), strict=True))
    pairs += [(ours.out_proj.weight, attention.out_proj.weight) for ours, attention in attentions[:3]]
    for sublayers, layer in ((encoder, torch_encoder), (decoder, torch_decoder)):
        network = sublayers["feed_forward"].inner
        pairs += [(network.fc1.weight, layer.linear1.weight), (network.fc2.weight, layer.linear2.weight)]
    for mine, twin in pairs:
        assert mine.shape == twin.shape
        assert mine.abs().max().item() == pytest.approx(twin.abs().max().item(), rel=0.01)
        assert mine.std().item() == pytest.approx(twin.std().item(), rel=0.02)
    bound = encoder["mixer"].inner.in_proj.query.weight.abs().max().item()
    assert bound == pytest.approx((6 / (4 * 128)) ** 0.5, rel=0.01)


def test_depth_scaled_divides_every_matrix_of_a_layer_by_the_root_of_its_number() -> None:
    found = factors(DEEPER, initialisation=Initialisation.depth_scaled)
    for name, factor in found.items():
        layer = int(name.split(".")[2]) + 1 if ".layers." in name else 1
        assert factor == pytest.approx(layer**-0.5, rel=1e-5), name
    assert sum(factor < 0.6 for factor in found.values()) == 6  # the third layer of the encoder


def test_depth_scaled_reaches_recurrent_matrices_and_gates_of_highways() -> None:
    config = replace(DEEPER, encoder_mixer=MixerConfig(Mixer.gru), residual=ResidualConfig(Residual.highway))
    found = factors(config, initialisation=Initialisation.depth_scaled)
    inside = "encoder.layers.1.sublayers.mixer"
    for name in (f"{inside}.inner.network.weight_hh_l0", f"{inside}.residual.gate.weight"):
        assert found[name] == pytest.approx(2**-0.5, rel=1e-5)


@pytest.mark.parametrize("tying", Tying)
def test_t_fixup_shrinks_embeddings_and_what_carries(tying: Tying) -> None:
    config = replace(DEEPER, embeddings=EmbeddingConfig(tying=tying))
    for name, factor in factors(config, initialisation=Initialisation.t_fixup).items():
        if name.startswith(("src_embedding", "tgt_embedding")):
            assert factor == pytest.approx(DECODER_FIXUP, rel=1e-5), name
        else:  # a softmax matrix is here only where it is tied to nothing
            assert factor == pytest.approx(expected(name, ENCODER_FIXUP, DECODER_FIXUP), rel=1e-5), name


@pytest.mark.parametrize("law", [Initialisation.xavier_uniform, Initialisation.xavier_fused_qkv, Initialisation.normal])
def test_deep_norm_shrinks_what_carries_whatever_the_law(law: Initialisation) -> None:
    found = factors(DEEPER, law, initialisation=law, norm=NormConfig(placement=Placement.deep_norm))
    for name, factor in found.items():
        assert factor == pytest.approx(expected(name, ENCODER_BETA, DECODER_BETA), rel=1e-5), name
    assert sum(factor < 1 for factor in found.values()) == 3 * 4 + 2 * 6


@pytest.mark.parametrize("kind", [Initialisation.xavier_fused_qkv, Initialisation.depth_scaled, Initialisation.t_fixup])
def test_deep_norm_shrinks_what_another_factor_shrank(kind: Initialisation) -> None:
    deep = NormConfig(placement=Placement.deep_norm)
    once, twice = (factors(DEEPER, initialisation=kind, norm=norm) for norm in (NormConfig(), deep))
    for name, factor in twice.items():
        beta = expected(name, ENCODER_BETA, DECODER_BETA)
        assert factor == pytest.approx(once[name] * beta, rel=1e-5), name


def test_other_norms_change_no_initial_matrix() -> None:
    for placement in set(Placement) - {Placement.deep_norm}:
        found = factors(DEEPER, norm=NormConfig(Norm.rms, placement))
        assert set(found.values()) == {1.0}


def test_gates_of_highways_carry_nothing() -> None:
    config = replace(BASE, residual=ResidualConfig(Residual.highway))
    found = factors(config, initialisation=Initialisation.t_fixup)
    gates = [factor for name, factor in found.items() if name.endswith("residual.gate.weight")]
    assert gates == [1.0] * 10


def test_a_router_of_experts_carries_nothing() -> None:
    config = replace(BASE, feed_forward=FeedForwardConfig(kind=FeedForward.experts, d_ff=24, experts=3))
    found = factors(config, initialisation=Initialisation.t_fixup)
    network = "encoder.layers.0.sublayers.feed_forward.inner"
    assert found[f"{network}.router.weight"] == pytest.approx(1.0)
    assert found[f"{network}.experts.2.fc1.weight"] == pytest.approx(0.67 * 2**-0.25, rel=1e-5)


@pytest.mark.parametrize("kind", Initialisation)
def test_biases_begin_at_0_and_gains_where_their_norm_put_them(kind: Initialisation) -> None:
    for name, value in drawn(BASE, initialisation=kind).items():
        if value.dim() == 1:
            assert torch.equal(value, torch.full_like(value, float(name.endswith(".norm.weight")))), name


def test_t_fixup_at_the_papers_depth() -> None:
    """Six layers: 0.67 * 6^(-1/4) = 0.428 in the encoder, 54^(-1/4) = 0.369 in the decoder."""
    config = replace(BASE, encoder_layers=6, decoder_layers=6)
    found = factors(config, initialisation=Initialisation.t_fixup)
    assert found["encoder.layers.5.sublayers.mixer.inner.in_proj.value.weight"] == pytest.approx(0.42809, abs=1e-4)
    assert found["decoder.layers.5.sublayers.cross.inner.out_proj.weight"] == pytest.approx(0.36889, abs=1e-4)
