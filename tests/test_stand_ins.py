"""What a start leaves out of its imports: still there for whoever asks, and truly left out."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.common.stand_ins import standing_in
from tests.small_cell import environment

NAME = "wave"
"""A module of the standard library that nothing loads."""


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)


def test_what_stands_in_has_its_own_names_and_is_gone_afterwards() -> None:
    with standing_in(NAME, Error=None):
        from wave import Error

        assert Error is None
        assert not hasattr(sys.modules[NAME], "__file__")
    import wave

    assert issubclass(wave.Error, Exception)


def test_any_other_name_is_the_modules_own() -> None:
    with standing_in(NAME, Error=None):
        from wave import Wave_read

        assert isinstance(Wave_read, type)
    assert sys.modules[NAME].Wave_read is Wave_read


def test_a_module_that_is_loaded_stays_itself() -> None:
    import wave

    with standing_in(NAME, Error=None):
        assert sys.modules[NAME] is wave
    assert sys.modules[NAME] is wave


START = """
import sys
from pathlib import Path
from experiments.common.stand_ins import import_lightning
from experiments.tracking.wandb import open_run
import_lightning()
import pytorch_lightning
run = open_run(Path(sys.argv[1]), "offline")
run.log({"loss": 1.0})
run.finish()
assert pytorch_lightning.Trainer
assert not {"scipy.signal", "wandb.sdk.launch"} & set(sys.modules)
import scipy.signal
assert len(scipy.signal.windows.hann(4)) == 4
"""


def test_lightning_and_a_run_start_without_what_they_do_not_need(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, tmp_path], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1
