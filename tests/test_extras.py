"""The studies of Table 2's systems: equal budgets, ensembles beside their rows, and what the paper published."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.commands.launch import _score_ensembles
from experiments.config.stages import stage_files
from experiments.config.study import STUDIES, Study, list_studies, load_study
from experiments.launching.stages import Stages
from experiments.reporting import formats, tables
from experiments.reporting.paper import SYSTEMS, TABLE2
from experiments.reporting.results import read_results
from experiments.reporting.summary import Summary, summarise
from lit_transformer.flops import Work, active_parameter_count, build_on_meta, forward_flops
from tests.synthetic_study import write_study

NAMES = ["systems", "systems_multi30k"]
ROOT = Path(__file__).parent.parent
WORK = Work(src=11, tgt=12, src_squared=121, tgt_squared=144, cross=132)


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_every_system_has_the_budget_of_the_base_model(name: str, at_root: None) -> None:
    """The same batches and steps, and active parameters per token and operations within a tenth; but for big."""
    study = load_study(name)
    base, vocab = study.config(study.baseline, 0), study.data_config.vocab_size
    for variant in study.variants:
        own = study.config(variant, 0)
        assert (own.data, own.optim, own.trainer, own.decode) == (base.data, base.optim, base.trainer, base.decode)
        models = [build_on_meta(config.model, vocab) for config in (own, base)]
        sizes = [active_parameter_count(model) for model in models]
        costs = [forward_flops(model, WORK) for model in models]
        if variant == "transformer_big_like":
            assert sizes[0] > 3 * sizes[1]
            continue
        assert sizes[0] == pytest.approx(sizes[1], rel=0.1), variant
        assert costs[0] == pytest.approx(costs[1], rel=0.1), variant


def test_both_studies_hold_every_system_of_the_paper_and_join_all_seeds(at_root: None) -> None:
    studies = [load_study(name) for name in NAMES]
    for study in studies:
        assert list(study.variants) == study.ensembles == list(studies[0].variants)
        assert set(SYSTEMS) < set(study.variants)
    known = [row.model for row in TABLE2]
    assert set(SYSTEMS.values()) <= set(known)
    single = {name for name in known if not name.endswith(" ensemble")}
    assert single - set(SYSTEMS.values()) == {"Deep-Att + PosUnk"}  # English-French only


def test_stages_of_ensembles_are_one_file_and_stand_where_some_are_asked_for(at_root: None) -> None:
    files = {
        name: yaml.safe_load(text)
        for name in list_studies()
        for path, text in stage_files(name).items()
        if path == STUDIES / name / "ensembles/dvc.yaml"
    }
    assert list(files) == [name for name in list_studies() if load_study(name).ensembles] == NAMES
    assert files["systems"] == files["systems_multi30k"]
    (stage,) = files["systems"]["stages"].values()
    study = load_study("systems")
    declared = [next(iter(out)) for out in stage["outs"]]
    filled = [path.replace("${name}", study.name).replace("${item.variant}", "gnmt_like") for path in declared]
    assert filled == [str(study.ensemble("gnmt_like") / "scores.json")]


def write_ensemble(study: Study, variant: str, bleu: float, hashes: dict[int, str]) -> None:
    members = [{"variant": variant, "seed": seed, "config_hash": name} for seed, name in hashes.items()]
    folder = study.ensemble(variant)
    folder.mkdir(parents=True)
    content = {"ensemble": {"members": members}, "splits": {"test": {"bleu": bleu}}}
    (folder / "scores.json").write_text(json.dumps(content))


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of which "base" stands for GNMT, and its seeds are scored as one model; those of "one_head" were once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SYSTEMS, "base", "GNMT + RL")
    study = write_study(tmp_path, names=["base", "one_head", "pre_norm"])
    for seed in study.seeds:
        path = study.results("base", seed) / "training.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"matrix_flops_per_second": 2e11}))
    write_ensemble(study, "base", 91.25, {seed: f"base-{seed}" for seed in study.seeds})
    write_ensemble(study, "one_head", 99.0, {0: "one_head-0", 1: "of another training", 2: "one_head-2"})
    write_ensemble(study, "pre_norm", 98.0, {0: "pre_norm-0", 1: "pre_norm-1"})
    return study


def row_of(study: Study, variant: str) -> dict[str, str]:
    summary = summarise(study, read_results(study))
    row = summary.row(variant)
    return {column.title: column.text(row) for column in tables.columns(summary)}


def test_an_ensemble_and_the_published_system_stand_beside_the_row(made_up: Study) -> None:
    row = row_of(made_up, "base")
    assert row["BLEU test, all seeds as one model"] == "91.25"
    assert row["BLEU paper (newstest2014 EN-DE, tokenised)"] == "24.60"
    assert row["BLEU paper, ensemble"] == "26.30"
    assert row["training FLOPs paper (time x rate)"] == "2.3e19"
    assert row["training FLOPs (arithmetic)"] == "6.1e12"
    assert row["training FLOPs (time x rate)"] == "1.9e13"  # (95 + 96 + 97) / 3 seconds at 2e11 operations a second
    assert row_of(made_up, "one_head")["training FLOPs (time x rate)"] == formats.MISSING  # no rate measured there
    assert row["training FLOPs paper, ensemble"] == "1.8e20"
    first, *others = csv.DictReader(io.StringIO(tables.comma_separated(summarise(made_up, read_results(made_up)))))
    assert (first["bleu_ensemble"], first["flops_ensemble_paper"]) == ("91.25", "1.8e+20")
    assert {other["bleu_ensemble"] for other in others} == {""}


@pytest.mark.parametrize("variant", ["one_head", "pre_norm"])
def test_an_ensemble_of_other_trainings_or_fewer_is_left_out(made_up: Study, variant: str) -> None:
    row = row_of(made_up, variant)
    assert row["BLEU test, all seeds as one model"] == formats.MISSING
    assert row["BLEU paper, ensemble"] == formats.MISSING


@pytest.mark.parametrize("decode", [{"beam": 2}, {"bleu_tokenizer": "char"}, {"ensemble": "log_probabilities"}])
def test_an_ensemble_of_another_search_is_left_out(made_up: Study, decode: dict[str, Any]) -> None:
    path = made_up.ensemble("base") / "scores.json"
    content = json.loads(path.read_text())
    content["decode"] = {"beam": 4, "alpha": 0.6, "extra_length": 50, "stop": "beam_finished"}
    content["ensemble"]["kind"] = "probabilities"
    path.write_text(json.dumps(content))
    assert set(read_results(made_up).ensembles) == set(made_up.variants)
    other = replace(made_up, base={**made_up.base, "decode": decode})
    assert "base" not in read_results(other).ensembles


def test_what_these_columns_are_is_said_where_they_are(made_up: Study) -> None:
    def notes(study: Study) -> str:
        found: Summary = summarise(study, read_results(study))
        return " ".join(tables.notes_of(found))

    assert "All seeds as one model: an ensemble" in notes(made_up)
    assert "where the paper assumes the rate" in notes(made_up)
    (made_up.ensemble("base") / "scores.json").unlink()
    assert "All seeds as one model" not in notes(made_up)


def test_a_study_of_components_has_none_of_these_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head"])
    assert not any("one model" in title or "ensemble" in title for title in row_of(study, "base"))


def test_launch_joins_the_seeds_of_variants_that_did_not_fail() -> None:
    class Recorded(Stages):
        stale: Callable[..., Any] = lambda self: {"ensemble@b", "ensemble@a", "ensemble@c"}
        run: Callable[..., Any] = lambda self, stage: called.append(stage)

    called: list[str] = []
    _score_ensembles(Recorded(Path("dvc.yaml")), {"b"})
    assert called == ["ensemble@a", "ensemble@c"]
