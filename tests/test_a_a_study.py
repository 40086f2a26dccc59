"""A real study of copies: eleven changes that change nothing, trained, scored and judged; no verdict may claim one."""

from pathlib import Path

import pytest

from data_modules.corpora import load_corpus
from data_modules.prepared import prepare
from experiments.common import machine
from experiments.config.cell import cells_of
from experiments.config.study import load_study
from experiments.reporting.results import read_results
from experiments.reporting.verdicts import Verdict, judge
from experiments.scoring import evaluation
from experiments.training import run
from tests.tiny_study import study_yaml

# Batches of a few per cent more or fewer tokens than 512 are no change that these scores could show, but other batches:
# the runs of two rows differ as those of two seeds do, but for the initial weights. Each of these gives other batches.
COPIES = (494, 495, 496, 500, 504, 506, 510, 513, 518, 520, 522)
STUDY = f"""
name: tiny
question: Does the report find a difference where there is none?
seeds: [0, 1, 2]
base:
  model: {{d_model: 64, attention: {{d_k: 32, d_v: 32}}, feed_forward: {{d_ff: 128}}, dropout: 0.0}}
  data: {{grammar: {{train: 12000, test: 100, max_words: 8, vocabulary: 0.3}}}}
  optim: {{steps: 500, schedule: linear, warmup: 50, peak: 0.01}}
  trainer: {{validate_every: 500, checkpoint_every: 500}}
variants:
{chr(10).join(f"  tokens_{tokens}: {{data: {{batch_tokens: {tokens}}}}}" for tokens in COPIES)}
"""


@pytest.mark.slow
def test_copies_of_the_baseline_are_equal_or_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "set_up", lambda *_: None)
    Path("experiments/studies/tiny").mkdir(parents=True)
    Path("experiments/studies/tiny/study.yaml").write_text(study_yaml(STUDY))
    study = load_study("tiny")
    prepare(load_corpus(study.corpus, study.data_config), study.data_config, study.data_folder)
    for cell in cells_of(study):
        run.train(cell, run.Options(wandb="disabled", quiet=True))
        evaluation.evaluate(cell)
    results = read_results(study)
    bleu = {name: list(results.scores(name, "test", "bleu").values()) for name in study.variants}
    assert len({score for scores in bleu.values() for score in scores}) == 36, "copies that share their runs"
    assert min(min(scores) for scores in bleu.values()) > 2, "nothing learned"
    verdicts = {name: row.verdict for name, row in judge(study, results).changes.items()}
    print({name: (verdict.value, bleu[name]) for name, verdict in verdicts.items()})
    assert set(verdicts.values()) <= {Verdict.EQUAL, Verdict.OPEN}
