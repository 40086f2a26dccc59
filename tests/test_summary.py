"""The one table of the benchmarks: what it reads from their files, and what it refuses to mix."""

import json
from typing import Any

import pytest

from benchmarks import summary


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
    from benchmarks import decoding, training

    assert {training.PEER, *training.OTHERS} <= set(summary.PEERS)
    assert decoding.PEER in summary.PEERS
    with pytest.raises(KeyError):
        summary.read(content(TRAINING, {"lit_transformer": [1.0], "another": [1.0]}))


def test_a_file_of_another_kind_is_passed_over() -> None:
    assert summary.read('{"modes": {}}') is None


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
