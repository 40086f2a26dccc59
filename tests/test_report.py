"""The entry point: every file written, the same bytes twice, mistakes in one line, texts from the prepared corpus."""

import csv
import io
from pathlib import Path

import pytest

from data_modules.config import DataConfig
from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import prepare
from experiments.commands import report
from experiments.common import cli
from experiments.reporting import study_report
from experiments.reporting.results import Record, Results, read_results
from lit_transformer.errors import UserError
from tests.synthetic_study import write_study

FILES = {
    "index.html", "table.md", "table.csv", "table.tex", "curves.csv", "forest.png",
    "forest.svg", "splits.svg", "curves.svg", "cost.svg", "by_length.svg", "lengths.svg", "attention.svg", "heads.svg",
}  # fmt: skip


def test_every_file_is_written_and_a_second_run_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "no_positions", "hot"])
    report.main(["--study", "made_up"])
    first = {path.name: path.read_bytes() for path in study.report_folder.iterdir()}
    report.main(["--study", "made_up"])
    assert set(first) == FILES
    assert {path.name: path.read_bytes() for path in study.report_folder.iterdir()} == first
    printed = capsys.readouterr().out
    assert "no_positions" in printed
    assert printed.rstrip().endswith("report: experiments/studies/made_up/report/index.html")


def test_before_the_first_score_the_report_ends_with_what_to_run_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_figures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head"])
    for path in study.folder.rglob("scores.json"):
        path.unlink()
    report.main(["--study", "made_up"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "no cell is evaluated yet; next: python -m experiments evaluate --study made_up --variant base --seed 0, "
        "or python -m experiments launch --study made_up for all that is missing"
    )


def test_the_long_table_holds_every_row_of_every_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "hot"])
    results = read_results(study)
    rows = list(csv.DictReader(io.StringIO(study_report.curves_csv(results))))
    assert len(rows) == sum(len(record.curve) for record in results.records)
    assert tuple(rows[0]) == ("variant", "seed", *study_report.CURVE)
    last = results.of("base")[2].curve[-1]
    found = [row for row in rows if (row["variant"], row["seed"]) == ("base", "2")][-1]
    assert float(found["valid_loss"]) == last["valid_loss"]
    assert found["step"] == "800"


def tiny_corpus(folder: Path) -> str:
    pairs = ParallelText([f"the dog number {i}" for i in range(40)], [f"der Hund Nummer {i}" for i in range(40)])
    raw = RawCorpus("tiny", "en", "de", {"train": pairs, "valid": pairs, "test": pairs}, [])
    return prepare(raw, DataConfig(vocab_size=300), folder).hash


def scored_on(data_hash: str) -> Results:
    scores = {"data_hash": data_hash, "splits": {"test": {}, "test_long": {}}}
    return Results([Record("base", 0, {"status": "finished"}, scores, [])], [], [])


def test_sources_and_references_come_from_the_corpus_of_the_results(tmp_path: Path) -> None:
    texts = study_report.read_texts(tmp_path, scored_on(tiny_corpus(tmp_path)))
    assert list(texts) == ["test"]
    assert (texts["test"][0][3], texts["test"][1][3]) == ("the dog number 3", "der Hund Nummer 3")


def test_another_corpus_gives_no_sentences_and_is_refused_when_asked_for(tmp_path: Path) -> None:
    tiny_corpus(tmp_path / "other")
    assert study_report.read_texts(tmp_path / "other", scored_on("elsewhere")) == {}
    assert study_report.read_texts(tmp_path / "none", scored_on("elsewhere")) == {}
    with pytest.raises(UserError, match="not the one of the results"):
        study_report.read_texts(tmp_path / "other", scored_on("elsewhere"), required=True)
    with pytest.raises(UserError, match="no prepared corpus there"):
        study_report.read_texts(tmp_path / "none", scored_on("elsewhere"), required=True)


@pytest.mark.parametrize("kept", [0, 1, 300])
def test_a_curve_that_was_cut_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head"])
    path = study.results("base", 1) / "curve.csv"
    path.write_text(path.read_text()[:kept])
    with pytest.raises(UserError, match=r"seed1/curve.csv: does not end at step 800; train this cell again"):
        read_results(study)


def test_a_mistake_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.run(lambda: report.main(["--study", "no_such_study"]))
    told = capsys.readouterr()
    assert (end.value.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert "no_such_study" in told.err
