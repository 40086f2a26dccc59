"""Averages of a run's weights: what they are made of, and that an interruption changes nothing in them."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from experiments.training.averaging import Averager, LastWeights, SmoothedWeights, build_averager
from experiments.training.stopping import CheckpointWriter
from lit_transformer.config import Averaging, AveragingConfig
from lit_transformer.errors import UserError
from lit_transformer.training.averaging import Weights, snapshot, uniform_mean
from tests.small_training import BATCHES, OPTIM, endless, module, trainer

LAST = AveragingConfig(Averaging.last, last=3, every=2)
EMA = AveragingConfig(Averaging.ema, decay=0.8)
MINUTES = AveragingConfig(Averaging.last, last=3, minutes=1.0)
STEPS = 14


class Clock:
    """Training time by hand: so many seconds a call."""

    def __init__(self, pace: float) -> None:
        self.pace, self.now = pace, 0.0

    def __call__(self) -> float:
        self.now += self.pace
        return self.now


class Watch(pl.Callback):
    """Keeps the weights after every step."""

    def __init__(self) -> None:
        self.seen: dict[int, Weights] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.seen[trainer.global_step] = snapshot(pl_module.network)


class KilledAfter(pl.Callback):
    """Ends the process's work after a step, without a word to anybody, as SIGKILL would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and batch_idx % trainer.accumulate_grad_batches == 0:
            raise RuntimeError("killed")


def no_clock() -> float:
    raise AssertionError("nobody asks the time where steps set the pace")


def averager(config: AveragingConfig, folder: Path) -> Averager:
    found = build_averager(config, folder, no_clock)
    assert found
    return found


def run(averaging: Averager, *callbacks: pl.Callback, resume: Path | None = None, accumulate: int = 1) -> Weights:
    """Train to the last step, or go on from a checkpoint; return the average."""
    lit = module(optim=replace(OPTIM, steps=STEPS), accumulate=accumulate)
    position = torch.load(resume, weights_only=True)["global_step"] * accumulate if resume else 0
    whole = trainer(
        STEPS,
        callbacks=[averaging, *callbacks],
        accumulate_grad_batches=accumulate,
        val_check_interval=1000,
        check_val_every_n_epoch=None,
    )
    whole.fit(lit, endless(BATCHES, position), ckpt_path=resume, weights_only=True if resume else None)
    return averaging.average(lit.network)


def assert_equal(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_last_weights_are_those_of_the_last_moments(tmp_path: Path, accumulate: int) -> None:
    watch, averaging = Watch(), averager(LAST, tmp_path)
    found = run(averaging, watch, accumulate=accumulate)
    assert sorted(watch.seen) == list(range(1, STEPS + 1))
    assert averaging.record() == {"kind": "last", "steps": [10, 12, 14]}
    assert_equal(found, uniform_mean(watch.seen[step] for step in (10, 12, 14)))
    assert not torch.equal(found["output_embedding.weight"], watch.seen[14]["output_embedding.weight"])
    assert sorted(path.name for path in (tmp_path / "averaging").iterdir()) == ["step10.pt", "step12.pt", "step14.pt"]
    averaging.leave()
    assert not (tmp_path / "averaging").exists()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_moving_average_is_of_every_optimiser_step(tmp_path: Path, accumulate: int) -> None:
    watch, averaging = Watch(), averager(EMA, tmp_path)
    found = run(averaging, watch, accumulate=accumulate)
    assert averaging.record() == {"kind": "ema", "decay": 0.8, "steps": STEPS}
    shares = [0.8 ** (STEPS - step) for step in range(1, STEPS + 1)]
    for name, value in found.items():
        if value.is_floating_point():
            seen = [watch.seen[step][name].double() * share for step, share in enumerate(shares, 1)]
            torch.testing.assert_close(value.double(), sum(seen) / sum(shares), atol=1e-6, rtol=1e-5)


def test_averaging_does_not_touch_the_training(tmp_path: Path) -> None:
    ends = []
    for config in (LAST, EMA, None):
        watch = Watch()
        if config:
            run(averager(config, tmp_path), watch)
        else:
            lit = module(optim=replace(OPTIM, steps=STEPS))
            trainer(STEPS, callbacks=[watch]).fit(lit, endless(BATCHES))
        ends.append(watch.seen[STEPS])
    assert_equal(ends[0], ends[2])
    assert_equal(ends[1], ends[2])


@pytest.mark.parametrize("config", [LAST, EMA], ids=["last", "ema"])
@pytest.mark.parametrize("killed", [4, 9, 13, 14])
def test_a_killed_run_resumes_to_the_same_average(tmp_path: Path, config: AveragingConfig, killed: int) -> None:
    """Killed 1 to 4 steps after its newest checkpoint, when files of that checkpoint may be past their time."""
    expected = run(averager(config, tmp_path / "whole"))
    folder = tmp_path / "killed"
    first = averager(config, folder)
    checkpoint = CheckpointWriter(folder, every=4 if killed == 4 else 5, run_hash="hash")
    if killed == 14:  # the end of the training, before its average was written
        checkpoint.every = 7
        run(first, checkpoint)
    else:
        with pytest.raises(RuntimeError, match="killed"):
            run(first, checkpoint, KilledAfter(killed))
    assert checkpoint.path.exists()
    again = averager(config, folder)
    found = run(again, CheckpointWriter(folder, every=100, run_hash="hash"), resume=checkpoint.path)
    assert_equal(found, expected)
    assert again.record() == averager_record(config)


def averager_record(config: AveragingConfig) -> dict[str, Any]:
    if config is LAST:
        return {"kind": "last", "steps": [10, 12, 14]}
    return {"kind": "ema", "decay": 0.8, "steps": STEPS}


def test_files_that_the_two_newest_checkpoints_name_are_kept(tmp_path: Path) -> None:
    """That of step 6 names 2, 4, 6 and that of 12 names 8, 10, 12: the run may have to go on from either."""
    averaging = averager(LAST, tmp_path)
    with pytest.raises(RuntimeError, match="killed"):
        run(averaging, CheckpointWriter(tmp_path, every=6, run_hash="hash"), KilledAfter(13))
    names = {path.name for path in (tmp_path / "averaging").iterdir()}
    assert names == {f"step{step}.pt" for step in (2, 4, 6, 8, 10, 12)}
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["LastWeights"]
    again = averager(LAST, tmp_path)
    again.load_state_dict(state)
    again.after_step(module().network, 14, STEPS)
    names = {path.name for path in (tmp_path / "averaging").iterdir()}
    assert names == {f"step{step}.pt" for step in (2, 4, 6, 8, 10, 12, 14)}


def test_files_beyond_the_need_are_removed(tmp_path: Path) -> None:
    (tmp_path / "averaging").mkdir()
    (tmp_path / "averaging" / "step999.pt").write_text("of a run that was killed before its first checkpoint")
    run(averager(LAST, tmp_path), CheckpointWriter(tmp_path, every=2, run_hash="hash"))
    names = {path.name for path in (tmp_path / "averaging").iterdir()}
    assert names <= {f"step{step}.pt" for step in (6, 8, 10, 12, 14)}  # of the two newest checkpoints


def test_minutes_set_the_pace_and_the_last_step_comes_in_addition(tmp_path: Path) -> None:
    """A step lasts 15 seconds by this clock."""
    watch, averaging = Watch(), LastWeights(MINUTES, tmp_path, Clock(15.0))
    found = run(averaging, watch)
    assert averaging.steps[-1] == STEPS
    assert averaging.steps == [8, 12, 14]
    assert_equal(found, uniform_mean(watch.seen[step] for step in averaging.steps))


def test_a_resumed_run_waits_the_rest_of_its_minutes(tmp_path: Path) -> None:
    clock = Clock(0.0)
    averaging = LastWeights(MINUTES, tmp_path, clock)
    network = module().network
    clock.now = 61.0
    averaging.after_step(network, 5, 100)
    resumed = LastWeights(MINUTES, tmp_path, clock)
    resumed.load_state_dict(averaging.state_dict())
    clock.now = 120.0
    resumed.after_step(network, 6, 100)
    assert resumed.steps == [5]
    clock.now = 121.0
    resumed.after_step(network, 7, 100)
    assert resumed.steps == [5, 7]


def test_a_lost_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    averaging = averager(LAST, tmp_path)
    averaging.after_step(module().network, 2, STEPS)
    os.remove(tmp_path / "averaging" / "step2.pt")
    with pytest.raises(UserError, match=r"^\S*step2\.pt, one of the checkpoints to average, is missing; delete \S* to"):
        averaging.average(module().network)


def test_the_average_is_a_state_of_the_network(tmp_path: Path) -> None:
    averaging, lit = averager(EMA, tmp_path), module()
    averaging.after_step(lit.network, 1, STEPS)
    average = averaging.average(lit.network)
    lit.network.load_state_dict(average)  # strict: every name, no other
    assert_equal(lit.network.state_dict(), average)


@pytest.mark.parametrize("kind", Averaging)
def test_each_kind_has_its_averager(tmp_path: Path, kind: Averaging) -> None:
    expected = {Averaging.none: type(None), Averaging.last: LastWeights, Averaging.ema: SmoothedWeights}
    assert type(build_averager(replace(LAST, kind=kind), tmp_path, no_clock)) is expected[kind]
