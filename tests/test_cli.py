"""Entry points end a user's mistake in one line; files appear whole or not at all; the machine says what it is."""

import errno
import getpass
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from experiments.__main__ import COMMANDS
from experiments.commands import describe
from experiments.common import cli, machine
from experiments.common.io import read_json, replace, write_json
from experiments.common.outcome import VARIABLE, Outcome, read_outcome
from experiments.launching.stages import Stages
from lit_transformer.errors import TemporaryFailure, UserError


def ending(error: BaseException, capsys) -> tuple[int, str]:
    """Run an entry point that raises; return its exit status and what stood on stderr."""

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        cli.run(main)
    return int(left.value.code), capsys.readouterr().err


def test_a_users_mistake_is_one_line(capsys):
    assert ending(UserError("heads is 0; it must be at least 1"), capsys) == (
        2,
        "error: heads is 0; it must be at least 1\n",
    )


def test_a_failure_is_written_for_the_launcher(tmp_path, monkeypatch, capsys):
    path = tmp_path / "outcome.json"
    monkeypatch.setenv(VARIABLE, str(path))
    assert ending(UserError("no\nsuch key"), capsys)[0] == 2
    assert read_outcome(path) == Outcome(2, "no such key")
    assert ending(TemporaryFailure("stopped at step 3"), capsys) == (75, "error: stopped at step 3\n")
    assert read_outcome(path) == Outcome(75, "stopped at step 3")
    assert ending(OSError(errno.ENOSPC, "No space left on device", "x"), capsys)[0] == 2
    assert read_outcome(path).error.startswith("x: No space left on device")
    with pytest.raises(ValueError, match="of 3"):
        ending(ValueError("of 3"), capsys)
    assert read_outcome(path) == Outcome(1, "ValueError: of 3")
    assert os.listdir(tmp_path) == ["outcome.json"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere/outcome.json"))
    assert ending(UserError("no folder to write to"), capsys) == (2, "error: no folder to write to\n")


@pytest.mark.parametrize("corpora", ["corpora", "../corpora", "{}/elsewhere"])
def test_paths_are_relative_to_where_the_user_stands(corpora: str, tmp_path, monkeypatch):
    """For what is read and what is written, and for the processes that are started, which find LIT_CORPORA absolute."""
    stood = tmp_path / "below"
    monkeypatch.setattr(cli, "STARTED_IN", stood)
    monkeypatch.setenv("LIT_CORPORA", corpora.format(tmp_path))
    monkeypatch.chdir(tmp_path)
    seen = []
    cli.run(lambda: seen.append((Path.cwd(), os.environ["LIT_CORPORA"])))
    assert seen == [(cli.ROOT, str(stood / corpora.format(tmp_path)))]
    assert cli.user_path("out/page") == stood / "out/page"
    assert cli.user_path("/out") == Path("/out")
    assert cli.user_path("~/out") == Path.home() / "out"


def test_an_interruption_is_one_line(capsys):
    assert ending(KeyboardInterrupt(), capsys) == (130, "error: interrupted\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_forbidden_disk_names_the_place(number: int, capsys):
    status, line = ending(OSError(number, os.strerror(number), "runs/x/last.ckpt"), capsys)
    assert status == 2
    assert line.startswith(f"error: runs/x/last.ckpt: {os.strerror(number)}")
    assert line.count("\n") == 1


def test_a_bug_of_ours_is_not_hidden():
    def main() -> None:
        raise OSError(errno.EBADF, "bad")

    with pytest.raises(OSError, match="bad"):
        cli.run(main)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail(beside):
        beside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        replace(path, fail)
    assert caught.value.filename == str(path)
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text('{"half": ')
    with pytest.raises(UserError, match=r"scores\.json is not valid JSON"):
        read_json(path)


def test_the_machine_describes_itself():
    found = machine.describe()
    assert found["versions"]["torch"].startswith("2.")
    assert found["threads"] >= 1
    assert machine.peak_memory() > 50e6
    assert len(machine.code_hash()) == 12


ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "scipy", "pandas", "altair", "omegaconf", "wandb", "pytorch_lightning", "ray", "datasets", "rich"}
HELP = f"""
import runpy, sys
sys.argv[0] = "experiments"
try:
    runpy.run_module("experiments", run_name="__main__")
finally:
    print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
"""


NAMES = [name for group in COMMANDS.values() for name in group]


@pytest.mark.parametrize("command", ["", *NAMES])
def test_help_answers_without_heavy_imports(command: str) -> None:
    """Help takes 0.3 s, most of it Python's own start; torch alone takes more than a second."""
    arguments = [argument for argument in (command, "--help") if argument]
    done = subprocess.run([sys.executable, "-c", HELP, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith(f"usage: python -m experiments {command}")
    assert (done.returncode, done.stderr) == (0, "\n")


@pytest.mark.parametrize("command", NAMES)
def test_every_command_takes_its_arguments_from_a_call_too(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        import_module(f"experiments.commands.{command}").main(["--help"])
    assert left.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_a_terminal_that_is_not_utf_8_gets_plain_signs() -> None:
    script = "from experiments.common.cli import run; run(lambda: print('−1.5 ± 0.2, base → pre-norm 猫'))"
    for encoding, expected in (
        ("ascii", b"-1.5 +/- 0.2, base -> pre-norm ?"),
        ("latin-1", b"-1.5 \xb1 0.2, base -> pre-norm ?"),
    ):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, cwd=ROOT, env=environment, check=True
        )
        assert done.stdout.strip() == expected


def test_options_may_stand_between_overrides(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    describe.main(["--study", "components", "model.d_model=64", "--variant", "base", "model.attention.d_k=16"])
    shown = capsys.readouterr().out
    describe.main(["--study", "components", "--variant", "base", "model.d_model=64", "model.attention.d_k=16"])
    assert capsys.readouterr().out == shown


def test_a_copy_without_git_is_told_what_dvc_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a ZIP, or COPY into an image: DVC refuses, and the line says both ways out."""
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc/config")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"not a git repository; .*`git init`, or `dvc config --local core.no_scm true`"
    ):
        Stages(Path("dvc.yaml")).stale()


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker run -e WANDB_MODE=` sets it; but no GPUs is what an empty CUDA_VISIBLE_DEVICES means."""
    empty = ("LIT_CORPORA", "WANDB_MODE", "OMP_NUM_THREADS", "LOCAL_RANK", "WORLD_SIZE", "HF_ENDPOINT", "NETRC")
    for name in (*empty, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    seen: dict[str, str] = {}
    cli.run(lambda: seen.update(os.environ))
    assert not set(empty) & set(seen)
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["WANDB_PROJECT"]) == ("", "mine")


def test_a_user_without_an_account_needs_a_home_and_gets_a_name(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    names: list[str] = []
    cli.run(lambda: names.append(getpass.getuser()))
    assert names == ["4000000001"]
    monkeypatch.delenv("HOME")
    with pytest.raises(SystemExit) as left:
        cli.run(lambda: names.append("never"))
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: user 4000000001 has no home: set the variable HOME to a folder that can be written\n"
    )
    assert len(names) == 1
