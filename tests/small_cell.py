"""A study of two random models in a temporary folder, as if trained: what translates without a training."""

import os
import sys
from pathlib import Path

import torch

from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import prepare
from experiments.common.io import write_json
from experiments.config.cell import Cell
from experiments.config.run_config import config_hash
from experiments.config.study import load_study
from lit_transformer import build_transformer
from lit_transformer.export import save_exported

ROOT = Path(__file__).parent.parent
STUDY = """
name: tiny
question: What do random models say?
corpus: made_up
baseline: base
seeds: [3, 4, 5]
base:
  recipe: paper
  model:
    d_model: 16
    encoder_layers: 2
    decoder_layers: 2
    attention: {heads: 3, d_k: 4, d_v: 6}
    feed_forward: {d_ff: 24}
  data: {vocab_size: 280}
  optim: {steps: 10}
  trainer: {accelerator: cpu, validate_every: 10}
  decode: {extra_length: 3, batch_tokens: 256}
variants:
  base: {}
  learned: {model: {positions: {kind: learned, max_length: 24}}}
  read: {model: {encoder_mixer: {kind: lstm}}}
"""
SENTENCES = ["the old dog sleeps", "a dog sees the old cat", "the cat sees a dog", "an old cat sleeps near the dog"]


def write_cells(root: Path) -> None:
    """Write the study, its corpus and random models of base (seeds 3 and 4) and of the others (3); stand in `root`."""
    (root / "experiments/studies/tiny").mkdir(parents=True)
    (root / "experiments/studies/tiny/study.yaml").write_text(STUDY)
    (root / "pyproject.toml").touch()  # as a checkout has
    study = load_study("tiny")
    text = ParallelText(SENTENCES, [sentence.upper() for sentence in SENTENCES])
    corpus = prepare(RawCorpus("made_up", "en", "de", {"train": text}), study.data_config, study.data_folder)
    for variant, seed in (("base", 3), ("base", 4), ("learned", 3), ("read", 3)):
        cell = Cell(study, variant, seed)
        torch.manual_seed(seed)
        network = build_transformer(cell.config.model, corpus.vocab_size)
        cell.model_folder.mkdir(parents=True)
        save_exported(network, cell.model_folder)
        record = {"status": "finished", "config_hash": config_hash(cell.config, corpus.hash)}
        write_json(cell.record_path, record)


def command(root: Path, module: str, *arguments: str, before: str = "") -> list[str]:
    """Return a command that runs an entry point of this code, `own`, as if the project lay in `root`."""
    lines = f"import pathlib; from experiments.common import cli; from experiments.commands import {module} as own"
    lines = f"{lines}; cli.ROOT = pathlib.Path({str(root)!r}); {before or 'pass'}"
    return [sys.executable, "-c", f"{lines}; cli.run(own.main)", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LC_ALL": "C", "PYTHONUTF8": "0"}
