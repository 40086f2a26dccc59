"""Checkpoint files: readable by others, whole or known not to be, and the one before in reserve."""

import os
import zipfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.common.io import replace
from experiments.training.checkpoints import CheckpointFiles, is_intact, newest, save_with_checksum


def content(step: int, run_hash: str = "ours") -> dict[str, Any]:
    torch.manual_seed(step)
    return {"run_hash": run_hash, "global_step": step, "weights": torch.randn(300), "tied": [torch.arange(5), "text"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with checkpoints of steps 10 and 20."""
    folder = tmp_path / "seed0"
    folder.mkdir()
    for step in (10, 20):
        CheckpointFiles().save_checkpoint(content(step), folder / "last.ckpt")
    return folder


def step_of(path: Path) -> int:
    assert is_intact(path)
    return int(torch.load(path, weights_only=True)["global_step"])


def test_a_sealed_file_is_what_torch_and_zip_read(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_with_checksum(content(3), path)
    for mmap in (False, True):
        assert torch.equal(torch.load(path, weights_only=True, mmap=mmap)["weights"], content(3)["weights"])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert path.read_bytes().endswith(archive.comment)
    assert torch.equal(CheckpointFiles().load_checkpoint(path)["weights"], content(3)["weights"])


def test_the_one_before_is_kept(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "before.ckpt"}
    assert step_of(folder / "last.ckpt") == 20
    assert step_of(folder / "before.ckpt") == 10
    assert newest(folder, "ours") == (folder / "last.ckpt", 20)


@pytest.mark.parametrize("place", [0, 1, 100, -1, -40, -65, -70])
def test_every_flipped_bit_is_seen(folder: Path, place: int) -> None:
    path = folder / "last.ckpt"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert not is_intact(path)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 500, -1])
def test_the_one_before_is_used_where_the_last_is_cut_short(
    folder: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:size])
    assert newest(folder, "ours") == (last, 10)
    assert capsys.readouterr().out == (
        f"{last} is damaged (its checksum does not fit): using the one before (it is refused.ckpt now)\n"
    )
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "refused.ckpt"}
    CheckpointFiles().save_checkpoint(content(20), last)
    assert step_of(folder / "before.ckpt") == 10  # not the damaged one


def test_a_foreign_one_is_not_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_with_checksum(content(30, "theirs"), folder / "last.ckpt")
    assert newest(folder, "ours") == (folder / "last.ckpt", 10)
    printed = capsys.readouterr().out
    assert "is of another config or code (theirs, now ours): using the one before" in printed
    assert printed.count("\n") == 1


def test_a_folder_of_another_run_is_moved_aside(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "curve.csv").write_text("theirs")
    assert newest(folder, "mine") is None
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.endswith(f"moved to {folder}.ours, training from scratch\n")
    assert list(folder.iterdir()) == []
    assert (folder.with_name("seed0.ours") / "curve.csv").read_text() == "theirs"


def test_what_was_moved_aside_comes_back_when_its_run_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code changed, a start, the change taken back: hours of training are where they were."""
    (folder / "wandb").mkdir()
    assert newest(folder, "mine") is None
    CheckpointFiles().save_checkpoint(content(5, "mine"), folder / "last.ckpt")
    (folder / "wandb").mkdir()
    (folder / "log.txt").touch()
    (folder / "attempt.json").write_text("of this start")
    capsys.readouterr()
    assert newest(folder, "ours") == (folder / "last.ckpt", 20)
    assert capsys.readouterr().out.endswith(f"moved to {folder}.mine, taking {folder}.ours back\n")
    assert step_of(folder / "before.ckpt") == 10
    assert not folder.with_name("seed0.ours").exists()
    assert newest(folder, "mine") == (folder / "last.ckpt", 5)
    assert (folder / "log.txt").exists()
    assert (folder / "attempt.json").read_text() == "of this start"


def test_what_a_start_without_a_checkpoint_left_makes_room(folder: Path) -> None:
    assert newest(folder, "mine") is None
    (folder / "wandb").mkdir()
    assert newest(folder, "ours") == (folder / "last.ckpt", 20)
    assert [path.name for path in folder.with_name("seed0.unfinished").iterdir()] == ["wandb"]


def test_the_launchers_own_files_make_no_room(folder: Path) -> None:
    assert newest(folder, "mine") is None
    (folder / "attempt.json").touch()
    assert newest(folder, "ours") == (folder / "last.ckpt", 20)
    assert not folder.with_name("seed0.unfinished").exists()


def test_nothing_that_was_moved_aside_is_overwritten(folder: Path) -> None:
    for name in ("seed0.ours", "seed0.ours.1"):
        folder.with_name(name).mkdir()
    assert newest(folder, "mine") is None
    assert is_intact(folder.with_name("seed0.ours.2") / "last.ckpt")


def test_with_none_left_the_training_begins_afresh(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last.ckpt", "before.ckpt"):
        (folder / name).write_bytes(b"nothing")
    assert newest(folder, "ours") is None
    assert capsys.readouterr().out.count("training from scratch") == 1
    assert newest(folder, "ours") is None
    assert capsys.readouterr().out == ""


def test_what_is_more_than_data_is_not_loaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_with_checksum({**content(30), "code": partial(print, "run")}, folder / "last.ckpt")
    assert newest(folder, "ours") == (folder / "last.ckpt", 10)
    assert "cannot be read (UnpicklingError)" in capsys.readouterr().out


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_between_its_renames_a_checkpoint_is_still_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    class Killed(BaseException):
        pass

    done, rename = [], os.replace

    def dying(*arguments: Any) -> None:
        if len(done) == renames:
            raise Killed
        done.append(rename(*arguments))

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(Killed) if renames < 2 else nullcontext():
        CheckpointFiles().save_checkpoint(content(30), folder / "last.ckpt")
    monkeypatch.undo()
    assert newest(folder, "ours") == (folder / "last.ckpt", {0: 20, 1: 20, 2: 30}[renames])


def test_files_and_their_folders_are_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda handle: order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda one, other: (order.append("rename"), rename(one, other)))
    replace(path, lambda beside: beside.write_text("x"))
    assert order == [".file.tmp", "rename", tmp_path.name]


def test_a_large_checkpoint_is_sealed_to_its_end(folder: Path) -> None:
    large = {**content(40), "weights": torch.randn(700_000)}
    save_with_checksum(large, folder / "last.ckpt")
    assert is_intact(folder / "last.ckpt")
    data = bytearray((folder / "last.ckpt").read_bytes())
    data[2_000_000] ^= 64
    (folder / "last.ckpt").write_bytes(data)
    assert not is_intact(folder / "last.ckpt")
