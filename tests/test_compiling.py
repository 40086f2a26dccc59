"""Compiled training: the same loss and gradients, dropout's masks included, in few graphs; traced, and built."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from experiments.training.probe import measure
from lit_transformer import build_transformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import ModelConfig
from lit_transformer.errors import UserError
from lit_transformer.training import compiling
from lit_transformer.training.compiling import CompiledHidden
from lit_transformer.training.objective import Hidden
from lit_transformer.transformer import Transformer
from tests.small_models import BASE, VOCAB

SHALLOW = replace(BASE, encoder_layers=1, decoder_layers=1, dropout=0.3)  # tracing is what takes the time


def batches(count: int, longest: int = 9) -> list[TranslationBatch]:
    """Return batches of many shapes, with and without padding."""
    dice = random.Random(4)
    found = []
    for place in range(count):
        ragged = place % 3 > 0

        def ids(length: int, ragged: bool = ragged) -> list[int]:
            return [dice.randrange(4, VOCAB) for _ in range(dice.randint(1, length) if ragged else length)]

        length = dice.randint(2, longest)
        found.append(TranslationBatch.from_pairs([(ids(length), ids(length)) for _ in range(dice.randint(2, 5))]))
    return found


def step(
    model: Transformer, batch: TranslationBatch, seed: int, hidden: Hidden = Transformer.hidden
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of one batch and every gradient."""
    torch.manual_seed(seed)
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(model.logits(hidden(model, batch)), batch.tgt_out)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def agrees(config: ModelConfig, backend: str | Callable[..., Any], count: int) -> int:
    """Compare compiled and plain steps; return the number of graphs."""
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    plain = build_transformer(config, VOCAB).train()
    fast = build_transformer(config, VOCAB).train()
    fast.load_state_dict(plain.state_dict())
    compiled = CompiledHidden(backend)
    for seed, batch in enumerate(batches(count)):
        (loss, gradients), (other, others) = step(plain, batch, seed), step(fast, batch, seed, compiled)
        torch.testing.assert_close(other, loss, rtol=1e-5, atol=1e-6)
        assert len(others) == len(gradients)
        for one, two in zip(gradients, others, strict=True):
            torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)
    assert not counters["graph_break"]
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
def test_compiled_steps_are_the_plain_ones_in_few_graphs() -> None:
    graphs = agrees(SHALLOW, "aot_eager", 15)
    assert 1 <= graphs <= compiling.GRAPHS // 2  # the other half is for validation


@pytest.mark.slow  # a minute and a half of a C++ compiler
def test_steps_built_by_inductor_are_the_plain_ones() -> None:
    assert agrees(SHALLOW, "inductor", 15) <= compiling.GRAPHS // 2


@pytest.mark.slow
def test_one_graph_too_many_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "GRAPHS", 1)
    with pytest.raises(UserError, match=r"trainer\.compile: this model needs more than 1 graphs; train with"):
        agrees(SHALLOW, "aot_eager", 8)


def broken(graph: object, inputs: object) -> None:
    raise FileNotFoundError("no compiler")


def test_what_a_compiler_lacks_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^trainer\.compile: FileNotFoundError: no compiler; train with [^\n]*$"):
        agrees(SHALLOW, broken, 1)


@pytest.mark.slow  # 18 s of tracing
def test_a_compiled_step_is_the_plain_one_and_the_probe_sees_its_kernels_at_every_measurement() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = build_transformer(SHALLOW, VOCAB).train()
    fast = build_transformer(SHALLOW, VOCAB).train()
    fast.load_state_dict(plain.state_dict())
    compiled = CompiledHidden("aot_eager")
    [batch] = batches(1)
    for _ in range(2):
        (loss, gradients), (other, others) = step(plain, batch, 0), step(fast, batch, 0, compiled)
        torch.testing.assert_close(other, loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(others, gradients, rtol=1e-3, atol=1e-5)
        assert measure(fast, batch) == pytest.approx(measure(plain, batch))
        with torch.no_grad():
            for network in (plain, fast):
                for parameter in network.parameters():
                    parameter.mul_(1.5)
