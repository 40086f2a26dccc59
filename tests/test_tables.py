"""Rows and tables: verdicts, missing and diverged cells, and columns that mix no signatures or test sets."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.config.study import Study
from experiments.reporting import formats, tables
from experiments.reporting.grids import Grid, TableCell, markdown_grid
from experiments.reporting.results import Results, read_results
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Summary, Verdict, corpus_level, summarise
from lit_transformer.errors import UserError
from tests.synthetic_study import SIGNATURE, VARIANTS, write_study


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return read(write_study(root))[1]


def read(study: Study) -> tuple[Results, Summary]:
    results = read_results(study)
    return results, summarise(study, results)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_score(path: Path, split: str, **changes: object) -> None:
    scores = json.loads(path.read_text())
    scores["splits"][split] |= changes
    path.write_text(json.dumps(scores))


def test_text_in_markdown_ends_no_cell_and_begins_no_html() -> None:
    grid = Grid(["a|b", "p"], [[TableCell("x <b>| y"), TableCell("< 0.001")]], [False, True])
    assert markdown_grid(grid) == "| a\\|b | p |\n|:--|--:|\n| x &lt;b>\\| y | < 0.001 |"


def test_scores_of_averaged_weights_stand_in_a_column_of_their_own_where_there_are_any(here: Path) -> None:
    study = write_study(here, names=["base", "pre_norm", "one_head"])
    plain = read(study)[1]
    assert not any("averaged" in column.title for column in tables.columns(plain))
    assert "averaged" not in tables.markdown(plain) + tables.comma_separated(plain)
    for seed in study.seeds:
        path = study.results("pre_norm", seed) / "scores.json"
        splits = json.loads(path.read_text())["splits"]
        averaged = {split: own | {"bleu": own["bleu"] + 1, "ppl": own["ppl"] - 0.1} for split, own in splits.items()}
        edit(path, averaged={"kind": "ema", "decay": 0.999, "steps": 800, "splits": averaged})
    summary = read(study)[1]
    titles = [column.title for column in tables.columns(summary)]
    assert titles.count("BLEU averaged test") == 1
    before, after = plain.row("pre_norm"), summary.row("pre_norm")
    assert (after.score("test", "bleu"), after.verdict, after.judged) == (
        before.score("test", "bleu"),
        before.verdict,
        before.judged,
    )
    assert after.score("test", "averaged_bleu").mean == pytest.approx(before.score("test", "bleu").mean + 1)
    assert after.score("test", "averaged_ppl").mean == pytest.approx(before.score("test", "ppl").mean - 0.1)
    assert summary.row("one_head").score("test", "averaged_bleu") is None
    table = tables.markdown(summary)
    assert "* Averaged: scores of the averaged weights." in table
    assert "averaged_bleu_test_signature" in tables.comma_separated(summary)
    summary = summarise(study, read_results(study), ["averaged_bleu", "averaged_ppl"])
    titles = [column.title for column in tables.columns(summary)]
    assert titles.count("BLEU averaged test") == titles.count("PPL averaged test") == 1


def test_averaged_scores_of_two_signatures_share_no_column_either(here: Path) -> None:
    study = write_study(here, names=["base", "pre_norm"])
    for variant, signature in (("base", SIGNATURE), ("pre_norm", SIGNATURE.replace("13a", "none"))):
        for seed in study.seeds:
            path = study.results(variant, seed) / "scores.json"
            splits = json.loads(path.read_text())["splits"]
            own = {split: scores | {"bleu_signature": signature} for split, scores in splits.items()}
            edit(path, averaged={"kind": "last", "steps": [800], "splits": own})
    with pytest.raises(UserError, match="averaged_bleu_signature differs"):
        read_results(study)


def test_verdicts_of_a_full_study(full: Summary) -> None:
    summary = full
    verdicts = {row.variant: row.verdict for row in summary.rows}
    assert list(verdicts) == list(VARIANTS)
    assert verdicts["base"] is Verdict.BASELINE
    assert verdicts["no_positions"] is verdicts["small_dk"] is verdicts["no_residuals"] is Verdict.WORSE
    assert verdicts["no_dropout"] is verdicts["no_label_smoothing"] is Verdict.OPEN
    assert verdicts["hot"] is Verdict.DIVERGED
    assert summary.compared == 10
    judged = [row.judged for row in summary.rows if row.judged and row.judged.p_adjusted is not None]
    assert len(judged) == 9, "the seeds of no_norm seem to fall into two groups: one diverged"
    assert all(own.p_adjusted >= own.p[0] for own in judged)
    assert summary.row("no_norm").verdict_text == "open, two groups"


def test_a_better_change_is_called_better(here: Path) -> None:
    _, summary = read(write_study(here, seeds=8, names=["base", "pre_norm", "no_dropout"]))
    assert summary.row("pre_norm").verdict is Verdict.BETTER


def test_seeds_left_out_are_counted_and_named(here: Path) -> None:
    study = write_study(here, names=["base", "no_norm", "one_head", "no_scaling"])
    (study.results("one_head", 1) / "scores.json").unlink()
    shutil.rmtree(study.results("no_scaling", 2))
    _, summary = read(study)
    assert summary.row("no_norm").status == "diverged: seed 2 at step 380"
    assert summary.row("one_head").status == "not evaluated: seed 1"
    assert [summary.row(name).n for name in study.variants] == [3, 2, 2, 2]
    assert (summary.missing, summary.unscored) == (["no_scaling/seed2"], ["one_head/seed1"])
    text = tables.markdown(summary)
    assert "Not trained (1): no_scaling (seed 2)" in text
    assert "not evaluated (1): one_head (seed 1)" in text
    assert "| n |" in text
    assert "diverged: seed 2 at step 380" in text


def test_a_complete_study_has_no_column_of_left_out_seeds(here: Path) -> None:
    _, summary = read(write_study(here, names=["base", "one_head"]))
    assert "left out" not in tables.markdown(summary)


def test_one_seed_has_no_interval_anywhere(here: Path) -> None:
    _, summary = read(write_study(here, seeds=1, names=["base", "one_head"]))
    row = summary.row("one_head")
    assert (row.verdict, row.p_adjusted, summary.noise) == (Verdict.ONE_SEED, None, None)
    text = tables.markdown(summary)
    assert "one seed, so no interval" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert not any("±" in line or "[−" in line for line in table)


def test_without_a_score_of_the_baseline_nothing_is_compared(here: Path) -> None:
    study = write_study(here, names=["base", "one_head"])
    for seed in study.seeds:
        (study.results("base", seed) / "scores.json").unlink()
    _, summary = read(study)
    assert summary.row("one_head").verdict is Verdict.NO_BASELINE
    assert formats.MISSING in tables.markdown(summary)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bleu_signature": "nrefs:1|tok:none"}, "bleu_signature differs"),
        ({"sentences": 499}, "sentences differs"),
    ],
)
def test_a_column_never_mixes_signatures_or_test_sets(here: Path, change: dict[str, object], told: str) -> None:
    study = write_study(here, names=["base", "one_head"])
    edit_score(study.results("one_head", 2) / "scores.json", "test", **change)
    with pytest.raises(UserError, match=told) as refusal:
        read_results(study)
    assert "one_head/seed2" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_scores_of_another_corpus_are_refused(here: Path) -> None:
    study = write_study(here, names=["base", "one_head"])
    edit(study.results("base", 0) / "scores.json", data_hash="other")
    with pytest.raises(UserError, match=r"data_hash differs.*other in base/seed0"):
        read_results(study)


def test_an_untrained_study_says_what_to_do(here: Path) -> None:
    study = write_study(here, names=["base"])
    for seed in study.seeds:
        (study.results("base", seed) / "training.json").unlink()
    with pytest.raises(UserError, match=r"no results yet.*--variant base --seed 0"):
        read_results(study)


@pytest.mark.parametrize("name", ["training.json", "scores.json", "curve.csv"])
def test_a_broken_file_is_named(here: Path, name: str) -> None:
    study = write_study(here, names=["base"])
    (study.results("base", 1) / name).write_text("step,valid_loss\nhalf,\n{")
    with pytest.raises(UserError, match=f"base/seed1/{name}"):
        read_results(study)


def test_csv_holds_every_number_with_its_n_and_signature(full: Summary) -> None:
    summary = full
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(tables.comma_separated(summary)))}
    found = summary.row("no_positions")
    assert found.difference is not None
    assert float(rows["no_positions"]["bleu_difference"]) == found.difference.mean
    assert float(rows["no_positions"]["bleu_difference_low"]) == found.difference.low
    assert rows["no_norm"]["bleu_test_n"] == "2"
    assert rows["hot"]["bleu_test"] == ""
    assert rows["hot"]["seeds_left_out"].startswith("diverged: seed 0 at step 300")
    assert rows["base"]["bleu_test_long_signature"] == SIGNATURE
    assert rows["base"]["corpus_level"] == "grammar corpus"


def test_latex_is_balanced_and_escaped(full: Summary) -> None:
    summary = full
    text = tables.latex(summary)
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
    columns = text.splitlines()[1].count("r", 15) + text.splitlines()[1][15:].count("l")
    assert len(body) == len(VARIANTS)
    assert {line.count("&") for line in body} == {len([c for c in tables.columns(summary) if c.key != "status"]) - 1}
    assert columns >= 5
    assert "no\\_positions" in text
    assert not any(sign in text.split("\\bottomrule")[0] for sign in ("Δ", "→", "−", "±"))


@pytest.mark.parametrize("width", [80, 120, 260])
def test_terminal_table_fits_and_keeps_the_verdict(full: Summary, width: int) -> None:
    summary = full
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    tables.terminal(summary, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "−52.52 [−55.18, −49.85]" in text
    assert "open, ~" in text
    assert "Δ BLEU [interval]" in text
    assert "…" not in text
    assert ("columns that do not fit" in text) == (width < 260)


def test_a_pipe_gets_plain_lines_of_the_whole_table(full: Summary) -> None:
    summary = full
    console = Console(file=io.StringIO(), width=40)
    tables.terminal(summary, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert "\x1b" not in console.file.getvalue()
    assert lines[0].split()[0] == "variant"
    assert "fastest tokens/s" in lines[0]
    assert [line.split()[0] for line in lines[1 : 1 + len(VARIANTS)]] == list(VARIANTS)


def test_paper_differences_stand_in_a_column_of_their_own_label(here: Path) -> None:
    study = write_study(here, names=["base", "one_head", "small_dk"])
    renamed = replace(
        study, variants={"base": {}, "h1": study.variants["one_head"], "dk16": study.variants["small_dk"]}
    )
    for old, new in (("one_head", "h1"), ("small_dk", "dk16")):
        study.results(old, 0).parent.rename(study.results(new, 0).parent)
    _, summary = read(renamed)
    header, _, *rows = [line for line in tables.markdown(summary).splitlines() if line.startswith("|")]
    assert "Δ BLEU paper (newstest2013 EN-DE, tokenised BLEU)" in header
    assert "| −0.9 |" in next(row for row in rows if row.startswith("| h1"))


@pytest.mark.parametrize(
    ("corpus", "title"),
    [("grammar", "grammar corpus"), ("hub:multi30k", "Multi30k"), ("multi30k", "Multi30k"), ("iwslt2017", "IWSLT"),
     ("hub:wmt14", "WMT14 short"), ("folder", "corpus folder")],
)  # fmt: skip
def test_corpus_levels(corpus: str, title: str) -> None:
    assert corpus_level(corpus, []) == title


def test_numbers_as_text() -> None:
    assert formats.number(-0.004, sign=True) == "0.00"
    assert formats.number(-1.0, sign=True) == "−1.00"
    assert formats.bracketed(Estimate(1.5, 1.0, 2.0, 3)) == "+1.50 [+1.00, +2.00]"
    assert formats.plus_minus(Estimate(25.0, 24.5, 25.5, 2), 3) == "25.00 ± 0.50 (n=2)"
    assert formats.plus_minus(Estimate(25.0, None, None, 1), 1) == "25.00"
    assert formats.perplexity(Estimate(1.2345, None, None, 1), 1) == "1.234"
    assert formats.p_value(0.0004) == "< 0.001"
    assert formats.power_of_ten(3.3e18) == "3.3e18"
