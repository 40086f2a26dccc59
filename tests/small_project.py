"""A small study in a copy of the project: how to make it, and how to run commands in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.tiny_study import study_yaml

ROOT = Path(__file__).parent.parent
CHANGES = """
name: components
base:
  optim: {steps: 160, warmup: 4, peak: 0.003}
  trainer: {validate_every: 80, checkpoint_every: 7}
variants:
  h1: {model: {attention: {heads: 1}}}
"""
STUDY = study_yaml(CHANGES)
FOUR_CELLS = study_yaml(f"{CHANGES}seeds: [0, 1]")
CELLS = [(variant, seed) for variant in ("base", "h1") for seed in (0, 1)]
"""Those of FOUR_CELLS, which clusters run."""
RESULTS = "experiments/studies/components/results"
KEY = "experiments/studies/components/study.yaml"
"""The file of `dvc exp run -S FILE:key=value`."""
CELL = ("--study", "components", "--variant", "base", "--seed", "0")
SECRETS = {"WANDB_API_KEY": "5ec7e7" * 6 + "0123", "HF_TOKEN": "hf_5ec7e7", "AWS_SECRET_ACCESS_KEY": "5ec7e7aws"}
REMOTE = "https://user:5ec7e7git@git.example/project.git"
"""Keys in the environment and in a remote's address: all of them have 5ec7e7 in them, and no file may."""


def call(project: Path, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project with this interpreter's environment first on the path."""
    own = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    own.update(environment, WANDB_MODE="offline")
    own.pop("PYTHONDONTWRITEBYTECODE", None)  # what Python writes beside the code must not make a stage stale
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=own)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def python(project: Path, command: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return call(project, "python", "-m", "experiments", command, *arguments, **options)


def stale(project: Path) -> set[str]:
    return set(json.loads(call(project, "dvc", "status", "--json", "dvc.yaml").stdout))


def results(project: Path, variant: str, seed: int = 0) -> Path:
    return project / RESULTS / variant / f"seed{seed}"


def git(project: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    return call(project, "git", *identity, *arguments).stdout


def copy_project(copy: Path, study: str, *left_out: str) -> None:
    """Copy the project, but for results and what is named, with this study in place of the default one."""
    heavy = ("results", "models", "report", "runs", "data", "wandb", "tmp", "*cache")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", *heavy, *left_out))
    (copy / KEY).write_text(study)
    (copy / "dvc.lock").unlink(missing_ok=True)


def committed_project(copy: Path, study: str, *left_out: str) -> None:
    """Copy the project into a repository of its own."""
    copy_project(copy, study, *left_out)
    git(copy, "init", "-q")
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "study")


def launched_project(folder: Path) -> Path:
    """Make a repository with a study of two small cells, run from nothing, committed, and pushed to a remote."""
    copy = folder / "author"
    committed_project(copy, STUDY)
    call(copy, "dvc", "remote", "add", "--local", "-d", "store", str(folder / "store"))
    git(copy, "remote", "add", "origin", REMOTE)
    first = python(copy, "launch", "--study", "components", **SECRETS)
    assert "[2/2] done" in first.stdout
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "results")
    call(copy, "dvc", "push", "-q")
    return copy


def pulled_clone(project: Path, clone: Path) -> Path:
    """Clone a launched project and pull its models and scores from the author's remote."""
    git(project, "clone", "-q", str(project), str(clone))
    call(clone, "dvc", "remote", "add", "--local", "-d", "store", str(project.parent / "store"))
    call(clone, "dvc", "pull")
    return clone
