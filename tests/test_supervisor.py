"""A stop ends all processes of a cell after a checkpoint, however it is requested, and leaves no orphan."""

import fcntl
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.launching import supervisor
from experiments.launching.engines.processes import ProcessEngine
from experiments.launching.progress import CellProgress
from lit_transformer.errors import UserError
from tests.shell_cells import NAMES, ROOT, ctrl_c_once_two_run, jobs, processes, run, slow, wait_for


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    """Stand in an empty folder, from which our code can still be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_stop_ends_the_whole_tree_after_a_checkpoint(tmp_path):
    cells = jobs(slow(tmp_path), NAMES[:3])
    engine = ProcessEngine(2, threads=1)
    for job in cells:
        engine.submit(job)
    engine.poll(1.0)
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    assert processes(str(tmp_path))
    engine.stop()
    assert processes(str(tmp_path)) == []
    assert len(list(tmp_path.glob("*.end"))) == 2
    assert not Path("runs/c-0").exists()


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_stops_every_child_and_says_how_to_go_on(tmp_path):
    ctrl_c_once_two_run(tmp_path)
    with pytest.raises(UserError, match="run the same command again"):
        run(slow(tmp_path))
    assert processes(str(tmp_path)) == []


def test_a_killed_launcher_leaves_no_orphan(tmp_path):
    """SIGKILL, which nobody can answer: the supervisors see their starter end."""
    code = f"from tests import shell_cells; shell_cells.run({slow(tmp_path)!r})"
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 60)
    launcher.kill()
    launcher.wait()
    wait_for(lambda: processes(str(tmp_path)) == [])
    assert len(list(tmp_path.glob("*.end"))) == 2


SUPERVISOR = "from experiments.launching.supervisor import Supervisor; import sys; from pathlib import Path; "


def test_a_process_that_does_not_stop_is_killed(tmp_path):
    stubborn = f"trap '' TERM; echo > up; while :; do sleep 0.05; done # {tmp_path}"
    quick = "from experiments.launching import supervisor; supervisor.LAST_WORD = 0.3;"
    code = f"{SUPERVISOR} {quick} sys.exit(Supervisor(0.3).run(Path('lock'), ['sh', '-c', {stubborn!r}]))"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    wait_for(Path("up").exists)
    assert child.stdin
    child.stdin.close()
    assert child.wait(20) == 143
    assert processes(str(tmp_path)) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_to_the_supervisor_stops_its_command(tmp_path, number):
    code = f"{SUPERVISOR} sys.exit(Supervisor().run(Path('lock'), ['sh', '-c', {'CELL=a;' + slow(tmp_path)!r}]))"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    wait_for(Path("a.pid").exists)
    child.send_signal(number)
    assert child.wait(20) == 143
    assert Path("a.end").read_text() == "saved\n"
    assert processes(str(tmp_path)) == []


def test_what_a_killed_command_leaves_running_is_stopped(tmp_path):
    """DVC killed alone: its training would go on, and the next attempt would be a second writer."""
    outcome = run(
        f"{slow(tmp_path).removesuffix(' wait')} while [ ! -e a-0.pid ]; do sleep 0.02; done; kill -9 $$", names=["a-0"]
    )
    assert list(outcome.failed.values()) == ["ended by signal 9"]
    assert processes(f"{tmp_path}/slow.sh") == []
    assert Path("a-0.end").exists()


def test_an_attempt_waits_for_the_lock_of_its_predecessor(tmp_path):
    Path("runs/a-0").mkdir(parents=True)
    with open("runs/a-0/.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=run, args=("echo ran > ran",), kwargs={"names": ["a-0"]})
        thread.start()
        wait_for(Path("runs/a-0/attempt.json").exists)
        time.sleep(0.5)
        assert not Path("ran").exists()
    thread.join(20)
    assert Path("ran").exists()


@pytest.mark.parametrize("killed", [False, True])
def test_an_attempt_waits_for_all_of_its_predecessor(tmp_path, killed):
    """DVC, which goes on when its training has ended and let its lock go, even without its supervisor."""
    Path("dvc.sh").write_text("echo up > up; sleep 1; echo first >> order.txt")
    places = Path("run/.lock"), Path("outcome.json")
    first = supervisor.start(["sh", "dvc.sh"], *places)
    wait_for(Path("up").exists)
    if killed:
        first.kill()
    second = supervisor.start(["sh", "-c", "echo second >> order.txt"], *places)
    assert second.wait(20) == 0
    assert first.wait(20) == (-9 if killed else 0)
    assert Path("order.txt").read_text() == "first\nsecond\n"


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_pressed_again_waits_for_the_same_end(tmp_path, capsys):
    ctrl_c_once_two_run(tmp_path)
    ctrl_c_once_two_run(tmp_path, after=0.2)
    with pytest.raises(UserError, match="run the same command again"):
        run(slow(tmp_path))
    assert processes(str(tmp_path)) == []
    assert len(list(tmp_path.glob("*.end"))) == 2
    assert "already stopping" in capsys.readouterr().out


def test_whatever_else_ends_the_loop_no_cell_runs_on(tmp_path, monkeypatch):
    def broken(progress: CellProgress) -> None:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        raise RuntimeError("the terminal is gone")

    monkeypatch.setattr(CellProgress, "refresh", broken)
    with pytest.raises(RuntimeError, match="the terminal is gone"):
        run(slow(tmp_path))
    assert processes(str(tmp_path)) == []


def test_a_stage_of_the_launchers_own_ends_with_it(tmp_path):
    """As the data stage, on SIGTERM: DVC's child would go on."""
    (tmp_path / "dvc.sh").write_text(f"CELL=a; {slow(tmp_path)}")
    code = f"""
from pathlib import Path
from experiments.launching.signals import interrupt_on_signals
from experiments.launching.stages import Stages
interrupt_on_signals()
Stages(Path("dvc.yaml"), ("sh", "{tmp_path}/dvc.sh")).run("prepare")
"""
    launcher = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for(Path("a.pid").exists)
    launcher.terminate()
    launcher.wait(20)
    assert processes(str(tmp_path)) == []
    assert Path("a.end").read_text() == "saved\n"


def test_dvc_is_not_killed_while_it_records_a_stage_that_was_stopped(tmp_path):
    """It may be writing dvc.lock: only its children receive SIGTERM, those included that it starts meanwhile."""
    (tmp_path / "child.sh").write_text(
        "trap 'sleep 0.2 && echo stopped >> children; exit 1' TERM; echo > up$1; while :; do sleep 0.05; done"
    )
    (tmp_path / "dvc.sh").write_text("sh child.sh 1; sh child.sh 2; sleep 1.5; echo whole > dvc.lock")
    child = supervisor.start(["sh", "dvc.sh"], Path("lock"), Path("outcome.json"))
    wait_for(Path("up1").exists)
    assert child.stdin
    child.stdin.close()
    assert child.wait(20) == supervisor.STOPPED
    assert Path("children").read_text().split() == ["stopped", "stopped"]
    assert Path("dvc.lock").read_text() == "whole\n"


def test_the_exit_status_is_what_the_stage_wrote(tmp_path):
    """And nothing that an earlier attempt wrote."""
    line = """echo '{"status": 75, "error": "stopped"}' > $LIT_OUTCOME; exit 255"""
    assert supervisor.start(["sh", "-c", line], Path("lock"), Path("outcome.json")).wait(20) == 75
    assert supervisor.start(["sh", "-c", "exit 255"], Path("lock"), Path("outcome.json")).wait(20) == 255
    assert not Path("outcome.json").exists()
