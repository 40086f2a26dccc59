"""Published results: read back as they were, the same bytes twice, small, and set beside a later run."""

import html
import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from experiments.commands import publish, report
from experiments.config.study import Study
from experiments.reporting import against_published, tables
from experiments.reporting.figures.curves import curves_figure
from experiments.reporting.figures.forest import forest_chart
from experiments.reporting.headline import headline
from experiments.reporting.published import Published, published_folder, published_path, read_published
from experiments.reporting.results import read_results
from experiments.reporting.summary import Verdict, summarise
from lit_transformer.errors import UserError
from tests.page_outline import Outline
from tests.synthetic_study import write_study

NAMES = ["base", "no_positions", "one_head", "no_dropout", "no_norm", "hot"]
FILES = {"results.json", "table.md", "forest.png", "forest.svg"}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return write_study(tmp_path, names=NAMES)


def published(name: str = "made_up") -> Published:
    found = read_published(name)
    assert found is not None
    return found


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def move_bleu(study: Study, variant: str, by: float) -> None:
    for seed in study.seeds:
        edit(
            study.results(variant, seed) / "scores.json",
            lambda scores: scores["splits"]["test"].update(bleu=scores["splits"]["test"]["bleu"] + by),
        )


def write_ensemble(study: Study) -> None:
    members = [{"variant": "base", "seed": seed, "config_hash": f"base-{seed}"} for seed in study.seeds]
    path = study.ensemble("base") / "scores.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"ensemble": {"members": members}, "splits": {"test": {"bleu": 91.5}}}))


def test_what_is_published_is_read_back_as_it_was(study: Study) -> None:
    """Costs and scores to the last digit, with their signatures; the losses of a curve to six digits."""
    write_ensemble(study)
    averaged = {"kind": "ema", "splits": {"test": {"bleu": 91.0, "bleu_signature": "other"}}}
    edit(study.results("base", 1) / "scores.json", lambda scores: scores.update(averaged=averaged))
    edit(study.results("no_norm", 2) / "training.json", lambda training: training.update(machine="another machine"))
    publish.main(["--study", "made_up"])
    at_hand, found = read_results(study), published().results
    assert [record.name for record in found.records] == [record.name for record in at_hand.records]
    for own, other in zip(at_hand.records, found.records, strict=True):
        assert other.training == own.training
        assert other.scores == own.scores
        assert [step["step"] for step in other.curve] == [step["step"] for step in own.curve]
        for before, after in zip(own.curve, other.curve, strict=True):
            assert after == {name: pytest.approx(before[name], rel=1e-5) for name in after}
        assert (other.hypotheses("test"), other.probe()) == ([], [])
        assert (other.sentences("test"), other.attention()) == (None, None)
    assert found.ensembles == at_hand.ensembles
    assert found.splits == at_hand.splits
    assert all(found.signatures(split) == at_hand.signatures(split) for split in found.splits)
    assert (found.missing, found.unscored) == (at_hand.missing, at_hand.unscored)


def test_what_reads_results_reads_published_ones(study: Study) -> None:
    publish.main(["--study", "made_up"])
    at_hand, found = read_results(study), published().results
    shutil.rmtree(study.folder / "results")
    own, other = summarise(study, at_hand), summarise(study, found)
    assert other == own
    assert tables.markdown(other) == tables.markdown(own)
    assert headline(other) == headline(own)
    assert forest_chart(other, 200).to_dict() == forest_chart(own, 200).to_dict()  # type: ignore[union-attr]
    assert curves_figure(other, found) is not None


def test_rows_are_as_they_were_computed(study: Study) -> None:
    publish.main(["--study", "made_up"])
    summary = summarise(study, read_results(study))
    rows = published().rows
    assert [(row.variant, row.verdict, row.n) for row in rows] == [(r.variant, r.verdict, r.n) for r in summary.rows]
    for published_row, row in zip(rows, summary.rows, strict=True):
        for found, own in ((published_row.difference, row.difference), (published_row.bleu, row.score("test", "bleu"))):
            assert (found is None) == (own is None)
            if found and own:
                assert (found.low is None, found.high is None) == (own.low is None, own.high is None)
                parts = [(found.mean, own.mean), (found.low, own.low), (found.high, own.high), (found.n, own.n)]
                assert all(one == pytest.approx(other, rel=1e-5) for one, other in parts if one is not None)
        found_p, own_p = published_row.p_adjusted, row.p_adjusted
        assert (found_p is None) == (own_p is None)
        assert found_p is None or found_p == pytest.approx(own_p, rel=1e-5)
    assert published().rule == summary.rule


def test_the_same_results_give_the_same_bytes_and_the_date_moves_with_them(study: Study) -> None:
    folder = published_folder("made_up")
    publish.main(["--study", "made_up"])
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == FILES
    path = published_path("made_up")
    path.write_text(path.read_text().replace(date.today().isoformat(), "2020-02-02"))
    aged = path.read_bytes()
    publish.main(["--study", "made_up"])
    assert path.read_bytes() == aged
    move_bleu(study, "one_head", 1.0)
    publish.main(["--study", "made_up"])
    assert published().published_at == date.today().isoformat()
    move_bleu(study, "one_head", -1.0)
    publish.main(["--study", "made_up"])
    assert len(first["results.json"]) < 3000 * len(NAMES) * len(study.seeds)


def test_a_run_that_diverged_in_no_numbers_is_published_as_strict_json(study: Study) -> None:
    edit(study.results("hot", 0) / "training.json", lambda training: training.update(valid_loss=float("nan")))
    path = study.results("hot", 0) / "curve.csv"
    path.write_text(path.read_text() + "350,0,1,1,0.1,nan,inf,inf\n")
    publish.main(["--study", "made_up"])
    first = published_path("made_up").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(first, parse_constant=refuse)
    last = published().results.of("hot")[0].curve[-1]
    assert last["step"] == 350
    assert last["valid_loss"] != last["valid_loss"]
    publish.main(["--study", "made_up"])
    assert published_path("made_up").read_text() == first


def test_the_published_table_says_where_it_comes_from(study: Study) -> None:
    publish.main(["--study", "made_up"])
    table = (published_folder("made_up") / "table.md").read_text()
    assert table.startswith(tables.markdown(summarise(study, read_results(study))))
    assert "* Commit of the code: 0123456789ab\n" in table
    assert f"* Data (sha256): {'feedc0de' * 8}\n" in table
    assert "* Machine: Example CPU, 2 cores, Linux\n" in table


@pytest.mark.parametrize("what", ["nothing", "no score", "not trained", "not evaluated", "signatures"])
def test_what_cannot_be_published_is_refused_in_one_line(study: Study, what: str) -> None:
    messages = {
        "nothing": "has no results yet",
        "no score": "no cell of study made_up has a score",
        "not trained": r"is incomplete: 1 not trained \(one_head \(seed 1\)\); run them, or add --partial",
        "not evaluated": r"is incomplete: 1 not evaluated \(one_head \(seed 1\)\)",
        "signatures": "cannot share a column: ter_signature differs",
    }
    cell = study.results("one_head", 1)
    match what:
        case "nothing":
            shutil.rmtree(study.folder / "results")
        case "no score":
            for path in study.folder.rglob("scores.json"):
                path.unlink()
        case "not trained":
            shutil.rmtree(cell)
        case "not evaluated":
            (cell / "scores.json").unlink()
        case _:
            edit(cell / "scores.json", lambda scores: scores["splits"]["test"].update(ter_signature="another"))
    with pytest.raises(UserError, match=messages[what]) as refusal:
        publish.main(["--study", "made_up"])
    assert "\n" not in str(refusal.value)
    assert not published_folder("made_up").exists()
    if what in ("not trained", "not evaluated"):
        publish.main(["--study", "made_up", "--partial"])
        results = published().results
        assert [*results.missing, *results.unscored] == ["one_head/seed1"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 3}'])
def test_a_broken_file_is_one_line(study: Study, text: str) -> None:
    path = published_path("made_up")
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)) as refusal:
        read_published("made_up")
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("no_figures")
def test_a_report_stands_beside_the_published_run(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    report.main(["--study", "made_up"])
    page, table = study.report_folder / "index.html", study.report_folder / "table.md"
    assert against_published.TITLE not in page.read_text() + table.read_text() + capsys.readouterr().out
    publish.main(["--study", "made_up"])
    move_bleu(study, "one_head", 40.0)
    edit(study.results("no_dropout", 0) / "training.json", lambda training: training.update(git_commit="later"))
    capsys.readouterr()
    report.main(["--study", "made_up"])
    printed = " ".join(capsys.readouterr().out.split())
    verdicts = "Verdicts agree in 4 of 5 rows; they differ in one_head (worse, here better)."
    published_at = published().published_at
    assert f"published on {published_at}: {verdicts}" in printed
    origin = (
        "Published run: commit 0123456789ab, trained between 2026-01-02T03:00:00+00:00 and 2026-01-02T03:02:00+00:00, "
        f"on Example CPU, 2 cores, Linux, published on {published_at}."
    )
    section = table.read_text().partition(f"## {against_published.TITLE}\n\n")[2]
    assert section.startswith(f"{origin} {verdicts}\n\n| variant |")
    rows = {line.split(" | ")[0].strip("| "): line for line in section.splitlines() if line.startswith("| ")}
    assert set(rows) == {"variant", *NAMES} - {"base"}
    assert rows["one_head"].endswith("| better | no |")
    text = page.read_text()
    assert html.escape(verdicts) in text
    outline = Outline(text)
    assert outline.open == []
    assert "published" in outline.ids
    assert len(outline.ids) == len(set(outline.ids))


def test_the_published_cells_themselves_are_recognised(study: Study) -> None:
    publish.main(["--study", "made_up"])
    results = read_results(study)
    found = against_published.compare(published(), summarise(study, results), results)
    assert found.identical
    assert against_published.verdicts(found) == "The results at hand are the published ones."


def test_one_seed_of_other_data_agrees_in_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, names=["base", "one_head", "hot"])
    publish.main(["--study", "made_up"])
    kept = published_path("made_up").read_text()
    shutil.rmtree("experiments")
    study = write_study(tmp_path, seeds=1, names=["base", "one_head", "pre_norm"])
    published_folder("made_up").mkdir()
    published_path("made_up").write_text(kept.replace("feedc0de", "abad1dea"))
    results = read_results(study)
    found = against_published.compare(published(), summarise(study, results), results)
    assert [pair.row.verdict for pair in found.pairs] == [Verdict.ONE_SEED]
    lines = against_published.sentences(found)
    assert lines[1:] == [
        "No row has a verdict in both runs.",
        "The prepared corpus is not the published one, so differences may come from the data.",
        "Without a verdict in one of the two runs: one_head.",
        "Only here: pre_norm.",
        "Only in the published run: hot.",
    ]


def test_a_report_without_a_score_spares_one_that_has_some(study: Study) -> None:
    report.main(["--study", "made_up"])
    before = {path.name: path.read_bytes() for path in study.report_folder.iterdir()}
    for path in study.folder.rglob("scores.json"):
        path.unlink()
    with pytest.raises(UserError, match="no cell of made_up is evaluated") as refusal:
        report.main(["--study", "made_up"])
    assert "\n" not in str(refusal.value)
    assert {path.name: path.read_bytes() for path in study.report_folder.iterdir()} == before
    shutil.rmtree(study.report_folder)
    report.main(["--study", "made_up"])
    report.main(["--study", "made_up"])
    assert (study.report_folder / "curves.svg").exists()


def test_table_1_is_published_as_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path("experiments/studies/table1").resolve()
    monkeypatch.chdir(tmp_path)
    folder = Path("experiments/studies/table1")
    (folder / "results").mkdir(parents=True)
    shutil.copy(source / "layers.yaml", folder)
    with pytest.raises(UserError, match="measure first"):
        publish.main(["--study", "table1"])
    shutil.copy(source / "published/layers.json", folder / "results")
    publish.main(["--study", "table1"])
    assert (folder / "published/layers.json").read_bytes() == (source / "published/layers.json").read_bytes()
    table = (folder / "published/table.md").read_text()
    assert table.startswith("# Do the layers")
    assert "| Machine | " in table
    first = {path.name: path.read_bytes() for path in (folder / "published").iterdir()}
    assert set(first) == {"layers.json", "table.md", "time.svg"}
    publish.main(["--study", "table1"])
    assert {path.name: path.read_bytes() for path in (folder / "published").iterdir()} == first
