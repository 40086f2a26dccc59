"""Checkpoints and exported models with flipped bits and lost ends: never taken for good, and never run as code."""

import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from experiments.training.checkpoints import BEFORE, LAST, CheckpointFiles, newest, save_with_checksum
from lit_transformer import Transformer
from lit_transformer.errors import UserError
from lit_transformer.export import load_exported, save_exported
from tests.fuzzing import fuzzed, succeeded
from tests.small_export import reseal
from tests.small_models import BASE, build

PROOF = Path("code-was-run")
"""What a file makes that runs code when it is read."""


class Code:
    """An object whose pickle runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (PROOF,)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, int]]:
    """A few damages: what is done, where in the file, and a bit or byte."""
    kinds = st.sampled_from(("flip", "flip", "flip", "cut", "zero", "append", "code"))
    return draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=3))


def _damaged(whole: bytes, faults: list[tuple[str, float, int]]) -> bytes:
    content = bytearray(whole)
    for kind, where, value in faults:
        place = min(int(where * len(content)), len(content) - 1)
        match kind:
            case "flip" if content:
                content[place] ^= 1 << value % 8
            case "zero":
                content[place : place + value] = bytes(len(content[place : place + value]))
            case "cut":
                del content[place:]
            case "append":
                content += bytes([value])
            case "code":
                return pickle.dumps(Code())
    return bytes(content)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoints of steps 10 and 20."""
    folder = tmp_path_factory.mktemp("run")
    for step in (10, 20):
        saved = {"run_hash": "ours", "global_step": step, "state_dict": {"weight": torch.full((4, 5), float(step))}}
        CheckpointFiles().save_checkpoint(saved, folder / LAST)
    return folder


@fuzzed(60, 1000, newer=damages(), older=st.one_of(st.none(), damages()))
def test_a_damaged_checkpoint_is_never_resumed_from(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: Any, older: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("seed0", ignore_errors=True)
    shutil.copytree(checkpoints, "seed0")
    whole = {name: (checkpoints / name).read_bytes() for name in (LAST, BEFORE)}
    for name, faults in ((LAST, newer), (BEFORE, older)):
        Path("seed0", name).write_bytes(_damaged(whole[name], faults or []))
    intact = [name for name in (LAST, BEFORE) if Path("seed0", name).read_bytes() == whole[name]]
    found = newest(Path("seed0"), "ours")
    assert (found is not None) == bool(intact)
    if found:
        assert found.step == {LAST: 20, BEFORE: 10}[intact[0]]
        assert found.path.read_bytes() == whole[intact[0]]
        weight = CheckpointFiles().load_checkpoint(found.path)["state_dict"]["weight"]
        assert torch.equal(weight, torch.full((4, 5), float(found.step)))
    assert not PROOF.exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Transformer]:
    folder, network = tmp_path_factory.mktemp("model"), build(BASE).eval()
    save_exported(network, folder, {"study": "components"})
    return folder, network


@fuzzed(30, 1000, name=st.sampled_from(("config.json", "config.json", "model.safetensors")), faults=damages())
def test_a_damaged_export_is_never_loaded(
    exported: tuple[Path, Transformer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, faults: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, network = exported
    shutil.rmtree("model", ignore_errors=True)
    shutil.copytree(folder, "model")
    whole, damaged = (folder / name).read_bytes(), _damaged((folder / name).read_bytes(), faults)
    Path("model", name).write_bytes(damaged)
    loaded = succeeded(load_exported, Path("model"))
    if loaded is not None:  # as where a space in the JSON is another one now
        assert loaded.config == network.config
        for (key, own), (other_key, other) in zip(
            network.state_dict().items(), loaded.state_dict().items(), strict=True
        ):
            assert key == other_key
            assert torch.equal(own, other)
        assert name == "config.json" or damaged == whole
    assert not PROOF.exists()


def test_code_in_a_checkpoint_with_a_right_checksum_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can write a checkpoint can write its checksum: what is read must be data."""
    monkeypatch.chdir(tmp_path)
    Path("seed0").mkdir()
    save_with_checksum({"run_hash": "ours", "global_step": 3, "more": Code()}, Path("seed0", LAST))
    assert newest(Path("seed0"), "ours") is None
    assert not PROOF.exists()
    with zipfile.ZipFile("seed0/refused.ckpt") as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickle.loads(archive.read(pickled))
    assert PROOF.exists(), "the checkpoint does hold code"


def test_lengths_that_a_header_claims_take_no_memory(exported: tuple[Path, Transformer], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    tensors = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + tensors[8:])
    reseal(folder)
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole safetensors file"):
        load_exported(folder)
