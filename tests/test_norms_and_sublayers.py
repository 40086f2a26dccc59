"""Norms by their formulas, and what a sub-layer puts around its inner module."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.kernels import Kernel
from lit_transformer.components.norms import build_norm
from lit_transformer.components.part import Part
from lit_transformer.components.sublayer import SublayerPast, build_final_norm, build_sublayer
from lit_transformer.config import (
    ModelConfig,
    Norm,
    NormConfig,
    Placement,
    Residual,
    ResidualConfig,
)
from tests.small_models import BASE, assert_close, build

D = BASE.d_model
FORMULAS = {
    Norm.layer: lambda x, eps: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt(),
    Norm.rms: lambda x, eps: x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt(),
    Norm.none: lambda x, eps: x,
}


class Doubler(Part):
    """An inner part whose output and past are easy to foretell."""

    def forward(self, x: Tensor, layout: Layout, past: str | None = None) -> tuple[Tensor, str]:
        return 2 * x + 1, f"{past} and more"


LAYOUT = Layout.from_lengths(torch.tensor([3, 4]))


def around(config: ModelConfig, x: Tensor, past: str | None = None, train: bool = True) -> tuple[Tensor, SublayerPast]:
    sublayer = build_sublayer(config, Doubler(), config.dropout, causal=False).train(train)
    return sublayer(x, LAYOUT, SublayerPast(inner=past), x)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize("kind", Norm)
def test_norms_by_their_formulas(kind: Norm, eps: float) -> None:
    x = 3 * torch.randn(7, D) + 1
    y, past = build_norm(NormConfig(kind=kind, eps=eps), D, causal=False)(x, LAYOUT)
    assert past is None
    assert_close(y, FORMULAS[kind](x, eps))


@pytest.mark.parametrize("kind", Norm)
@pytest.mark.parametrize("residual", Residual)
@pytest.mark.parametrize("placement", Placement)
def test_the_order_of_norm_and_residual(placement: Placement, residual: Residual, kind: Norm) -> None:
    norm = NormConfig(kind=kind, placement=placement)
    x = torch.randn(7, D)
    y, past = around(replace(BASE, residual=ResidualConfig(residual), norm=norm), x, "past")
    assert past == SublayerPast(inner="past and more")

    def normed(z: Tensor) -> Tensor:
        return FORMULAS[kind](z, norm.eps)

    before = x if residual is Residual.identity else 0 * x
    if placement is Placement.post:
        assert_close(y, normed(before + 2 * x + 1))
    else:
        assert_close(y, before + 2 * normed(x) + 1)


def test_dropout_falls_on_the_output_before_residual_and_norm() -> None:
    config = replace(BASE, dropout=0.5, norm=NormConfig(kind=Norm.none))
    x = torch.rand(40, D)
    added = around(config, x)[0] - x
    kept = added.abs() > 1e-6
    assert 0.4 < kept.double().mean() < 0.6
    assert_close(added[kept], (2 * (2 * x + 1))[kept])
    assert_close(around(config, x, train=False)[0], 3 * x + 1)


@pytest.mark.parametrize("kind", Norm)
def test_only_pre_norm_ends_a_stack_with_a_norm(kind: Norm) -> None:
    assert isinstance(build_final_norm(replace(BASE, norm=NormConfig(kind=kind)), causal=True).inner, nn.Identity)
    final = build_final_norm(replace(BASE, norm=NormConfig(kind=kind, placement=Placement.pre)), causal=True)
    assert type(final.inner) is type(build_norm(NormConfig(kind=kind), D, causal=True).inner)


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
    memory = model.encode(torch.tensor([[5, 6, 7]])).x
    assert_close(memory.pow(2).mean(-1), torch.ones(3), 1e-3)


def test_dropout_stands_where_section_5_4_puts_it() -> None:
    """Every sub-layer's output and both embeddings; nothing on attention weights and inside the feed-forward."""
    model = build(ModelConfig(d_model=16, encoder_layers=2, decoder_layers=3))
    rates = [name for name, module in model.named_modules() if getattr(module, "dropped", 0)]
    assert len(rates) == 2 + 2 * 2 + 3 * 3
    assert all(module.dropout == 0 for module in model.modules() if isinstance(module, Kernel))
