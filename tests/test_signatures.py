"""Every score has its signature: no column mixes two, older results still count, and a reader chooses what to see."""

import csv
import io
import json
from pathlib import Path

import pytest

from experiments.commands import report
from experiments.config.study import Study
from experiments.reporting import formats, tables
from experiments.reporting.results import read_results
from experiments.reporting.summary import Summary, summarise
from experiments.scoring.bleu import EXACT_MATCH
from experiments.scoring.perplexity import PER_TOKEN
from lit_transformer.errors import UserError
from tests.synthetic_study import SIGNATURE, SIGNATURES, SPLITS, write_study

OLDER = ("sentences", "bleu", "bleu_signature", "brevity_penalty", "length_ratio", "chrf", "chrf_signature",
         "exact_match", "by_length", "ppl")  # fmt: skip
"""What scores.json held of a split before every score was signed."""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return write_study(tmp_path, names=["base", "one_head"])


def cell(study: Study, variant: str, seed: int) -> Path:
    return study.results(variant, seed) / "scores.json"


def edit(path: Path, split: str, **changes: object) -> None:
    scores = json.loads(path.read_text())
    scores["splits"][split] |= changes
    path.write_text(json.dumps(scores))


def make_older(path: Path) -> None:
    scores = json.loads(path.read_text())
    scores["splits"] = {name: {key: own[key] for key in OLDER} for name, own in scores["splits"].items()}
    path.write_text(json.dumps(scores))


def summary_of(study: Study, *shown: str) -> Summary:
    return summarise(study, read_results(study), shown)


def rows_of(study: Study) -> dict[str, dict[str, str]]:
    return {row["variant"]: row for row in csv.DictReader(io.StringIO(tables.comma_separated(summary_of(study))))}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_mixture_of_any_score_is_refused_in_one_line_that_names_the_cells(study: Study, name: str) -> None:
    edit(cell(study, "one_head", 2), "test_long", **{f"{name}_signature": "another"})
    with pytest.raises(UserError, match=f"'test_long' cannot share a column: {name}_signature differs") as refusal:
        read_results(study)
    told = str(refusal.value)
    assert "another in one_head/seed2" in told
    assert f"{SIGNATURES[name]} in base/seed0, base/seed1, base/seed2, one_head/seed0 and 1 more" in told
    assert "\n" not in told


def test_a_score_that_nobody_listed_is_refused_as_well(study: Study) -> None:
    for seed in study.seeds:
        edit(cell(study, "base", seed), "test", comet=80.0 + seed, comet_signature="model:a")
    assert read_results(study).signatures("test")["comet"] == "model:a"
    edit(cell(study, "one_head", 0), "test", comet=70.0, comet_signature="model:b")
    with pytest.raises(UserError, match=r"comet_signature differs .*model:b in one_head/seed0"):
        read_results(study)


def test_a_number_without_the_signature_that_others_have_does_not_join_them(study: Study) -> None:
    scores = json.loads(cell(study, "base", 1).read_text())
    del scores["splits"]["test"]["ter_signature"]
    cell(study, "base", 1).write_text(json.dumps(scores))
    with pytest.raises(UserError, match=r"ter_signature differs .*none in base/seed1"):
        read_results(study)


def test_a_diverged_cells_signature_is_in_nobodys_way(study: Study) -> None:
    edit(cell(study, "one_head", 2), "test", ter_signature="another")
    training = study.results("one_head", 2) / "training.json"
    training.write_text(json.dumps(json.loads(training.read_text()) | {"status": "diverged"}))
    assert read_results(study).signatures("test")["ter"] == SIGNATURES["ter"]


def test_older_results_have_the_scores_they_have(study: Study) -> None:
    """Before the new scores: the same table, the old columns of table.csv, nothing of what was not measured."""
    before = tables.markdown(summary_of(study))
    for variant in study.variants:
        for seed in study.seeds:
            make_older(cell(study, variant, seed))
    assert tables.markdown(summary_of(study)) == before
    row = rows_of(study)["base"]
    assert row["exact_match_test_signature"] == EXACT_MATCH
    assert row["ppl_test_long_signature"] == PER_TOKEN
    assert row["length_ratio_test_signature"] == SIGNATURE
    assert not any(key.startswith(("ter", "chrfpp", "bleu_paper", "ppl_word", "bits")) for key in row)


def test_a_cell_without_a_score_leaves_a_gap_and_no_mixture(study: Study) -> None:
    """One variant of older results, and one seed of the other: means are over the seeds that have the score."""
    for seed in study.seeds:
        make_older(cell(study, "one_head", seed))
    make_older(cell(study, "base", 1))
    rows = rows_of(study)
    measured = [json.loads(cell(study, "base", seed).read_text())["splits"]["test"]["ter"] for seed in (0, 2)]
    assert float(rows["base"]["ter_test"]) == pytest.approx(sum(measured) / 2)
    assert (rows["base"]["ter_test_n"], rows["base"]["bleu_test_n"]) == ("2", "3")
    assert (rows["one_head"]["ter_test"], rows["one_head"]["ter_test_n"]) == ("", "0")
    assert rows["one_head"]["bleu_test_n"] == "3"
    lines = tables.markdown(summary_of(study, "ter")).splitlines()
    column = lines[4].split(" | ").index("TER test")
    cells = {line.split(" | ")[0]: line.split(" | ")[column] for line in lines[6:8]}
    assert cells["| base"].endswith("(n=2)")
    assert cells["| one_head"] == formats.MISSING


def test_csv_holds_every_score_of_every_split_with_its_signature(study: Study) -> None:
    summary = summary_of(study)
    row = rows_of(study)["one_head"]
    for split in SPLITS:
        for name, signature in SIGNATURES.items():
            found = summary.row("one_head").score(split, name)
            assert found is not None
            parts = [float(row[f"{name}_{split}{part}"]) for part in ("", "_low", "_high", "_n")]
            assert parts == [found.mean, found.low, found.high, found.n] == [found.mean, found.low, found.high, 3]
            assert row[f"{name}_{split}_signature"] == signature


@pytest.mark.usefixtures("no_figures")
def test_a_reader_adds_scores_to_the_table(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    default = tables.markdown(summary_of(study))
    assert "chrF++" not in default
    report.main(["--study", "made_up", "--scores", "chrfpp", "bits_per_character"])
    printed = capsys.readouterr().out
    for text in (printed, (study.report_folder / "table.md").read_text()):
        assert "chrF++ test" in text
        assert "bits per character test" in text
        assert f"chrF++ on test: {SIGNATURES['chrfpp']}" in text
    report.main(["--study", "made_up"])
    assert (study.report_folder / "table.md").read_text() == default


def test_a_score_that_nobody_has_is_a_mistake_with_a_suggestion(study: Study) -> None:
    with pytest.raises(UserError, match=r"no cell has the score 'chrfp' on 'test'; did you mean 'chrf(pp)?'\?"):
        summary_of(study, "chrfp")


def test_every_score_of_an_evaluation_has_a_title() -> None:
    assert set(SIGNATURES) | {"bleu_own"} == set(tables.TITLES)
