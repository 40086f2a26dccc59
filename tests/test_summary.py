"""The one table of the benchmarks: what it reads from their files, and what it refuses to mix."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import decoding, summary, training
from benchmarks.environment import kind_of
from benchmarks.gpu_table import markdown
from experiments.config.study import ROOT
from tests.gpu_record import RECORD


def content(settings: dict[str, Any], seconds: dict[str, list[float]]) -> str:
    systems: dict[str, dict[str, Any]] = {name: {"seconds": own} for name, own in seconds.items()}
    systems["lit_transformer"]["target_tokens_per_second"] = {"median": 1234.5}
    return json.dumps(
        {
            "settings": settings,
            "systems": systems,
            "machine": "m",
            "git_commit": "c",
            "load_before_and_after": [1.0, 1.5],
        }
    )


TRAINING = {"size": "tiny", "precision": "float32", "mixed": True, "device": "cpu"}


def test_a_ratio_is_the_median_over_rounds_and_the_fastest_peer_has_the_least() -> None:
    seconds = {
        "lit_transformer": [1.0, 2.0, 4.0],
        "JoeyNMT": [2.0, 6.0, 4.0],  # 2, 3 and 1 times ours
        "torch.nn loop": [5.0, 3.0, 6.0],  # 5, 1.5 and 1.5 times
        "torch.nn loop, our settings": [0.1, 0.1, 0.1],  # nobody else's work
    }
    line = summary.read(content(TRAINING, seconds))
    assert line is not None
    assert line.ratios == {"JoeyNMT": 2.0, "torch.nn": 1.5}
    assert line.lowest_ratio == 1.5
    assert (line.name, line.rate, line.load) == ("training, tiny, float32, random batches", "1,234 tokens/s", 1.5)


def test_every_peer_of_the_benchmarks_has_a_column() -> None:
    assert {training.PEER, *training.OTHERS} <= set(summary.PEERS)
    assert decoding.PEER in summary.PEERS
    with pytest.raises(KeyError):
        summary.read(content(TRAINING, {"lit_transformer": [1.0], "another": [1.0]}))


def test_a_file_of_another_kind_is_passed_over() -> None:
    assert summary.read('{"modes": {}}') is None
    assert summary.read(content(TRAINING, {"lit_transformer": [1.0]})) is None  # no peer was installed


def test_kinds_of_machine_stand_beside_each_other_and_gpus_in_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs/speed.md"
    page.parent.mkdir()
    page.write_text(f"above\n{summary.BEGIN}old\n{summary.END}below\n")
    monkeypatch.chdir(tmp_path)
    for kind, peer in (("amd-epyc", 1.5), ("intel-xeon-processor-amx", 3.0)):
        folder = tmp_path / "benchmarks/results" / kind
        folder.mkdir(parents=True)
        (folder / "training.json").write_text(content(TRAINING, {"lit_transformer": [1.0], "JoeyNMT": [peer]}))
    summary.main()
    assert page.read_text() == f"above\n{summary.BEGIN}{summary.NO_GPU}{summary.END}below\n"
    table = (tmp_path / "benchmarks/results/table.md").read_text()
    assert [line.split(" | ")[1:-1] for line in table.splitlines() if line.startswith("| training")] == [
        ["amd-epyc", "–", "–", "–", "–", "1.50", "–", "1.50"],
        ["intel-xeon-processor-amx", "–", "–", "–", "–", "3.00", "–", "3.00"],
    ]
    assert "* amd-epyc: m, commit c\n" in table
    assert "GPUs" not in table

    gpu = tmp_path / "benchmarks/results/nvidia-h100/gpu.json"
    gpu.parent.mkdir()
    gpu.write_text(json.dumps(RECORD))
    summary.main()
    section = page.read_text().removeprefix(f"above\n{summary.BEGIN}").removesuffix(f"{summary.END}below\n")
    assert section == f"{markdown(RECORD)}\n"
    assert section in (tmp_path / "benchmarks/results/table.md").read_text()


def test_the_docs_have_what_was_measured() -> None:
    records = [json.loads(path.read_text()) for path in sorted((ROOT / summary.RESULTS).glob("*/*.json"))]
    page = (ROOT / summary.SPEED).read_text()
    assert page == summary.replaced(page, summary.gpu_section(records) or summary.NO_GPU)


def test_every_committed_result_is_of_the_machine_of_its_folder() -> None:
    paths = list((ROOT / summary.RESULTS).glob("*/*.json"))
    assert paths
    for path in paths:
        record = json.loads(path.read_text())
        kind = record.get("kind") or kind_of(record["machine"].partition(",")[0])
        assert path.parent.name.removesuffix("-amx") == kind.removesuffix("-amx"), path


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beam": 4, "size": "base"}, "decoding, base, beam 4"),
        ({"beam": 1, "study": "components", "variant": "base"}, "decoding, components/base, trained, greedy"),
        ({**TRAINING, "mixed": False, "device": "cuda"}, "training, tiny, float32, cuda"),
    ],
)
def test_what_was_timed_is_said_in_words(settings: dict[str, Any], words: str) -> None:
    assert summary.title(settings) == words
