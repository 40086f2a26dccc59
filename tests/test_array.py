"""A cell as a job of a scheduler: what its ends mean, and how often it crashes before it is given up."""

import json
from pathlib import Path

import pytest

from experiments.launching import array
from experiments.launching.attempts import End, Job, Verdict
from lit_transformer.errors import UserError

JOB = Job("base seed 0", ("true",), Path("runs/base-0"))
CRASH = End(Verdict.crashed, "ended by signal 9", 1.0)


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The other turns that were asked for."""
    found: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(array, "another_turn", lambda: found.append(1))
    JOB.folder.mkdir(parents=True)
    return found


def test_crashes_count_and_turns_whose_time_was_over_do_not(
    turns: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "7")
    assert [array.settle(JOB, CRASH, retries=2) for _ in range(3)] == [1, 1, 1]
    assert len(turns) == 2
    assert capsys.readouterr().out.splitlines()[-1].endswith("ended by signal 9; given up after 3 crashes")
    assert array.settle(JOB, CRASH, retries=2) == 1, "submitted again, it has its turns again"
    assert json.loads((JOB.folder / array.CRASHES).read_text()) == 1


def test_an_end_of_another_kind_forgets_the_crashes(turns: list[int]) -> None:
    array.settle(JOB, CRASH, retries=2)
    assert array.settle(JOB, End(Verdict.done, "", 1.0), retries=2) == 0
    assert not (JOB.folder / array.CRASHES).exists()
    with pytest.raises(UserError, match=r"base seed 0: wrong \(see .*log\.txt\)"):
        array.settle(JOB, End(Verdict.refused, "wrong", 1.0), retries=2)
    assert len(turns) == 1


def test_a_queue_that_refuses_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho job $2 is gone >&2\nexit 1\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    array.another_turn()
    assert capsys.readouterr().out == "Slurm takes no other turn (job 12 is gone); submit this cell again\n"
    monkeypatch.setenv("PATH", "")
    array.another_turn()
    line = "Slurm takes no other turn (scontrol: No such file or directory); submit this cell again\n"
    assert capsys.readouterr().out == line
    monkeypatch.delenv("SLURM_JOB_ID")
    array.another_turn()
    assert capsys.readouterr().out == ""
