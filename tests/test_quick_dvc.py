"""DVC with its repeated work left out decides and writes what plain DVC does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.launching import quick_dvc

ROOT = Path(__file__).parent.parent
VALUES = {
    "a": {"x": 1, "rate": 1e-05, "word": "yes"},
    "b-2": {"x": [1, 2], "none": None, "deep": {"on": True}},
    "c": {},
}
PIPELINE = """
vars: [study.yaml]
stages:
  data:
    cmd: mkdir -p data && echo ${base.first} > data/one && echo 2 > data/two
    params: [study.yaml: [base.first]]
    outs: [data]
  train:
    matrix: {variant: "${variants}", seed: "${seeds}"}
    cmd: mkdir -p out && echo ${item.variant} ${item.seed} > out/${item.variant}-${item.seed}
    deps: [data, code]
    params: [study.yaml: [base, "variants.${item.variant}"]]
    outs:
      - out/${item.variant}-${item.seed}: {cache: false}
"""


def call(folder: Path, *arguments: str, quick: bool) -> str:
    command = ["-m", quick_dvc.__name__] if quick else ["-m", "dvc"]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([sys.executable, *command, *arguments], cwd=folder, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_study(folder: Path, **changed: object) -> None:
    content = {"base": {"first": 1, "rates": [0.1, 1e-9]}, "variants": VALUES, "seeds": [0, 1], **changed}
    (folder / "study.yaml").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same pipeline run by plain DVC and by ours."""
    top = tmp_path_factory.mktemp("dvc")
    for name in ("plain", "quick"):
        folder = top / name
        (folder / "code").mkdir(parents=True)
        (folder / "code/a.py").write_text("1")
        (folder / "dvc.yaml").write_text(PIPELINE)
        write_study(folder)
        call(folder, "init", "-q", "--no-scm", quick=False)
        call(folder, "repro", "-q", quick=name == "quick")
    return top / "plain", top / "quick"


def both(pair: tuple[Path, Path], *arguments: str) -> tuple[str, str]:
    return call(pair[0], *arguments, quick=False), call(pair[1], *arguments, quick=True)


def same_locks(pair: tuple[Path, Path]) -> bool:
    return (pair[0] / "dvc.lock").read_bytes() == (pair[1] / "dvc.lock").read_bytes()


def test_the_lock_is_the_same_to_the_byte(pair: tuple[Path, Path]) -> None:
    assert same_locks(pair)
    assert call(pair[1], "status", "--json", quick=False).strip() == "{}"  # each reads the other's
    assert call(pair[0], "status", "--json", quick=True).strip() == "{}"


def test_what_is_stale_is_the_same_and_one_stage_is_recorded_in_its_place(pair: tuple[Path, Path]) -> None:
    for folder in pair:
        write_study(folder, variants={**VALUES, "a": {"x": 2, "rate": 1e-05, "word": "no"}})
    plain, quick = both(pair, "status", "--json")
    assert json.loads(plain) == json.loads(quick)
    assert set(json.loads(quick)) == {"train@a-0", "train@a-1"}
    both(pair, "repro", "-q", "-s", "train@a-1")
    assert same_locks(pair)
    for folder in pair:
        (folder / "code/a.py").write_text("2")
        (folder / "out/c-0").write_text("other")
    plain, quick = both(pair, "status", "--json")
    assert json.loads(plain) == json.loads(quick)
    assert len(json.loads(quick)) == 6
    both(pair, "repro", "-q")
    assert same_locks(pair)


def test_records_are_cut_and_joined_without_loss(pair: tuple[Path, Path]) -> None:
    path = pair[0] / "dvc.lock"
    records = quick_dvc.read(path)
    assert records is not None
    assert records.text() == path.read_text()
    from dvc.utils.serialize._yaml import load_yaml

    assert {name: dict(records[name]) for name in records} == load_yaml(path)["stages"]


def test_a_lock_of_another_form_is_left_to_dvc(pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(pair[0], folder)
    text = (folder / "dvc.lock").read_text()
    (folder / "dvc.lock").write_text("# by hand\n" + text)
    assert quick_dvc.read(folder / "dvc.lock") is None
    (folder / "out/b-2-0").write_text("changed")
    assert set(json.loads(call(folder, "status", "--json", quick=True))) == {"train@b-2-0"}
    call(folder, "repro", "-q", quick=True)
    assert "# by hand" in (folder / "dvc.lock").read_text()
