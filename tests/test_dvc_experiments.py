"""DVC's experiments on a small study, as its users type them: run aside, compared, applied, queued."""

import csv
import json
import time
from pathlib import Path

import pytest

from tests.small_project import KEY, call, git, launched_project, pulled_clone, python, results, stale

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launched_project(tmp_path_factory.mktemp("dvc"))


@pytest.fixture(scope="module")
def experiments_clone(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with everything pulled, and two experiments: all cells decode greedily; one cell is trained shorter."""
    clone = pulled_clone(project, tmp_path_factory.mktemp("experiments") / "clone")
    git(clone, "config", "user.name", "A")
    git(clone, "config", "user.email", "a@b.c")
    ran = call(clone, "dvc", "exp", "run", "-n", "greedy", "-S", f"{KEY}:++base.decode.beam=1").stdout
    assert "Running stage 'train" not in ran
    back(clone)
    one_cell = ("train@base-0", "evaluate@base-0", "report")
    call(clone, "dvc", "exp", "run", "-n", "short", "-s", "-S", f"{KEY}:base.optim.steps=50", *one_cell)
    back(clone)
    return clone


def back(clone: Path) -> None:
    """Undo what an experiment has left in the workspace."""
    git(clone, "checkout", "-q", ".")
    call(clone, "dvc", "checkout", "-q")
    assert stale(clone) == set()


def table(clone: Path, *options: str) -> dict[str, dict[str, str]]:
    """Return what `dvc exp show` prints, by name of experiment and column."""
    shown = call(clone, "dvc", "exp", "show", "--csv", *options).stdout
    return {row["Experiment"] or row["rev"]: row for row in csv.DictReader(shown.splitlines())}


def test_an_experiment_in_a_temporary_folder_scores_without_training(project: Path) -> None:
    change = f"{KEY}:base.decode.extra_length=4"
    ran = call(project, "dvc", "exp", "run", "--temp", "-S", change).stdout
    assert "Running stage 'evaluate@base-0'" in ran
    assert "Running stage 'train" not in ran
    (own,) = (
        found
        for found in json.loads(call(project, "dvc", "exp", "show", "--json").stdout)
        if found["rev"] == "workspace"
    )
    assert own["data"]


def test_experiments_are_compared_in_few_columns(experiments_clone: Path) -> None:
    rows = table(experiments_clone, "--only-changed", "--drop", "experiments|lit_transformer|data_modules|data/")
    columns = set(rows["greedy"]) - {"Experiment", "rev", "typ", "Created", "parent"}
    assert columns == {"base.bleu", "base.ppl", "h1.bleu", "h1.ppl", "base.decode.beam", "base.optim.steps"}
    assert (rows["greedy"]["base.decode.beam"], rows["workspace"]["base.decode.beam"]) == ("1", "")
    assert (rows["short"]["base.optim.steps"], rows["greedy"]["base.optim.steps"]) == ("50", "160")
    assert rows["short"]["base.ppl"] != rows["greedy"]["base.ppl"] == rows["workspace"]["base.ppl"]
    assert not rows["short"]["h1.bleu"], "of other settings than the cell that was run"
    names = table(experiments_clone)["greedy"]
    assert not [name for name in names if name.endswith("metrics.json:bleu")]
    assert list(names).index("base.bleu") < list(names).index("base.decode.beam") < list(names).index("lit_transformer")


def test_metrics_and_params_of_an_experiment_are_compared(experiments_clone: Path) -> None:
    params = json.loads(call(experiments_clone, "dvc", "params", "diff", "HEAD", "short", "--json").stdout)
    assert params == {KEY: {"base.optim.steps": {"old": 160, "new": 50, "diff": -110}}}
    metrics = json.loads(call(experiments_clone, "dvc", "metrics", "diff", "HEAD", "short", "--json").stdout)
    means = metrics["experiments/studies/components/metrics.json"]
    assert means["base.ppl"]["diff"] == pytest.approx(means["base.ppl"]["new"] - means["base.ppl"]["old"])
    assert means["base.ppl"]["diff"] != 0


def test_an_experiment_is_applied(experiments_clone: Path) -> None:
    call(experiments_clone, "dvc", "exp", "apply", "short")
    applied = results(experiments_clone, "base")
    assert json.loads((applied / "training.json").read_text())["steps"] == 50
    assert [int(row["step"]) for row in csv.DictReader((applied / "curve.csv").open())] == [50]
    assert "steps: 50" in (experiments_clone / KEY).read_text()
    back(experiments_clone)


def test_a_setting_without_its_file_is_refused(experiments_clone: Path) -> None:
    """DVC suggests `+KEY=VALUE` for it, and would run an experiment in which nothing has changed."""
    for key in ("base.decode.beam=1", "++base.decode.beam=1"):
        done = call(experiments_clone, "dvc", "exp", "run", "-S", key, check=False)
        assert done.returncode != 0
        assert ("'base' from 'vars[1]'" in done.stderr) == key.startswith("++")
        assert git(experiments_clone, "status", "--porcelain") == ""


def test_a_setting_is_changed_from_the_folder_of_its_study(experiments_clone: Path) -> None:
    folder = (experiments_clone / KEY).parent
    call(folder, "dvc", "exp", "run", "-n", "near", "-S", "study.yaml:++base.decode.beam=1", "../../../dvc.yaml")
    assert json.loads(call(experiments_clone, "dvc", "params", "diff", "HEAD", "near", "--json").stdout) == {
        KEY: {"base.decode.beam": {"old": None, "new": 1}}
    }
    back(experiments_clone)
    call(experiments_clone, "dvc", "exp", "remove", "near")


def test_a_launch_brings_an_earlier_state_from_the_cache(project: Path, tmp_path: Path) -> None:
    """After `git checkout` the models and scores of that state lie in the cache: nothing is computed again."""
    clone = pulled_clone(project, tmp_path / "clone")
    path = clone / KEY
    path.write_text(path.read_text().replace("steps: 160", "steps: 80"))
    python(clone, "launch", "--study", "components")
    git(clone, "commit", "-qam", "shorter")
    for state, steps in (("HEAD~1", 160), ("main", 80)):
        git(clone, "checkout", "-q", state)
        assert {"train@base-0", "train@h1-0"} <= stale(clone)
        assert "Nothing to do" in python(clone, "launch", "--study", "components").stdout
        records = [json.loads((results(clone, name) / "training.json").read_text()) for name in ("base", "h1")]
        assert [record["steps"] for record in records] == [steps, steps]
        assert stale(clone) == set()
    curve = results(clone, "base") / "curve.csv"
    edited = curve.read_text() + "1,2,3\n"
    curve.unlink()  # a link to the cache
    curve.write_text(edited)
    (results(clone, "h1") / "curve.csv").unlink()
    ran = python(clone, "launch", "--study", "components").stdout
    assert "1 of 2 cells to run" in ran, "the edited file is in no cache, so that DVC leaves it to the stage"
    assert curve.read_text() != edited


def test_a_single_stage_runs_alone(experiments_clone: Path) -> None:
    path = experiments_clone / KEY
    path.write_text(path.read_text().replace("extra_length: 3\n", "extra_length: 4\n"))
    ran = call(experiments_clone, "dvc", "repro", "-s", "evaluate@base-0").stdout
    assert ran.count("Running stage") == 1
    assert stale(experiments_clone) == {"evaluate@h1-0", "report"}
    back(experiments_clone)


def test_queued_experiments_run_two_at_a_time(experiments_clone: Path) -> None:
    """`++KEY=2,3` queues one for each value."""
    call(experiments_clone, "dvc", "exp", "run", "--queue", "-S", f"{KEY}:++base.decode.beam=2,3")
    call(experiments_clone, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 600
    while (status := call(experiments_clone, "dvc", "queue", "status").stdout).count("Success") < 2:
        assert "Failed" not in status
        assert time.monotonic() < deadline, status
        time.sleep(5)
    rows = table(experiments_clone)
    assert sorted(row["base.decode.beam"] for row in rows.values()) == ["", "", "", "1", "2", "3"]
    assert all(row["base.bleu"] for row in rows.values())
