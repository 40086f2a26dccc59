"""The scripts of examples/, and the README's lines on Lightning, as their readers run them."""

import csv
import re
import runpy
from pathlib import Path

import pytest

from tests.small_corpus import letters

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def logged(folder: str, column: str) -> list[float]:
    """Return the values of a column of CSVLogger's file."""
    rows = csv.DictReader(Path(folder, "version_0/metrics.csv").read_text().splitlines())
    return [float(row[column]) for row in rows if row[column]]


@pytest.mark.filterwarnings("ignore")
def test_plain_lightning_learns_and_translates_every_test_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples/plain_lightning.py"), run_name="__main__")
    losses = logged("runs/few", "train/loss")
    assert sum(losses[-3:]) < sum(losses[:3])
    assert len(logged("runs/few", "valid/loss")) == len(logged("runs/few", "test/loss")) == 1
    printed = re.findall(r"^(\d+) ", capsys.readouterr().out, re.MULTILINE)
    assert sorted(map(int, printed)) == list(range(20))


@pytest.mark.filterwarnings("ignore")
def test_own_component_is_trained_and_loaded() -> None:
    names = runpy.run_path(str(ROOT / "examples/own_component.py"), run_name="__main__")
    losses = logged("runs/maxout", "train/loss")
    assert sum(losses[-3:]) < sum(losses[:3])
    layers = [*names["lit"].network.encoder.layers, *names["lit"].network.decoder.layers]
    assert {type(layer.sublayers["feed_forward"].inner).__name__ for layer in layers} == {"Maxout"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_readme_s_lines_run(tmp_path: Path) -> None:
    letters(tmp_path / "data/components")
    (lines,) = re.findall(r"```python\n(import pytorch_lightning.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(lines, {"__name__": "readme"})
    assert len(logged("runs/lightning_logs", "test/loss")) == 1
