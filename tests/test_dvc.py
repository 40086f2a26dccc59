"""DVC holds the truth: what a colleague has after clone and `dvc pull`, and what a changed setting runs again."""

import json
import shutil
from pathlib import Path

import pytest

from tests.test_pipeline import ROOT, call, python, stale
from tests.tiny_study import study_yaml

RESULTS = "experiments/studies/components/results"
CELL = ("--study", "components", "--variant", "base", "--seed", "0")


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with one trained and scored cell, pushed to a remote."""
    folder = tmp_path_factory.mktemp("dvc")
    project = folder / "author"
    heavy = ("results", "models", "report", "runs", "data", "wandb", "tmp", "*cache")
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", *heavy))
    (project / "experiments/studies/components/study.yaml").write_text(study_yaml("name: components"))
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "study")
    call(project, "dvc", "remote", "add", "--local", "-d", "store", str(folder / "store"))
    python(project, "launch", "--study", "components")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "results")
    call(project, "dvc", "push", "-q")
    return project


def git(project: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    return call(project, "git", *identity, *arguments).stdout


def test_only_the_lock_is_new_in_git(author: Path) -> None:
    assert git(author, "show", "--stat=200", "--format=").split()[0] == "dvc.lock"
    assert git(author, "show", "--shortstat", "--format=").strip().startswith("1 file changed")
    assert git(author, "status", "--porcelain") == ""


def test_a_colleague_pulls_translates_and_scores_anew_without_training(author: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(author), str(clone))
    call(clone, "dvc", "remote", "add", "--local", "-d", "store", str(author.parent / "store"))
    call(clone, "dvc", "pull")
    assert stale(clone) == set()
    for name in ("training.json", "scores.json", "translations/test.txt"):
        assert (clone / RESULTS / "base/seed0" / name).read_bytes() == (
            author / RESULTS / "base/seed0" / name
        ).read_bytes()
    (clone / "lines.txt").write_text("the dog sleeps\n")
    translated = call(clone, "sh", "-c", f"python -m experiments translate {' '.join(CELL)} < lines.txt")
    assert translated.stdout.count("\n") == 1

    study = clone / "experiments/studies/components/study.yaml"
    study.write_text(study.read_text().replace("extra_length: 3\n", "extra_length: 3\n    beam: 2\n"))
    assert stale(clone) == {"evaluate@base-0", "report"}
    ran = call(clone, "dvc", "repro").stdout
    assert "Running stage 'evaluate@base-0'" in ran
    assert "Running stage 'train" not in ran
    assert not (clone / "runs/components/base/seed0/last.ckpt").exists()
    assert json.loads((clone / RESULTS / "base/seed0/scores.json").read_text())["decode"]["beam"] == 2
    assert stale(clone) == set()


def test_metrics_and_plots_are_declared(author: Path) -> None:
    metrics = json.loads(call(author, "dvc", "metrics", "show", "--json").stdout)
    (own,) = metrics.values()
    assert set(own["data"][f"{RESULTS}/base/seed0/metrics.json"]["data"]) == {"bleu", "chrf", "ppl", "exact_match"}
    verdicts = own["data"]["experiments/studies/components/verdicts.json"]["data"]
    assert verdicts == {"better": 0, "worse": 0, "equal": 0, "open": 0}, "one seed"
    assert len(own["data"]) == 2
    page = call(author, "dvc", "plots", "show", "--out", "plots", "--json").stdout
    assert f"{RESULTS}/base/seed0/curve.csv" in page
    shutil.rmtree(author / "plots", ignore_errors=True)


@pytest.mark.slow
def test_an_experiment_in_a_temporary_folder_scores_without_training(author: Path) -> None:
    change = "experiments/studies/components/study.yaml:base.decode.extra_length=4"
    ran = call(author, "dvc", "exp", "run", "--temp", "-S", change).stdout
    assert "Running stage 'evaluate@base-0'" in ran
    assert "Running stage 'train" not in ran
    (own,) = (
        found
        for found in json.loads(call(author, "dvc", "exp", "show", "--json").stdout)
        if found["rev"] == "workspace"
    )
    assert own["data"]
