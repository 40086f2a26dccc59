"""The curve: what a row says is what the steps did, accumulated or not; a run that diverges stops and is remembered."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from experiments.training import losses as losses_module
from experiments.training.callbacks import CURVE_COLUMNS, Curve, Progress
from experiments.training.losses import Losses
from lit_transformer import LitTransformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.flops import Work
from tests.small_models import build
from tests.small_training import BATCHES, DROPPING, OPTIM, endless, trainer


class Recorded(LitTransformer):
    """Keeps the loss of every batch as the step returns it, before Lightning shares it out among accumulated ones."""

    def training_step(self, batch: TranslationBatch, batch_idx: int) -> dict[str, Any]:
        returned = super().training_step(batch, batch_idx)
        self.losses = [*getattr(self, "losses", []), float(returned["loss"].detach())]
        return returned


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_row_holds_the_mean_loss_the_tokens_and_the_rate_of_its_steps(tmp_path: Path, accumulate: int) -> None:
    losses = Losses()
    curve = Curve(tmp_path / "curve.csv", losses, lambda: 2.0)
    lit = Recorded(build(DROPPING), replace(OPTIM, accumulate=accumulate))
    settings = {"val_check_interval": 4, "check_val_every_n_epoch": None, "accumulate_grad_batches": accumulate}
    trainer(8 // accumulate, callbacks=[losses, curve], **settings).fit(
        lit, endless(BATCHES), DataLoader(BATCHES, batch_size=None, collate_fn=lambda batch: batch)
    )
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert [int(row["step"]) for row in rows] == [4 // accumulate, 8 // accumulate]
    for number, row in enumerate(rows):
        own = lit.losses[4 * number : 4 * number + 4]
        assert float(row["train_loss"]) == pytest.approx(sum(own) / 4, rel=1e-5)
        assert float(row["learning_rate"]) == pytest.approx(lit.schedule(int(row["step"])))
        assert float(row["valid_ppl"]) == pytest.approx(math.exp(float(row["valid_loss"])))
    tokens = sum(len(batch.tgt_out) for batch in BATCHES)
    assert [int(row["target_tokens"]) for row in rows] == [tokens, 2 * tokens]
    lengths = [torch.cat([getattr(batch, side).lengths for batch in BATCHES]) for side in ("src_layout", "tgt_layout")]
    once = Work.of_lengths(DROPPING, *lengths)
    assert curve.total_work() == Work(*(2 * value for value in vars(once).values()))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_whoever_watches_sees_the_step_a_loss_and_the_speed(tmp_path: Path, accumulate: int) -> None:
    seen = []

    class Watched(Progress):
        def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
            self.written = -math.inf  # write at every batch
            super().on_train_batch_end(*arguments, **named)
            seen.append(json.loads(self.path.read_text()))

    losses = Losses()
    curve = Curve(tmp_path / "curve.csv", losses, lambda: 2.0)
    lit = Recorded(build(DROPPING), replace(OPTIM, accumulate=accumulate))
    settings = {"val_check_interval": 4, "check_val_every_n_epoch": None, "accumulate_grad_batches": accumulate}
    watched = Watched(tmp_path, curve, steps=8 // accumulate)
    trainer(8 // accumulate, callbacks=[losses, curve, watched], **settings).fit(
        lit, endless(BATCHES), DataLoader(BATCHES, batch_size=None, collate_fn=lambda batch: batch)
    )
    assert [row["loss"] for row in seen] == pytest.approx(lit.losses, abs=1e-4)
    last = json.loads((tmp_path / "progress.json").read_text())
    assert last["step"] == last["steps"] == 8 // accumulate
    assert last["target_tokens_per_second"] > 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_diverges_stops_and_knows_its_first_step(monkeypatch: pytest.MonkeyPatch, accumulate: int) -> None:
    monkeypatch.setattr(losses_module, "READ_EVERY", 7)
    losses = Losses()
    lit = Recorded(build(DROPPING), replace(OPTIM, peak=1e30, warmup=0, steps=50, accumulate=accumulate))
    settings = {"val_check_interval": 1000, "check_val_every_n_epoch": None, "accumulate_grad_batches": accumulate}
    running = trainer(50, callbacks=[losses], **settings)
    running.fit(lit, endless(BATCHES))
    first = next(place for place, loss in enumerate(lit.losses) if not math.isfinite(loss))
    assert first > 0
    assert losses.diverged_at == first // accumulate + 1
    assert running.global_step == 7


def test_means_are_of_the_steps_that_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_module, "READ_EVERY", 4)
    losses, lit = Losses(), Recorded(build(DROPPING), OPTIM)
    settings = {"val_check_interval": 1000, "check_val_every_n_epoch": None}
    trainer(9, callbacks=[losses], **settings).fit(lit, endless(BATCHES))
    assert losses.means(0) == pytest.approx({"loss": sum(lit.losses[:8]) / 8})
    losses.drop(5)
    losses.drop(3)  # gone already
    assert losses.means(4) == losses.means(5) == pytest.approx({"loss": sum(lit.losses[5:8]) / 3})
    assert math.isnan(losses.means(8)["loss"])
    assert losses.state_dict()["values"] == [[pytest.approx(loss)] for loss in lit.losses[5:9]]  # and reads the rest
