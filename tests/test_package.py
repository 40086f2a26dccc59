"""The package: the wheel is the library by itself, and its metadata agree with the rest of the repository."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import lit_transformer

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPT = """
import sys
from pathlib import Path

import torch
import lit_transformer
from lit_transformer import LitTransformer, ModelConfig, build_transformer
from lit_transformer.config import AttentionConfig, FeedForwardConfig
from lit_transformer.decoding import greedy_search

assert Path(lit_transformer.__file__).is_relative_to(sys.argv[1]), lit_transformer.__file__
torch.manual_seed(0)
attention, feed_forward = AttentionConfig(heads=2, d_k=8, d_v=8), FeedForwardConfig(d_ff=32)
config = ModelConfig(
    d_model=16, encoder_layers=1, decoder_layers=1, dropout=0.0, attention=attention, feed_forward=feed_forward
)
model = build_transformer(config, vocab_size=20)
src = torch.tensor([[5, 6, 7, 2], [8, 9, 2, 0]])
tgt_in, tgt_out = torch.tensor([[1, 5, 6, 7], [1, 8, 9, 0]]), torch.tensor([[5, 6, 7, 2], [8, 9, 2, 0]])
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
losses = []
for _ in range(100):
    logits = model(src, tgt_in)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tgt_out.flatten(), ignore_index=0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss))
assert losses[-1] < 0.5 < losses[0], losses
model.eval()
with torch.inference_mode():
    state = model.init_cache(model.encode(src))
    translations = greedy_search(model.step, state, max_lengths=torch.tensor([6, 6]))
assert [hypothesis.tokens for hypothesis in translations] == [[5, 6, 7], [8, 9]], translations
print(sorted(name for name in ("experiments", "data_modules", "omegaconf", "wandb", "dvc") if name in sys.modules))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a copy of what it is made of, without a network."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("package")
    for name in ("lit_transformer", "data_modules", "experiments/common"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip(folder, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source"))
    (path,) = folder.glob("*.whl")
    return path


def pip(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_editable_install_has_the_studies_too(wheel: Path, tmp_path: Path) -> None:
    """Its .pth file names the checkout, of which the wheel holds one package of three."""
    code = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    source = wheel.parent / "source"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert Path(archive.read(name).decode().strip()) == source


def test_the_wheel_is_the_library(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lit_transformer").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert "lit_transformer/py.typed" in names


def test_the_wheel_requires_the_library_s_packages_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line).group() for line in required} == {  # type: ignore[union-attr]
        "torch",
        "pytorch-lightning",
        "numpy",
        "safetensors",
    }
    assert not any("==" in line for line in required), "ranges; exact versions stand in constraints.txt"
    assert metadata["Version"] == lit_transformer.__version__


def test_the_installed_library_trains_and_translates(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip(tmp_path, "install", "--no-deps", "--target", str(site), str(wheel))
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(site)]
    own = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_experiments_outside_a_checkout_say_so_and_write_nothing(tmp_path: Path) -> None:
    for name in ("lit_transformer", "data_modules", "experiments"):
        ignore = shutil.ignore_patterns("__pycache__", "studies")
        shutil.copytree(ROOT / name, tmp_path / "site" / name, ignore=ignore)
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-B", "-m", "experiments", "prepare", "--study", "components"]
    own = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path / 'site'} is not a checkout of lit_transformer; "
        "run the studies from a clone of the repository\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_every_requirement_is_pinned_in_the_constraints() -> None:
    pinned = {normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    required = {normal(re.split(r"[\[<>=]", line)[0]) for lines in lists for line in lines} - {"lit-transformer"}
    assert required <= pinned


def test_joeynmt_s_own_folder_holds_pinned_packages_that_the_environment_has_not() -> None:
    lines = (ROOT / "benchmarks/joeynmt.txt").read_text().splitlines()
    requirements = [line for line in lines if not line.startswith("#")]
    assert "joeynmt==2.3.0" in requirements
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in requirements)
    pinned = {normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert pinned.isdisjoint(normal(line.split("==")[0]) for line in requirements)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_pre_commit_runs_the_pinned_ruff() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (ruff,) = (repo for repo in config["repos"] if repo["repo"].endswith("/ruff-pre-commit"))
    assert f"ruff=={ruff['rev'].removeprefix('v')}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]


def test_the_version_is_cited_and_in_the_changelog() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lit_transformer.__version__
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert f"## {lit_transformer.__version__} - " in (ROOT / "CHANGELOG.md").read_text()
