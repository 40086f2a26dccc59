"""Averages and ensembles of trained cells, scored: trained, evaluated and reported in this process."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.corpora import load_corpus
from data_modules.prepared import PreparedCorpus, prepare
from experiments.commands import evaluate as command
from experiments.common import machine
from experiments.config.cell import Cell
from experiments.config.study import Study, load_study
from experiments.reporting.results import read_results
from experiments.scoring import evaluation
from experiments.scoring.inference import load_model
from experiments.scoring.perplexity import perplexities
from experiments.scoring.sentences import read_counts
from experiments.training import run
from experiments.training.run import Options
from lit_transformer.config import Ensemble
from lit_transformer.errors import UserError
from tests.tiny_study import study_yaml

STUDY = """
question: What is an average worth?
seeds: [0, 1, 2]
base:
  data: {grammar: {test: 12}}
  decode: {beam: 2}
variants:
  last: {optim: {averaging: {kind: last, last: 3, every: 2}}}
  ema: {optim: {averaging: {kind: ema, decay: 0.9}}}
  read: {model: {decoder_mixer: {kind: lstm}}}
"""
OPTIONS = Options(wandb="disabled", quiet=True)
CELLS = [("base", 0), ("base", 1), ("last", 0), ("ema", 0), ("read", 0)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study of trained and scored cells; the tests stand in its root."""
    root = tmp_path_factory.mktemp("averaged")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(machine, "set_up", lambda *_: None)
        (root / "experiments/studies/tiny").mkdir(parents=True)
        (root / "experiments/studies/tiny/study.yaml").write_text(study_yaml(STUDY))
        loaded = load_study("tiny")
        prepare(load_corpus(loaded.corpus, loaded.data_config), loaded.data_config, loaded.data_folder)
        for variant, seed in CELLS:
            cell = Cell(loaded, variant, seed)
            run.train(cell, OPTIONS)
            evaluation.evaluate(cell)
        yield loaded


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def splits(found: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of all splits but the seconds that they took."""
    return {split: {k: v for k, v in own.items() if k != "seconds"} for split, own in found["splits"].items()}


def test_both_scores_are_told_and_the_studys_own_stay_those_of_the_last_weights(study: Study) -> None:
    plain = read(study.results("base", 0) / "scores.json")
    assert "averaged" not in plain
    assert "averaging" not in read(study.results("base", 0) / "training.json")
    for variant, about in (
        ("last", {"kind": "last", "steps": [8, 10, 12]}),
        ("ema", {"kind": "ema", "decay": 0.9, "steps": 12}),
    ):
        scores = read(study.results(variant, 0) / "scores.json")
        assert splits(scores) == splits(plain)  # averaging has not touched the training
        averaged = scores["averaged"]
        assert {key: averaged[key] for key in averaged if key != "splits"} == about
        assert read(study.results(variant, 0) / "training.json")["averaging"] == about
        assert averaged["splits"].keys() == scores["splits"].keys()
        assert averaged["splits"]["test"].keys() == scores["splits"]["test"].keys()
        assert averaged["splits"]["test"]["ppl"] != scores["splits"]["test"]["ppl"]
        lines = (study.results(variant, 0) / "translations/averaged/test.txt").read_text().splitlines()
        assert len(lines) == 12


def test_counts_of_sentences_stand_beside_the_scores(study: Study) -> None:
    """A row a sentence; those of a split add up to its BLEU, which a reader of the results insists on."""
    results = read_results(study)
    for variant, seed in CELLS:
        for split, sentences in {"test": 12, "test_long": 6, "test_comp": 6}.items():
            counts = results.sentences(variant, split)[seed]
            assert counts.shape == (sentences, 6)
            assert (counts[:, 1] == results.sentences("base", split)[0][:, 1]).all(), "the references are the same"
    assert results.sentences("base", None) == {}
    path = study.results("ema", 0) / "sentences.csv"
    kept = path.read_text()
    path.write_text(kept + "test,5,5,5,4,3,2\n")
    with pytest.raises(UserError, match=r"ema/seed0/sentences\.csv: does not add up .* on 'test'"):
        results.sentences("ema", "test")
    path.write_text("".join(line for line in kept.splitlines(keepends=True) if not line.startswith("test_comp,")))
    with pytest.raises(UserError, match=r"ema/seed0/sentences\.csv: does not add up .* on 'test_comp'"):
        results.sentences("ema", "test_comp")
    path.unlink()
    assert results.sentences("ema", "test") == {}, "older evaluations wrote no counts"
    path.write_text(kept)


def test_translations_that_are_cut_short_are_named(study: Study) -> None:
    (record,) = read_results(study).of("ema")
    path = study.results("ema", 0) / "translations/test.txt"
    whole = path.read_bytes()
    assert len(record.hypotheses("test")) == 12
    for cut in (b"", whole[:-1], whole.rpartition(b"\n")[0].rpartition(b"\n")[0] + b"\n", b"\xff" + whole):
        path.write_bytes(cut)
        with pytest.raises(UserError, match=r"ema/seed0/translations/test\.txt: .*; evaluate this cell again"):
            record.hypotheses("test")
    path.unlink()
    assert record.hypotheses("test") == []
    path.write_bytes(whole)


def test_results_of_other_settings_do_not_count(study: Study) -> None:
    """DVC keeps an output until its successor exists: until then the report says that there is none."""
    other = {**study.variants, "ema": {"optim": {"averaging": {"kind": "ema", "decay": 0.8}}}}
    results = read_results(replace(study, variants=other))
    assert "ema/seed0" in results.missing
    assert "last/seed0" not in results.missing + results.unscored
    for other_search in ({"beam": 1}, {"stop": "nothing_better"}, {"bleu_tokenizer": "char"}):
        results = read_results(replace(study, base={**study.base, "decode": {"extra_length": 3, **other_search}}))
        assert {"base/seed0", "ema/seed0"} <= set(results.unscored)


def test_the_scored_average_is_the_one_that_training_wrote(study: Study) -> None:
    cell = Cell(study, "last", 0)
    last, averaged = load_model(cell), load_model(cell, averaged=True)
    assert averaged.output_embedding is averaged.src_embedding.vectors
    assert not torch.equal(last.output_embedding.weight, averaged.output_embedding.weight)
    assert not (cell.run_folder / "averaging").exists()


def test_a_lost_average_is_written_again_by_the_training(study: Study) -> None:
    cell = Cell(study, "ema", 0)
    path = cell.averaged_model_folder / "model.safetensors"
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=r"averaged/model\.safetensors.*; or train the cell again"):
        evaluation.evaluate(cell)
    run.train(cell, OPTIONS)
    assert path.read_bytes() == before
    evaluation.evaluate(cell)


def test_damaged_weights_are_not_scored_and_the_old_scores_stay(study: Study) -> None:
    cell = Cell(study, "base", 1)
    path, scores = cell.model_folder / "model.safetensors", cell.scores_path.read_text()
    intact = path.read_bytes()
    for content in (intact[:-1], intact[:-9] + bytes([intact[-9] ^ 1]) + intact[-8:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.safetensors .*; or train the cell again: python -m") as caught:
            evaluation.evaluate(cell)
        assert "\n" not in str(caught.value)
        assert cell.scores_path.read_text() == scores
    path.write_bytes(intact)


def test_a_training_that_is_killed_leaves_the_results_of_before(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted before its successor exists; and the next start goes on to the same weights."""
    cell = Cell(study, "base", 1)
    last, model = cell.run_folder / "last.ckpt", cell.model_folder / "model.safetensors"
    before = model.read_bytes()
    for path in (last, cell.run_folder / "curve.csv"):  # so the run trains again, from an earlier step
        path.write_bytes(b"damaged")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_fit", killed)
    with pytest.raises(KeyboardInterrupt):
        run.train(cell, OPTIONS)
    assert not (cell.run_folder / "training.json").exists()
    evaluation.evaluate(cell)
    monkeypatch.undo()
    run.train(cell, OPTIONS)
    assert model.read_bytes() == before


def test_a_diverged_run_has_no_average(study: Study) -> None:
    cell = Cell(study, "last", 0, ("optim.peak=1e30", "optim.schedule=constant"))
    run.train(cell, OPTIONS)
    record = read(cell.record_path)
    assert record["status"] == "diverged"
    assert "averaging" not in record
    assert [path.name for path in cell.model_folder.iterdir()] == ["diverged.json"]
    assert not (cell.run_folder / "averaging").exists()
    evaluation.evaluate(cell)
    assert read(cell.scores_path)["splits"] == {}
    assert read_counts(cell.sentences_path) == {}


def test_an_ensemble_stands_apart_from_the_cells(study: Study) -> None:
    before = sorted(study.folder.rglob("*"))
    evaluation.evaluate_ensemble(Cell(study, "base", 0), [], averaged=False)
    found = read(Path("runs/tiny/base/ensemble/results/scores.json"))
    members = found["ensemble"]["members"]
    assert [(member["variant"], member["seed"]) for member in members] == [("base", 0), ("base", 1)]
    assert (found["ensemble"]["kind"], found["ensemble"]["averaged"]) == ("probabilities", False)
    assert sorted(study.folder.rglob("*")) == before
    alone = [read(study.results("base", seed) / "scores.json")["splits"]["test"] for seed in (0, 1)]
    assert found["splits"]["test"].keys() == alone[0].keys()
    # -log of a mean of probabilities is at most the mean of -logs
    assert found["splits"]["test"]["ppl"] < (alone[0]["ppl"] * alone[1]["ppl"]) ** 0.5
    assert len(Path("runs/tiny/base/ensemble/results/translations/test.txt").read_text().splitlines()) == 12


@pytest.mark.parametrize("kind", Ensemble)
def test_equal_networks_predict_as_one_of_them(study: Study, kind: Ensemble) -> None:
    corpus, cell = PreparedCorpus.open(study.data_folder), Cell(study, "base", 0)
    network = load_model(cell)
    found = perplexities([network] * 3, kind, corpus, "test", 300)
    expected = perplexities([network], kind, corpus, "test", 300)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-6))


def test_an_ensemble_of_several_variants_by_the_other_mean(study: Study) -> None:
    geometric = Cell(study, "read", 0, ("decode.ensemble=log_probabilities",))
    evaluation.evaluate_ensemble(geometric, ["base", "base", "read"], averaged=False)
    (path,) = Path("runs/tiny/read").glob("ensemble-with-base/results+*/scores.json")
    found = read(path)
    names = [(member["variant"], member["seed"]) for member in found["ensemble"]["members"]]
    assert names == [("read", 0), ("base", 0), ("base", 1)]
    assert found["ensemble"]["kind"] == "log_probabilities"


def test_an_ensemble_of_averages(study: Study) -> None:
    evaluation.evaluate_ensemble(Cell(study, "last", 0), ["ema"], averaged=True)
    found = read(Path("runs/tiny/last/ensemble-averaged-with-ema/results/scores.json"))
    assert found["ensemble"]["averaged"] is True


@pytest.mark.parametrize(
    ("variant", "others", "averaged", "expected"),
    [
        ("read", [], False, r"at least two models, and 1 of read is trained.*experiments train .*--seed 1"),
        ("read", ["bse"], False, r"no variant 'bse'; did you mean 'base'"),
        ("base", [], True, r"has no averaged weights"),
    ],
)
def test_what_cannot_be_joined_is_said_in_one_line(
    study: Study, variant: str, others: list[str], averaged: bool, expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        evaluation.evaluate_ensemble(Cell(study, variant, 0), others, averaged)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ensemble", "--seed", "0"], "leave out --seed"),
        ([], "--seed is missing"),
        (["--seed", "0", "--averaged"], "add --ensemble"),
        (["--seed", "0", "--with-variants", "read"], "add --ensemble"),
    ],
)
def test_arguments_that_do_not_go_together(
    study: Study, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate", "--study", "tiny", "--variant", "base", *arguments])
    with pytest.raises(UserError, match=expected):
        command.main()
