"""A run's page on W&B: the user's variables win, it says what changed, few scores stand out, models have a lineage."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.config.cell import Cell
from experiments.config.study import load_study
from experiments.tracking import artifacts, sync
from experiments.tracking import wandb as tracking
from experiments.tracking.artifacts import TrainedModel
from experiments.tracking.identity import files_folder, identity_of, page_config
from experiments.tracking.run_files import RunFiles, find_run_files
from experiments.tracking.scores import MOST_HEADLINES, headline, score_rows, signatures
from tests.logged_run import CELL, CONFIG, FINDINGS, HASH, ID, KEY, LOSSES, inspect, train
from tests.synthetic_study import write_study
from tests.wandb_server import no_account, wandb_server

USER = {
    "WANDB_PROJECT": "mine",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_GROUP": "my group",
    "WANDB_TAGS": "first,second",
    "WANDB_NOTES": "my notes",
}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Start logged out, and leave no run open."""
    with no_account(monkeypatch, tmp_path):
        yield


def known(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_the_users_variables_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in USER.items():
        monkeypatch.setenv(name, value)
    train(tmp_path, "offline", LOSSES)
    (files,) = find_run_files(tmp_path, ID)
    seen = files.init_arguments()
    assert (seen["project"], seen["entity"], seen["group"]) == ("mine", "team", "my group")
    assert (seen["tags"], seen["notes"]) == (["first", "second"], "my notes")
    assert seen["name"] == "table3/no_scaling/seed1", "what the user does not set is ours"


def test_the_users_variables_win_in_sync_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wandb_server() as server:
        known(monkeypatch, server.url)
        train(tmp_path, "offline", LOSSES)
        time.sleep(1)  # W&B names the files of a run by the second
        tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
        for name, value in {**USER, "WANDB_MODE": "offline"}.items():
            monkeypatch.setenv(name, value)
        assert sync.sync(tmp_path, ID)
        (run,) = server.runs.values()
        assert (run.project, run.entity, run.group) == ("mine", "team", "my group")
        assert (run.tags, run.notes) == (["first", "second"], "my notes")
        assert len([row for row in run.history if "valid/loss" in row]) == len(LOSSES)
        assert run.summary["test/bleu"] == 31.5


def test_wandb_dir_holds_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path("runs/table3/no_scaling/seed1")
    assert files_folder(own) == own
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    train(files_folder(own), "offline", LOSSES)
    assert list((tmp_path / "elsewhere/table3/no_scaling/seed1/wandb").glob("offline-run-*"))
    assert sync.runs_under([tmp_path / "elsewhere"]) == [(files_folder(own), ID)]


def test_a_page_says_what_changed_and_where_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, names=["base", "one_head"])
    study = load_study("made_up")
    cell = Cell(study, "one_head", 2)
    identity = identity_of(cell, "cafe")
    assert identity.arguments["group"] == "made_up/one_head"
    assert identity.arguments["notes"] == (
        "one head: attention.heads 4 -> 1, attention.d_k 32 -> 128, attention.d_v 32 -> 128"
    )
    config = page_config(cell, identity, HASH)
    assert (config["variant"], config["seed"], config["is_baseline"]) == ("one_head", 2, False)
    assert config["delta"] in identity.arguments["notes"]
    assert config["run_hash"] == "cafe"
    assert config["model"]["attention"]["heads"] == 1
    assert {"commit", "machine", "threads", "versions", "data_hash", "corpus", "label"} < set(config)
    assert page_config(Cell(study, "base", 0), identity_of(Cell(study, "base", 0), "x"), HASH)["is_baseline"]
    beside = Cell(study, "base", 0, ("optim.steps=7", "trainer.validate_every=7"))
    assert not page_config(beside, identity_of(beside, "x"), HASH)["is_baseline"]
    assert "optim.steps 100000 -> 7" in identity_of(beside, "x").arguments["notes"]


def test_what_is_tracked_makes_no_other_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base"])
    plain, tracked = (Cell(study, "base", 0, overrides) for overrides in ((), ("tracking.probes=false",)))
    assert not tracked.config.tracking.probes
    for name in ("label", "run_folder", "training_folder", "evaluation_folder", "model_folder"):
        assert getattr(tracked, name) == getattr(plain, name), name


def test_a_dozen_scores_stand_out_and_all_are_in_the_table() -> None:
    names = ("bleu", "chrf", "ter", "ppl", "exact_match", "brevity_penalty")
    split = {name: float(number) for number, name in enumerate(names)}
    signed = {**split, "bleu_signature": "nrefs:1", "by_length": [1]}
    scores = dict.fromkeys(("long", "test", "comp", *"abcdef"), signed) | {"averaged": {"test": signed}}
    shown = headline(scores, "test")
    assert list(shown)[:6] == ["test/bleu", "test/chrf", "test/ppl", "test/exact_match", "long/bleu", "comp/bleu"]
    assert len(shown) == MOST_HEADLINES == 12
    rows = score_rows(scores)
    assert len(rows) == 10 * len(names)
    assert ["averaged/test", "bleu", 0.0, "nrefs:1"] in rows
    assert ["test", "ppl", 3.0, ""] in rows
    assert signatures(scores)["averaged/test"] == {"bleu": "nrefs:1"}


def test_probes_are_curves_and_no_summary(tmp_path: Path) -> None:
    run = tracking.start_training(CELL, CONFIG, tmp_path, "offline")
    assert run
    run.log({"probe/encoder1/entropy": 0.5, tracking.STEP: 0}, 0)
    run.log({"valid/loss": 2.0, "cost/memory_gb": 1.5, tracking.STEP: 10}, 1)
    tracking.finish()
    (files,) = find_run_files(tmp_path, ID)
    assert files.rows()[0] == {"probe/encoder1/entropy": 0.5, tracking.STEP: 0}
    assert set(inspect(tmp_path)["summary"]) - {"_runtime", "_step", "_timestamp", "_wandb"} == {
        tracking.STEP,
        "valid/loss",
        "cost/memory_gb",
    }


def model(folder: Path, upload: bool = False) -> TrainedModel:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    return TrainedModel(folder, {"data_hash": HASH, "steps": 40}, upload)


def logged_model(files: RunFiles) -> list[dict]:
    """Return the files of the model that a run logged."""
    logged = [record["artifact"] for record in files.records if record["type"] == "artifact"]
    (artifact,) = (artifact for artifact in logged if artifact["type"] == "model")
    assert json.loads(artifact["metadata"]) == {"data_hash": HASH, "steps": 40}
    return artifact["manifest"]["contents"]


@pytest.mark.parametrize("upload", [False, True])
def test_a_model_is_referred_to_and_uploaded_on_request(upload: bool, tmp_path: Path) -> None:
    weights = model(tmp_path / "model", upload)
    tracking.log_scores(CELL, tmp_path / "run", "offline", replace(FINDINGS, model=weights))
    (files,) = find_run_files(tmp_path / "run", ID)
    (content,) = logged_model(files)
    if upload:
        assert Path(content["local_path"]).read_bytes() == b"weights"
        assert content["path"] == "model/model.safetensors", "else it would be the version that refers to the file"
    else:
        assert content["ref"] == (weights.folder / "model.safetensors").as_uri()
        assert "local_path" not in content


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_has_its_corpus_as_input_and_its_model_as_output(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as server:
        known(monkeypatch, server.url)
        train(tmp_path, mode, LOSSES)
        time.sleep(1)
        tracking.log_scores(CELL, tmp_path, mode, replace(FINDINGS, model=model(tmp_path / "model")))
        if mode == "offline":
            assert sync.sync(tmp_path, ID)
        kinds = {artifact["artifactTypeName"]: digest for digest, artifact in server.artifacts.items()}
        assert {"dataset", "model"} <= set(kinds)
        dataset = server.artifacts[kinds["dataset"]]
        assert dataset["artifactCollectionName"] == "grammar"
        assert json.loads(dataset["metadata"]) == {"data_hash": HASH}
        assert server.runs[ID].inputs == [kinds["dataset"]]
    assert capfd.readouterr().err == ""


def test_a_server_that_is_gone_does_not_hold_up_the_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "PATIENCE", 0.5)
    monkeypatch.setattr(tracking, "FINISH_TIMEOUT", 1)
    with wandb_server() as server:
        known(monkeypatch, server.url)
        run = tracking.open_run(tmp_path, "online", id="x", project="p")
        server.refuses = True
        artifacts.use_dataset(run, "grammar", HASH)
        tracking.finish()
        assert server.runs["x"].inputs == []


def test_a_run_of_a_sweep_has_the_agents_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "agent1")
    assert CELL.run_id == ID
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert CELL.run_id == "agent1"
