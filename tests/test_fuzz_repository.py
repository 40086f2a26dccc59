"""A trained repository that loses or truncates any of its files: every command says so, and nothing is lost.

Each input takes some twenty seconds, so that this stands among the slow tests only.
"""

import json
import random
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.killing import RECORD_TIMES
from tests.small_project import CELL, RESULTS, call, committed_project, python
from tests.tiny_study import study_yaml

INPUTS = 24
AREAS = ("runs", "data", ".dvc/tmp", "experiments/studies/components/results", "experiments/studies/components/models")
MORE = (
    "dvc.lock",
    "dvc.yaml",
    "experiments/studies/components/verdicts.json",
    "experiments/studies/components/report/table.csv",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one trained and scored cell."""
    copy = tmp_path_factory.mktemp("whole") / "project"
    committed_project(copy, study_yaml("{name: components}"), "published", "tests", "docs")
    python(copy, "launch", "--study", "components")
    return copy


def _files(root: Path) -> list[Path]:
    found = [path for area in AREAS for path in sorted((root / area).rglob("*")) if path.is_file()]
    return [path.relative_to(root) for path in found if "wandb" not in path.parts] + [Path(name) for name in MORE]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(INPUTS))
def test_any_file_lost_or_cut_short(trained: Path, tmp_path: Path, number: int) -> None:
    draw = random.Random(number)
    files = _files(trained)
    path = files[number % len(files)] if number % 2 else draw.choice(files)
    fault = draw.choice(("delete", "empty", "half", "garbage"))
    project = tmp_path / "project"
    shutil.copytree(trained, project, symlinks=True)
    content = (project / path).read_bytes()
    match fault:
        case "delete":
            (project / path).unlink()
        case "empty":
            (project / path).write_bytes(b"")
        case "half":
            (project / path).write_bytes(content[: len(content) // 2])
        case "garbage":
            (project / path).write_bytes(b"\xff\x00garbage")
    commands = [("report", "--study", "components"), ("evaluate", *CELL), ("train", *CELL)]
    for command in draw.sample(commands, k=draw.randint(0, 2)):
        _answered(python(project, *command, check=False), f"{path} {fault}: {command[0]}")
    launched = python(project, "launch", "--study", "components", check=False)
    _answered(launched, f"{path} {fault}: launch")
    if launched.returncode == 0:
        status = call(project, "dvc", "status", "--json", "dvc.yaml", check=False)
        assert json.loads(status.stdout) == {}, f"{path} {fault}: {status.stdout}"
        for name in (
            "training.json",
            "scores.json",
            "translations/test.txt",
            "sentences.csv",
            "probe.csv",
            "metrics.json",
        ):
            own, other = (_without_times(root / RESULTS / "base/seed0" / name) for root in (trained, project))
            assert own == other, f"{path} {fault}: {name}"


def _answered(done: CompletedProcess[str], what: str) -> None:
    """Assert that a command worked, or that its last line names the place and the way out."""
    assert "Traceback" not in done.stdout + done.stderr, f"{what}\n{done.stdout}\n{done.stderr}"
    if done.returncode:
        assert done.returncode in (2, 75), f"{what}\n{done.stdout}\n{done.stderr}"
        assert done.stderr.strip().splitlines()[-1].startswith("error: "), f"{what}\n{done.stdout}\n{done.stderr}"
        print(f"{what}: {done.stderr.strip().splitlines()[-1]}")


def _without_times(path: Path) -> Any:
    if path.suffix != ".json":
        return path.read_text()
    content = json.loads(path.read_text())
    for part in (content, *content.get("splits", {}).values()):
        for key in RECORD_TIMES:
            part.pop(key, None)
    return content
