"""`train --seeds`: cells that train together leave what each leaves by itself, stopped and resumed or not."""

import csv
import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from experiments.commands import evaluate as evaluate_command
from experiments.commands import train as train_command
from experiments.common.cli import seed_range
from experiments.config.cell import Cell, fused_folder
from experiments.config.study import load_study
from experiments.launching import together
from experiments.training.fused import Members, train_fused
from experiments.training.run import Options, train
from lit_transformer.errors import UserError
from tests.killing import Moment, assert_same, drop_times, record_without_times, trained, write_project
from tests.small_models import assert_close

OPTIONS = Options(wandb="disabled", quiet=True)
FLOAT32 = ("trainer.precision=float32",)
SEEDS = (3, 4)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    write_project(root)
    return root


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(prepared, root)
    monkeypatch.chdir(root)
    return root


def cells(variant: str, *overrides: str) -> list[Cell]:
    return [Cell(load_study("killed"), variant, seed, overrides) for seed in SEEDS]


def rows(path: Path) -> list[list[float | str]]:
    """Return a table's rows, numbers as such, without the time of each."""
    table = list(csv.DictReader(path.open()))
    return [[_number(value) for name, value in row.items() if name != "seconds"] for row in table]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def assert_alike(one: list[list[float | str]], other: list[list[float | str]]) -> None:
    assert len(one) == len(other) > 0
    for mine, yours in zip(one, other, strict=True):
        assert [value for value in mine if isinstance(value, str)] == [v for v in yours if isinstance(v, str)]
        numbers = ([v for v in row if not isinstance(v, str)] for row in (mine, yours))
        assert next(numbers) == pytest.approx(next(numbers), rel=1e-4, abs=1e-6, nan_ok=True)


def move_results(cell: Cell, place: Path) -> dict[str, Any]:
    """Move a cell's results aside and return them."""
    found = {
        "record": record_without_times(cell.record_path),
        "curve": rows(cell.curve_path),
        "probe": rows(cell.probe_path),
        "weights": {path.parent.name: load_file(path) for path in sorted(cell.model_folder.rglob("*.safetensors"))},
    }
    cell.run_folder.rename(place)
    return found


@pytest.mark.parametrize(
    ("variant", "overrides"),
    [("everything", FLOAT32), pytest.param("moving", (), marks=pytest.mark.slow)],
    ids=["last checkpoints", "moving average"],
)
def test_each_seed_leaves_what_it_leaves_by_itself(project: Path, variant: str, overrides: tuple[str, ...]) -> None:
    """Clipped, accumulated batches, averaged weights: models, curves, probes and records."""
    both = cells(variant, *overrides)
    expected = []
    for cell in both:
        train(cell, OPTIONS)
        expected.append(move_results(cell, project / f"alone{cell.seed}"))
    train_fused(both, OPTIONS)
    for cell, alone in zip(both, expected, strict=True):
        together = move_results(cell, project / f"together{cell.seed}")
        assert together["record"].pop("fused") == len(SEEDS)
        for key in ("valid_loss", "valid_ppl"):
            assert together["record"].pop(key) == pytest.approx(alone["record"].pop(key), rel=1e-5)
        assert together["record"] == alone["record"]
        assert_alike(together["curve"], alone["curve"])
        assert_alike(together["probe"], alone["probe"])
        assert together["weights"].keys() == alone["weights"].keys()
        assert len(alone["weights"]) == 2  # the last and the averaged ones
        for name, weights in alone["weights"].items():
            for key, value in weights.items():
                assert_close(together["weights"][name][key], value)
    assert expected[0]["curve"] != expected[1]["curve"]  # two trainings, or the comparison would say nothing


def test_an_interrupted_training_goes_on_to_the_same_bits(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after step 8, with checkpoints every 5 steps: steps 6 to 8 are taken twice."""
    both = cells("moving")
    train_fused(both, OPTIONS)
    expected = [move_results(cell, project / f"whole{cell.seed}") for cell in both]
    shutil.rmtree(fused_folder(both))
    whole = Members.on_train_batch_end

    def interrupted(members: Members, trainer: pl.Trainer, *arguments: Any) -> None:
        whole(members, trainer, *arguments)
        if trainer.global_step == 8:
            raise RuntimeError("interrupted")

    monkeypatch.setattr(Members, "on_train_batch_end", interrupted)
    with pytest.raises(RuntimeError, match="interrupted"):
        train_fused(both, OPTIONS)
    monkeypatch.setattr(Members, "on_train_batch_end", whole)
    assert not (both[0].run_folder / "training.json").exists()
    train_fused(both, OPTIONS)
    for cell, uninterrupted in zip(both, expected, strict=True):
        assert_same(move_results(cell, project / f"resumed{cell.seed}"), uninterrupted)


def test_what_is_trained_is_not_trained_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = cells("base")
    train(both[0], OPTIONS)
    before = both[0].record_path.read_bytes()
    train_fused(both, OPTIONS)
    assert both[0].record_path.read_bytes() == before
    assert record_without_times(both[1].record_path)["fused"] == 1
    capsys.readouterr()
    train_fused(both, OPTIONS)
    assert capsys.readouterr().out.count("nothing to do") == 2
    train(both[1], OPTIONS)
    assert capsys.readouterr().out.count("nothing to do") == 1


def test_seeds_scored_where_they_trained_are_not_scored_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their evaluations take these results once, where they are whole, and find the same by themselves."""
    cell = ["--study", "killed", "--variant", "base", "--wandb", "disabled"]
    together.main([*cell, "--seeds", "3,4"])
    first, damaged = cells("base")
    scores = [first.scores_path.read_text()]
    (damaged.translations_folder / "test.txt").write_text("")
    printed = []
    for seed in (3, 3, 4):
        capsys.readouterr()
        evaluate_command.main([*cell, "--seed", str(seed)])
        printed.append("BLEU" in capsys.readouterr().out)
        scores.append(first.scores_path.read_text())
    assert printed == [False, True, True], "taken once; then found anew; a damaged result is never taken"
    assert scores[0] == scores[1]
    assert len({re.sub(r'"seconds": .*', "", text) for text in scores}) == 1
    assert (damaged.translations_folder / "test.txt").read_text()


def test_members_may_have_their_own_rate_and_diverge_alone(project: Path) -> None:
    healthy, wild = cells("base")[0], Cell(load_study("killed"), "base", 4, ("optim.peak=1e30",))
    train(wild, OPTIONS)
    expected = move_results(wild, project / "alone")
    train_fused([healthy, wild], OPTIONS)
    together = move_results(wild, project / "together")
    assert together["record"].pop("fused") == 2
    assert together["record"] == expected["record"]
    assert expected["record"]["status"] == "diverged"
    assert_alike(together["curve"], expected["curve"])
    assert json.loads((project / "together/model/diverged.json").read_text()) == {
        "diverged_at": expected["record"]["diverged_at"]
    }
    assert record_without_times(healthy.record_path)["status"] == "finished"


@pytest.mark.slow
def test_a_killed_training_of_several_seeds_leaves_no_trace(prepared: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for root in (whole, killed):
        shutil.copytree(prepared, root)
    dice = random.Random(3)
    moments: list[Moment] = [
        ("save_with_checksum", 2, dice.randint(1, 3000)),
        ("validation_step", 1, dice.randint(1, 3000)),
    ]
    arguments = ("--wandb", "disabled")
    assert trained(whole, "everything", *arguments, seeds=("--seeds", "3-4")) == [0]
    assert trained(killed, "everything", *arguments, moments=moments, seeds=("--seeds", "3,4")) == [-9, -9, 0]
    assert_same(left(whole), left(killed))


def left(root: Path) -> dict[str, Any]:
    """Return all that a fused training has left, but for times."""
    checkpoint = torch.load(root / "runs/killed/everything/fused3-4/last.ckpt", weights_only=True)
    for member in checkpoint["callbacks"]["Members"]["members"]:
        drop_times(member["callbacks"])
    found: dict[str, Any] = {"checkpoint": checkpoint}
    for seed in SEEDS:
        folder = root / f"runs/killed/everything/seed{seed}"
        found |= {
            f"record{seed}": record_without_times(folder / "training.json"),
            f"curve{seed}": rows(folder / "curve.csv"),
            f"probe{seed}": (folder / "probe.csv").read_text(),
            f"model{seed}": {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("model/**/*.*"))},
            f"files{seed}": {path.name for path in folder.iterdir()},
        }
    return found


REFUSALS = {
    "trainer.compile is true": ("trainer.compile=true",),
    "trainer.devices x trainer.num_nodes is 2 x 1": ("trainer.devices=2",),
    "optim.averaging.minutes is 1": ("optim.averaging.kind=last", "optim.averaging.minutes=1"),
    "model.norm.kind is batch": ("model.norm.kind=batch",),
}


@pytest.mark.parametrize(("message", "overrides"), REFUSALS.items(), ids=REFUSALS.keys())
def test_what_cannot_train_together_is_refused_before_anything_is_written(
    project: Path, message: str, overrides: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match=message):
        train_fused(cells("base", *overrides), OPTIONS)
    assert not (project / "runs").exists()


def test_seeds_are_numbers_and_ranges(project: Path) -> None:
    assert seed_range("0-3") == [0, 1, 2, 3]
    assert seed_range("7,0-2,1") == [7, 0, 1, 2]
    for text in ("", "a", "3-1", "1-", "0..3"):
        with pytest.raises(Exception, match="seed"):
            seed_range(text)
    one, other = cells("base")
    assert fused_folder([one, other]).name == "fused3-4"
    assert fused_folder([replace(one, seed=seed) for seed in (9, 0, 1, 2)]).name == "fused0-2_9"


@pytest.mark.parametrize("seeds", [[], ["--seed", "3", "--seeds", "3-4"]], ids=["neither", "both"])
def test_a_command_has_a_seed_or_seeds(project: Path, seeds: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_command.main(["--study", "killed", "--variant", "base", *seeds])
    assert "either --seed or --seeds" in capsys.readouterr().err
