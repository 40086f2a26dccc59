"""W&B end to end: offline runs read back and synced, an online run against a server on loopback, and every failure."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb

from experiments.common.io import only_writer
from experiments.tracking import login as wandb_login
from experiments.tracking import wandb as tracking
from tests.logged_run import CELL, CONFIG, FINDINGS, ID, KEY, LOSSES, check_page, inspect, train, wandb_command
from tests.wandb_server import no_account, wandb_server


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Start logged out, and leave no run open."""
    with no_account(monkeypatch, tmp_path):
        yield


def test_an_offline_run_can_be_inspected_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "offline", {10: 3.0, 20: 2.0})
    seen = inspect(tmp_path)
    assert seen["run_id"] == ID
    assert seen["name"] == "table3/no_scaling/seed1"
    assert seen["tags"] == ["table3", "grammar"]
    assert seen["config"]["model"] == CONFIG["model"]
    assert seen["config"]["variant"] == "no_scaling"
    assert seen["summary"]["valid/loss"] == {"min": 2, "last": 2}
    assert seen["summary"]["trainer/global_step"] == 20
    train(tmp_path, "offline", LOSSES)
    tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
    [page] = (tmp_path / "wandb").glob("offline-run-*/files/media/html/attention_*.html")
    assert page.read_text() == "<p>ein Hund"
    [table] = (tmp_path / "wandb").glob("offline-run-*/files/media/table/samples_*.json")
    assert json.loads(table.read_text())["data"] == [["ein Hund", "a dog", "one dog"]]
    assert capfd.readouterr() == ("", "")
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        run_files = sorted((tmp_path / "wandb").glob("offline-run-*"))
        assert len(run_files) == 2  # the resumed training's holds all rows, and the evaluation's
        wandb_command("sync", *run_files, folder=tmp_path)
        check_page(server)


def test_rows_that_were_synced_before_the_resume_are_not_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        for known in (1, 3):
            train(tmp_path, "offline", dict(list(LOSSES.items())[:known]))
            wandb_command("sync", *(tmp_path / "wandb").glob("offline-run-*"), folder=tmp_path)
            assert len(server.runs[ID].history) == known
        train(tmp_path, "offline", LOSSES)
        tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
        wandb_command("sync", *sorted((tmp_path / "wandb").glob("offline-run-*")), folder=tmp_path)
        check_page(server)


def test_an_online_run_is_resumed_by_training_and_by_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        mode = wandb_login.wandb_mode("auto")
        assert mode == "online"
        train(tmp_path, mode, {10: 3.0, 20: 2.0})
        train(tmp_path, mode, LOSSES)
        train(tmp_path, mode, LOSSES, cost=99.0)  # killed at its very end, and started again
        tracking.log_scores(CELL, tmp_path, mode, FINDINGS)
        check_page(server)
        address = f"W&B: {server.url}/someone/lit_transformer/runs/{ID}\n"
    assert capfd.readouterr() == (3 * address, ""), "once at each start of the training"


def test_without_a_server_one_line_is_said_and_the_run_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(tracking, "START_TIMEOUT", 1)
    train(tmp_path, "online", {10: 3.0})
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("wandb: cannot start online (")
    assert err.endswith("going on offline\n")
    assert err.count("\n") == 1
    assert inspect(tmp_path)["summary"]["valid/loss"]["last"] == 3


def test_a_server_that_goes_away_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(tracking, "FINISH_TIMEOUT", 1)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        run = tracking.start_training(CELL, CONFIG, tmp_path, "online")
    run.log({"valid/loss": 3.0}, 0)
    tracking.finish()  # gives up after FINISH_TIMEOUT; what was not sent stays in the run's folder
    assert wandb.run is None
    assert len(list((tmp_path / "wandb").glob("run-*/*.wandb"))) == 1
    assert capfd.readouterr() == (f"W&B: {run.run.url}\n", "")


def test_a_run_that_breaks_is_reported_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tracking.start_training(CELL, {}, tmp_path, "offline")

    def broken(*arguments: Any, **named: Any) -> None:
        raise ConnectionError("the service\nis gone")

    monkeypatch.setattr(run.run, "log", broken)
    run.log({"valid/loss": 3.0}, 0)
    run.log({"valid/loss": 2.0}, 1)
    monkeypatch.setattr(wandb, "finish", broken)
    tracking.finish()
    monkeypatch.undo()
    err = capfd.readouterr().err.splitlines()
    assert err == [
        "wandb: ConnectionError: the service is gone; the training goes on without it",
        "wandb: run not closed (ConnectionError: the service is gone)",
    ]


def test_nothing_can_start_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start = wandb.init

    def refuse(**named: Any) -> Any:
        if named["mode"] != "disabled":
            raise OSError("disk full")
        return start(**named)

    monkeypatch.setattr(wandb, "init", refuse)
    train(tmp_path, "offline", {10: 3.0})
    tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
    assert (
        capfd.readouterr().err.splitlines()
        == ["wandb: cannot start offline (OSError: disk full); going on disabled"] * 2
    )


def test_not_even_a_disabled_run_can_start_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As where wandb is not installed, or refuses its own environment."""
    with monkeypatch.context() as gone:
        gone.setitem(sys.modules, "wandb", None)
        run = tracking.start_training(CELL, {}, tmp_path, "disabled")
        tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
        tracking.finish()
    assert run is None
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("wandb: cannot start (ModuleNotFoundError: ")
    assert lines[0].endswith("; the training goes on without it")
    assert lines[-1].startswith("wandb: scores not logged (ModuleNotFoundError: ")


def test_scores_wait_for_whoever_sends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "FINISH_TIMEOUT", 0.2)
    with only_writer(tmp_path):
        tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
    assert "scores not logged (TemporaryFailure: " in capfd.readouterr().err
    monkeypatch.undo()
    with ExitStack() as holds:
        holds.enter_context(only_writer(tmp_path))
        threading.Timer(0.5, holds.pop_all().close).start()
        tracking.log_scores(CELL, tmp_path, "offline", FINDINGS)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_a_second_cell_in_one_process_has_its_own_run(tmp_path: Path) -> None:
    first = tracking.start_training(CELL, {}, tmp_path / "a", "offline")
    other = replace(CELL, seed=2)
    second = tracking.start_training(other, {}, tmp_path / "b", "offline")
    assert first.run.id == ID
    assert second.run.id == other.run_id != ID


def test_the_id_is_the_cell() -> None:
    assert CELL.run_id == "763dd2c1b1d9"
    changes = [{"study": "x"}, {"variant": "base"}, {"seed": 2}, {"config_hash": "beef"}]
    assert len({ID, *(replace(CELL, **change).run_id for change in changes)}) == 5
    assert replace(CELL, label="other words", corpus="multi30k").run_id == ID
