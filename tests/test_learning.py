"""The benchmark of learning: every system trains on the same batches, and the table says what the curves say."""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import learning, summary
from benchmarks.learners import LEARNERS, Learner, build
from benchmarks.learning import FUSED, OURS, PEERS, Contestant, contestants, learn, read, seconds_to, verdict
from benchmarks.trainers import Task
from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import prepare
from experiments.common.io import read_json
from experiments.config.study import Study, load_study
from lit_transformer.config import Initialisation, OptimConfig
from lit_transformer.errors import UserError
from tests.small_cell import SENTENCES
from tests.small_models import ONE_LAYER

STUDY = """
name: short
question: What is learned in four steps?
corpus: made_up
baseline: base
seeds: [0]
base:
  recipe: paper
  model: {d_model: 16}
  data: {vocab_size: 280, batch_tokens: 48}
  optim: {steps: 4, schedule: linear, peak: 0.01, warmup: 1, clip_norm: 1.0}
  trainer: {accelerator: cpu, matmul: medium, validate_every: 2}
  decode: {}
variants:
  base: {}
"""
TASK = Task(ONE_LAYER, 50, bfloat16=False, device="cpu", optim=OptimConfig())
PAIRS = [([5, 6, 7], [8, 9]), ([10], [11, 12, 13, 14])]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("experiments/studies/short").mkdir(parents=True)
        Path("experiments/studies/short/study.yaml").write_text(STUDY)
        study = load_study("short")
        text = ParallelText(SENTENCES * 6, [sentence.upper() for sentence in SENTENCES * 6])
        valid = ParallelText(SENTENCES[:3], [sentence.upper() for sentence in SENTENCES[:3]])
        prepare(RawCorpus("made_up", "en", "de", {"train": text, "valid": valid}), study.data_config, study.data_folder)
    return root


@pytest.fixture
def study(standing: None, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setitem(learning.SIZES, "tiny", ONE_LAYER)
    return load_study("short")


def arguments(**changes: Any) -> argparse.Namespace:
    given: dict[str, Any] = dict.fromkeys(("steps", "every", "peak", "warmup", "only", "out"))
    given |= {"study": "short", "size": "tiny", "precision": "float32", "seeds": 1, "ours": [], "threads": 1}
    return argparse.Namespace(**(given | {"device": "cpu", "resume": False} | changes))


def built(name: str, task: Task = TASK) -> Learner:
    return build(name, task, seed=0)


def test_every_system_is_a_peer_or_ours() -> None:
    assert set(LEARNERS) == {OURS, *PEERS}


@pytest.mark.parametrize("name", LEARNERS)
def test_nats_are_those_of_every_target_token_and_of_no_padding(name: str) -> None:
    """A batch has the nats of its sentences by themselves, and the loss without smoothing is their mean."""
    learner = built(name, TASK._replace(optim=OptimConfig(label_smoothing=0.0)))
    learner.trainer.network.eval()
    with torch.no_grad():
        batches = [learner.trainer.prepare(pairs) for pairs in (PAIRS, PAIRS[:1], PAIRS[1:])]
        both, first, second = (float(learner.nats(batch)) for batch in batches)
        mean = learner.trainer.loss(batches[0]).item()
    assert both == pytest.approx(first + second, rel=1e-4)
    assert mean == pytest.approx(both / 8, rel=1e-4)  # 2 + 4 tokens and two ends


@pytest.mark.parametrize("name", LEARNERS)
def test_dropout_is_on_and_the_smoothing_is_the_tasks(name: str) -> None:
    losses = []
    for smoothing in (0.0, 0.5):
        learner = built(name, TASK._replace(optim=OptimConfig(label_smoothing=smoothing)))
        batch = learner.trainer.prepare(PAIRS)
        torch.manual_seed(1)
        drawn = [learner.trainer.loss(batch).item() for _ in range(2)]
        assert drawn[0] != drawn[1]
        learner.trainer.network.eval()
        losses.append(learner.trainer.loss(batch).item())
    assert losses[0] != losses[1]


def test_peers_have_their_own_initial_values_and_a_seed_decides_them() -> None:
    marian = dict(built("Hugging Face Marian").trainer.network.named_parameters())
    assert marian["marian.model.encoder.layers.0.fc1.weight"].std().item() == pytest.approx(0.02, rel=0.2)
    assert marian["marian.model.shared.weight"].std().item() == pytest.approx(0.02, rel=0.2)
    layers = built("torch.nn.Transformer").trainer.network.layers
    in_proj = layers.encoder.layers[0].self_attn.in_proj_weight
    assert in_proj.abs().max().item() == pytest.approx((6 / (4 * 16)) ** 0.5, rel=0.02)
    for name in LEARNERS:
        again, other = (list(build(name, TASK, seed).trainer.network.parameters()) for seed in (0, 1))
        own = list(built(name).trainer.network.parameters())
        assert all(map(torch.equal, own, again))
        assert not all(map(torch.equal, own, other))


def test_ours_is_there_with_both_laws_and_with_changes(study: Study) -> None:
    found = contestants(study, arguments(ours=[["model.norm.eps=1e-5", "optim.warmup=2"]], peak=0.5))
    assert [row.name for row in found] == [OURS, FUSED, *PEERS, f"{FUSED}, model.norm.eps=1e-5 optim.warmup=2"]
    laws = [row.config.model.initialisation for row in found]
    assert laws == [Initialisation.xavier_uniform, Initialisation.xavier_fused_qkv] + 3 * laws[:1] + laws[1:2]
    assert found[-1].config.model.norm.eps == 1e-5
    assert [row.config.optim.warmup for row in found] == [1] * 5 + [2]
    assert {row.config.optim.peak for row in found} == {0.5}


@pytest.mark.parametrize("change", ["data.batch_tokens=9", "optim.steps=2", "trainer.matmul=high", "seed=4"])
def test_a_change_of_ours_alone_is_of_its_model_or_optimiser(study: Study, change: str) -> None:
    with pytest.raises(UserError, match=rf"--ours {change}: .* is the same for all systems"):
        contestants(study, arguments(ours=[[change]], every=1))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_system_learns_from_a_prepared_corpus(study: Study, name: str) -> None:
    args = arguments(steps=30, every=10)
    (contestant,) = (row for row in contestants(study, args) if row.name == name)
    curve = learn(contestant, 0, study.data_folder, args)
    assert [step for step, *_ in curve] == [10, 20, 30]
    assert curve[-1][1] < curve[0][1] < 280
    assert curve[0][2] < curve[1][2] < curve[2][2]


def test_a_sentence_longer_than_the_tables_is_one_line(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.trainers.MAX_POSITIONS", 4)
    contestant = Contestant(OURS, OURS, contestants(study, arguments())[0].config)
    with pytest.raises(UserError, match="has a sentence of"):
        learn(contestant, 0, study.data_folder, arguments())


@pytest.mark.slow  # every system in a process of its own
def test_a_file_goes_on_where_it_stood(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, only = tmp_path / "learning.json", {"only": [OURS]}
    learning.compare(arguments(out=out, **only))
    once = read_json(out)
    assert [(row["contestant"], row["seed"]) for row in once["trainings"]] == [(OURS, 0)]
    assert [step for step, *_ in once["trainings"][0]["curve"]] == [2, 4]
    learning.compare(arguments(out=out, seeds=2, resume=True, **only))
    twice = read_json(out)
    assert twice["trainings"][0] == once["trainings"][0]
    assert [row["seed"] for row in twice["trainings"]] == [0, 1]
    assert "seed 0" not in capsys.readouterr().out.partition("seed 1")[2]
    with pytest.raises(UserError, match="holds trainings of other settings"):
        learning.compare(arguments(out=out, peak=0.5, resume=True, **only))


def test_nothing_to_train_is_one_line(study: Study) -> None:
    with pytest.raises(UserError, match="nothing to train"):
        contestants(study, arguments(only=[]))


def training(name: str, seed: int, *perplexities: float) -> dict[str, Any]:
    curve = [[100 * n, value, 10.0 * n] for n, value in enumerate(perplexities, start=1)]
    return {"contestant": name, "seed": seed, "curve": curve, "git_commit": "c"}


TRAININGS = [
    training(OURS, 0, 40.0, 20.0, 12.0),
    training(OURS, 1, 44.0, 22.0, 11.0),
    training(FUSED, 0, 30.3, 12.0, 8.0),
    training("torch.nn.Transformer", 0, 30.0, 16.0, 10.0),
    training("x-transformers", 0, 60.0, 12.0, 10.0),
]


def test_the_table_has_medians_over_seeds_and_the_best_peer_at_each_step() -> None:
    table = read(TRAININGS)
    assert table.steps == [100, 200, 300]
    assert table.target == pytest.approx(8.8)
    results = {result.name: result for result in table.results}
    assert results[OURS].perplexities == [[40.0, 44.0], [20.0, 22.0], [12.0, 11.0]]
    assert results[OURS].times_best_peer == pytest.approx([42 / 30, 21 / 12, 11.5 / 10])
    assert results[FUSED].times_best_peer == pytest.approx([1.01, 1.0, 0.8])
    assert results[OURS].step_seconds == pytest.approx(0.1)
    assert results[OURS].seconds == [None, None]
    (fused,) = results[FUSED].seconds
    assert fused is not None
    assert 20 < fused < 30


def test_ours_is_within_the_margin_or_the_steps_are_named() -> None:
    assert verdict(read(TRAININGS)) == f"{FUSED} is within 1% of the best peer at all three (1.010 at most)"
    worse = [row for row in TRAININGS if row["contestant"] != FUSED]
    assert verdict(read(worse)) == f"{OURS} is behind the best peer after 100, 200, 300 steps (1.750 at most)"
    assert verdict(read(TRAININGS[:1])) == "no peer to compare with"
    assert verdict(read(TRAININGS[3:])) == "ours was not trained"


def test_three_steps_are_thirds_of_the_validations() -> None:
    assert read([training(OURS, 0, *map(float, range(9, 2, -1)))]).steps == [300, 500, 700]
    assert read([training(OURS, 0, 2.0)]).steps == [100, 100, 100]


def test_seconds_to_a_perplexity_are_linear_in_its_logarithm() -> None:
    curve = [(1, math.e**4, 10.0), (2, math.e**2, 30.0)]
    assert seconds_to(math.e**3, curve) == pytest.approx(20.0)
    assert seconds_to(math.e**5, curve) == 10.0
    assert seconds_to(math.e, curve) is None


def test_the_summary_shows_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    monkeypatch.setattr(summary, "TABLE", tmp_path / "table.md")
    settings = {"study": "components", "size": "tiny", "precision": "float32"}
    record = {"settings": settings, "machine": "m", "trainings": TRAININGS}
    (tmp_path / "m").mkdir()
    (tmp_path / "m/learning.json").write_text(json.dumps(record))
    monkeypatch.setattr(summary, "SPEED", Path(shutil.copy(summary.SPEED, tmp_path)))
    summary.main()
    written = (tmp_path / "table.md").read_text()
    assert "## Perplexity, components, tiny, float32, on m, commit c\n" in written
    assert f"| {FUSED} | 30.300 | 12.000 | 8.000 | 1.010 | 1.000 | 0.800 | 28 | 100 | 1 |" in written
    assert "within 1% of the best peer" in capsys.readouterr().out
