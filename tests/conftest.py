"""What every test starts from: one thread and the same random numbers; and a project of random models."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side: more threads than cores wait for one another
torch.set_num_threads(1)
LONGEST = ("test_pipeline", "test_dvc_experiments", "test_sync")
"""Files of few tests that take long: they go first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True)
def set_back() -> Iterator[None]:
    """Begin with the same random numbers, and undo what a test sets for its process."""
    torch.manual_seed(0)
    yield
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of random models, as if trained; a module that builds its own project hides this one."""
    from tests.small_cell import write_cells

    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_cells(root)
    return root


@pytest.fixture
def standing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in that folder, as the user and as the program."""
    from experiments.common import cli

    monkeypatch.chdir(project)
    monkeypatch.setattr(cli, "STARTED_IN", project)


@pytest.fixture
def study_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a place for the study `tiny`, and return the path of its study.yaml, not written yet."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "experiments/studies/tiny/study.yaml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write reports without figures, which take most of the time and have tests of their own."""
    from experiments.reporting import study_report

    monkeypatch.setattr(study_report, "draw_figures", lambda *_: [])


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Hear SIGINT, which a shell lets what it puts into the background ignore, these tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
