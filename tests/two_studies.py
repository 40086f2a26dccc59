"""Two made-up studies on two rungs in one temporary folder, the second with other scores of the same variants."""

import json
from collections.abc import Callable
from pathlib import Path

from tests import synthetic_study
from tests.synthetic_study import write_study

NAMES = ["base", "no_positions", "no_scaling", "one_head", "small_dk", "pre_norm", "no_dropout", "no_label_smoothing"]


def write_two(root: Path, seeds: int = 3, upper_seeds: int = 3, names: list[str] | None = None) -> None:
    """Write "cheap" on the grammar corpus and "dear" on Multi30k; root is the working directory."""
    write_study(root, seeds=seeds, names=names or NAMES)
    rename(root, "cheap", "grammar")
    write_study(root, seeds=upper_seeds, names=names or NAMES)
    rename(root, "dear", "multi30k", split="test2016", data_hash="beef" * 16, score=lambda bleu: 20 + 0.3 * bleu)


def rename(
    root: Path,
    name: str,
    corpus: str,
    split: str = "test",
    data_hash: str = "feedc0de" * 8,
    score: Callable[[float], float] = lambda bleu: bleu,
) -> None:
    """Turn the made-up study into one of another name, corpus, test set and scores."""
    folder = root / "experiments" / "studies" / name
    (folder.parent / "made_up").rename(folder)
    path = folder / "study.yaml"
    text = path.read_text().replace("name: made_up", f"name: {name}")
    path.write_text(text.replace("corpus: grammar", f"corpus: {corpus}"))
    for path in folder.rglob("scores.json"):
        content = json.loads(path.read_text())
        content["data_hash"] = data_hash
        content["splits"] = {split: content["splits"]["test"]}
        content["splits"][split]["bleu"] = score(content["splits"][split]["bleu"])
        path.write_text(json.dumps(content))
    for path in folder.rglob("training.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data_hash": data_hash, "study": name}))


assert set(NAMES) <= set(synthetic_study.VARIANTS)
