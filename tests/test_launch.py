"""The launcher: every cell runs once, a crash is tried again, a mistake is not, a stop leaves nobody behind."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands import launch
from experiments.config.study import Study, load_study, parse_study
from experiments.launching import engine as engines
from experiments.launching import local
from experiments.launching.attempts import Job, Verdict, judge
from experiments.launching.board import Board, Watched, details
from experiments.launching.cells import run_cells
from experiments.launching.engine import needs_ray
from experiments.launching.local import LocalEngine
from experiments.launching.pipeline import Pipeline
from lit_transformer.errors import UserError
from tests.shell_cells import NAMES, ROOT, STUDY, jobs, run


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    """Stand in an empty folder, from which our code can still be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_every_cell_runs_once_and_keeps_a_log(capsys):
    outcome = run('echo "$CELL ran" | tee -a all.txt')
    assert outcome.failed == {}
    assert sorted(Path("all.txt").read_text().split("\n")[:-1]) == sorted(f"{name} ran" for name in NAMES)
    assert Path("runs/a-0/log.txt").read_text() == "a-0 ran\n"
    assert json.loads(Path("runs/a-0/attempt.json").read_text())["threads"] == 1
    assert "[6/6] done" in capsys.readouterr().out


def test_no_more_cells_at_once_than_slots():
    outcome = run("echo $CELL > now.$CELL; ls now.* | wc -l >> most.txt; sleep 0.1; rm now.$CELL", slots=3)
    assert outcome.failed == {}
    assert max(map(int, Path("most.txt").read_text().split())) <= 3


def test_a_mistake_fails_its_cell_at_once_and_leaves_the_others_running(capsys):
    line = 'echo x >> all.txt; if [ $CELL = b-0 ]; then echo "error: no such key"; exit 2; fi'
    outcome = run(line, retries=3)
    assert {job.name: reason for job, reason in outcome.failed.items()} == {"b-0": "no such key"}
    assert len(Path("all.txt").read_text().split()) == len(NAMES)
    assert "FAILED b-0" in capsys.readouterr().out


def test_a_crash_is_tried_again(capsys):
    outcome = run(
        "echo x >> $CELL.txt; if [ $CELL = b-0 ] && [ $(wc -l < b-0.txt) -lt 3 ]; then kill -9 $$; fi", retries=2
    )
    assert outcome.failed == {}
    assert Path("b-0.txt").read_text().split() == ["x"] * 3
    shown = capsys.readouterr().out
    assert shown.count("AGAIN b-0 later, from its last checkpoint: ended by signal 9") == 2
    assert "[6/6] done b-0" in shown  # after all that waited


def test_what_a_stage_meant_is_known_through_dvc(tmp_path):
    """DVC ends with a status of its own."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    stages = {"mistake": "echo 'error: no such key' && exit 2", "killed": "kill -9 $$", "bug": "exit 1", "well": "true"}
    Path("dvc.yaml").write_text(json.dumps({"stages": {name: {"cmd": line} for name, line in stages.items()}}))
    pipeline = Pipeline(Path("dvc.yaml"))
    own = [Job(name, tuple(pipeline.command(name, quiet=False)), Path("runs") / name) for name in stages]
    outcome = run_cells(own, LocalEngine(2, threads=1), board := Board(own), retries=1)
    board.close()
    assert {job.name: reason for job, reason in outcome.failed.items() if job.name != "bug"} == {
        "mistake": "no such key",
        "killed": "ended by signal 9",
    }
    tries = {name: Path(f"runs/{name}/log.txt").read_text().count("Running stage") for name in stages}
    assert tries == {"mistake": 1, "killed": 2, "bug": 2, "well": 1}


def test_a_cell_that_always_crashes_is_given_up():
    outcome = run("echo x >> $CELL.txt; kill -9 $$", retries=2, names=["a-0"])
    assert [job.name for job in outcome.failed] == ["a-0"]
    assert Path("a-0.txt").read_text().split() == ["x"] * 3


@pytest.mark.parametrize(
    ("code", "log", "verdict", "reason"),
    [
        (0, "error: as somebody printed", Verdict.done, ""),
        (2, "error: bad key\n", Verdict.refused, "bad key"),
        (255, "error: bad key\nERROR: failed to run: python x, exited with 2\n", Verdict.refused, "bad key"),
        (
            255,
            "error: stopped at step 3 of 9; x\nERROR: failed: y, exited with 2\n",
            Verdict.crashed,
            "stopped at step 3",
        ),
        (255, "ERROR: failed to reproduce: failed to run: x, exited with -9\n", Verdict.crashed, "ended by signal 9"),
        (255, "ERROR: failed to reproduce: failed to run: x, exited with 139\n", Verdict.crashed, "ended by signal 11"),
        (255, "MemoryError\nERROR: failed to run: x, exited with 1\n", Verdict.crashed, "exited with 1"),
        (137, "", Verdict.crashed, "ended by signal 9"),
        (1, "", Verdict.crashed, "no message"),
        (
            255,
            "error: runs/a is being written by process 7; wait for it or stop it\nERROR: failed: x, exited with 2\n",
            Verdict.crashed,
            "written by process 7",
        ),
    ],
)
def test_what_an_end_means(code: int, log: str, verdict: Verdict, reason: str):
    found, said = judge(code, log)
    assert found is verdict
    assert reason in said


def test_the_time_of_slots_counts_from_the_first_start_to_the_last_end():
    outcome = run("sleep 0.5", slots=2, names=NAMES[:3])
    assert outcome.used == pytest.approx(1.5, abs=1.0)
    assert 0.5 < outcome.occupancy <= 1.0  # three equal cells on two slots: three quarters


def test_the_board_tells_step_loss_speed_and_time_left(capsys):
    watched = Watched(since=100.0)
    progress = {"step": 10, "steps": 40, "loss": 2.5, "target_tokens_per_second": 1234.5}
    assert details({}, watched, 103.0) == ["starting or scoring", "", "", "3 s"]
    assert details(progress, watched, 104.0) == ["step 10/40", "loss 2.500", "1,234 tokens/s", "4 s, speed unknown"]
    assert details({**progress, "step": 20}, watched, 109.0)[3] == "10 s left"
    assert details({**progress, "step": 20, "loss": None}, watched, 109.0)[1] == "loss not finite"
    assert details({**progress, "step": 40}, watched, 120.0)[0] == "scoring"


def test_the_boards_totals(tmp_path):
    from rich.console import Console

    own = jobs("true")
    board = Board(own)
    board.started(own[0])
    board.started(own[1])
    board.finished(own[0], True)
    Path("runs/b-0").mkdir(parents=True)
    Path("runs/b-0/progress.json").write_text('{"step": 3, "steps": 9, "loss": 1.0, "target_tokens_per_second": 7}')
    console = Console(width=150, record=True)
    console.print(board.table())
    shown = console.export_text()
    assert "4 waiting, 1 running, 1 done, 0 failed" in shown
    assert "step 3/9" in shown


@pytest.mark.parametrize(
    ("asked", "address", "gpus", "runs", "installed", "expected"),
    [
        ("auto", None, 0, None, True, False),
        ("auto", None, 1, None, True, False),
        ("auto", None, 2, None, True, True),
        ("auto", None, 2, None, False, False),
        ("auto", None, 1, 4, True, True),
        ("auto", None, 1, "auto", True, True),
        ("auto", "auto", 0, None, True, True),
        ("ray", None, 0, None, True, True),
        ("local", None, 2, None, True, False),
        ("auto", None, 1, 4, False, "pip install -c constraints.txt -e"),
        ("auto", "auto", 0, None, False, "--address needs Ray, which is not installed"),
        ("ray", None, 0, None, False, "--engine ray needs Ray"),
        ("local", "auto", 0, None, True, "--engine local excludes it"),
    ],
)
def test_which_engine_runs_the_cells(monkeypatch, asked, address, gpus, runs, installed, expected):
    monkeypatch.setattr(engines, "find_spec", lambda name: object() if installed else None)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            needs_ray(asked, address, gpus, runs)
    else:
        assert needs_ray(asked, address, gpus, runs) is expected


def options(**changed: object) -> argparse.Namespace:
    own = {"slots": 1, "runs_per_gpu": None, "address": None, "engine": "auto", "retries": 0, "dry_run": False}
    return argparse.Namespace(**{**own, **changed})


def test_a_study_without_stages_of_its_own_is_refused():
    """It must not run the default study's stages under its name."""
    Path("dvc.yaml").write_text("vars: [experiments/studies/components/study.yaml]\nstages: {}\n")
    study: Study = parse_study(STUDY, Path("tiny/study.yaml"))
    with pytest.raises(UserError, match=r"tiny/dvc\.yaml is missing; copy the dvc\.yaml"):
        Pipeline.of(study)


def test_nothing_stale_is_said(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Pipeline, "stale", lambda self: set())
    launch.launch(load_study("components"), options())
    assert "Nothing to do: every cell of components is up to date" in capsys.readouterr().out


def test_a_dry_run_names_the_stages_and_runs_none(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Pipeline, "stale", lambda self: {"prepare", "train@base-1", "report"})
    monkeypatch.setattr(Pipeline, "call", lambda self, stage: pytest.fail(f"{stage} was run"))
    launch.launch(load_study("components"), options(dry_run=True))
    shown = capsys.readouterr().out
    assert "1 of 36 cells to run" in shown
    assert shown.split()[-3:] == ["prepare", "report", "train@base-1"]


def test_a_failed_cell_is_named_and_the_status_tells(monkeypatch, capsys):
    monkeypatch.setattr(Pipeline, "of", lambda study: Pipeline(Path("dvc.yaml")))
    monkeypatch.setattr(Pipeline, "stale", lambda self: {"train@b-1", "train@c-0"})
    monkeypatch.setattr(Pipeline, "call", lambda self, stage: print(f"called {stage}"))
    line = 'echo "error: for $0"; case $0 in *b-1) exit 2;; esac'
    monkeypatch.setattr(Pipeline, "command", lambda self, *stages, quiet: ["sh", "-c", line, stages[0]])
    with pytest.raises(UserError, match="1 of 2 cells failed"):
        launch.launch(parse_study(STUDY, Path("tiny/study.yaml")), options())
    shown = capsys.readouterr().out
    assert "FAILED b seed 1: for train@b-1 (see runs/tiny/b/seed1/log.txt)" in shown
    assert "called report" in shown
    assert "The slots were busy" in shown


def test_cells_of_several_devices_share_the_cores_out(monkeypatch):
    def of(devices: int, **variants: dict) -> Study:
        base = {**STUDY["base"], "trainer": {"devices": devices, "accelerator": "cpu"}}
        return parse_study({**STUDY, "base": base, "variants": {**STUDY["variants"], **variants}}, Path("study.yaml"))

    monkeypatch.setattr(local.machine, "cores", lambda: 8)
    assert [local.default_slots(of(devices)) for devices in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert local.default_slots(of(1, c={"trainer": {"devices": 4}})) == 2
    with pytest.raises(UserError, match=r"study tiny sets trainer\.num_nodes.* torchrun or srun"):
        local.default_slots(of(1, c={"trainer": {"num_nodes": 2}}))


def test_a_cell_that_cannot_begin_fails_alone():
    Path("runs").mkdir()
    Path("runs/b-0").write_text("no folder")
    outcome = run("true")
    assert {job.name: reason for job, reason in outcome.failed.items()} == {
        "b-0": f"{Path('runs/b-0').resolve()}: File exists"
    }


@pytest.mark.parametrize("option", ["--slots", "--retries", "--runs-per-gpu"])
@pytest.mark.parametrize("value", ["-1", "x"])
def test_a_number_that_is_none_is_said(monkeypatch, capsys, option, value):
    monkeypatch.setattr(sys, "argv", ["launch", "--study", "tiny", f"{option}={value}"])
    with pytest.raises(SystemExit):
        launch.main()
    assert f"argument {option}: {value} is no whole number of at least" in capsys.readouterr().err
