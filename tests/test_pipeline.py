"""The whole product on a small study, in a copy of the project: what runs, what is stale, what survives a stop.

And DVC holds the truth: what a colleague has after clone and `dvc pull`, and what a changed setting runs again.
"""

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
import torch
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from experiments.commands import evaluate, train
from experiments.common.io import only_writer
from lit_transformer.errors import TemporaryFailure
from lit_transformer.export.folder import checksum
from tests.killing import assert_same, left
from tests.small_project import (
    CELL,
    CHANGES,
    RESULTS,
    ROOT,
    call,
    git,
    launched_project,
    pulled_clone,
    python,
    results,
    stale,
)
from tests.tiny_study import study_yaml

METRICS = {"bleu", "chrf", "ppl", "exact_match"}
"""What metrics.json has of every cell."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launched_project(tmp_path_factory.mktemp("dvc"))


def test_every_cell_has_its_results(project: Path):
    for variant in ("base", "h1"):
        folder = results(project, variant)
        training = json.loads((folder / "training.json").read_text())
        assert (training["variant"], training["seed"], training["status"]) == (variant, 0, "finished")
        assert training["steps"] == 160
        assert training["training_flops"] > 0
        rows = list(csv.DictReader((folder / "curve.csv").open()))
        assert [int(row["step"]) for row in rows] == [80, 160]
        probed = list(csv.DictReader((folder / "probe.csv").open()))
        assert {int(row["step"]) for row in probed} == {0, 80, 160}
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


def test_variants_of_a_seed_share_their_data(project: Path):
    base, h1 = (json.loads((results(project, name) / "training.json").read_text()) for name in ("base", "h1"))
    assert base["target_tokens"] == h1["target_tokens"]
    assert base["valid_loss"] != h1["valid_loss"]


def test_every_cell_left_an_offline_wandb_run(project: Path):
    for variant in ("base", "h1"):
        runs = list((project / f"runs/components/{variant}/seed0/wandb").glob("offline-run-*"))
        assert len(runs) == 2  # training, then scores
        assert len({run.name.rpartition("-")[2] for run in runs}) == 1
        (page,) = (path for run in runs for path in run.glob("files/media/html/attention_*.html"))
        assert f"components / {variant} / seed 0" in page.read_text()


def test_an_agent_of_the_sweep_trains_and_scores_a_cell_in_its_run(project: Path) -> None:
    """The command is put together by W&B's own code, as its agent does; no account can start one here."""
    sweep = yaml.safe_load((ROOT / "examples/sweep.yaml").read_text())
    variants = sweep["parameters"]["variant"]["values"]
    assert variants == list(
        yaml.safe_load((ROOT / "experiments/studies/components/study.yaml").read_text())["variants"]
    )
    chosen = {"args": {"seed": {"value": 5}, "variant": {"value": variants[0]}}}
    values = {**create_sweep_command_args(chosen), "env": ["/usr/bin/env"]}
    command = [
        part
        for word in create_sweep_command(sweep["command"])
        for part in (values[word[2:-1]] if word.startswith("${") else [word])
    ]
    call(project, *command, WANDB_SWEEP_ID="sweep1", WANDB_RUN_ID="agentrun")
    folder = project / "runs/components/base/seed5/wandb"
    assert len(list(folder.glob("offline-run-*-agentrun/*.wandb"))) == 2, "training, then scores"
    assert set(json.loads((results(project, "base", 5) / "metrics.json").read_text())) == METRICS
    shutil.rmtree(results(project, "base", 5))


def test_no_key_is_in_any_file(project: Path) -> None:
    files = [path for path in project.rglob("*") if path.is_file() and "tests" not in path.parts]
    files.remove(project / ".git/config")
    assert {"training.json", "index.html", "verdicts.json", "log.txt", "config.yaml"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if b"5ec7e7" in path.read_bytes()] == []


def test_the_report_is_there(project: Path):
    report = project / "experiments/studies/components/report"
    page = (report / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page
    table = (report / "table.md").read_text()
    assert "h1" in table
    assert list(csv.DictReader((report / "table.csv").open()))


def test_only_the_lock_is_new_in_git(project: Path) -> None:
    assert git(project, "show", "--stat=200", "--format=").split()[0] == "dvc.lock"
    assert git(project, "show", "--shortstat", "--format=").strip().startswith("1 file changed")
    assert git(project, "status", "--porcelain") == ""


def test_a_colleague_pulls_translates_and_scores_anew_without_training(project: Path, tmp_path: Path) -> None:
    clone = pulled_clone(project, tmp_path / "clone")
    assert stale(clone) == set()
    for name in ("training.json", "scores.json", "translations/test.txt"):
        assert (clone / RESULTS / "base/seed0" / name).read_bytes() == (
            project / RESULTS / "base/seed0" / name
        ).read_bytes()
    (clone / "lines.txt").write_text("the dog sleeps\n")
    translated = call(clone, "sh", "-c", f"python -m experiments translate {' '.join(CELL)} < lines.txt")
    assert translated.stdout.count("\n") == 1

    study = clone / "experiments/studies/components/study.yaml"
    study.write_text(study.read_text().replace("extra_length: 3\n", "extra_length: 3\n    beam: 2\n"))
    assert stale(clone) == {"evaluate@base-0", "evaluate@h1-0", "report"}
    ran = call(clone, "dvc", "repro").stdout
    assert "Running stage 'evaluate@base-0'" in ran
    assert "Running stage 'train" not in ran
    assert not (clone / "runs/components/base/seed0/last.ckpt").exists()
    assert json.loads((clone / RESULTS / "base/seed0/scores.json").read_text())["decode"]["beam"] == 2
    assert stale(clone) == set()


def test_a_text_that_changes_is_prepared_again(project: Path, tmp_path: Path) -> None:
    """One's own corpus, in a folder outside of the project; plain DVC sees a new pair, and a reference that changed."""
    clone, text = tmp_path / "clone", tmp_path / "corpora/mine"
    git(tmp_path, "clone", "-q", str(project), str(clone))
    text.mkdir(parents=True)
    for split, pairs in (("train", 40), ("valid", 4), ("test", 4)):
        for language, word in (("en", "one more dog"), ("de", "ein Hund mehr")):
            (text / f"{split}.{language}").write_text("".join(f"{word} {n}\n" for n in range(pairs)))
    study = clone / "experiments/studies/mine/study.yaml"
    study.parent.mkdir()
    study.write_text(study_yaml("{name: mine, corpus: mine, base: {data: {source: en, target: de, vocab_size: 280}}}"))
    stages = "experiments/studies/mine/dvc.yaml"
    python(clone, "stages", "--study", "mine", LIT_CORPORA=str(text.parent))

    def prepare() -> str:
        call(clone, "dvc", "repro", f"{stages}:prepare", LIT_CORPORA=str(text.parent))
        assert "prepare" not in call(clone, "dvc", "status", f"{stages}:prepare").stdout
        return json.loads((clone / "data/mine/corpus.json").read_text())["hash"]

    def sees_the_text() -> bool:
        return str(text) in call(clone, "dvc", "status", f"{stages}:prepare").stdout

    hashes = [prepare()]
    for language in ("en", "de"):
        with (text / f"train.{language}").open("a") as file:
            file.write("one more\n")
    assert sees_the_text()
    hashes.append(prepare())
    reference = text / "test.de"
    reference.write_text(reference.read_text().replace("mehr 1", "weniger"))
    assert sees_the_text()
    hashes.append(prepare())
    assert len(set(hashes)) == 3


def test_metrics_and_plots_are_declared(project: Path) -> None:
    """Few metrics: the means of each variant, and the verdicts; those of a cell are shown on demand."""

    def shown(*files: str) -> dict[str, dict[str, dict[str, float]]]:
        (found,) = json.loads(call(project, "dvc", "metrics", "show", "--json", *files).stdout).values()
        return {path: own["data"] for path, own in found["data"].items()}

    declared = shown()
    assert set(declared) == {f"experiments/studies/components/{name}.json" for name in ("metrics", "verdicts")}
    verdicts = declared["experiments/studies/components/verdicts.json"]
    assert verdicts == {"better": 0, "worse": 0, "equal": 0, "open": 0}, "one seed"
    means = declared["experiments/studies/components/metrics.json"]
    cells = shown(*(f"{RESULTS}/{variant}/seed0/metrics.json" for variant in ("base", "h1")))
    for path, scores in cells.items():
        assert set(scores) == METRICS
        assert means[Path(path).parts[-3]] == {name: scores[name] for name in ("bleu", "ppl")}
    page = call(project, "dvc", "plots", "show", "--out", "plots", "--json").stdout
    assert f"{RESULTS}/base/seed0/curve.csv" in page
    call(project, "dvc", "plots", "show", f"{RESULTS}/base/seed0/curve.csv", "--out", "plots")
    drawn = (project / "plots/index.html").read_text()
    assert drawn.count('"valid_ppl": "') == 2, "the points of two validations"
    shutil.rmtree(project / "plots", ignore_errors=True)


def test_the_graph_of_stages_is_readable(project: Path) -> None:
    drawn = call(project, "dvc", "dag", "--collapse-foreach-matrix", "dvc.yaml").stdout
    assert max(map(len, drawn.splitlines())) < 80
    assert [drawn.count(f" {stage} ") for stage in ("prepare", "train", "evaluate", "report")] == [1, 1, 1, 1]


def test_a_second_launch_does_nothing_and_says_so(project: Path):
    before = (results(project, "base") / "training.json").read_text()
    again = python(project, "launch", "--study", "components")
    assert "Nothing to do" in again.stdout
    assert (results(project, "base") / "training.json").read_text() == before


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


def test_a_changed_variant_makes_its_own_cells_stale_and_nothing_else(project: Path):
    path = project / "experiments/studies/components/study.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace("heads: 1\n", "heads: 4\n"))
        assert stale(project) == {"train@h1-0", "evaluate@h1-0", "report"}
        path.write_text(text.replace("extra_length: 3", "extra_length: 4"))
        assert stale(project) == {"evaluate@base-0", "evaluate@h1-0", "report"}
    finally:
        path.write_text(text)


def test_interrupted_training_goes_on_to_the_same_bits(project: Path):
    """SIGINT in the middle: one line, a checkpoint, and the same weights as the run that was never stopped."""
    arguments = ["train", *CELL, "--wandb", "disabled", "trainer.checkpoint_every=6"]
    command = [sys.executable, "-m", "experiments", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = project / "runs/components/base/seed0"
    child = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True, env=environment)
    folder, deadline = None, time.monotonic() + 120
    while folder is None and time.monotonic() < deadline:
        folder = next((path.parent for path in project.glob("runs/components/base+*/seed0/last.ckpt")), None)
        time.sleep(0.02)
    assert folder is not None
    child.send_signal(signal.SIGINT)
    error = child.communicate(timeout=120)[1]
    assert child.returncode == TemporaryFailure.status == 75
    assert error.startswith("error: stopped at step")
    assert error.count("\n") == 1
    assert not (folder / "training.json").exists()
    again = python(project, *arguments)
    assert "resuming from" in again.stdout
    first, second = (torch.load(run / "last.ckpt", weights_only=True) for run in (whole, folder))
    assert first["global_step"] == second["global_step"] == 160
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    for row, other in zip(*(csv.DictReader((run / "curve.csv").open()) for run in (whole, folder)), strict=True):
        assert {k: v for k, v in row.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert (whole / "probe.csv").read_text() == (folder / "probe.csv").read_text()


@pytest.mark.slow
def test_a_training_killed_under_dvc_goes_on_with_the_next_repro(project: Path):
    stage, folder = "train@h1-0", project / "runs/components/h1/seed0"
    whole, before = left(folder), (results(project, "h1") / "curve.csv").read_text()
    shutil.rmtree(folder)
    shutil.rmtree(results(project, "h1"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["WANDB_MODE"] = "offline"
    child = subprocess.Popen(["dvc", "repro", "-q", "-s", stage], cwd=project, env=environment)
    while not (folder / "last.ckpt").exists():
        time.sleep(0.005)
    os.kill(int((folder / ".lock").read_text()), signal.SIGKILL)
    assert child.wait() != 0
    assert not (folder / "training.json").exists()
    assert "resuming from" in call(project, "dvc", "repro", "-s", stage).stdout
    again = left(folder)
    new, old = (str(found["record"].pop("git_commit")).encode() for found in (again, whole))
    assert new != old, "the results of the first run were committed in between"
    model = {name: content.replace(old, new) for name, content in whole["model"].items()}
    config = json.loads(model["model/config.json"])
    config["sha256"] = checksum(config, model["model/model.safetensors"])  # it is of the commit too
    model["model/config.json"] = (json.dumps(config, indent=1) + "\n").encode()
    assert_same(again, {**whole, "model": model})
    rows, expected = (text.splitlines() for text in ((results(project, "h1") / "curve.csv").read_text(), before))
    assert len(rows) == len(expected) == 3


def test_a_finished_training_whose_files_were_damaged_is_finished_again(project: Path):
    """Nothing damaged is copied over results that are whole: the checkpoint of the last step has what was lost."""
    run, kept = project / "runs/components/base/seed0", results(project, "base")
    model = project / "experiments/studies/components/models/base/seed0/model.safetensors"
    whole = {path: path.read_bytes() for path in (kept / "curve.csv", kept / "probe.csv", model)}
    (run / "curve.csv").write_text("step,epoch\n")
    (run / "probe.csv").unlink()
    (run / "training.json").write_text("[1]")
    (run / "model/model.safetensors").write_bytes(model.read_bytes()[:1000])
    assert "step 160 of 160" in python(project, "train", *CELL, "--wandb", "disabled").stdout
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_trained_cell_is_not_trained_twice_and_a_changed_one_is(project: Path):
    cell = [*CELL, "--wandb", "disabled"]
    found = "from experiments.commands import train; train.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    assert "nothing to do" in call(project, sys.executable, "-c", f"import sys; {found}", *cell).stdout
    code = project / "lit_transformer/layers.py"
    text = code.read_text()
    try:
        code.write_text(text + "\n# changed\n")
        assert {"train@base-0", "evaluate@base-0", "train@h1-0"} <= stale(project)
        assert "training from scratch" in python(project, "train", *cell).stdout
    finally:
        code.write_text(text)


@pytest.mark.slow
def test_seeds_that_trained_together_are_trained_for_dvc(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, symlinks=True)
    (copy / "experiments/studies/components/study.yaml").write_text(study_yaml(f"{CHANGES}seeds: [0, 1, 2]"))
    python(copy, "train", "--study", "components", "--variant", "base", "--seeds", "0-2")
    together = ("train@base-1", "train@base-2")
    assert set(together) <= stale(copy)
    assert "nothing to do" in call(copy, "dvc", "repro", "-s", together[0]).stdout
    call(copy, "dvc", "commit", "-f", together[1])
    assert not set(together) & stale(copy)
    assert json.loads((results(copy, "base") / "training.json").read_text()).get("fused") is None  # was there before
    assert json.loads((results(copy, "base", 1) / "training.json").read_text())["fused"] == 2
    launched = python(copy, "launch", "--study", "components", "--fuse", "3").stdout
    assert "1 fused trainings, of 2 cells, to run" in launched
    assert stale(copy) == set()
    for seed in (1, 2):
        assert json.loads((results(copy, "h1", seed) / "training.json").read_text())["fused"] == 2
        assert (results(copy, "h1", seed) / "scores.json").is_file()
    assert (copy / "runs/components/h1/fused1-2/log.txt").read_text().count(
        "scored by the process that trained it"
    ) == 2


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


def test_several_cells_run_in_turn_and_one_that_fails_stops_no_other(project: Path) -> None:
    both = python(project, "train", "--study", "components", "--variant", "base,h1", "--seed", "0")
    assert both.stdout.count("nothing to do") == 2
    several = ("--study", "components", "--variant", "base", "--seed", "9,0", "--wandb", "disabled")
    done = python(project, "evaluate", *several, "decode.extra_length=5", check=False)
    assert done.returncode == 2
    assert "FAILED components / base / seed 9: " in done.stdout
    assert "train the cell first" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 2 cells failed (see above)")
    scores = [
        json.loads(path.read_text()) for path in (project / "runs/components/base/seed0").glob("results+*/*.json")
    ]
    assert 5 in [own["decode"]["extra_length"] for own in scores if "decode" in own]


def test_paths_are_relative_to_a_folder_below_or_outside_of_the_project(project: Path, tmp_path: Path) -> None:
    for split, pairs in (("train", 40), ("valid", 4), ("test", 4)):
        for language, word in (("en", "one more dog"), ("de", "ein Hund mehr")):
            path = tmp_path / "corpora/mine" / f"{split}.{language}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{word} {n}\n" for n in range(pairs)))
    for name, folder in (("../corpora/mine", "corpora-mine"), ("mine", "mine")):
        stood = tmp_path / "here"
        stood.mkdir(exist_ok=True)
        python(
            stood, "prepare", "--corpus", name, "data.vocab_size=280", PYTHONPATH=str(project), LIT_CORPORA="../corpora"
        )
        assert (project / "data" / folder / "corpus.json").is_file()
        assert list(stood.iterdir()) == []
    below = project / "docs"
    python(below, "export", *CELL, "--to", "safetensors", "--out", "../exported", PYTHONPATH=str(project))
    assert (project / "exported/model.safetensors").is_file()
    shutil.rmtree(project / "exported")


@pytest.mark.usefixtures("standing")
def test_a_diverged_run_is_a_result_with_its_step(project: Path, capsys: pytest.CaptureFixture[str]):
    cell = [*CELL, "--wandb", "disabled", "optim.peak=1e30"]
    train.main(cell)
    assert "diverged at step" in capsys.readouterr().out
    texts = [path.read_text() for path in project.glob("runs/components/base+*/seed0/results/training.json")]
    (text,) = (text for text in texts if '"status": "diverged"' in text)
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["status"] == "diverged"
    assert 0 < record["diverged_at"] < 160
    evaluate.main(cell)
    assert "there is no model to score" in capsys.readouterr().out


@pytest.mark.usefixtures("standing")
def test_another_decoding_of_the_same_weights(project: Path):
    """Only decode.* differs: no new training, and the study's own scores stay as they are."""
    before = (results(project, "h1") / "scores.json").read_text()
    cell = ["--study", "components", "--variant", "h1", "--seed", "0", "--wandb", "disabled"]
    evaluate.main([*cell, "decode.beam=2", "decode.alpha=1.0"])
    assert (results(project, "h1") / "scores.json").read_text() == before
    (path,) = (project / "runs/components/h1/seed0").glob("results+*/scores.json")
    assert json.loads(path.read_text())["decode"] == {
        "beam": 2, "alpha": 1.0, "extra_length": 3, "stop": "beam_finished", "bleu_tokenizer": "auto",
    }  # fmt: skip


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
    with (
        only_writer(project / "runs/locked"),
        pytest.raises(TemporaryFailure, match=f"process {os.getpid()}"),
        only_writer(project / "runs/locked"),
    ):
        pytest.fail("two writers")
