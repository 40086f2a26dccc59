"""A cell as a Slurm job: what happens when it ends, and how many crashes before it is given up."""

import json
from pathlib import Path

import pytest

from experiments.launching.attempts import End, Job, Verdict
from experiments.launching.slurm import array
from lit_transformer.errors import UserError

JOB = Job("base seed 0", ("true",), Path("runs/base-0"))
CRASH = End(Verdict.crashed, "ended by signal 9", 1.0)


@pytest.fixture
def requeues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per request to requeue the job."""
    found: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(array, "requeue", lambda: found.append(1))
    JOB.folder.mkdir(parents=True)
    return found


def test_crashes_count_and_restarts_after_a_time_limit_do_not(
    requeues: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "7")
    assert [array.settle(JOB, CRASH, retries=2) for _ in range(3)] == [1, 1, 1]
    assert len(requeues) == 2
    assert capsys.readouterr().out.splitlines()[-1].endswith("ended by signal 9; given up after 3 crashes")
    assert array.settle(JOB, CRASH, retries=2) == 1, "submitted again, it is retried again"
    assert json.loads((JOB.folder / array.CRASHES).read_text()) == 1


def test_an_end_of_another_kind_forgets_the_crashes(requeues: list[int]) -> None:
    array.settle(JOB, CRASH, retries=2)
    assert array.settle(JOB, End(Verdict.done, "", 1.0), retries=2) == 0
    assert not (JOB.folder / array.CRASHES).exists()
    with pytest.raises(UserError, match=r"base seed 0: wrong \(see .*log\.txt\)"):
        array.settle(JOB, End(Verdict.user_error, "wrong", 1.0), retries=2)
    assert len(requeues) == 1


def test_a_refusal_to_requeue_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho job $2 is gone >&2\nexit 1\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    array.requeue()
    assert capsys.readouterr().out == "Slurm does not requeue this job (job 12 is gone); submit the cell again\n"
    monkeypatch.setenv("PATH", "")
    array.requeue()
    line = "Slurm does not requeue this job (scontrol: No such file or directory); submit the cell again\n"
    assert capsys.readouterr().out == line
    monkeypatch.delenv("SLURM_JOB_ID")
    array.requeue()
    assert capsys.readouterr().out == ""
