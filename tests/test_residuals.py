"""Residual connections by their formulas, how they begin, and what they leave out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_transformer.components.residual import LayerDrop, build_residual
from lit_transformer.config import ModelConfig, Norm, NormConfig, Placement, Residual, ResidualConfig
from lit_transformer.errors import UserError
from lit_transformer.transformer import build_transformer
from tests.small_models import BASE, VOCAB, assert_close, batch_of

D = BASE.d_model


def a_pair() -> tuple[Tensor, Tensor]:
    return torch.randn(7, D), torch.randn(7, D)


def test_residuals_by_their_formulas() -> None:
    x, y = a_pair()
    scaled = build_residual(ResidualConfig(Residual.scaled, alpha=0.2), D)
    assert_close(scaled(x, y), x + 0.2 * y)
    rezero = build_residual(ResidualConfig(Residual.rezero), D)
    torch.nn.init.constant_(rezero.gain, 0.7)
    assert_close(rezero(x, y), x + 0.7 * y)
    highway = build_residual(ResidualConfig(Residual.highway), D)
    t = torch.sigmoid(x @ highway.gate.weight.T + highway.gate.bias - 1)
    assert_close(highway(x, y), t * y + (1 - t) * x)


def test_rezero_begins_as_the_identity_of_every_stack() -> None:
    config = replace(BASE, residual=ResidualConfig(Residual.rezero), norm=NormConfig(kind=Norm.none))
    model, batch = build_transformer(config, VOCAB), batch_of()
    entered = model.src_embedding(batch.src, batch.src_layout)
    assert torch.equal(model.encode_packed(batch.src, batch.src_layout).x, entered)
    hidden = model.hidden(batch)
    assert torch.equal(hidden, model.tgt_embedding(batch.tgt_in, batch.tgt_layout))
    model.logits(hidden).square().sum().backward()
    gains = {name: value for name, value in model.named_parameters() if name.endswith("residual.gain")}
    assert len(gains) == 2 * 2 + 2 * 3
    assert all(gain.grad.abs() > 0 for name, gain in gains.items() if name.startswith("decoder"))


def test_a_highway_begins_by_letting_most_of_its_input_pass() -> None:
    model = build_transformer(replace(BASE, residual=ResidualConfig(Residual.highway)), VOCAB)
    highway = model.encoder.layers[0].sublayers["mixer"].residual
    assert not highway.gate.bias.any()
    at_zero = highway(torch.zeros(1, D), torch.ones(1, D))  # t, where the matrix says nothing
    assert_close(at_zero, torch.full((1, D), 0.26894142))  # sigmoid(-1)


def test_layer_drop_leaves_out_a_whole_batch_at_the_rate_it_says_and_keeps_the_mean() -> None:
    x, y = a_pair()
    drop, draws = LayerDrop(0.25), 4000
    added = torch.stack([drop(x, y) - x for _ in range(draws)])  # (draws, N, D)
    left_out = (added == 0).flatten(1).all(1)
    assert_close(added[~left_out], (y / 0.75).expand(int((~left_out).sum()), -1, -1))
    assert left_out.double().mean() == pytest.approx(0.25, abs=0.03)  # four standard errors
    assert_close(added.mean(0), y, 0.04)
    assert torch.equal(drop.eval()(x, y), x + y)
    assert torch.equal(LayerDrop(0.0)(x, y), x + y)


def test_layer_drop_lets_each_sublayer_fall_by_itself() -> None:
    model = build_transformer(
        replace(BASE, encoder_layers=8, residual=ResidualConfig(Residual.layer_drop, rate=0.5)), VOCAB
    )
    fallen = []
    for sublayer in (part for _, part in model.encoder.sublayers()):
        sublayer.residual.register_forward_hook(lambda _, given, out: fallen.append(torch.equal(given[0], out)))
    batch = batch_of()
    model.encode_packed(batch.src, batch.src_layout)
    assert len(fallen) == 16
    assert 0 < sum(fallen) < 16
    first = list(fallen)
    model.encode_packed(batch.src, batch.src_layout)
    assert fallen[16:] != first
    model.eval().encode_packed(batch.src, batch.src_layout)
    assert not any(fallen[32:])


def test_the_generator_decides_what_layer_drop_leaves_out() -> None:
    model, batch = build_transformer(replace(BASE, residual=ResidualConfig(Residual.layer_drop)), VOCAB), batch_of()
    passes = []
    for seed in (3, 3):
        torch.manual_seed(seed)
        passes.append(model.hidden(batch))
    assert torch.equal(*passes)


@pytest.mark.parametrize("alpha", [0.0, -0.5, float("nan")])
def test_a_factor_must_be_above_0(alpha: float) -> None:
    with pytest.raises(UserError, match=r"model\.residual\.alpha is .*; it must be above 0"):
        ResidualConfig(alpha=alpha)


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_a_rate_must_be_a_probability_below_1(rate: float) -> None:
    with pytest.raises(UserError, match=r"model\.residual\.rate is .*; it must be at least 0 and below 1"):
        ResidualConfig(rate=rate)


@pytest.mark.parametrize("placement", [Placement.deep_norm, Placement.b2t])
def test_what_lives_on_the_residual_connection_needs_one(placement: Placement) -> None:
    with pytest.raises(UserError, match=rf"model\.norm\.placement is {placement}.*model\.residual\.kind is none"):
        ModelConfig(residual=ResidualConfig(Residual.none), norm=NormConfig(placement=placement))
    for kind in set(Residual) - {Residual.none}:
        assert ModelConfig(residual=ResidualConfig(kind), norm=NormConfig(placement=placement))
