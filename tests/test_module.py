"""The LightningModule: what its loss and perplexity mean, that it learns, and that a resumed run is the same run."""

import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lit_transformer import LitTransformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import AttentionConfig, FeedForward, OptimConfig, Schedule
from tests.small_models import BASE, PAIRS, VOCAB, assert_close, batch_of
from tests.small_training import BATCHES, OPTIM, Losses, Rates, Saver, endless, module, trainer, weights


@torch.no_grad()
def plain_loss(lit: LitTransformer, batch: TranslationBatch, smoothing: float) -> float:
    logits = lit.network.logits(lit.network.hidden(batch))
    return float(F.cross_entropy(logits, batch.tgt_out, label_smoothing=smoothing, reduction="sum"))


def test_training_loss_is_nats_over_the_tokens_of_the_global_batch() -> None:
    lit, losses = module(BASE), Losses()
    batch = replace(batch_of(), target_tokens=100)  # as if other ranks held the rest
    expected = plain_loss(lit, batch, OPTIM.label_smoothing) / 100
    trainer(1, callbacks=[losses]).fit(lit, endless([batch]))
    assert losses.values == pytest.approx([expected], rel=1e-6)


def test_a_module_is_picklable() -> None:
    lit = module(BASE)
    copy = pickle.loads(pickle.dumps(lit))
    assert [copy.schedule(step) for step in (1, 500)] == [lit.schedule(step) for step in (1, 500)]
    batch = batch_of()
    torch.manual_seed(0)
    nats, _ = lit.objective(lit.network, batch)
    torch.manual_seed(0)
    assert torch.equal(copy.objective(copy.network, batch).nats, nats)


class Returned(pl.Callback):
    """Keeps the terms of the last training step's loss, and their sum."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.terms = {name: float(value) for name, value in outputs["terms"].items()}
        self.loss = float(outputs["loss"])


def test_the_balance_of_experts_joins_the_loss_and_is_told_apart() -> None:
    config = replace(BASE, feed_forward=replace(BASE.feed_forward, kind=FeedForward.experts))
    returned, batch = Returned(), replace(batch_of(), target_tokens=100)
    lit = module(config)
    expected = plain_loss(lit, batch, OPTIM.label_smoothing) / 100
    balance = float(lit.network.auxiliary_losses()["balance"])
    trainer(1, callbacks=[returned]).fit(lit, endless([batch]))
    assert returned.terms == pytest.approx({"loss": expected, "balance": balance}, rel=1e-5)
    assert returned.loss == pytest.approx(expected + balance, rel=1e-5)
    assert 0.01 < balance < 0.2  # four layers, each 0.01 where all experts are equally busy


def test_only_experts_have_a_balance() -> None:
    returned = Returned()
    trainer(1, callbacks=[returned]).fit(module(BASE), endless(BATCHES))
    assert returned.terms.keys() == {"loss"}


def test_r_drop_trains_on_two_passes() -> None:
    losses = []
    for r_drop in (0.0, 5.0):
        kept = Losses()
        trainer(4, callbacks=[kept]).fit(module(optim=replace(OPTIM, r_drop=r_drop)), endless(BATCHES))
        losses.append(kept.values)
    assert all(math.isfinite(value) for value in losses[1])
    assert losses[1][0] > losses[0][0] + 0.05  # the divergence between the passes is added


@pytest.mark.parametrize("accumulate", [2, 4])
def test_an_accumulated_step_is_that_of_one_batch_with_all_the_sentences(accumulate: int) -> None:
    """Every token weighs alike, however few others its batch has."""
    pairs = [PAIRS[:2], PAIRS[2:], PAIRS[1:], PAIRS[:1]][:accumulate]
    batches = [batch_of(some) for some in pairs]
    tokens = [len(batch.tgt_out) for batch in batches]
    assert len(set(tokens)) > 1
    lit, one = module(BASE, accumulate=accumulate), module(BASE)
    trainer(1, accumulate_grad_batches=accumulate).fit(
        lit, endless([replace(batch, target_tokens=sum(tokens)) for batch in batches])
    )
    trainer(1).fit(one, endless([batch_of([pair for some in pairs for pair in some])]))
    for parameter, expected in zip(lit.parameters(), one.parameters(), strict=True):
        assert_close(parameter.grad, expected.grad)


def test_validation_perplexity_is_over_all_tokens_not_over_batches() -> None:
    lit = module()
    lit.eval()
    means = []
    for batches in (BATCHES, BATCHES[:1]):  # the sums start anew each time
        nats, tokens = (plain_loss(lit, batch, 0.0) for batch in batches), sum(len(b.tgt_out) for b in batches)
        expected = sum(nats) / tokens
        (metrics,) = trainer(1).validate(lit, DataLoader(batches, batch_size=None, collate_fn=_same), verbose=False)
        assert metrics["valid/loss"] == pytest.approx(expected, rel=1e-6)
        assert metrics["valid/ppl"] == pytest.approx(math.exp(expected), rel=1e-5)
        means.append(
            sum(plain_loss(lit, batch, 0.0) / len(batch.tgt_out) for batch in batches) / len(batches) - expected
        )
    assert abs(means[0]) > 0.01  # the batches are unequal enough to tell


def _same(batch: TranslationBatch) -> TranslationBatch:
    return batch


def test_it_overfits_eight_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    pairs = []
    for length in range(1, 9):
        source = torch.randint(4, VOCAB, (length,), generator=generator).tolist()
        pairs.append((source, source[::-1]))
    config = replace(BASE, d_model=32, attention=AttentionConfig(heads=2, d_k=16, d_v=16))
    optim = OptimConfig(steps=150, schedule=Schedule.linear, peak=5e-3, warmup=20, label_smoothing=0.0)
    lit, losses = module(config, optim), Losses()
    trainer(150, callbacks=[losses]).fit(lit, endless([batch_of(pairs)]))
    assert losses.values[0] > 2.0  # nats a token
    assert losses.values[-1] < 0.1


def test_every_step_has_the_rate_of_the_schedule() -> None:
    for accumulate in (1, 2):
        lit, rates = module(accumulate=accumulate), Rates()
        trainer(5, callbacks=[rates], accumulate_grad_batches=accumulate).fit(lit, endless(BATCHES))
        assert rates.values == pytest.approx([lit.schedule(step) for step in range(1, 6)])


def test_one_adam_step_is_torchs() -> None:
    lit, twin = module(BASE), module(BASE)
    trainer(1).fit(lit, endless([batch_of()]))
    adam = torch.optim.Adam(
        twin.parameters(), lr=twin.schedule(1), betas=(OPTIM.beta1, OPTIM.beta2), eps=OPTIM.eps, fused=False
    )
    batch = batch_of()
    logits = twin.network.logits(twin.network.hidden(batch))
    F.cross_entropy(logits, batch.tgt_out, label_smoothing=OPTIM.label_smoothing).backward()
    adam.step()
    moved = 0
    for name, mine in weights(lit).items():
        if not name.endswith("key.bias"):
            assert (mine - weights(twin)[name]).abs().max() < 2e-5 + 0.05 * twin.schedule(1), name
            moved += 1
    assert moved == len(weights(lit))


def test_the_seed_and_nothing_else_decides_a_run() -> None:
    def run(seed: int, noise: int) -> dict[str, Tensor]:
        lit = module(seed=seed)
        torch.manual_seed(noise)  # whatever was drawn before, by building other parts or loading
        trainer(3).fit(lit, endless(BATCHES))
        return weights(lit)

    one, same, other = run(0, 1), run(0, 2), run(1, 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_steps_draw_different_masks() -> None:
    lit, losses = module(optim=replace(OPTIM, peak=1e-12)), Losses()
    trainer(4, callbacks=[losses]).fit(lit, endless(BATCHES[:1]))
    assert len(set(losses.values)) == 4


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("hook", "validating"),
    [("on_train_batch_end", False), ("on_train_batch_end", True), ("on_validation_end", True), ("on_train_end", False)],
)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    tmp_path: Path, hook: str, validating: bool, accumulate: int, precision: str
) -> None:
    settings: dict[str, Any] = {"accumulate_grad_batches": accumulate, "precision": precision}
    if validating:
        settings |= {"val_check_interval": 2 * accumulate, "check_val_every_n_epoch": None}
    held_out = DataLoader(BATCHES[:2], batch_size=None, collate_fn=lambda batch: batch) if validating else None
    path = tmp_path / "last.ckpt"

    whole, losses = module(accumulate=accumulate), Losses()
    callbacks = [losses] if hook == "on_train_end" else [losses, Saver(path, hook, 6)]
    trainer(9, callbacks=callbacks, **settings).fit(whole, endless(BATCHES), held_out)
    if hook == "on_train_end":
        trainer(6, callbacks=[Saver(path, hook, 6)], **settings).fit(
            module(accumulate=accumulate), endless(BATCHES), held_out
        )

    resumed, rest = module(accumulate=accumulate), Losses()
    torch.manual_seed(12345)
    again = trainer(9, callbacks=[rest], **settings)
    again.fit(resumed, endless(BATCHES, 6 * accumulate), held_out, ckpt_path=path, weights_only=True)

    assert again.global_step == 9
    assert rest.values == losses.values[6 * accumulate :]
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_clipping_bounds_the_gradient_of_a_step(accumulate: int, precision: str) -> None:
    norms = []
    for bound in (0.0, 0.01, 1e6):
        lit = module(optim=replace(OPTIM, clip_norm=bound), accumulate=accumulate)
        trainer(1, accumulate_grad_batches=accumulate, precision=precision).fit(lit, endless(BATCHES))
        norms.append(float(torch.stack([parameter.grad.norm() for parameter in lit.parameters()]).norm()))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)
    assert norms[2] == norms[0]
