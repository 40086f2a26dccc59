"""Benchmarks of training: the systems do the same work, each in its own process, on the same drawn pairs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.float32 import measure
from benchmarks.random_pairs import draw, padded_pairs
from benchmarks.sizes import SIZES
from benchmarks.trainers import CONSTANT_RATE, TRAINERS, Stepper, Task, build
from benchmarks.workers import start_workers
from experiments.config.study import ROOT
from lit_transformer.errors import UserError
from lit_transformer.tokens import BOS, EOS, PAD
from tests.small_models import ONE_LAYER

VOCABULARY = 50
TASK = Task(ONE_LAYER, VOCABULARY, bfloat16=False, device="cpu")
EAGER = [name for name in TRAINERS if "compiled" not in name]


def built(name: str, task: Task = TASK) -> Stepper:
    try:
        return build(name, task)
    except UserError as error:
        pytest.skip(str(error))


def in_evaluation(stepper: Stepper) -> nn.Module:
    return stepper.trainer.network.eval()


@pytest.mark.parametrize("name", EAGER)
def test_a_trainer_learns_a_batch_by_heart(name: str) -> None:
    stepper = built(name, TASK._replace(optim=replace(CONSTANT_RATE, peak=1e-2)))
    batch = stepper.trainer.prepare(draw(VOCABULARY, 200, 1, grouped=True).batches[0])
    losses = [float(stepper.step(batch)) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


BIASES = 3 * 4 * ONE_LAYER.d_model
"""Of three attentions; our default has none, as the paper."""
MORE = {
    "lit_transformer": 0,
    "torch.nn loop": BIASES + 2 * 2 * ONE_LAYER.d_model,  # a norm at the end of each stack
    "Hugging Face Marian": BIASES,
    "JoeyNMT": BIASES,
}


@pytest.mark.parametrize("name", MORE)
def test_a_trainer_has_the_size_that_is_asked_for(name: str) -> None:
    ours = sum(p.numel() for p in built("lit_transformer").trainer.network.parameters())
    own = sum(p.numel() for p in built(name).trainer.network.parameters() if p.requires_grad)
    assert own - ours == MORE[name]


def test_the_loss_of_hugging_face_is_ours() -> None:
    ours, theirs = built("lit_transformer"), built("Hugging Face Marian")
    pairs = draw(VOCABULARY, 300, 1, grouped=False).batches[0]
    values = []
    for stepper in (ours, theirs):
        in_evaluation(stepper)
        values.append(stepper.trainer.loss(stepper.trainer.prepare(pairs)).item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_plain_loop_sees_neither_padding_nor_what_comes_later() -> None:
    network = in_evaluation(built("torch.nn loop"))
    src, tgt_in, _ = (
        torch.from_numpy(side) for side in padded_pairs(draw(VOCABULARY, 300, 1, grouped=False).batches[0])
    )
    row = int((src != PAD).sum(1).argmin())
    length, places = int((src[row] != PAD).sum()), int((tgt_in[row] != PAD).sum())
    assert length < src.shape[1]
    alone = network(src[row : row + 1, :length], tgt_in[row : row + 1, : places - 1])
    torch.testing.assert_close(network(src, tgt_in)[row : row + 1, : places - 1], alone, rtol=1e-4, atol=1e-5)


def test_every_trainer_counts_a_sentence_as_the_others_do() -> None:
    pairs = [(np.array([5, 6]), np.array([7])), (np.array([8]), np.array([9, 10, 11]))]
    src, tgt_in, tgt_out = padded_pairs(pairs)
    assert src.tolist() == [[5, 6, EOS], [8, EOS, PAD]]
    assert tgt_in.tolist() == [[BOS, 7, PAD, PAD], [BOS, 9, 10, 11]]
    assert tgt_out.tolist() == [[7, EOS, PAD, PAD], [9, 10, 11, EOS]]


@pytest.mark.parametrize("grouped", [True, False])
def test_drawn_batches_are_the_same_every_time_and_as_large_as_asked(grouped: bool) -> None:
    one, again = (draw(1000, 1024, 3, grouped) for _ in range(2))
    for batch, other in zip(one.batches, again.batches, strict=True):
        assert all(map(np.array_equal, padded_pairs(batch), padded_pairs(other)))
    sizes = [side.size for batch in one.batches for side in padded_pairs(batch)]
    assert len(one.batches) == 3
    assert max(sizes) <= 1024 if grouped else max(sizes) > 1024
    assert one.tokens == [int((padded_pairs(batch)[2] != PAD).sum()) for batch in one.batches]


class Counting:
    """A system that returns how often it was called; one that is told to fails."""

    def __init__(self, fails: str = "") -> None:
        if fails == "at once":
            raise UserError("no such package")
        self.fails, self.calls = fails, 0

    def turn(self) -> float:
        if self.fails == "hard":
            os._exit(3)
        self.calls += 1
        return float(self.calls)

    def finish(self) -> dict[str, float]:
        return {"pid": float(os.getpid())}


def test_systems_run_in_processes_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    begin = {"one": Counting, "two": Counting, "none": partial(Counting, "at once")}
    with start_workers(begin) as running:
        assert list(running) == ["one", "two"]
        assert running.left_out == {"none": "no such package"}
        assert [running[name].turn() for name in ("one", "one", "two")] == [1.0, 2.0, 1.0]
        pids = {process.finish()["pid"] for process in running.values()}
    assert "none is left out: no such package" in capsys.readouterr().out
    assert len(pids - {float(os.getpid())}) == 2
    assert not any(process.process.is_alive() for process in running.values())


def test_a_process_that_dies_is_told_from_one_that_works() -> None:
    with start_workers({"dead": partial(Counting, "hard")}) as running, pytest.raises(UserError, match="status 3"):
        running["dead"].turn()


def test_every_mode_of_products_is_float32_on_a_cpu_or_says_so() -> None:
    before = torch.get_float32_matmul_precision()
    found = measure(torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == before
    assert list(found) == ["highest", "high", "medium"]
    assert found["highest"].equal_to_highest
    assert found["highest"].product_error < 1e-6
    assert found["highest"].gradient_error < 1e-5
    for mode in found.values():
        assert mode.product_error < 1e-2  # of 8 bits at least
        assert mode.equal_to_highest <= (mode.product_error == found["highest"].product_error)


@pytest.mark.slow  # every system in a process of its own
def test_the_benchmark_of_training_writes_what_it_prints(tmp_path: Path) -> None:
    out = tmp_path / "training.json"
    command = [sys.executable, "-m", "benchmarks.training", "--size", "tiny", "--tokens", "64", "--batches", "1"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--only", "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    written = json.loads(out.read_text())
    assert list(written["systems"]) == ["lit_transformer", "torch.nn loop", "torch.nn loop, our settings"]
    assert written["left_out"] == {}
    for name, system in written["systems"].items():
        assert name in done.stdout
        assert system["target_tokens_per_second"]["median"] > 0
        assert 0 < system["share_of_matrix_peak"] < 1
        assert system["million_parameters"] == pytest.approx(1.95, abs=0.01)
    assert set(SIZES) == {"tiny", "small", "base", "big"}
