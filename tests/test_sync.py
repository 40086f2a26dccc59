"""Whatever the server missed, it gets once: away at the start or half-way, HTTP 500, killed and resumed meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.commands.sync import main
from experiments.common.io import only_writer
from experiments.tracking import sync
from experiments.tracking import wandb as tracking
from experiments.tracking.run_files import find_run_files
from lit_transformer.errors import UserError
from tests.logged_run import CELL, CONFIG, FINDINGS, ID, KEY, LOSSES, check_page, train
from tests.wandb_server import Server, no_account, wandb_server


@pytest.fixture(autouse=True)
def known_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Log in, wait for nobody, and leave no run open."""
    with no_account(monkeypatch, tmp_path):
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        monkeypatch.setattr(tracking, "START_TIMEOUT", 1)
        monkeypatch.setattr(tracking, "FINISH_TIMEOUT", 1)
        yield


TRAINING = """
import sys
from pathlib import Path
from experiments.tracking import wandb as tracking
from tests.logged_run import CELL, CONFIG, LOSSES
folder, rows = Path(sys.argv[1]), int(sys.argv[2])
run = tracking.start_training(CELL, CONFIG, folder, "online")
for number, (step, loss) in enumerate(list(LOSSES.items())[:rows]):
    run.log({"valid/loss": loss, tracking.STEP: step}, number)
input()
"""


def killed_online(folder: Path, server: Server, rows: int) -> None:
    """Log some rows online in a process that is killed once the server has them."""
    command = [sys.executable, "-c", TRAINING, str(folder), str(rows)]
    own = {**os.environ, "WANDB_BASE_URL": server.url, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=own)
    end = time.monotonic() + 60
    while ID not in server.runs or len(server.runs[ID].history) < rows:
        assert time.monotonic() < end, "the server never got the rows"
        time.sleep(0.05)
    process.kill()
    process.wait()


def goes_to(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as a process that has this server; W&B's service asks for the address once."""
    tracking.finish()
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)


def scores(folder: Path) -> None:
    tracking.log_scores(CELL, folder, "online", FINDINGS)


def test_killed_online_and_resumed_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as server:
        killed_online(tmp_path, server, rows=2)
    train(tmp_path, "online", dict(list(LOSSES.items())[:3]))
    train(tmp_path, "online", LOSSES)
    scores(tmp_path)
    assert capfd.readouterr().err.count("going on offline\n") == 3
    assert not list((tmp_path / "wandb").glob("offline-run-*")), "wandb sync would send the first rows again"
    with wandb_server(server.runs) as server:
        goes_to(server, monkeypatch)
        assert sync.sync(tmp_path, ID)
        check_page(server)
        assert not sync.sync(tmp_path, ID)
        check_page(server)


def test_an_evaluation_online_brings_the_rows_that_its_training_could_not_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb_server() as server:
        killed_online(tmp_path, server, rows=1)
    train(tmp_path, "online", LOSSES)
    with wandb_server(server.runs) as server:
        goes_to(server, monkeypatch)
        scores(tmp_path)
        check_page(server)
        sync.sync(tmp_path, ID)
        check_page(server)


@pytest.mark.parametrize("rows", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_server_that_answers_500_half_way(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as server:
        goes_to(server, monkeypatch)
        server.rows_until_it_refuses = rows
        run = tracking.start_training(CELL, CONFIG, tmp_path, "online")
        for number, (step, loss) in enumerate(LOSSES.items()):
            run.log({"valid/loss": loss, tracking.STEP: step}, number)
            end = time.monotonic() + 60
            while number < rows and (ID not in server.runs or len(server.runs[ID].history) <= number):
                assert time.monotonic() < end, "the server never got the rows"
                time.sleep(0.05)
        run.log({"training/seconds": 12.5}, len(LOSSES))
        tracking.finish()
        scores(tmp_path)
        assert len(server.runs[ID].history) == rows
        with pytest.raises(UserError, match=r"W&B does not answer .* nothing is lost"):
            sync.sync(tmp_path, ID)
        server.refuses, server.rows_until_it_refuses = False, None
        assert sync.sync(tmp_path, ID)
        check_page(server)
        assert not sync.sync(tmp_path, ID)


def test_a_server_that_answers_500_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wandb_server() as server:
        goes_to(server, monkeypatch)
        server.refuses = True
        train(tmp_path, "online", LOSSES)
        scores(tmp_path)
        server.refuses = False
        found = sync.runs_under([tmp_path])
        assert found == [(tmp_path, ID)]
        assert sync.sync(*found[0])
        check_page(server)
        assert not sync.sync(*found[0])


def test_mistakes_are_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no such folder; name one"):
        sync.runs_under([tmp_path / "nothing"])
    train(tmp_path, "offline", LOSSES)
    with pytest.raises(UserError, match=r"W&B does not answer .* nothing is lost"):
        sync.sync(tmp_path, ID)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UserError, match="wandb login"):
        main([str(tmp_path)])


def test_a_run_that_is_refused_holds_no_other_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempted = []

    def send_or_refuse(folder: Path, run_id: str) -> bool:
        attempted.append(folder.name)
        if folder.name in refused:
            raise UserError(f"{folder.name}: W&B did not take it; nothing is lost")
        return True

    runs = [(tmp_path / name, ID) for name in "abcdef"]
    monkeypatch.setattr(sync, "sync", send_or_refuse)
    monkeypatch.setattr(sync, "runs_under", lambda roots: runs)
    refused = "b"
    with pytest.raises(UserError, match="not everything was sent"):
        main([str(tmp_path)])
    assert "".join(attempted) == "abcdef"
    assert "5 of 6 runs had something to send" in capsys.readouterr().out
    attempted, refused = [], "abcdef"
    with pytest.raises(UserError, match="not everything was sent"):
        main([str(tmp_path)])
    assert "".join(attempted) == "abc", "the server is away; nobody waits for it six times"


def test_an_evaluation_online_after_a_training_offline_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a user logs in between the two."""
    train(tmp_path, "offline", LOSSES)
    with wandb_server() as server:
        goes_to(server, monkeypatch)
        scores(tmp_path)
        check_page(server)
        assert not list((tmp_path / "wandb").glob("offline-run-*")), "wandb sync would send the rows again"
        sync.sync(tmp_path, ID)
        check_page(server)


def test_a_running_cell_is_left_for_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "offline", dict(list(LOSSES.items())[:2]))
    with only_writer(tmp_path):
        assert not sync.sync(tmp_path, ID)
    assert capsys.readouterr().out.endswith("; left for later\n")
    [files] = find_run_files(tmp_path, ID)
    assert not files.synced


def test_files_without_a_run_are_passed_over(tmp_path: Path) -> None:
    cut = tmp_path / "wandb" / f"run-20261121_000000-{ID}"
    cut.mkdir(parents=True)
    (cut / f"run-{ID}.wandb").write_bytes(b"")
    assert not sync.sync(tmp_path, ID)
