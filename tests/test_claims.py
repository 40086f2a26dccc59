"""A study of looks: what it still has to run, what it claims as numbers, and whether two runs contradict each other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.commands import compare, publish, report
from experiments.common.io import read_json
from experiments.config.study import Look, Study, load_study
from experiments.reporting import against_published, tables
from experiments.reporting.claims import agreement, contradictions, verdict_row
from experiments.reporting.headline import headline
from experiments.reporting.published import OLDER_RULE, parse_published, published_path, write_published
from experiments.reporting.results import read_results
from experiments.reporting.summary import Summary, summarise
from experiments.reporting.verdicts import CLAIMS, Verdict, judge
from lit_transformer.errors import UserError
from tests.synthetic_study import SIGNATURE, write_cell, write_study
from tests.two_studies import rename

NAMES = ["base", "one_head", "no_dropout", "no_scaling"]
MEANS = {"base": 90.0, "one_head": 80.0, "no_dropout": 90.1, "no_scaling": 91.5}
SPREAD = np.array([0.2, -0.2, 0.0, 0.1, -0.1, 0.2, -0.2, 0.0])
LOOKS = "looks: {3: 0.5, 8: 0.5}\nlabels: {one_head: a single head}\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Three seeds of a study of eight: one change is worse, one equal, and one too noisy to say."""
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, seeds=8, names=NAMES)
    path = Path("experiments/studies/made_up/study.yaml")
    path.write_text(path.read_text() + LOOKS)
    found = load_study("made_up")
    shutil.rmtree(found.folder / "results")
    for name in NAMES:
        run(found, name, range(3))
    return found


def run(study: Study, name: str, seeds: range) -> None:
    for place in seeds:
        noise = np.roll(SPREAD, NAMES.index(name))[place] * (6 if name == "no_scaling" else 1)
        write_cell(study.results(name, place), name, place, MEANS[name] + noise, 0.2)


def read(study: Study) -> Summary:
    return summarise(study, read_results(study))


def test_open_changes_want_the_seeds_of_the_next_look_and_the_baseline_as_many(study: Study) -> None:
    judgement = judge(study, read_results(study))
    verdicts = {name: row.verdict for name, row in judgement.changes.items()}
    assert verdicts == {"one_head": Verdict.WORSE, "no_dropout": Verdict.EQUAL, "no_scaling": Verdict.OPEN}
    assert {name: row.needs_seeds for name, row in judgement.changes.items()}["no_scaling"]
    assert judgement.seeds_wanted == {"base": 8, "one_head": 3, "no_dropout": 3, "no_scaling": 8}
    summary = read(study)
    assert [cell.split("/")[0] for cell in summary.missing] == ["base"] * 5 + ["no_scaling"] * 5
    assert summary.row("one_head").status == ""
    assert summary.row("no_scaling").verdict_text.startswith("open, ~")
    before = {name: row for name, row in judgement.changes.items() if name != "no_scaling"}
    for name in ("base", "no_scaling"):
        run(study, name, range(3, 8))
    judgement = judge(study, read_results(study))
    assert judgement.seeds_wanted == {"base": 8, "one_head": 3, "no_dropout": 3, "no_scaling": 8}
    assert {name: row.verdict for name, row in before.items()} == {
        name: row.verdict for name, row in judgement.changes.items() if name in before
    }
    assert (judgement.changes["no_scaling"].seeds, judgement.tested) == (tuple(range(8)), 3)
    assert [p is not None for p in judgement.changes["no_scaling"].p] == [True, True]
    assert read(study).missing == []


def test_before_the_first_look_a_change_is_open_with_its_seeds(study: Study) -> None:
    shutil.rmtree(study.results("one_head", 2))
    shutil.rmtree(study.results("no_dropout", 0))
    shutil.rmtree(study.results("no_dropout", 1))
    summary = read(study)
    row = summary.row("one_head")
    assert row.difference is not None
    assert (row.verdict_text, row.difference.low, row.p_adjusted) == ("open, 2 seeds yet", None, None)
    assert summary.row("no_dropout").verdict is Verdict.ONE_SEED
    assert summary.compared == 3, "they count in the correction all the same"
    assert judge(study, read_results(study)).seeds_wanted["one_head"] == 3
    assert tables.markdown(summary)


def test_one_seed_has_no_look_and_no_verdict(study: Study) -> None:
    summary = read(replace(study, seeds=[0], looks=()))
    assert {row.verdict for row in summary.changes} == {Verdict.ONE_SEED}
    assert (summary.rule, summary.seeds, summary.noise, summary.compared) == ("", 1, None, 0)
    assert "one seed shows no spread" in headline(summary)


def test_the_headline_says_in_words_what_matters_and_what_is_open(study: Study) -> None:
    assert headline(read(study)) == (
        "BLEU changes most with a single head (−10.0); of 3 changes, 1 is equal within 1 BLEU and 1 is open; "
        "10 cells of the study are missing."
    )


def test_a_study_whose_open_changes_have_all_seeds_is_complete_and_published(study: Study) -> None:
    with pytest.raises(UserError, match=r"incomplete: 10 not trained \(base \(seed 3, 4, 5, 6, 7\), no_scaling"):
        publish.main(["--study", "made_up"])
    for name in ("base", "no_scaling"):
        run(study, name, range(3, 8))
    publish.main(["--study", "made_up"])
    assert "22 of 22 cells trained" in (published_path("made_up").with_name("table.md")).read_text()
    summary = read(study)
    assert {row.variant: row.verdict for row in summary.rows} == {
        row.variant: row.verdict for row in parse_published(published_path("made_up").read_text(), "made_up").rows
    }


def test_the_rule_of_a_study_names_its_looks_and_its_margin(study: Study) -> None:
    rule = read(study).rule
    assert "at 3 and 8 seeds, looks that spend 50 % and 50 % of the error" in rule
    assert "within ±1 BLEU" in rule
    assert "Welch's t-test" in rule
    single = read(replace(study, looks=(Look(3, 1.0),), margin=2.5)).rule
    assert "on BLEU, with 3 seeds" in single
    assert "within ±2.5 BLEU" in single


@pytest.mark.usefixtures("no_figures")
def test_a_report_writes_every_verdict_as_numbers(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    report.main(["--study", "made_up"])
    content = read_json(study.verdicts_path)
    assert {key: content[key] for key in ("better", "worse", "equal", "open")} == {
        "better": 0, "worse": 1, "equal": 1, "open": 1,
    }  # fmt: skip
    rows = {row["variant"]: row for row in content["rows"]}
    assert set(rows) == set(NAMES) - {"base"}
    summary, row = read(study), rows["one_head"]
    found = summary.row("one_head").difference
    assert found is not None
    assert row["interval"] == [found.low, found.high]
    assert row["mean"] - row["baseline_mean"] == pytest.approx(row["difference"])
    assert (row["n"], row["verdict"], row["label"], row["margin"]) == (3, "worse", "a single head", 1.0)
    assert (row["looks"], row["alpha"], row["test"], row["changes"]) == ([[3, 0.5], [8, 0.5]], 0.05, "Welch", 3)
    assert (row["signature"], row["split"], row["rule"]) == (SIGNATURE, "test", summary.rule)
    assert (row["commit"], row["machine"]) == ("0123456789ab", "Example CPU, 2 cores, Linux")
    assert row["p"][0] < row["p_adjusted"] < 0.05
    assert row["p"][1] is None
    assert rows["no_scaling"]["seeds_to_decide"] > 3
    means = read_json(study.metrics_path)
    assert set(means) == set(NAMES)
    for name, scores in means.items():
        bleu = summary.row(name).score("test", "bleu")
        assert bleu is not None
        assert scores["bleu"] == pytest.approx(bleu.mean, abs=1e-4)
    first = study.verdicts_path.read_bytes()
    report.main(["--study", "made_up"])
    assert study.verdicts_path.read_bytes() == first


def test_means_are_of_the_seeds_that_are_compared(study: Study) -> None:
    """The baseline has more seeds than a change that was decided early."""
    run(study, "base", range(3, 8))
    for row in map(verdict_row, read(study).changes):
        assert row["n"] == 3
        assert row["mean"] - row["baseline_mean"] == pytest.approx(row["difference"], abs=1e-9)
        assert row["baseline_mean"] == pytest.approx(MEANS["base"] + SPREAD[:3].mean())


def test_published_rows_hold_the_same_and_older_files_are_read(study: Study) -> None:
    results = read_results(study)
    summary = summarise(study, results)
    text = write_published(study, results, summary).read_text()
    published = parse_published(text, "made_up")
    assert (published.study.looks, published.study.margin, published.rule) == (study.looks, 1.0, summary.rule)
    assert published.study.label("one_head") == "a single head"
    assert summarise(published.study, published.results).rows[1].judged == summary.rows[1].judged
    older = json.loads(text) | {"format": 1}
    del older["protocol"]
    for key in ("looks", "margin", "labels"):
        del older["study"][key]
    for row in older["rows"]:
        row["p_holm"] = row.pop("p_adjusted")
        row["verdict"] = row["verdict"].replace("open", "not separable").replace("equal", "not separable")
    published_path("made_up").write_text(json.dumps(older))
    before = parse_published(json.dumps(older), "made_up")
    assert [row.verdict for row in before.rows] == [Verdict.BASELINE, Verdict.WORSE, Verdict.OPEN, Verdict.OPEN]
    assert before.rows[1].p_adjusted == pytest.approx(summary.rows[1].p_adjusted, rel=1e-5)
    sentences = " ".join(against_published.sentences(against_published.compare(before, summary, results)))
    assert OLDER_RULE in sentences


BETTER, WORSE, EQUAL, OPEN = Verdict.BETTER, Verdict.WORSE, Verdict.EQUAL, Verdict.OPEN


@pytest.mark.parametrize(
    ("a", "b", "contradicts"),
    [
        (BETTER, WORSE, True), (BETTER, EQUAL, True), (EQUAL, WORSE, True), (BETTER, BETTER, False),
        (OPEN, WORSE, False), (EQUAL, OPEN, False), (Verdict.DIVERGED, WORSE, False), (Verdict.ONE_SEED, EQUAL, False),
    ],
)  # fmt: skip
def test_an_open_verdict_contradicts_nothing(a: Verdict, b: Verdict, contradicts: bool) -> None:
    for one, other in ((a, b), (b, a)):
        assert contradictions({"x": one, "y": BETTER}, {"x": other, "z": WORSE}) == (["x"] if contradicts else [])
        decided = one in CLAIMS and other in CLAIMS
        expected = "Contradiction" if contradicts else "The claims agree" if decided else "No change is decided in both"
        line = agreement({"x": one}, {"x": other})
        assert line.startswith(expected)
        alone = f"; decided in one of them only: x ({one} in A, {other} in B)."
        assert line.endswith(alone) is ((one in CLAIMS) != (other in CLAIMS))


def test_compare_says_in_one_line_and_by_its_status_whether_two_runs_agree(
    study: Study, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copytree(study.folder, study.folder.with_name("again"))
    path = Path("experiments/studies/again/study.yaml")
    path.write_text(path.read_text().replace("name: made_up", "name: again"))
    again = load_study("again")
    compare.main(["made_up", "again"])
    assert capsys.readouterr().out.splitlines()[-1] == "The claims agree: 2 changes decided in both, all alike."
    for place in range(3):
        write_cell(again.results("no_dropout", place), "no_dropout", place, 70 + SPREAD[place], 0.2)
        write_cell(again.results("one_head", place), "one_head", place, 87 + 9 * SPREAD[place], 0.2)
    with pytest.raises(SystemExit) as end:
        compare.main(["made_up", "again"])
    assert end.value.code == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "Contradiction: of 1 change decided in both, the claims differ for no_dropout (equal in A, worse in B); "
        "decided in one of them only: one_head (worse in A, open in B)."
    )


def test_runs_on_other_corpora_make_other_claims(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(study.folder, "kept")
    rename(Path(), "dear", "multi30k", split="test2016", score=lambda bleu: 180 - bleu)
    shutil.copytree("kept", "experiments/studies/made_up")
    compare.main(["made_up", "dear"])
    assert "Contradiction" not in capsys.readouterr().out


def test_the_terminal_shows_what_an_open_verdict_takes(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    tables.terminal(read(study), Console(width=200))
    assert "open, ~" in capsys.readouterr().out
