"""Packed weights: the same products but for rounding, and only for as long as they are asked for."""

import platform

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.config import ModelConfig
from lit_transformer.decoding import packed_weights
from lit_transformer.decoding.packed import ROWS
from lit_transformer.transformer import Transformer
from tests.small_models import BASE, VARIANTS, VOCAB, build

SOURCE = torch.tensor([[5, 6, 7, 2], [4, 2, 0, 0], [7, 4, 3, 2]])
packs = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's own order is for x86")


@torch.inference_mode()
def steps(model: Transformer) -> Tensor:
    """Return the logits (3, 3, V) of three steps of decoding."""
    state, said = model.start(model.encode(SOURCE)), []
    for token in (1, 5, 6):
        logits, state = model.step(torch.full((len(SOURCE),), token), state)
        said.append(logits)
    return torch.stack(said)


def replaced(model: Transformer) -> list[nn.Module]:
    return [module for module in model.modules() if {"forward", "logits", "projected"} & vars(module).keys()]


@pytest.mark.parametrize("config", [pytest.param(config, id=name) for name, config in VARIANTS.items()])
def test_every_model_says_the_same(config: ModelConfig) -> None:
    model = build(config).eval()
    plain = steps(model)
    with packed_weights([model]):
        assert replaced(model) or platform.machine() not in ("x86_64", "AMD64")
        torch.testing.assert_close(steps(model), plain, rtol=1e-4, atol=1e-5)
    assert not replaced(model)
    assert torch.equal(steps(model), plain)


@packs
def test_any_number_of_rows_is_multiplied() -> None:
    linear = nn.Linear(24, VOCAB)
    model = build(BASE)
    model.add_module("another", linear)
    for rows in (1, 3, ROWS, 5 * ROWS):
        x = torch.randn(rows, 24)
        plain = linear(x)
        with packed_weights([model]):
            torch.testing.assert_close(linear(x), plain, rtol=1e-4, atol=1e-5)


@packs
def test_a_block_within_a_block_undoes_its_own_alone() -> None:
    model, other = build(BASE).eval(), build(BASE).eval()
    with packed_weights([model]):
        before = replaced(model)
        with packed_weights([model, other]):
            assert len(replaced(other)) == len(before) > 10
        assert replaced(model) == before
        assert not replaced(other)


def test_an_error_undoes_all() -> None:
    model = build(BASE)

    def fail() -> None:
        with packed_weights([model]):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not replaced(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_alone(dtype: torch.dtype) -> None:
    model = build(BASE).to(dtype)
    with packed_weights([model]):
        assert not replaced(model)
