"""What a GPU must do as a CPU does, and without waiting for it: `pytest -m cuda` where there is one."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from experiments.scoring.inference import translate_ids
from experiments.training.callbacks import Curve
from experiments.training.losses import Losses
from experiments.training.probe import Probe
from lit_transformer import LitTransformer, build_transformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.components.dropout import Dropout
from lit_transformer.config import DecodeConfig, FeedForward, ModelConfig, OptimConfig
from lit_transformer.training import losses
from lit_transformer.training.compiling import CompiledHidden
from lit_transformer.training.losses import label_smoothed_cross_entropy, r_drop_loss
from tests.small_models import BASE, PAIRS, VOCAB, assert_close, batch_of, build, every_variant
from tests.small_training import BATCHES, DROPPING, OPTIM, endless, loader, module, trainer

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)
pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def exact_and_free_to_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute convolutions and recurrences in float32, too, and let the GPU be waited for again after a test."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    torch.cuda.set_sync_debug_mode("default")


@every_variant
def test_every_variant_computes_what_the_cpu_does(config: ModelConfig) -> None:
    model, batch = build(config), batch_of()
    there, sent = build(config).to("cuda"), batch.to("cuda")
    there.load_state_dict(model.state_dict())
    logits = []
    for network, pairs in ((model, batch), (there, sent)):
        hidden, weight = network.hidden(pairs), network.output_embedding.weight
        logits.append(network.logits(hidden).detach().cpu())
        label_smoothed_cross_entropy(hidden, weight, pairs.tgt_out, 0.1).backward()
    assert_close(*logits, tolerance=1e-4)
    for (name, ours), theirs in zip(model.named_parameters(), there.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(theirs.grad.cpu(), ours.grad, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("chunk", [losses.GPU_CHUNK_ELEMENTS, 5 * VOCAB])  # one chunk, and several
def test_the_losses_are_those_of_the_cpu(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "GPU_CHUNK_ELEMENTS", chunk)
    hidden, other, weight = torch.randn(33, 8), torch.randn(33, 8), torch.randn(VOCAB, 8)
    targets = torch.randint(VOCAB, (33,))
    here = (hidden, other, weight, targets)
    there = tuple(tensor.cuda() for tensor in here)
    for h, o, w, y in (here, there):
        for tensor in (h, o, w):
            tensor.requires_grad_()
        (label_smoothed_cross_entropy(h, w, y, 0.1) + r_drop_loss(h, o, w, y, 0.1, 5.0)).backward()
    for one, two in zip(here[:3], there[:3], strict=True):
        torch.testing.assert_close(two.grad.cpu(), one.grad, rtol=1e-3, atol=1e-3)


def test_dropout_keeps_its_law() -> None:
    x = torch.ones(1_000_000, device="cuda")
    y = Dropout(0.25).train()(x)
    dropped = (y == 0).float().mean().item()
    assert dropped == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / len(x)))
    assert torch.equal(y[y != 0].unique().cpu(), torch.tensor([1 / 0.75]))


class NoWaiting(pl.Callback):
    """From the end of step `first` to the end of the one after, makes an error of whatever waits for the GPU."""

    def __init__(self, first: int) -> None:
        self.first, self.watched = first, 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if torch.cuda.get_sync_debug_mode():
            torch.cuda.set_sync_debug_mode("default")
            self.watched += 1
        elif trainer.global_step == self.first:
            torch.cuda.set_sync_debug_mode("error")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("r_drop", [0.0, 1.0])
def test_no_step_waits_for_the_gpu(precision: str, r_drop: float, tmp_path: Path) -> None:
    kept, watch = Losses(), NoWaiting(3)
    callbacks = [kept, Probe(tmp_path / "probe.csv", batch_of()), Curve(tmp_path / "curve.csv", kept, lambda: 4.0)]
    lit = module(DROPPING, replace(OPTIM, clip_norm=1.0, r_drop=r_drop))
    trainer(6, "cuda", precision=precision, callbacks=[*callbacks, watch]).fit(lit, endless(BATCHES))
    assert watch.watched == 1


def test_what_waits_is_found() -> None:
    """Experts read the number of their tokens from the device: the watch above would see it."""
    experts = module(replace(BASE, feed_forward=replace(BASE.feed_forward, kind=FeedForward.experts)))
    with pytest.raises(RuntimeError, match="synchroniz"):
        trainer(6, "cuda", callbacks=[NoWaiting(3)]).fit(experts, endless(BATCHES))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_learns_and_validates(precision: str) -> None:
    optim = OptimConfig(steps=60, schedule=OPTIM.schedule, peak=1e-2, warmup=5)
    lit = module(BASE, optim)
    before = trainer(60, "cuda", precision=precision).validate(lit, loader(BATCHES), verbose=False)[0]
    training = trainer(60, "cuda", precision=precision)
    training.fit(lit, endless(BATCHES))
    after = training.validate(lit, loader(BATCHES), verbose=False)[0]
    assert after["valid/loss"] < 0.7 * before["valid/loss"]
    here = trainer(60).validate(lit.cpu(), loader(BATCHES), verbose=False)[0]
    assert after["valid/loss"] == pytest.approx(here["valid/loss"], rel=1e-4 if precision == "32-true" else 3e-2)


@pytest.mark.parametrize("beam", [1, 4])
def test_a_search_finds_the_same(beam: int) -> None:
    model = build(BASE).eval()
    sources, decode = [source for source, _ in PAIRS], DecodeConfig(beam=beam, extra_length=5)
    here = translate_ids([model], sources, decode)
    there = translate_ids([model.to("cuda")], sources, decode)
    assert [best[0].tokens for best in there] == [best[0].tokens for best in here]


@pytest.mark.slow  # a minute of compilation
def test_a_compiled_step_is_the_plain_one() -> None:
    torch.manual_seed(0)
    network = build_transformer(replace(BASE, dropout=0.1), VOCAB).to("cuda")
    plain, compiled = (LitTransformer(network, OPTIM, hidden=h) for h in (type(network).hidden, CompiledHidden()))
    batch: TranslationBatch = batch_of().to("cuda")
    gradients = []
    for lit in (plain, compiled):
        torch.manual_seed(3)
        network.zero_grad()
        nats, _ = lit.objective(network, batch)
        nats.backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)
