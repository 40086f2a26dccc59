"""The report of a study whose rows each have their own best value: two verdicts a row, the value, and what it costs."""

import csv
import io
import json
import math
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from experiments.commands import publish, report
from experiments.config.cell import Cell
from experiments.config.study import Study, load_study
from experiments.config.trials import Trial
from experiments.reporting import tables
from experiments.reporting.comparison_report import compare
from experiments.reporting.headline import headline
from experiments.reporting.page.report import report_page
from experiments.reporting.published import read_published
from experiments.reporting.results import read_results
from experiments.reporting.summary import Summary, Verdict, summarise
from lit_transformer.errors import UserError
from tests.page_outline import Outline
from tests.synthetic_study import write_cell, write_study, write_trials

NAMES = ["base", "no_positions", "one_head", "no_dropout"]
TUNE = "{base: {optim: {schedule: linear}}, tune: {values: [0.001, 0.002, 0.004], rungs: [0.25, 0.5]}}"
LOSSES = {
    "base": {0.001: 1.3, 0.002: 1.1, 0.004: 1.2},
    "no_positions": {0.001: 2.0, 0.002: 2.2, 0.004: math.inf},
    "one_head": {0.001: 1.3, 0.002: 1.2, 0.004: 1.1},
    "no_dropout": {0.001: 1.4, 0.002: 1.1, 0.004: 1.3},
}
BEST = {"base": (91.0, 0.1), "no_positions": (60.0, 0.2), "one_head": (91.1, 0.1), "no_dropout": (92.5, 4.0)}
"""BLEU of tuned cells: one_head is as good as the baseline once each has its own rate; no_dropout is noisy."""
NOISE = (0.9, -1.0, 0.2)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    path = write_study(tmp_path, names=NAMES).folder / "study.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.merge(OmegaConf.load(path), OmegaConf.create(TUNE))))
    study = load_study("made_up")
    for variant, (bleu, spread) in BEST.items():
        for seed, noise in zip(study.seeds, NOISE, strict=True):
            other = variant == "no_dropout" and seed == 2
            write_trials(study, variant, seed, LOSSES["one_head" if other else variant])
            cell = Cell(study, variant, seed, tuned=True)
            write_cell(cell.training_folder, variant, seed, bleu + spread * noise, 0.2)
    return study


def read(study: Study) -> Summary:
    return summarise(study, read_results(study))


def row_of(text: str, name: str) -> dict[str, str]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return next(dict(zip(lines[0], line, strict=True)) for line in lines if line[0] == name)


def test_both_verdicts_the_value_and_what_those_beside_it_cost(study: Study) -> None:
    summary = read(study)
    assert summary.row("one_head").verdict is Verdict.WORSE
    assert summary.tuned is not None
    best = summary.tuned.rows
    assert {name: row.verdict for name, row in best.items()} == {
        "base": Verdict.BASELINE,
        "no_positions": Verdict.WORSE,
        "one_head": Verdict.EQUAL,
        "no_dropout": Verdict.OPEN,
    }
    table = tables.markdown(summary)
    row = row_of(table, "one_head")
    assert row["verdict"] == "worse"
    assert row["verdict at its best"] == "equal"
    assert row["BLEU test at its best"].startswith("91.10 ± ")
    assert row["Δ BLEU at its best [interval]"].startswith("+0.10 [")
    assert row["best optim.peak"] == "0.004, at the edge"
    beside = math.exp(1.2 - 0.5) - math.exp(1.1 - 0.5)
    assert row["PPL of the values beside it"] == f"0.002 +{beside:.3f} (50 %)"
    assert row_of(table, "base")["best optim.peak"] == "0.002"
    low, high = math.exp(1.3 - 0.25) - math.exp(1.1 - 0.25), math.exp(1.2 - 0.5) - math.exp(1.1 - 0.5)
    assert row_of(table, "base")["PPL of the values beside it"] == f"0.001 +{low:.3f} (25 %), 0.004 +{high:.3f} (50 %)"
    assert row_of(table, "no_positions")["PPL of the values beside it"].startswith("0.002 +")
    assert (
        "* Each at its best: every row, the baseline included, was tried at optim.peak 0.001, 0.002 and 0.004" in table
    )
    assert (
        "* Best at the edge of the values tried, so that a better one may lie beyond: no_positions, one_head" in table
    )
    assert row_of(table, "no_dropout")["best optim.peak"] == "0.002 (2), 0.004 (1)"
    assert "* Trials: 60, in 10 min 00 s of training." in table
    assert "each at its best optim.peak, other verdicts for one head (worse, at its best equal)" in headline(summary)


def test_the_tuned_column_is_judged_as_a_study_of_its_own(study: Study) -> None:
    """By the very rule of the first column: the same cells under the recipe's names have the same verdicts."""
    tuned = read(study).tuned
    assert tuned is not None
    for cell in (Cell(study, variant, seed) for variant in study.variants for seed in study.seeds):
        shutil.rmtree(cell.training_folder)
        shutil.copytree(Cell(study, cell.variant, cell.seed, tuned=True).training_folder, cell.training_folder)
    again = read(study)
    for row in again.rows:
        assert tuned.rows[row.variant].judged == row.judged
        assert tuned.rows[row.variant].verdict_text == row.verdict_text
    assert (tuned.compared, tuned.paired) == (again.compared, again.paired)


def test_every_form_of_the_table_has_them(study: Study) -> None:
    summary = read(study)
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(tables.comma_separated(summary)))}
    assert (rows["one_head"]["best_value"], rows["one_head"]["best_value_at_edge"]) == ("0.004", "True")
    assert rows["one_head"]["best_verdict"] == "equal"
    assert float(rows["one_head"]["best_bleu_difference"]) == pytest.approx(0.1)
    assert "verdict at its best" in tables.latex(summary)
    console = Console(file=io.StringIO(), force_terminal=False, width=300)
    tables.terminal(summary, console)
    assert "0.004, at the edge" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_page_sets_the_two_columns_side_by_side(study: Study) -> None:
    summary, results = read(study), read_results(study)
    page = report_page(summary, results, [])
    assert Outline(page).open == []
    section = page[page.index('<section id="best">') : page.index('<section id="reading">')]
    assert section.count("<tr") == 5
    for title in ("Δ BLEU by the recipe", "Δ BLEU at its best", "verdict at its best", "best optim.peak"):
        assert title in section
    assert page.count("The bound on false claims holds for each of the two columns by itself.") == 1


@pytest.mark.usefixtures("no_figures")
def test_verdicts_json_has_them_for_other_programs(study: Study) -> None:
    report.main(["--study", "made_up"])
    tuned = json.loads(study.verdicts_path.read_text())["tuned"]
    assert {name: tuned[name] for name in ("better", "worse", "equal", "open")} == {
        "better": 0, "worse": 1, "equal": 1, "open": 1,
    }  # fmt: skip
    assert tuned["tune"] == {
        "values": [0.001, 0.002, 0.004], "key": "optim.peak", "rungs": [0.25, 0.5],
    }  # fmt: skip
    assert tuned["baseline_choice"]["value"] == 0.002
    row = next(row for row in tuned["rows"] if row["variant"] == "one_head")
    assert (row["verdict"], row["verdict_by_recipe"], row["n"]) == ("equal", "worse", 3)
    assert (row["choice"]["value"], row["choice"]["at_edge"]) == (0.004, True)
    assert row["choice"]["by_seed"] == {"0": 0.004, "1": 0.004, "2": 0.004}
    assert row["mean"] - row["baseline_mean"] == pytest.approx(row["difference"])


@pytest.mark.usefixtures("no_figures")
def test_a_study_without_tune_shows_none_of_this(study: Study) -> None:
    with_tune = read(study)
    path = study.folder / "study.yaml"
    written = OmegaConf.load(path)
    del written["tune"]
    path.write_text(OmegaConf.to_yaml(written))
    plain = load_study("made_up")
    summary = read(plain)
    titles = [column.title for column in tables.columns(summary)]
    more = [column.title for column in tables.columns(with_tune) if column.title not in titles]
    assert len(more) == 5
    assert titles == [column.title for column in tables.columns(with_tune) if column.title not in more]
    assert all("best" in title or "beside" in title for title in more)
    assert summary.rows == with_tune.rows
    assert "best" not in tables.markdown(summary) + tables.comma_separated(summary) + headline(summary)
    report.main(["--study", "made_up"])
    assert "tuned" not in json.loads(study.verdicts_path.read_text())


def test_what_is_missing_is_said(study: Study) -> None:
    for seed in study.seeds:
        Trial(study, "one_head", 0.002, seed, 0.5).path.unlink()
    shutil.rmtree(Cell(study, "no_dropout", 1, tuned=True).training_folder)
    (Cell(study, "no_dropout", 2, tuned=True).training_folder / "scores.json").unlink()
    summary = read(study)
    assert summary.tuned is not None
    assert summary.tuned.rows["one_head"].choice is None
    table = tables.markdown(summary)
    assert "* No seed has all of its trials: one_head." in table
    assert "* Not trained at their best: one_head (seed 0, 1, 2), no_dropout (seed 1)." in table
    assert "* Not evaluated at their best: no_dropout (seed 2)." in table
    with pytest.raises(UserError, match=r"4 not trained at their best \(.*; 1 not evaluated at their best"):
        publish.main(["--study", "made_up"])


def test_signatures_do_not_mix_between_the_columns(study: Study) -> None:
    for variant in study.variants:
        for seed in study.seeds:
            path = Cell(study, variant, seed, tuned=True).scores_path
            path.write_text(path.read_text().replace("tok:13a", "tok:intl"))
    with pytest.raises(UserError, match="cannot share a column: bleu_signature differs"):
        read(study)


def test_a_published_study_shows_them_too(study: Study) -> None:
    publish.main(["--study", "made_up"])
    own = read(study)
    published = read_published("made_up")
    assert published is not None
    assert published.study.tune == study.tune
    assert published.results.tuned is not None
    at_hand = read_results(study).tuned
    assert at_hand is not None
    assert published.results.tuned.trials == at_hand.trials
    shown = summarise(published.study, published.results)
    assert shown.tuned == own.tuned
    assert "verdict at its best" in (study.folder / "published/table.md").read_text()
    path = study.folder / "published/results.json"
    before = path.read_bytes()
    publish.main(["--study", "made_up"])
    assert path.read_bytes() == before


def test_compare_says_whether_two_runs_agree_at_their_best_too(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study.folder.with_name("again")
    shutil.copytree(study.folder, folder)
    path = folder / "study.yaml"
    path.write_text(path.read_text().replace("made_up", "again"))
    assert compare("made_up", "again", Path("page"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("Each at its best: The claims agree: 2 changes decided in both, all alike")
    assert lines[-1].startswith("The claims agree")
    again = load_study("again")
    for seed, noise in zip(again.seeds, NOISE, strict=True):
        cell = Cell(again, "one_head", seed, tuned=True)
        write_cell(cell.training_folder, "one_head", seed, 80.0 + 0.1 * noise, 0.2)
    assert not compare("made_up", "again", Path("page"))
    expected = "Contradiction: of 2 changes decided in both, the claims differ for one_head (equal in A, worse in B)."
    assert f"Each at its best: {expected}" in capsys.readouterr().out
