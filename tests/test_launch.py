"""The launcher's slots: every cell runs once, a failure stays alone, a stop leaves nobody behind."""

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments import machine
from experiments.board import Board
from experiments.launch import Pipeline, _members, _stop, launch, run_cells
from experiments.study import Cell, Study, load_study, parse_study
from lit_transformer.errors import UserError

STUDY = {
    "name": "tiny",
    "question": "?",
    "corpus": "grammar",
    "baseline": "a",
    "seeds": [0, 1],
    "base": {"recipe": "paper", "model": {}, "data": {}, "optim": {}, "trainer": {}, "decode": {}},
    "variants": {"a": {}, "b": {}, "c": {}},
}


@dataclass(frozen=True)
class Shell(Pipeline):
    """Runs a shell line in place of DVC; $CELL names the cell."""

    line: str = "true"

    def command(self, *stages: str) -> list[str]:
        return ["sh", "-c", f"CELL={stages[0]}; {self.line}"]


@pytest.fixture
def cells(tmp_path, monkeypatch) -> list[Cell]:
    monkeypatch.chdir(tmp_path)
    study: Study = parse_study(STUDY, Path("tiny/study.yaml"))
    return [Cell(study, variant, seed) for seed in study.seeds for variant in study.variants]


def run(cells: list[Cell], line: str, slots: int = 2) -> list[str]:
    board = Board(cells)
    failed = run_cells(cells, slots, Shell("dvc", Path("dvc.yaml"), line), board)
    board.close()
    return [f"{cell.variant}-{cell.seed}" for cell in failed]


def test_every_cell_runs_once_and_keeps_a_log(cells, capsys):
    assert run(cells, 'echo "$CELL ran" | tee -a all.txt') == []
    assert sorted(Path("all.txt").read_text().split("\n")[:-1]) == sorted(
        f"train@{cell.variant}-{cell.seed} ran" for cell in cells
    )
    assert (cells[0].run_folder / "log.txt").read_text() == "train@a-0 ran\n"
    assert "[6/6] done" in capsys.readouterr().out


def test_a_failed_cell_leaves_the_others_running(cells, capsys):
    assert run(cells, 'echo x >> all.txt; test "$CELL" != train@b-0') == ["b-0"]
    assert len(Path("all.txt").read_text().split()) == len(cells)
    assert "FAILED b seed 0" in capsys.readouterr().out


def test_a_stop_ends_the_whole_tree_of_processes(tmp_path):
    marker = tmp_path / "grandchild"
    # The grandchild takes a second to obey, as a training ends its step; its parent leaves at once, as DVC does.
    slow = f"trap 'sleep 1; echo saved >> {marker}.end; exit' TERM; echo $$ > {marker}; while :; do sleep 0.1; done"
    child = subprocess.Popen(["sh", "-c", f'sh -c "{slow}" & wait'], start_new_session=True, text=True)
    while not marker.exists() or not marker.read_text().strip():
        time.sleep(0.01)
    _stop([child], patience=20)
    assert child.poll() is not None
    assert _members({child.pid}) == []
    assert Path(f"{marker}.end").read_text() == "saved\n"


def test_whoever_does_not_obey_is_killed():
    child = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], start_new_session=True, text=True
    )
    time.sleep(0.3)
    _stop([child], patience=0.5)
    assert _members({child.pid}) == []
    assert child.wait(5) == -signal.SIGKILL


def test_slots_share_the_cores(cells):
    run(cells[:1], 'echo "$OMP_NUM_THREADS" > threads.txt', slots=1)
    assert int(Path("threads.txt").read_text()) == machine.cores()


def test_a_study_without_stages_of_its_own_is_refused(cells, monkeypatch):
    """It must not run the default study's stages under its name."""
    Path("dvc.yaml").write_text("vars: [experiments/studies/components/study.yaml]\nstages: {}\n")
    with pytest.raises(UserError, match=r"tiny/dvc\.yaml is missing; copy the dvc\.yaml"):
        Pipeline.of(cells[0].study)


def test_nothing_stale_is_said(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parent.parent)
    monkeypatch.setattr(Pipeline, "stale", lambda self: set())
    launch(load_study("components"), slots=1)
    assert "Nothing to do: every cell of components is up to date" in capsys.readouterr().out
