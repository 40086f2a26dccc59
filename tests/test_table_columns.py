"""Columns that only some studies have: intervals for new sentences too, and agreement with the paper's Table 3."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.config.study import Study, load_study
from experiments.reporting import bootstrap, formats, tables
from experiments.reporting.headline import headline
from experiments.reporting.paper import AGREEMENT_RULE, Agreement
from experiments.reporting.results import read_results
from experiments.reporting.summary import RULE_WIDE, Summary, summarise
from experiments.reporting.verdicts import Verdict
from experiments.scoring.sentences import corpus_bleu, summands, write_counts
from lit_transformer.errors import UserError
from tests.synthetic_counts import Spread, draw_counts
from tests.synthetic_study import VARIANTS, write_study

LOGITS = {"base": 1.5, "one_head": 0.6, "pre_norm": 1.45}
SENTENCES_VARY = Spread(seed=0.05, own=0.005, sentence=0.5, taste=0.8, whim=0.1)
SEEDS_VARY = Spread(seed=0.05, own=0.5, sentence=0.5, taste=0.0, whim=0.0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(study: Study) -> Summary:
    return summarise(study, read_results(study))


def rows_of(summary: Summary) -> dict[str, dict[str, str]]:
    return {row["variant"]: row for row in csv.DictReader(io.StringIO(tables.comma_separated(summary)))}


def write_counted(root: Path, spread: Spread = SENTENCES_VARY) -> tuple[Study, dict]:
    """Write a study of three variants whose cells kept counts of their 500 sentences, with the scores of these."""
    study = write_study(root, names=list(LOGITS))
    counts = draw_counts(np.random.default_rng(0), LOGITS, spread, 3, 500)
    for variant, own in counts.items():
        for seed, sentences in own.items():
            folder = study.results(variant, seed)
            (folder / "sentences.csv").write_text(write_counts({"test": sentences}))
            scores = json.loads((folder / "scores.json").read_text())
            scores["splits"]["test"]["bleu"] = float(corpus_bleu(summands(sentences).sum(axis=0)))
            (folder / "scores.json").write_text(json.dumps(scores))
    return study, counts


def test_intervals_for_new_sentences_stand_beside_those_for_new_seeds(here: Path) -> None:
    study, counts = write_counted(here)
    summary = read(study)
    row = summary.row("one_head")
    assert row.judged is not None
    assert row.judged.alpha is not None
    compared = {"one_head": bootstrap.Compared((0, 1, 2), row.judged.alpha, pair=summary.paired)}
    assert summary.paired, "the seeds of these counts move all variants together"
    expected = bootstrap.differences(counts, "base", compared)["one_head"]
    ends = row.difference_wide.mean, row.difference_wide.low, row.difference_wide.high
    assert ends == pytest.approx((expected.mean, expected.low, expected.high))
    assert row.difference_wide.mean == pytest.approx(row.difference.mean)
    assert row.difference_wide.half_width > row.difference.half_width + 0.1
    assert summary.row("base").difference_wide is None
    text = tables.markdown(summary)
    assert f"| {tables.WIDE} |" in text
    assert f"| {formats.interval(row.difference_wide)} |" in text
    assert f"* {RULE_WIDE}" in text
    record = rows_of(summary)["one_head"]
    assert float(record["bleu_difference_wide_low"]) == row.difference_wide.low
    assert float(record["p_corrected"]) == row.p_adjusted
    assert rows_of(summary)["base"]["bleu_difference_wide_low"] == ""


def test_where_seeds_rule_the_same_intervals_do_not_stand_twice(here: Path) -> None:
    study, _ = write_counted(here, SEEDS_VARY)
    summary = read(study)
    assert summary.row("one_head").difference_wide is not None
    text = tables.markdown(summary)
    assert tables.WIDE not in text
    assert "Here none is wider by 0.01 BLEU, so only the first is shown." in text
    assert rows_of(summary)["one_head"]["bleu_difference_wide_low"] != ""


def test_the_terminal_drops_them_first(here: Path) -> None:
    summary = read(write_counted(here)[0])
    assert max(tables.columns(summary), key=lambda column: column.priority).title == tables.WIDE


def test_a_study_of_older_evaluations_has_none_and_one_seed_without_counts_takes_the_row_out(here: Path) -> None:
    study, _ = write_counted(here)
    (study.results("one_head", 1) / "sentences.csv").unlink()
    summary = read(study)
    assert summary.row("one_head").difference_wide is None
    assert summary.row("pre_norm").difference_wide is not None
    for path in here.rglob("sentences.csv"):
        path.unlink()
    text = tables.markdown(read(study))
    assert tables.WIDE not in text
    assert RULE_WIDE not in text


def test_counts_of_another_evaluation_are_refused(here: Path) -> None:
    study, _ = write_counted(here)
    kept = (study.results("base", 0) / "sentences.csv").read_text()
    (study.results("base", 1) / "sentences.csv").write_text(kept)
    with pytest.raises(UserError, match=r"base/seed1/sentences\.csv: does not add up"):
        read(study)


def test_notes_tell_power_and_noise_floor(here: Path) -> None:
    summary = read(write_study(here, names=list(LOGITS)))
    assert summary.noise is not None
    assert summary.noise_floor is not None
    text = "\n".join(tables.notes_of(summary))
    _, once, double = (round(100 * share) for share in summary.noise.power_corrected)
    size = summary.noise.corrected
    assert f"find a difference of {size:.2f} BLEU in {once} % of studies" in text
    assert f"and one of {2 * size:.2f} in {double} %" in text
    alone = f"{summary.noise.alone:.2f} in {round(100 * summary.noise.power[1])} %"
    assert f"without any correction, one of {alone}." in text
    assert f"vary by {summary.noise.sd:.2f} BLEU" in text
    floor, scores = summary.noise_floor, [r.score("test", "bleu") for r in read_results_of("base")]
    assert floor.sd == pytest.approx(np.std(scores, ddof=1))
    assert f"differ by less than {floor.half_width:.2f} BLEU" in text
    assert f"differ by {floor.pairs[0]:.2f} to {max(scores) - min(scores):.2f}" in text


def read_results_of(variant: str) -> list:
    return read_results(load_study("made_up")).of(variant)


def as_table_3(root: Path, baseline: str = "base") -> Study:
    """Return the made-up study under the paper's names: h1 and dk16 are worse here, ls0 is open."""
    names = {"base": baseline, "one_head": "h1", "small_dk": "dk16", "no_label_smoothing": "ls0", "pre_norm": "mine"}
    study = write_study(root, seeds=5, names=list(names))
    for old, new in names.items():
        if old != new:
            study.results(old, 0).parent.rename(study.results(new, 0).parent)
    variants = {new: study.variants[old] for old, new in names.items()}
    return replace(study, baseline=baseline, variants=variants)


def test_rows_of_table_3_say_whether_they_reproduce_the_paper(here: Path) -> None:
    summary = read(as_table_3(here))
    found = {row.variant: row.agreement for row in summary.rows}
    assert found == {
        "base": None,
        "h1": Agreement.REPRODUCED,
        "dk16": Agreement.REPRODUCED,
        "ls0": Agreement.UNCLEAR_HERE,
        "mine": None,
    }
    text = tables.markdown(summary)
    assert "| against the paper |" in text
    assert "| −0.9 | reproduced |" in next(line for line in text.splitlines() if line.startswith("| h1"))
    assert f"* {AGREEMENT_RULE}" in text
    assert rows_of(summary)["ls0"]["against_paper"] == "no difference shown here"
    assert rows_of(summary)["mine"]["against_paper"] == ""
    assert "reproduced" in tables.latex(summary)
    assert "of 3 rows of the paper's Table 3, 2 are reproduced and 0 contradicted" in headline(summary)
    console = Console(file=io.StringIO(), width=110, force_terminal=True, color_system=None)
    tables.terminal(summary, console)
    assert "against the paper" in console.file.getvalue()


def test_another_baseline_than_the_papers_is_compared_with_no_row_of_it(here: Path) -> None:
    summary = read(as_table_3(here, baseline="lstm"))
    assert all(row.published is None and row.agreement is None for row in summary.rows)
    assert "paper" not in tables.markdown(summary)
    assert "Table 3" not in headline(summary)


def test_one_seed_says_nothing_of_the_paper(here: Path) -> None:
    study = write_study(here, seeds=1, names=["base", "one_head"])
    study.results("one_head", 0).parent.rename(study.results("h1", 0).parent)
    variants = {"base": {}, "h1": study.variants["one_head"]}
    summary = read(replace(study, variants=variants))
    assert (summary.row("h1").published, summary.row("h1").agreement) == (-0.9, None)
    assert summary.noise_floor is None
    assert AGREEMENT_RULE not in tables.markdown(summary)


def test_where_nothing_is_learned_nothing_is_equal(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 0 BLEU have no spread, which is no evidence of anything."""
    monkeypatch.setitem(VARIANTS, "base", ("{}", *VARIANTS["no_residuals"][1:]))
    summary = read(write_study(here, names=["base", "no_residuals", "pre_norm", "one_head"]))
    unlearned, learned = summary.row("no_residuals"), summary.row("pre_norm")
    assert (unlearned.verdict, unlearned.verdict_text) == (Verdict.OPEN, "open, nothing learned")
    assert learned.verdict is Verdict.BETTER
    assert summary.noise is None
    assert summary.noise_floor is None
    assert tables.notes_of(summary)[0] == tables.NOTHING_LEARNED


def test_without_any_spread_no_noise_is_claimed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "base", ("{}", *VARIANTS["no_residuals"][1:]))
    summary = read(write_study(here, seeds=2, names=["base", "no_residuals"]))
    assert summary.noise is None
    assert not any("Power" in note or "Noise floor" in note for note in tables.notes_of(summary))
    assert "1 is open" in headline(summary)


def test_a_bleu_of_characters_says_so(here: Path) -> None:
    study = write_study(here, names=["base", "one_head"])
    assert tables.COUNTS_CHARACTERS not in tables.notes_of(read(study))
    for path in here.rglob("scores.json"):
        path.write_text(path.read_text().replace("tok:13a", "tok:char"))
    assert tables.COUNTS_CHARACTERS in tables.notes_of(read(study))


def test_test_pairs_in_the_training_data_are_told(here: Path) -> None:
    study = write_study(here, names=["base", "one_head"])
    assert not any("training data" in note for note in tables.notes_of(read(study)))
    for path in here.rglob("scores.json"):
        repeats = {"test": {"repeated": 3, "in_train": 60}, "test_long": {"repeated": 0, "in_train": 0}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"repeats": repeats}))
    told = [note for note in tables.notes_of(read(study)) if "training data" in note]
    assert told == [
        "Pairs of test that are in the training data too, where a model may remember them: 60; "
        "pairs that repeat another: 3."
    ]
