"""Packed networks: equal to the networks they are views of but for rounding, and packed only where that works."""

import platform

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.components.attention import PackedInputProjection
from lit_transformer.components.cpu_kernels import PACKED_ROWS, PackedLinear
from lit_transformer.config import ModelConfig
from lit_transformer.packing import PackedTransformer, pack_for_search
from lit_transformer.transformer import Transformer
from tests.small_models import BASE, VARIANTS, VOCAB, build

SOURCE = torch.tensor([[5, 6, 7, 2], [4, 2, 0, 0], [7, 4, 3, 2]])
X86 = platform.machine() in ("x86_64", "AMD64")
packs = pytest.mark.skipif(not X86, reason="oneDNN's own order is for x86")


@torch.inference_mode()
def steps(model: Transformer) -> Tensor:
    """Return the logits (3, 3, V) of three steps of decoding."""
    state, logits_of_steps = model.init_cache(model.encode(SOURCE)), []
    for token in (1, 5, 6):
        logits, state = model.step(torch.full((len(SOURCE),), token), state)
        logits_of_steps.append(logits)
    return torch.stack(logits_of_steps)


def linears(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if type(module) is nn.Linear]


@pytest.mark.parametrize("config", [pytest.param(config, id=name) for name, config in VARIANTS.items()])
def test_a_packed_network_equals_its_network(config: ModelConfig) -> None:
    model = build(config).eval()
    plain, before = steps(model), {name: type(module) for name, module in model.named_modules()}
    packed = pack_for_search(model)
    assert isinstance(packed, PackedTransformer) == X86
    torch.testing.assert_close(steps(packed), plain, rtol=1e-4, atol=1e-5)
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert torch.equal(steps(model), plain)


@packs
def test_every_linear_layer_is_packed_and_everything_else_is_shared() -> None:
    model = build(BASE).eval()
    packed = pack_for_search(model)
    assert linears(model)
    assert not linears(packed)
    assert sum(isinstance(module, PackedInputProjection) for module in packed.modules()) == 4  # self-attentions
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    assert all(parameter.data_ptr() in shared for parameter in packed.parameters())
    assert not packed.training


@packs
@pytest.mark.parametrize("bias", [True, False])
def test_any_number_of_rows_is_multiplied(bias: bool) -> None:
    linear = nn.Linear(24, VOCAB, bias=bias)
    packed = PackedLinear(linear.weight, linear.bias)
    for rows in (1, 3, PACKED_ROWS, 5 * PACKED_ROWS):
        x = torch.randn(rows, 24)
        torch.testing.assert_close(packed(x), linear(x), rtol=1e-4, atol=1e-5)
        assert not packed(x).requires_grad


def test_a_packed_network_is_not_packed_again() -> None:
    packed = pack_for_search(build(BASE))
    assert pack_for_search(packed) is packed


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_alone(dtype: torch.dtype) -> None:
    model = build(BASE).to(dtype)
    assert pack_for_search(model) is model


def test_autocast_is_left_alone() -> None:
    model = build(BASE)
    with torch.autocast("cpu", torch.bfloat16):
        assert pack_for_search(model) is model
