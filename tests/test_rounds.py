"""Benchmarks without the systems they time: turns, medians, ratios, the table, and one line for a missing peer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import joeynmt_model
from benchmarks.rounds import Column, Turn, as_json, print_table, rows, take_turns, timed
from experiments.config.study import ROOT
from lit_transformer.config import DecodeConfig
from lit_transformer.errors import UserError
from lit_transformer.export.marian import to_marian
from tests.small_export import FITS
from tests.small_models import build

SECONDS = {"ours": [1.0, 2.0, 4.0], "peer": [2.0, 2.0, 12.0]}
SAME = Column("same as ours", ".1%", "same_as_ours", {"ours": 1.0, "peer": 0.5})


def test_systems_take_turns_and_the_first_turn_is_not_counted() -> None:
    order: list[str] = []
    now = 0.0

    def system(name: str, takes: float) -> Turn:
        def work() -> None:
            nonlocal now
            order.append(name)
            now += takes * len(order)

        return timed(work, clock=lambda: now)

    seconds = take_turns({"a": system("a", 1.0), "b": system("b", 10.0)}, 2)
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [3.0, 5.0], "b": [40.0, 60.0]}


def test_a_ratio_is_of_one_round() -> None:
    ours, peer = rows(SECONDS, 2, "peer")
    assert (ours.name, ours.rate, ours.ratio) == ("ours", (1.0, 0.5, 2.0), (2.0, 1.0, 3.0))
    assert (peer.name, peer.rate, peer.ratio) == ("peer", (1.0, 2 / 12, 1.0), (1.0, 1.0, 1.0))


def test_the_table_and_the_json_hold_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(SECONDS, 2, "peer")
    print_table("beam 4", "sentences", "peer", found, [SAME])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["ours", "1.0", "(0.5", "to", "2.0)", "2.00", "(1.00", "to", "3.00)", "100.0%"]
    assert lines[2][0] == "peer"
    written = json.loads(json.dumps(as_json("sentences", "peer", found, [SAME])))
    assert list(written) == ["ours", "peer"]
    assert written["ours"]["times peer"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert written["ours"]["sentences_per_second"] == {"median": 1.0, "least": 0.5, "most": 2.0}
    assert written["peer"]["seconds"] == SECONDS["peer"]
    assert written["peer"]["same_as_ours"] == 0.5


def test_a_missing_joeynmt_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joeynmt_model, "FOLDER", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "joeynmt", None)  # which makes an import of it fail
    with pytest.raises(UserError, match=r"needs the package joeynmt .*; install it: pip install --no-deps") as error:
        joeynmt_model.to_joeynmt(to_marian(build(FITS), DecodeConfig()))
    assert len(str(error.value).splitlines()) == 1


def test_every_tensor_of_a_layer_has_a_name_of_its_own_in_joeynmt() -> None:
    names = [name for name in to_marian(build(FITS), DecodeConfig()).tensors if ".layers." in name]
    found = [joeynmt_model._renamed(name) for name in names]
    assert len(set(found)) == len(names) > 0
    assert "decoder.layers.1.src_trg_att.q_layer.bias" in found
    assert "encoder.layers.0.layer_norm.weight" in found
    assert not [name for name in found if "_attn" in name or "fc" in name or "_proj" in name]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("decoding", ("JoeyNMT", "--out", "--beam")),
        ("random_decoding", ("--size", "--beam")),
        ("training", ("JoeyNMT", "--out", "--precision", "--mixed")),
        ("learning", ("x-transformers", "--ours", "--seeds", "--out")),
        ("scaling", ("--axis", "--out")),
        ("float32", ("--device", "--out")),
        ("shares", ("--size", "--out")),
        ("overhead", ("--steps", "--out")),
    ],
)
def test_a_command_says_what_it_takes(module: str, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", "--help"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(word in found for word in words)
