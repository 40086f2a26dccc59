"""The whole product on a small study, in a copy of the project: what runs, what is stale, what survives a stop."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lit_transformer.errors import TemporaryFailure
from tests.killing import assert_same, left
from tests.tiny_study import study_yaml

ROOT = Path(__file__).parent.parent
STUDY = study_yaml("""
name: components
seeds: [0, 1]
base:
  optim: {steps: 40, warmup: 4, peak: 0.003}
  trainer: {validate_every: 20, checkpoint_every: 7}
variants:
  h1: {model: {attention: {heads: 1}}}
""")
CELLS = [(variant, seed) for variant in ("base", "h1") for seed in (0, 1)]


def call(project: Path, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project with this interpreter's environment first on the path."""
    own = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    own.update(environment, WANDB_MODE="offline")
    own.pop("PYTHONDONTWRITEBYTECODE", None)  # what Python writes beside the code must not make a stage stale
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=own)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def python(project: Path, command: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return call(project, "python", "-m", "experiments", command, *arguments, **options)


def stale(project: Path) -> set[str]:
    return set(json.loads(call(project, "dvc", "status", "--json", "dvc.yaml").stdout))


def results(project: Path, variant: str, seed: int) -> Path:
    return project / "experiments/studies/components/results" / variant / f"seed{seed}"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with a study of four small cells, run from nothing."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    heavy = ("results", "models", "report", "runs", "data", "wandb", "tmp", "*cache")
    skip = shutil.ignore_patterns(".git", ".venv", *heavy)
    shutil.copytree(ROOT, copy, ignore=skip)
    (copy / "experiments/studies/components/study.yaml").write_text(STUDY)
    (copy / "dvc.lock").unlink(missing_ok=True)
    call(copy, "dvc", "config", "--local", "core.no_scm", "true")
    first = python(copy, "launch", "--study", "components")
    assert "[4/4] done" in first.stdout
    return copy


def test_every_cell_has_its_results(project: Path):
    for variant, seed in CELLS:
        folder = results(project, variant, seed)
        training = json.loads((folder / "training.json").read_text())
        assert (training["variant"], training["seed"], training["status"]) == (variant, seed, "finished")
        assert training["steps"] == 40
        assert training["training_flops"] > 0
        rows = list(csv.DictReader((folder / "curve.csv").open()))
        assert [int(row["step"]) for row in rows] == [20, 40]
        probed = list(csv.DictReader((folder / "probe.csv").open()))
        assert {int(row["step"]) for row in probed} == {0, 20, 40}
        scores = json.loads((folder / "scores.json").read_text())
        assert set(scores["splits"]) == {"test", "test_long", "test_comp"}
        for split, sentences in (("test", 20), ("test_long", 6), ("test_comp", 6)):
            assert scores["splits"][split]["sentences"] == sentences
            assert "nrefs:1|case:mixed|eff:no|tok:13a" in scores["splits"][split]["bleu_signature"]
            assert len((folder / "translations" / f"{split}.txt").read_text().splitlines()) == sentences
        attention = json.loads((folder / "translations/attention.json").read_text())
        for layer in attention["cross"]:
            for head in layer:
                assert len(head) == len(attention["target"])
                assert all(sum(row) == pytest.approx(1.0, abs=0.02) for row in head)


def test_seeds_share_their_data_and_differ_in_their_weights(project: Path):
    tokens = {(v, s): json.loads((results(project, v, s) / "training.json").read_text()) for v, s in CELLS}
    assert tokens["base", 0]["target_tokens"] == tokens["h1", 0]["target_tokens"]
    assert tokens["base", 0]["valid_loss"] != tokens["base", 1]["valid_loss"]


def test_every_cell_left_an_offline_wandb_run(project: Path):
    for variant, seed in CELLS:
        runs = list((project / f"runs/components/{variant}/seed{seed}/wandb").glob("offline-run-*"))
        assert len(runs) == 2  # training, then scores
        assert len({run.name.rpartition("-")[2] for run in runs}) == 1
        (page,) = (path for run in runs for path in run.glob("files/media/html/attention_*.html"))
        assert f"components / {variant} / seed {seed}" in page.read_text()


def test_the_report_is_there(project: Path):
    report = project / "experiments/studies/components/report"
    page = (report / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page
    table = (report / "table.md").read_text()
    assert "h1" in table
    assert list(csv.DictReader((report / "table.csv").open()))


def test_a_second_launch_does_nothing_and_says_so(project: Path):
    before = (results(project, "base", 0) / "training.json").read_text()
    again = python(project, "launch", "--study", "components")
    assert "Nothing to do" in again.stdout
    assert (results(project, "base", 0) / "training.json").read_text() == before


@pytest.mark.slow
def test_two_studies_launched_at_once_share_the_repository(project: Path):
    """Both prepare their corpus, train, score and report; neither fails because of the other."""
    launches = []
    for name in ("first", "second"):
        path = project / f"experiments/studies/{name}/study.yaml"
        path.parent.mkdir()
        path.write_text(study_yaml(f"name: {name}"))
        command = [sys.executable, "-m", "experiments", "launch", "--study", name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        launches.append(subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True, env=environment))
    for launch in launches:
        printed = launch.communicate(timeout=600)[0]
        assert launch.returncode == 0, printed
        assert "[1/1] done" in printed
        assert "RETRY" not in printed


def test_a_changed_variant_makes_its_own_seeds_stale_and_nothing_else(project: Path):
    path = project / "experiments/studies/components/study.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace("heads: 1\n", "heads: 4\n"))
        assert stale(project) == {"train@h1-0", "train@h1-1", "evaluate@h1-0", "evaluate@h1-1", "report"}
        path.write_text(text.replace("extra_length: 3", "extra_length: 4"))
        assert stale(project) == {*(f"evaluate@{variant}-{seed}" for variant, seed in CELLS), "report"}
    finally:
        path.write_text(text)


def test_interrupted_training_goes_on_to_the_same_bits(project: Path):
    """SIGINT in the middle: one line, a checkpoint, and the same weights as the run that was never stopped."""
    arguments = ["train", "--study", "components", "--variant", "base", "--seed", "5", "--wandb", "disabled"]
    long = ["optim.steps=160", "trainer.validate_every=80"]
    python(project, *arguments, *long)
    (folder,) = (project / "runs/components").glob("base+*/seed5")
    whole = folder.with_name("whole")
    folder.rename(whole)
    command = [sys.executable, "-m", "experiments", *arguments, *long]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not (folder / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    error = child.communicate(timeout=120)[1]
    assert child.returncode == TemporaryFailure.status == 75
    assert error.startswith("error: stopped at step")
    assert error.count("\n") == 1
    assert not (folder / "training.json").exists()
    again = python(project, *arguments, *long)
    assert "resuming from" in again.stdout
    import torch

    first, second = (torch.load(run / "last.ckpt", weights_only=True) for run in (whole, folder))
    assert first["global_step"] == second["global_step"] == 160
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    for row, other in zip(*(csv.DictReader((run / "curve.csv").open()) for run in (whole, folder)), strict=True):
        assert {k: v for k, v in row.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert (whole / "probe.csv").read_text() == (folder / "probe.csv").read_text()


@pytest.mark.slow
def test_a_training_killed_under_dvc_goes_on_with_the_next_repro(project: Path):
    stage, folder = "train@h1-1", project / "runs/components/h1/seed1"
    whole, before = left(folder), (results(project, "h1", 1) / "curve.csv").read_text()
    shutil.rmtree(folder)
    shutil.rmtree(results(project, "h1", 1))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["WANDB_MODE"] = "offline"
    child = subprocess.Popen(["dvc", "repro", "-q", "-s", stage], cwd=project, env=environment)
    while not (folder / "last.ckpt").exists():
        time.sleep(0.005)
    os.kill(int((folder / ".lock").read_text()), signal.SIGKILL)
    assert child.wait() != 0
    assert not (folder / "training.json").exists()
    assert "resuming from" in call(project, "dvc", "repro", "-s", stage).stdout
    assert_same(left(folder), whole)
    rows, expected = (text.splitlines() for text in ((results(project, "h1", 1) / "curve.csv").read_text(), before))
    assert len(rows) == len(expected) == 3


def test_a_trained_cell_is_not_trained_twice_and_a_changed_one_is(project: Path):
    cell = ["--study", "components", "--variant", "base", "--seed", "0", "--wandb", "disabled"]
    assert "nothing to do" in python(project, "train", *cell).stdout
    code = project / "lit_transformer/layers.py"
    text = code.read_text()
    try:
        code.write_text(text + "\n# changed\n")
        assert {"train@base-0", "evaluate@base-0", "train@h1-1"} <= stale(project)
        assert "training from scratch" in python(project, "train", *cell).stdout
    finally:
        code.write_text(text)


@pytest.mark.slow  # some minutes of a C++ compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_training_is_the_plain_one_but_for_rounding(project: Path):
    """With validation, probe and checkpoints; scored from its weights as any other."""
    cell = ["--study", "components", "--variant", "base", "--seed", "7", "--wandb", "disabled"]
    for compiled in ("false", "true"):
        python(project, "train", *cell, f"trainer.compile={compiled}")
    python(project, "evaluate", *cell, "trainer.compile=true")
    folders = (project / "runs/components").glob("base+*/seed7")
    curves = [list(csv.DictReader((folder / "curve.csv").read_text().splitlines())) for folder in folders]
    assert len(curves) == 2
    for one, other in zip(*curves, strict=True):
        assert float(one["valid_loss"]) == pytest.approx(float(other["valid_loss"]), rel=1e-3)


def test_a_diverged_run_is_a_result_with_its_step(project: Path):
    cell = ["--study", "components", "--variant", "base", "--seed", "0", "--wandb", "disabled"]
    changes = ["optim.peak=1e30", "optim.steps=60"]
    trained = python(project, "train", *cell, *changes)
    assert "diverged at step" in trained.stdout
    (path,) = (project / "runs/components").glob("base+*/seed0/results/training.json")
    record = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["status"] == "diverged"
    assert 0 < record["diverged_at"] < 60
    assert "there is no model to score" in python(project, "evaluate", *cell, *changes).stdout


def test_another_decoding_of_the_same_weights(project: Path):
    """Only decode.* differs: no new training, and the study's own scores stay as they are."""
    before = (results(project, "h1", 0) / "scores.json").read_text()
    cell = ["--study", "components", "--variant", "h1", "--seed", "0", "--wandb", "disabled"]
    python(project, "evaluate", *cell, "decode.beam=2", "decode.alpha=1.0")
    assert (results(project, "h1", 0) / "scores.json").read_text() == before
    (path,) = (project / "runs/components/h1/seed0").glob("results+*/scores.json")
    assert json.loads(path.read_text())["decode"] == {"beam": 2, "alpha": 1.0, "extra_length": 3}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--study", "component", "--variant", "base", "--seed", "0"], "did you mean 'components'?"),
        (["train", "--study", "components", "--variant", "bse", "--seed", "0"], "did you mean 'base'?"),
        (["train", "--study", "components", "--variant", "base", "--seed", "0", "model.d_modl=3"], "model.d_model"),
        (["evaluate", "--study", "components", "--variant", "base", "--seed", "9"], "train the cell first"),
        (["prepare", "--corpus", "no_such"], "no_such"),
        (["launch", "--study", "nothing"], "no study 'nothing'"),
    ],
)
def test_a_mistake_is_one_line_and_a_failing_status(project: Path, arguments: list[str], expected: str):
    done = python(project, *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


@pytest.mark.parametrize(
    "command", ["prepare", "plan", "train", "evaluate", "report", "launch", "array", "translate", "attention"]
)
def test_every_entry_point_has_help(command: str):
    done = python(ROOT, command, "--help")
    assert "usage:" in done.stdout


def test_two_writers_of_one_run_are_refused(project: Path):
    from experiments.common.io import only_writer

    with (
        only_writer(project / "runs/locked"),
        pytest.raises(TemporaryFailure, match=f"process {os.getpid()}"),
        only_writer(project / "runs/locked"),
    ):
        pytest.fail("two writers")
