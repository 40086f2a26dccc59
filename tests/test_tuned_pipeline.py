"""A small study with `tune` through launch and DVC: what runs, and what is stale after a change."""

import json
import shutil
from pathlib import Path

import pytest

from tests.small_project import ROOT, call, git, python
from tests.tiny_study import study_yaml

pytestmark = pytest.mark.slow
STUDY = """
variants: {h1: {model: {attention: {heads: 1}}}}
tune: {values: [0.001, 0.01, 0.02], rungs: [0.25, 0.5]}
"""
FOLDER = "experiments/studies/tiny"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the study, launched from nothing."""
    copy = tmp_path_factory.mktemp("tuned") / "project"
    heavy = ("results", "models", "report", "runs", "data", "wandb", "tmp", "*cache", "studies", "docs", "notebooks")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", *heavy))
    for name in ("dvc.yaml", "dvc.lock"):
        (copy / name).unlink(missing_ok=True)
    (copy / FOLDER).mkdir(parents=True)
    (copy / FOLDER / "study.yaml").write_text(study_yaml(STUDY))
    git(copy, "init", "-q")
    python(copy, "launch", "--study", "tiny")
    return copy


def records(project: Path, variant: str) -> dict[str, str]:
    """Return the status of each trial of a variant by rung and value."""
    folder = project / FOLDER / "results/tuning" / variant / "seed0"
    paths = sorted(folder.rglob("*.json"))
    return {str(path.relative_to(folder).with_suffix("")): json.loads(path.read_text())["status"] for path in paths}


def stale(project: Path, file: str = "tuning/dvc.yaml") -> set[str]:
    found = json.loads(call(project, "dvc", "status", "--json", f"{FOLDER}/{file}").stdout)
    return {name.rpartition(":")[2] for name in found}


def test_every_row_has_its_trials_and_its_cell_at_its_best(project: Path) -> None:
    for variant in ("base", "h1"):
        status = records(project, variant)
        assert [status[f"0.25/{value}"] for value in (0.001, 0.01, 0.02)] == ["finished"] * 3
        assert sorted(status[f"0.5/{value}"] for value in (0.001, 0.01, 0.02)) == ["finished", "finished", "stopped"]
        for folder in ("results", "results/tuned"):
            cell = project / FOLDER / folder / variant / "seed0"
            assert json.loads((cell / "scores.json").read_text())["splits"]["test"]["sentences"] == 20
        assert (project / FOLDER / "models/tuned" / variant / "seed0").is_dir()
    assert not [path for path in (project / "runs/tiny").glob("*+*/**/*") if path.suffix in (".ckpt", ".safetensors")]


def test_the_report_shows_both_columns(project: Path) -> None:
    table = (project / FOLDER / "report/table.md").read_text()
    assert "verdict at its best" in table
    assert "Trials: 10, in" in table
    tuned = json.loads((project / FOLDER / "verdicts.json").read_text())["tuned"]
    assert tuned["baseline_choice"]["by_seed"].keys() == {"0"}


def test_nothing_is_stale_after_a_launch_for_dvc_either(project: Path) -> None:
    assert stale(project) == stale(project, "dvc.yaml") == set()
    assert "Nothing to do" in python(project, "launch", "--study", "tiny").stdout
    done = call(project, "dvc", "repro", f"{FOLDER}/tuning/dvc.yaml")
    assert "Running stage" not in done.stdout
    assert python(project, "array", "--study", "tiny", "--list").stdout == ""


def test_another_value_runs_its_trials_and_nothing_by_the_recipe(project: Path) -> None:
    path = project / FOLDER / "study.yaml"
    trained = records(project, "h1")
    path.write_text(study_yaml(STUDY.replace("0.02]", "0.02, 0.03]")))
    assert stale(project, "dvc.yaml") == {"report"}
    names = stale(project)
    assert {name for name in names if name.startswith("rung0")} == {"rung0@base-0.03-0", "rung0@h1-0.03-0"}
    assert {"rung1@base-0.01-0", "train@base-0"} <= names
    assert not any(name.startswith("evaluate") for name in names)
    plain = call(project, "dvc", "repro", f"{FOLDER}/tuning/dvc.yaml:train@h1-0").stdout
    assert plain.count("Running stage") == 1 + 4 + 1
    assert plain.count("already tried; nothing to do") >= 1
    own = records(project, "h1")
    assert own.keys() == {*trained, "0.25/0.03", "0.5/0.03"}
    assert sorted(own[f"0.5/{value}"] for value in (0.001, 0.01, 0.02, 0.03)) == ["finished"] * 2 + ["stopped"] * 2
    assert {name for name in stale(project) if "@h1" in name} <= {"evaluate@h1-0"}
