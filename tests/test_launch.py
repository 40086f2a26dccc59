"""The launcher: every cell runs once, a crash is retried, a user's mistake is not, and the display shows what runs."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from experiments.commands import launch
from experiments.common.io import only_writer
from experiments.config.cell import cells_of
from experiments.config.study import Study, load_study, parse_study
from experiments.launching import engines, resources
from experiments.launching.attempts import Attempt, End, Job, Verdict
from experiments.launching.cells import run_cells
from experiments.launching.engines import needs_ray
from experiments.launching.engines.processes import ProcessEngine
from experiments.launching.progress import CellProgress, detail
from experiments.launching.stages import Stages, every_stage
from lit_transformer.errors import TemporaryFailure, UserError
from tests.launch_options import launch_options, set_stale
from tests.shell_cells import NAMES, ROOT, STUDY, jobs, run, wait_for
from tests.tiny_study import study_yaml


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


def test_a_users_mistake_fails_its_cell_at_once_and_leaves_the_others_running(capsys):
    line = 'echo x >> all.txt; if [ $CELL = b-0 ]; then echo "no such key"; exit 2; fi'
    outcome = run(line, retries=3)
    assert {job.name: reason for job, reason in outcome.failed.items()} == {"b-0": "no such key"}
    assert len(Path("all.txt").read_text().split()) == len(NAMES)
    assert "FAILED b-0" in capsys.readouterr().out


def test_a_crash_is_retried(capsys):
    outcome = run(
        "echo x >> $CELL.txt; if [ $CELL = b-0 ] && [ $(wc -l < b-0.txt) -lt 3 ]; then kill -9 $$; fi", retries=2
    )
    assert outcome.failed == {}
    assert Path("b-0.txt").read_text().split() == ["x"] * 3
    shown = capsys.readouterr().out
    assert shown.count("RETRY b-0 later, from its last checkpoint: ended by signal 9") == 2
    assert "[6/6] done b-0" in shown  # after all that waited


STAGE = """
import sys
from experiments.common import cli
from lit_transformer.errors import TemporaryFailure, UserError

def main():
    errors = {"mistake": UserError("no such key"), "stopped": TemporaryFailure("stopped at step 3")}
    raise errors.get(sys.argv[1]) or ValueError("of 3")

cli.run(main)
"""


def test_how_a_stage_ended_is_known_through_dvc():
    """DVC itself ends with 255, whatever the status of its stage."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    Path("stage.py").write_text(STAGE)
    lines = {name: f"python stage.py {name}" for name in ("mistake", "stopped", "bug")}
    lines |= {"killed": "kill -9 $$", "well": "true"}
    entries = {name: {"cmd": line} for name, line in lines.items()}
    Path("dvc.yaml").write_text(json.dumps({"stages": {**entries, "no_dep": {"cmd": "true", "deps": ["nowhere"]}}}))
    stages = Stages(Path("dvc.yaml"))
    cells = [Job(name, tuple(stages.command(name)), Path("runs") / name) for name in [*lines, "no_dep"]]
    result = run_cells(cells, ProcessEngine(2, threads=1), progress := CellProgress(cells), retries=1)
    progress.close()
    reasons = {job.name: reason for job, reason in result.failed.items()}
    assert reasons.keys() == {"mistake", "stopped", "bug", "killed", "no_dep"}
    assert [reasons[name] for name in ("mistake", "stopped", "bug")] == [
        "no such key",
        "stopped at step 3",
        "ValueError: of 3",
    ]
    assert "exited with -9" in reasons["killed"]
    assert "dependency 'nowhere' does not exist" in reasons["no_dep"]
    attempts = {name: Path(f"runs/{name}/log.txt").read_text().count("Running stage") for name in lines}
    assert attempts == {"mistake": 1, "stopped": 2, "bug": 2, "killed": 2, "well": 1}


def test_the_launchers_own_stage_names_the_cause_of_its_failure(capsys):
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    Path("stage.py").write_text(STAGE)
    entries = {
        "report": {"cmd": "echo drawing && python stage.py mistake"},
        "no_dep": {"cmd": "true", "deps": ["nowhere"]},
    }
    Path("dvc.yaml").write_text(json.dumps({"stages": entries}))
    with pytest.raises(UserError, match=r"^the stage report failed: no such key$"):
        Stages(Path("dvc.yaml")).run("report")
    assert "\ndrawing\n" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"the stage no_dep failed: .*dependency 'nowhere' does not exist"):
        Stages(Path("dvc.yaml")).run("no_dep")


def test_a_cell_that_always_crashes_is_given_up():
    outcome = run("echo x >> $CELL.txt; kill -9 $$", retries=2, names=["a-0"])
    assert [job.name for job in outcome.failed] == ["a-0"]
    assert Path("a-0.txt").read_text().split() == ["x"] * 3


@pytest.mark.parametrize(
    ("line", "verdict", "reason"),
    [
        ("echo printed", Verdict.done, ""),
        ("echo bad key; exit 2", Verdict.user_error, "bad key"),
        ("""echo '{"status": 2, "error": "bad key"}' > $LIT_OUTCOME; exit 255""", Verdict.user_error, "bad key"),
        ("""echo '{"status": 75, "error": "stopped"}' > $LIT_OUTCOME; exit 255""", Verdict.crashed, "stopped"),
        ("""echo '{"status": 1, "error": "KeyError: 3"}' > $LIT_OUTCOME; exit 255""", Verdict.crashed, "KeyError: 3"),
        ("""echo '{"status": 2, "error": "x"}' > $LIT_OUTCOME; true""", Verdict.done, ""),
        ("exit 75", Verdict.crashed, "exit status 75, no output"),
        ("kill -9 $$", Verdict.crashed, "ended by signal 9"),
        ("exit 139", Verdict.crashed, "ended by signal 11"),
        ("echo MemoryError; echo; exit 1", Verdict.crashed, "MemoryError"),
    ],
)
def test_how_an_attempt_ended(line: str, verdict: Verdict, reason: str):
    """By its exit status and what the command wrote, whatever it printed and earlier attempts wrote."""
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/log.txt").write_text("error: earlier\n")
    Path("runs/a/outcome.json").write_text('{"status": 2, "error": "earlier"}')
    attempt = Attempt(Job("a", ("sh", "-c", line), Path("runs/a")), threads=1, attempt_id="1")
    ends: list[End] = []
    wait_for(lambda: ends.append(end) or True if (end := attempt.end()) else False)
    assert (ends[0].verdict, ends[0].reason) == (verdict, reason)


def test_the_time_of_slots_counts_from_the_first_start_to_the_last_end():
    started = time.monotonic()
    outcome = run("sleep 0.5", slots=2, names=NAMES[:3])
    assert 3 * 0.5 <= outcome.used <= outcome.available <= 2 * (time.monotonic() - started)
    assert outcome.occupancy == outcome.used / outcome.available


def test_what_is_shown_of_a_running_cell():
    progress = {"step": 10, "steps": 40, "loss": 2.5, "target_tokens_per_second": 1234.5}
    assert detail({}) == "starting or scoring"
    assert detail(progress) == "step 10/40  loss 2.500  1,234 tokens/s"
    assert detail({**progress, "loss": None}) == "step 10/40  loss not finite  1,234 tokens/s"
    assert detail({**progress, "step": 40}) == "scoring"


def test_the_display_on_a_terminal():
    """A row per running cell and one for all; the time left counts from the first step seen, as after a resume."""
    now = [100.0]
    console = Console(width=150, force_terminal=True, file=io.StringIO(), record=True)
    cells = jobs("true")
    progress = CellProgress(cells, console, lambda: now[0])

    def shown() -> list[str]:
        progress.refresh()
        return console.export_text().replace("\r", "\n").split("\n")

    progress.started(cells[0])
    progress.started(cells[1])
    progress.finished(cells[0], True)
    Path("runs/b-0").mkdir(parents=True)
    for step, seconds in ((10, 4.0), (20, 5.0)):
        content = {"step": step, "steps": 40, "loss": 1.0, "target_tokens_per_second": 7}
        Path("runs/b-0/progress.json").write_text(json.dumps(content))
        now[0] += seconds
        rows = shown()
    cell = next(row for row in rows if row.startswith("b-0"))
    assert "step 20/40  loss 1.000  7 tokens/s" in cell
    assert cell.split()[-2:] == ["0:00:09", "0:00:10"]
    assert any("4 waiting, 1 running, 1 done, 0 failed" in row for row in rows)
    progress.retry(cells[1], "why")
    assert any(row.startswith("RETRY b-0 later, from its last checkpoint: why") for row in shown())
    assert not any(row.startswith("b-0") for row in shown())
    progress.close()


def test_the_time_left_is_estimated_from_all_cells(capsys):
    now = [0.0]
    cells = jobs("true")
    progress = CellProgress(cells, clock=lambda: now[0])
    assert progress.time_left() == "time left unknown"
    for cell in cells[:3]:
        progress.started(cell)
        now[0] += 600.0
        progress.finished(cell, True)
    assert capsys.readouterr().out.splitlines()[-1] == "[3/6] done c-0 in 600 s, about 30 min left"


@pytest.mark.parametrize(
    ("engine", "address", "gpus", "runs", "installed", "expected"),
    [
        ("auto", None, 0, None, True, False),
        ("auto", None, 1, None, True, False),
        ("auto", None, 2, None, True, True),
        ("auto", None, 2, None, False, False),
        ("auto", None, 1, 4, True, True),
        ("auto", "auto", 0, None, True, True),
        ("ray", None, 0, None, True, True),
        ("local", None, 2, None, True, False),
        ("auto", None, 1, 4, False, "pip install -c constraints.txt -e"),
        ("auto", "auto", 0, None, False, "--address needs Ray, which is not installed"),
        ("ray", None, 0, None, False, "--engine ray needs Ray"),
        ("local", "auto", 0, None, True, "--engine local excludes it"),
    ],
)
def test_which_engine_runs_the_cells(monkeypatch, engine, address, gpus, runs, installed, expected):
    monkeypatch.setattr(engines, "find_spec", lambda name: object() if installed else None)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            needs_ray(engine, address, gpus, runs)
    else:
        assert needs_ray(engine, address, gpus, runs) is expected


def test_a_studys_stages_are_written_when_it_is_to_run():
    """And are its own: not the default study's, which stand at the root."""
    Path("dvc.yaml").write_text("vars: [experiments/studies/components/study.yaml]\nstages: {}\n")
    for name in ("tiny", "components"):
        path = Path(f"experiments/studies/{name}/study.yaml")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**STUDY, "name": name}))
    stages = Stages.of(load_study("tiny"))
    assert stages.file == Path("experiments/studies/tiny/dvc.yaml")
    assert "python -m experiments train" in stages.file.read_text()
    assert stages.command("train@a-0")[-1] == "experiments/studies/tiny/dvc.yaml:train@a-0"
    assert stages.of_ensembles(load_study("tiny")) is None
    assert Stages.of(load_study("components")).file == Path("dvc.yaml")


def test_nothing_stale_is_reported(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    set_stale(monkeypatch, lambda self: set())
    launch.launch(load_study("components"), launch_options())
    assert "Nothing to do: every cell of components is up to date" in capsys.readouterr().out


def test_a_dry_run_names_the_stages_and_runs_none(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    set_stale(monkeypatch, lambda self: {"prepare", "train@base-1", "report"})
    monkeypatch.setattr(Stages, "run", lambda self, stage: pytest.fail(f"{stage} was run"))
    launch.launch(load_study("components"), launch_options(dry_run=True))
    first, *stages, looks = capsys.readouterr().out.splitlines()
    assert first == "components: 1 of at most 60 cells to run"
    assert stages == ["prepare", "report", "train@base-1"]
    assert looks.startswith("Looks at 3 and 5 seeds: 36 cells at least")


def test_a_dry_run_of_a_study_that_dvc_does_not_know_writes_nothing(monkeypatch, capsys):
    monkeypatch.setattr(Stages, "of", lambda study: pytest.fail("its stages were written"))
    folder = Path("experiments/studies/tiny")
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(json.dumps({**STUDY, "ensembles": ["a"]}))
    study = load_study("tiny")
    launch.launch(study, launch_options(dry_run=True))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"tiny: {len(cells_of(study))} of {len(cells_of(study))} cells to run"
    assert {"prepare", "train@a-0", "evaluate@b-1", "report", "ensemble@a"} <= set(shown)
    assert [path.name for path in Path().rglob("*")] == ["experiments", "studies", "tiny", "study.yaml"]
    (folder / "dvc.lock").write_text("stages: {}\n")
    with pytest.raises(UserError, match=r"tiny/dvc.yaml is missing or out of date, .* stages --study tiny$"):
        launch.launch(study, launch_options(dry_run=True))


@pytest.mark.slow
def test_every_stage_is_named_as_dvc_names_it():
    """Without .git, as in a copy; nothing has run, so all of them are stale."""
    path = Path("experiments/studies/tiny/study.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(
        study_yaml("{seeds: [0, 1], ensembles: [base], tune: {values: [0.01, 0.02, 4.0e-5], rungs: [0.25, 0.5]}}")
    )
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], check=True)
    study = load_study("tiny")
    stages = Stages.of(study)
    ensembles, tuning = stages.of_ensembles(study), stages.of_tuning(study)
    assert ensembles
    assert tuning
    assert every_stage(study) == (stages.stale(), ensembles.stale(), tuning.stale())


def test_a_failed_cell_is_named_and_the_launch_fails(monkeypatch, capsys):
    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    monkeypatch.setattr(Stages, "of_ensembles", lambda self, study: None)
    set_stale(monkeypatch, lambda self: {"train@b-1", "train@c-0"})
    monkeypatch.setattr(Stages, "run", lambda self, stage: print(f"ran {stage}"))
    line = 'echo "for $0"; case $0 in *b-1) exit 2;; esac'
    monkeypatch.setattr(Stages, "command", lambda self, *stages: ["sh", "-c", line, stages[0]])
    with pytest.raises(UserError, match="1 of 2 cells failed"):
        launch.launch(parse_study(STUDY, Path("tiny/study.yaml")), launch_options())
    shown = capsys.readouterr().out
    assert "FAILED b seed 1: for train@b-1 (see runs/tiny/b/seed1/log.txt)" in shown
    assert "ran report" in shown
    assert "Slots were busy" in shown


def test_failed_cells_are_what_a_launch_reports_even_if_the_report_fails(monkeypatch, capsys):
    def run(self: Stages, stage: str) -> None:
        raise UserError("no results")

    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    monkeypatch.setattr(Stages, "of_ensembles", lambda self, study: None)
    set_stale(monkeypatch, lambda self: {"train@b-1"})
    monkeypatch.setattr(Stages, "run", run)
    monkeypatch.setattr(Stages, "command", lambda self, *stages: ["sh", "-c", "exit 2"])
    with pytest.raises(UserError, match="1 of 1 cells failed"):
        launch.launch(parse_study(STUDY, Path("tiny/study.yaml")), launch_options())
    assert "FAILED report: no results" in capsys.readouterr().out


def test_a_study_that_is_being_launched_is_refused(monkeypatch):
    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    monkeypatch.setattr(Stages, "of_ensembles", lambda self, study: None)
    set_stale(monkeypatch, lambda self: {"train@b-1"})
    study = parse_study(STUDY, Path("tiny/study.yaml"))
    with only_writer(Path("runs/tiny")), pytest.raises(TemporaryFailure, match="runs/tiny is being written by process"):
        launch.launch(study, launch_options())


def test_cells_of_several_devices_divide_the_cores(monkeypatch):
    def of(devices: int, **variants: dict) -> Study:
        base = {**STUDY["base"], "trainer": {"devices": devices, "accelerator": "cpu"}}
        return parse_study({**STUDY, "base": base, "variants": {**STUDY["variants"], **variants}}, Path("study.yaml"))

    monkeypatch.setattr(resources.machine, "cores", lambda: 8)
    assert [resources.default_slots(of(devices)) for devices in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert resources.default_slots(of(1, c={"trainer": {"devices": 4}})) == 2
    with pytest.raises(UserError, match=r"study tiny sets trainer\.num_nodes.* torchrun or srun"):
        resources.default_slots(of(1, c={"trainer": {"num_nodes": 2}}))


def test_a_cell_that_cannot_start_fails_alone():
    Path("runs").mkdir()
    Path("runs/b-0").write_text("no folder")
    outcome = run("true")
    assert {job.name: reason for job, reason in outcome.failed.items()} == {
        "b-0": f"{Path('runs/b-0').resolve()}: File exists"
    }


@pytest.mark.parametrize("option", ["--slots", "--retries", "--runs-per-gpu"])
@pytest.mark.parametrize("value", ["-1", "x"])
def test_a_value_that_is_no_number_is_refused(monkeypatch, capsys, option, value):
    monkeypatch.setattr(sys, "argv", ["launch", "--study", "tiny", f"{option}={value}"])
    with pytest.raises(SystemExit):
        launch.main()
    assert f"argument {option}: {value} is no whole number of at least" in capsys.readouterr().err
