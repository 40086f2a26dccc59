"""A study with made-up results in a temporary folder: every case the report must show, none of it a finding."""

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

from experiments.common.io import write_json
from experiments.config.run_config import config_hash
from experiments.config.study import Study, load_study
from experiments.config.trials import DIVERGED, FINISHED, STOPPED, Trial, TrialRecord, plain_record
from experiments.scoring.bleu import EXACT_MATCH
from experiments.scoring.perplexity import PER_CHARACTER, PER_TOKEN, PER_WORD

SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"
CHRF = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.5.1"
SIGNATURES = {
    "bleu": SIGNATURE, "brevity_penalty": SIGNATURE, "length_ratio": SIGNATURE,
    "bleu_intl": SIGNATURE.replace("13a", "intl"), "chrf": CHRF, "chrfpp": CHRF.replace("nw:0", "nw:2"),
    "ter": "nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.5.1",
    "bleu_paper": SIGNATURE.replace("13a", "moses-de+unicode-punctuation+compounds") + "|sacremoses:0.2.0",
    "exact_match": EXACT_MATCH, "ppl": PER_TOKEN, "ppl_word": PER_WORD, "bits_per_character": PER_CHARACTER,
}  # fmt: skip
SPLITS = {"test": 500, "test_long": 200, "test_comp": 200}
WORDS = ("1-4", "5-8", "9-12", "13-16", "17-24", "25+")

# variant: (delta, BLEU, sd over seeds, final loss in nats, cost against the baseline)
VARIANTS: dict[str, tuple[str, float, float, float, float]] = {
    "base": ("{}", 90.4, 0.35, 0.185, 1.0),
    "learned_positions": ("{model: {positions: {kind: learned, max_length: 128}}}", 89.9, 0.4, 0.19, 1.0),
    "no_positions": ("{model: {positions: {kind: none}}}", 38.1, 0.6, 1.1, 1.0),
    "no_scaling": ("{model: {attention: {scale: none}}}", 89.6, 0.5, 0.2, 1.0),
    "one_head": ("{model: {attention: {heads: 1, d_k: 128, d_v: 128}}}", 88.1, 0.1, 0.23, 0.98),
    "small_dk": ("{model: {attention: {d_k: 4}}}", 84.2, 0.3, 0.3, 0.9),
    "pre_norm": ("{model: {norm: {placement: pre}}}", 92.6, 0.08, 0.15, 1.0),
    "no_residuals": ("{model: {residual: {kind: none}}}", 0.0, 0.0, 4.1, 0.99),
    "no_norm": ("{model: {norm: {kind: none}}}", 61.0, 4.0, 0.9, 0.97),
    "no_dropout": ("{model: {dropout: 0.0}}", 91.1, 0.4, 0.17, 0.99),
    "no_label_smoothing": ("{optim: {label_smoothing: 0.0}}", 90.3, 0.3, 0.18, 1.0),
    "hot": ("{optim: {peak: 0.02}}", 80.0, 1.0, 0.4, 1.0),
}


def write_study(root: Path, seeds: int = 3, names: list[str] | None = None) -> Study:
    """Write study.yaml and results for `seeds` seeds under root, the working directory, and return the study.

    "hot" diverged in every seed, "no_norm" in its last one.
    """
    variants = {name: VARIANTS[name] for name in names or VARIANTS}
    folder = root / "experiments" / "studies" / "made_up"
    folder.mkdir(parents=True)
    deltas = "\n".join(f"  {name}: {values[0]}" for name, values in variants.items())
    (folder / "study.yaml").write_text(
        "name: made_up\nquestion: What is each part of the Transformer worth?\ncorpus: grammar\nbaseline: base\n"
        f"seeds: {list(range(seeds))}\n"
        "base:\n  recipe: paper\n  model: {d_model: 128, attention: {heads: 4, d_k: 32, d_v: 32}}\n  data: {}\n"
        f"  optim: {{}}\n  trainer: {{}}\n  decode: {{}}\nvariants:\n{deltas}\n"
    )
    study = load_study("made_up")
    for index, (name, (_, bleu, spread, loss, cost)) in enumerate(variants.items()):
        for seed in range(seeds):
            noise = random.Random(100 * index + seed).gauss(0, spread) + random.Random(seed).gauss(0, 0.2)
            diverged = name == "hot" or (name == "no_norm" and seed == 2)
            value = 0.0 if bleu == 0 else bleu + noise
            write_cell(root / study.results(name, seed), name, seed, value, loss, cost, diverged)
    return study


def write_cell(
    folder: Path, name: str, seed: int, bleu: float, loss: float, cost: float = 1.0, diverged: bool = False
) -> None:
    """Write one cell's training.json, curve.csv and, unless it diverged, what an evaluation leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = 300 + 40 * seed if diverged else 800
    training = {
        "study": "made_up", "corpus": "grammar", "variant": name, "seed": seed,
        "status": "diverged" if diverged else "finished", "diverged_at": steps if diverged else None, "steps": steps,
        "parameters": int(1_450_000 * cost), "training_flops": 6.1e12 * cost, "source_tokens": 700_000,
        "target_tokens": 800_000, "seconds": round(95.0 / cost + seed, 1),
        "target_tokens_per_second": round(8400 * cost + 30 * seed, 1), "peak_memory_bytes": 900_000_000,
        "valid_loss": loss, "valid_ppl": math.exp(loss), "device": "cpu", "machine": "Example CPU, 2 cores, Linux",
        "threads": 2, "precision": "32-true", "git_commit": "0123456789ab", "data_hash": "feedc0de" * 8,
        "config_hash": f"{name}-{seed}", "versions": {"python": "3.11.2", "torch": "2.13.0", "sacrebleu": "2.5.1"},
        "finished_at": f"2026-01-02T03:0{seed}:00+00:00",
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(training))
    _write_curve(folder / "curve.csv", steps, seed, loss, diverged)
    if diverged:
        return
    scores = {
        "study": "made_up", "variant": name, "seed": seed, "config_hash": f"{name}-{seed}",
        "data_hash": "feedc0de" * 8, "decode": {"beam": 4, "alpha": 0.6, "extra_length": 50}, "seconds": 12.0,
        "splits": {split: _scores(split, number, bleu, loss) for split, number in SPLITS.items()},
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    chooser = random.Random(f"{name}{seed}")
    for split, number in SPLITS.items():
        lines = [_damaged(reference(i), 1 - bleu / 100, chooser) for i in range(number)]
        (folder / "translations").mkdir(exist_ok=True)
        (folder / "translations" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "translations" / "attention.json").write_text(json.dumps(_attention()))


def write_trials(study: Study, variant: str, seed: int, losses: dict[float, float]) -> None:
    """Write the trials of a seed: three values at a quarter of the steps, the better two at half."""
    better = sorted(losses, key=lambda value: losses[value])[:2]
    row_hash = config_hash(study.config(variant, seed), "data")
    for rung in (0.25, 0.5):
        for value, loss in losses.items():
            record = TrialRecord(value, seed, rung, "optim.peak", STOPPED)
            if rung == 0.25 or value in better:
                status, known = (DIVERGED, None) if math.isinf(loss) else (FINISHED, loss - rung)
                record = TrialRecord(
                    value, seed, rung, "optim.peak", status, 50, known, 10.0, row_hash, "data", "code"
                )  # fmt: skip
            write_json(Trial(study, variant, value, seed, rung).path, plain_record(record))


def reference(index: int) -> str:
    """Return the made-up reference translation of a sentence."""
    words = [
        "der",
        "kleine",
        "Hund",
        "sieht",
        "die",
        "alte",
        "Katze",
        ",",
        "weil",
        "das",
        "Kind",
        "heute",
        "im",
        "Garten",
        "spielt",
        "und",
        "lacht",
        ".",
    ]
    return " ".join(words[: 4 + index % (len(words) - 4)])


def texts() -> dict[str, tuple[list[str], list[str]]]:
    """Return sources and references of every split, as a prepared corpus holds them."""
    return {
        split: ([f"source {reference(i)[::-1]}" for i in range(n)], [reference(i) for i in range(n)])
        for split, n in SPLITS.items()
    }


def _scores(split: str, sentences: int, bleu: float, loss: float) -> dict[str, Any]:
    score = bleu * {"test": 1.0, "test_long": 0.8, "test_comp": 0.93}[split]
    by_length = [
        {"words": words, "sentences": 60, "exact_match": max(0.0, score - 6.0 * i - 5), "bleu": max(0.0, score - 3 * i)}
        for i, words in enumerate(WORDS[4:] if split == "test_long" else WORDS[:5])
    ]
    scores = {
        "bleu": score, "brevity_penalty": 0.99, "length_ratio": 0.99, "bleu_intl": score - 0.1,
        "chrf": min(100.0, score + 3), "chrfpp": min(100.0, score + 2), "ter": 100 - score, "bleu_paper": score + 0.2,
        "exact_match": max(0.0, score - 12), "ppl": math.exp(loss) * 1.02, "ppl_word": math.exp(1.4 * loss),
        "bits_per_character": 0.3 * loss,
    }  # fmt: skip
    signatures = {f"{name}_signature": signature for name, signature in SIGNATURES.items()}
    return {"sentences": sentences, **scores, **signatures, "by_length": by_length}


def _write_curve(path: Path, steps: int, seed: int, loss: float, diverged: bool) -> None:
    chooser = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["step", "epoch", "target_tokens", "seconds", "learning_rate", "train_loss", "valid_loss", "valid_ppl"]
        )
        for step in range(50, steps + 1, 50):
            value = loss + (5.5 - min(loss, 5.0)) * math.exp(-step / 130) * (1 + 0.06 * chooser.random())
            if diverged and step > 200:
                value = 2.0 + step / 100
            writer.writerow([step, 0, step * 1000, step / 8, 0.001, value + 0.9, value, math.exp(value)])


def _damaged(sentence: str, share: float, chooser: random.Random) -> str:
    vocabulary = ["Hund", "Katze", "Kind", "Garten", "der", "die", "das"]
    return " ".join(chooser.choice(vocabulary) if chooser.random() < share * 0.6 else word for word in sentence.split())


def _attention() -> dict[str, Any]:
    source = [
        "the",
        "small",
        "dog",
        "sees",
        "the",
        "old",
        "cat",
        "because",
        "the",
        "child",
        "plays",
        "in",
        "the",
        "garden",
        "today",
        ".",
        "</s>",
    ]
    target = [
        "der",
        "kleine",
        "Hund",
        "sieht",
        "die",
        "alte",
        "Katze",
        ",",
        "weil",
        "das",
        "Kind",
        "heute",
        "im",
        "Garten",
        "spielt",
        ".",
        "</s>",
    ]

    def head(sharpness: float, shift: int) -> list[list[float]]:
        rows = []
        for t in range(len(target)):
            weights = [
                math.exp(-sharpness * abs(s - t * len(source) / len(target) - shift)) for s in range(len(source))
            ]
            rows.append([weight / sum(weights) for weight in weights])
        return rows

    return {"source": source, "target": target, "cross": [[head(0.2 + 0.4 * h, h % 3 - 1) for h in range(4)]] * 3}
