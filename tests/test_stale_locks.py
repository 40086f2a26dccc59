"""DVC's notes of who holds what: those of processes that are gone are cleared, whoever has their id now."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.common.io import locked
from experiments.launching.stale_locks import GUARD, NOTES, clear_stale_locks

DEAD = 2**22 + 1
"""An id that no process can have."""


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    NOTES.parent.mkdir(parents=True)
    return NOTES


def hold(writer: int, readers: list[int], written: float) -> dict[str, object]:
    """Write notes at a time, as DVC does."""
    content = {
        "write": {"/project/out": {"pid": writer, "cmd": "dvc repro"}},
        "read": {"/project/data": [{"pid": pid, "cmd": "dvc repro"} for pid in readers]},
    }
    NOTES.write_text(json.dumps(content))
    os.utime(NOTES, (written, written))
    return content


def test_an_id_that_another_process_has_by_now_is_cleared() -> None:
    """As in a container that restarts: this process started after the notes were written."""
    hold(os.getpid(), [DEAD], time.time() - 100_000)
    assert clear_stale_locks() == sorted([os.getpid(), DEAD])
    assert json.loads(NOTES.read_text()) == {"write": {}, "read": {}}


@pytest.fixture
def running() -> Iterator[int]:
    """The id of a process that runs `dvc repro`, as far as its command line says."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "repro"])
    yield process.pid
    process.kill()
    process.wait()


def test_a_process_that_may_hold_it_is_left_alone(running: int) -> None:
    content = hold(running, [running, DEAD], time.time())
    assert clear_stale_locks() == [DEAD]
    assert json.loads(NOTES.read_text()) == content | {
        "read": {"/project/data": [{"pid": running, "cmd": "dvc repro"}]}
    }
    before = NOTES.stat().st_mtime_ns
    assert clear_stale_locks() == []
    assert NOTES.stat().st_mtime_ns == before


def test_an_older_process_that_runs_something_else_is_not_the_one(running: int) -> None:
    """Every command of DVC writes the file anew, after which each process seems old enough."""
    hold(os.getpid(), [running], time.time())
    assert clear_stale_locks() == [os.getpid()]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"write": {"/a": {"cmd": "x"}}}', '{"write": {"/a": 3}}'])
def test_notes_of_another_kind_are_dvcs_business(text: str) -> None:
    NOTES.write_text(text)
    assert clear_stale_locks() == []
    assert NOTES.read_text() == text


def test_nothing_is_done_while_dvc_edits_its_notes_or_where_it_has_none() -> None:
    NOTES.unlink(missing_ok=True)
    assert clear_stale_locks() == []
    hold(DEAD, [], time.time())
    with GUARD.open("a") as guard:
        assert locked(guard)
        assert clear_stale_locks() == []
    assert clear_stale_locks() == [DEAD]


def test_dvc_goes_on_after_a_restart(tmp_path: Path) -> None:
    """With real DVC: it refuses for a process that merely has the id, and runs once that is cleared."""
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > out\n    outs: [out]\n")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "-f", "--no-scm"], check=True)
    NOTES.write_text(
        json.dumps({"write": {str(tmp_path / "out"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}})
    )
    refused = subprocess.run([*dvc, "repro"], capture_output=True, text=True, check=False)
    assert "is busy" in refused.stderr
    os.utime(NOTES)  # as another command of DVC would leave it, at work elsewhere in the project
    assert clear_stale_locks() == [os.getpid()]
    subprocess.run([*dvc, "repro", "-q"], check=True)
    assert (tmp_path / "out").read_text() == "1\n"
