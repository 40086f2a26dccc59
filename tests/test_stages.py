"""The stages of a study: one template, and code that looks at what a stage declares."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from experiments.commands import prepare
from experiments.config.stages import DEFAULT_STUDY, LAYERS_STUDY, TRAINING_CODE, stage_files, write_stages
from experiments.config.study import list_studies
from experiments.launching.stages import DVC, Stages
from lit_transformer.errors import TemporaryFailure
from tests.tiny_study import study_yaml

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", [*list_studies(), LAYERS_STUDY])
def test_the_template_fits_every_study(name: str) -> None:
    files = stage_files(name)
    for path, text in files.items():
        content = yaml.safe_load(text)
        for stage in content.get("stages", {}).values():
            assert (ROOT / path).parent.joinpath(stage["wdir"]).resolve() == ROOT
            code = [dep for dep in stage["deps"] if "${" not in dep and not dep.startswith("experiments/studies/")]
            assert [path for path in code if not (ROOT / path).exists()] == []
        for variables in filter(lambda entry: isinstance(entry, str), content.get("vars", [])):
            own = (ROOT / path).parent.joinpath(variables.partition(":")[0]).resolve()
            assert own.parent == ROOT / f"experiments/studies/{name}"
            assert own.name == "study.yaml" or (own.name == "variants.yaml" and own.relative_to(ROOT) in files)


def test_the_dvc_yaml_in_git_is_made_from_the_template_and_is_the_only_one() -> None:
    """DVC reads each one that it finds, and fails to pull what no lock knows."""
    assert Path("dvc.yaml").read_text(encoding="utf-8") == stage_files(DEFAULT_STUDY)[Path("dvc.yaml")]
    listed = subprocess.run(
        ["git", "ls-files", "*dvc.yaml"], capture_output=True, text=True, check=False
    ).stdout.split()
    assert listed in ([], ["dvc.yaml"])


def test_a_study_gets_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ROOT / "experiments/studies/systems/study.yaml"
    (tmp_path / "experiments/studies/systems").mkdir(parents=True)
    (tmp_path / "experiments/studies/systems/study.yaml").write_text(source.read_text())
    monkeypatch.chdir(tmp_path)
    own = Path("experiments/studies/systems")
    assert write_stages(stage_files("systems")) == [own / "dvc.yaml", own / "ensembles/dvc.yaml"]
    assert write_stages(stage_files("systems")) == []
    (own / "dvc.yaml").write_text("of an older template")
    assert write_stages(stage_files("systems")) == [own / "dvc.yaml"]


@pytest.mark.parametrize("place", ["corpora/mine", "elsewhere/mine"])
def test_prepare_depends_on_the_text_of_a_folder(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root where it lies below it; without the folder, `prepare` itself says what is missing."""
    root = tmp_path / "project"
    path = Path("experiments/studies/tiny/study.yaml")
    (root / path.parent).mkdir(parents=True)
    monkeypatch.chdir(root)
    folder = (root if place.startswith("corpora") else tmp_path) / place
    monkeypatch.setenv("LIT_CORPORA", str(folder.parent))
    path.write_text(study_yaml("corpus: mine"))

    def prepares() -> list[str]:
        (text,) = stage_files("tiny").values()
        deps: list[str] = yaml.safe_load(text)["stages"]["prepare"]["deps"]
        return deps

    before = prepares()
    folder.mkdir(parents=True)
    assert prepares() == ["corpora/mine" if place.startswith("corpora") else str(folder), *before]


def test_prepare_names_the_text_to_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where study.yaml takes another corpus and `dvc repro` follows, which does not write a dvc.yaml."""
    monkeypatch.chdir(tmp_path)
    text, own = tmp_path / "mine", Path("experiments/studies/tiny")
    text.mkdir()
    for name in ("train.en", "train.de", "valid.en", "valid.de", "test.en", "test.de"):
        (text / name).write_text("a dog and a dog\n" * 3)
    own.mkdir(parents=True)
    (own / "study.yaml").write_text(study_yaml("{corpus: ./mine, base: {data: {vocab_size: 262}}}"))
    prepare.main(["--study", "tiny"])
    assert not (own / "dvc.yaml").exists(), "a study that was not launched has none"
    (own / "dvc.yaml").write_text("of another corpus")
    prepare.main(["--study", "tiny"])
    assert yaml.safe_load((own / "dvc.yaml").read_text())["stages"]["prepare"]["deps"][0] == "mine"


def test_stages_that_run_at_this_moment_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the same study is launched twice: DVC refuses, and would have the user delete its file."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > out\n    outs: [out]\n")
    subprocess.run([*DVC, "init", "-q", "-f", "--no-scm"], check=True)
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    Path(".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(tmp_path / "out"): holder}, "read": {}}))
    with pytest.raises(TemporaryFailure, match=f"process {os.getpid()} runs stages of dvc.yaml; wait for it or stop"):
        Stages(Path("dvc.yaml")).stale()


def test_every_output_is_kept_until_its_successor_exists() -> None:
    """`persist`: DVC would otherwise delete it before the stage runs, whatever becomes of the stage."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    for name in ("prepare", "train", "evaluate", "report"):
        outs = [out for kind in ("outs", "metrics", "plots") for out in stages[name].get(kind, [])]
        assert outs
        assert all(next(iter(out.values()))["persist"] is True for out in outs)


def test_the_code_of_a_training_is_what_its_stage_depends_on() -> None:
    assert ["data/${name}", *TRAINING_CODE] == yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["train"]["deps"]


def test_tuned_cells_have_the_stages_of_the_others_at_places_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their training also depends on the trials, and both commands say --tuned."""
    monkeypatch.chdir(tmp_path)
    path = Path("experiments/studies/tiny/study.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(study_yaml("tune: {values: [0.01, 0.02, 0.04], rungs: [0.25, 0.5]}"))
    files = {path: yaml.safe_load(text)["stages"] for path, text in stage_files("tiny").items()}
    recipe, tuned = files.values()
    assert tuned.keys() == {"rung0", "rung1", "train", "evaluate"}
    folder = "experiments/studies/${name}/results/tuning/${item.variant}/seed${item.seed}"
    for kind in ("train", "evaluate"):
        text = (
            yaml.safe_dump(recipe[kind]).replace("/models/", "/models/tuned/").replace("/results/", "/results/tuned/")
        )
        expected, own = yaml.safe_load(text), tuned[kind]
        assert own.pop("cmd") == f"{expected.pop('cmd')} --tuned"
        for key in ("desc", "wdir"):
            assert own.pop(key) != expected.pop(key)
        if kind == "train":
            assert [dep for dep in own["deps"] if dep not in expected["deps"]] == [f"{folder}/0.25", f"{folder}/0.5"]
            own["deps"] = [dep for dep in own["deps"] if dep in expected["deps"]]
            (params,) = own["params"][0].values()
            assert params.pop() == "tune.values"
        assert own == expected
    trial, training = tuned["rung0"], recipe["train"]
    other = {"experiments/commands/tune.py", "experiments/commands/train.py"}
    assert set(trial["deps"]) ^ set(training["deps"]) == other
    assert trial["params"] == training["params"]
