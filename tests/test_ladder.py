"""Agreement across corpora: the same changes on two of them, what one predicts of the other, and the pages."""

import html
import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.commands import ladder
from experiments.config.study import load_study
from experiments.reporting.across_corpora import (
    CorpusAgreement,
    agreements_with_others,
    corpus_agreement,
    findings,
    grid,
)
from experiments.reporting.figures.ladder import ladder_chart
from experiments.reporting.figures.style import render_svg
from experiments.reporting.published import write_published
from experiments.reporting.study_report import write_report
from experiments.reporting.study_results import study_results
from experiments.reporting.unresolved_study import read_unresolved_study
from lit_transformer.errors import UserError
from tests.page_outline import Outline
from tests.synthetic_study import texts
from tests.two_studies import NAMES, write_two


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_two(tmp_path)
    return tmp_path


def cheap_and_dear() -> CorpusAgreement:
    return corpus_agreement(study_results(load_study("cheap")), study_results(load_study("dear")))


def set_bleu(name: str, variant: str, change: float) -> None:
    """Move a variant's BLEU of every seed."""
    for path in Path("experiments/studies", name, "results", variant).rglob("scores.json"):
        content = json.loads(path.read_text())
        for split in content["splits"].values():
            split["bleu"] += change
        path.write_text(json.dumps(content))


def test_the_same_order_on_both_corpora_is_found(two: Path) -> None:
    found = cheap_and_dear()
    assert [pair.variant for pair in found.changes] == NAMES[1:]
    assert found.ranks is not None
    assert found.ranks.n == 7
    assert found.ranks.kendall.value == 1.0
    for pair in found.changes:
        one, other = pair.differences
        assert other.mean == pytest.approx(0.3 * one.mean)
    sentences = findings(found)
    assert sentences[0].startswith("Order of 7 changes in both studies: Spearman 1.00 [")
    separable = [pair for pair in found.changes if pair.lower.verdict.value in ("better", "worse")]
    assert f"Of {len(separable)} changes better or worse than the baseline on grammar corpus" in sentences[1]
    assert f"{len(separable)} point the same way on Multi30k" in sentences[1]


def test_a_change_of_the_other_sign_is_counted(two: Path) -> None:
    set_bleu("dear", "no_positions", 40.0)
    found = cheap_and_dear()
    own = next(pair for pair in found.changes if pair.variant == "no_positions")
    assert not own.same_sign
    assert found.ranks is not None
    assert found.ranks.kendall.value < 1.0
    row = next(row for row in grid(found).rows if row[0].text == "no_positions")
    assert [cell.text for cell in row][-1] == "no"


def test_two_changes_claim_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_two(tmp_path, upper_seeds=1, names=["base", "no_positions", "pre_norm"])
    found = cheap_and_dear()
    assert found.ranks is None
    sentences = " ".join(findings(found))
    assert "2 changes tested in both: too few to compare an order" in sentences
    assert "One seed on Multi30k" in sentences
    assert "Spearman" not in sentences


def test_two_studies_of_one_corpus_are_called_by_their_own_names(two: Path) -> None:
    """As at two lengths of training: their corpus would not tell them apart."""
    agreement = cheap_and_dear()
    assert agreement.names == (agreement.lower.corpus_level, agreement.upper.corpus_level)
    summary = replace(agreement.upper.summary, corpus_level=agreement.lower.corpus_level)
    alike = replace(agreement, upper=replace(agreement.upper, summary=summary))
    assert alike.names == ("cheap", "dear")
    assert grid(alike).titles[1::2] == ["Δ BLEU cheap", "Δ BLEU dear", "same sign"]
    assert "cheap" in findings(alike)[1]


def test_a_delta_that_differs_is_named(two: Path) -> None:
    path = Path("experiments/studies/dear/study.yaml")
    path.write_text(path.read_text().replace("heads: 1, d_k: 128", "heads: 1, d_k: 64"))
    found = cheap_and_dear()
    assert "Set differently in the two studies, whose baselines differ: one_head." in findings(found)


@pytest.mark.usefixtures("no_figures")
def test_the_report_of_either_study_has_the_comparison_cheap_corpus_first(two: Path) -> None:
    for name in ("cheap", "dear"):
        own = study_results(load_study(name))
        found = agreements_with_others(own)
        assert [(one.lower.study.name, one.upper.study.name) for one in found] == [("cheap", "dear")]
    path = write_report(own.study, own.summary, own.results, texts())
    text = path.read_text()
    assert "What grammar corpus predicts of Multi30k" in text
    assert findings(found[0])[0] in html.unescape(text)
    assert (path.parent / "ladder-cheap-dear.svg").exists()
    outline = Outline(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_a_broken_study_beside_does_not_break_a_report(two: Path) -> None:
    own = study_results(load_study("cheap"))
    Path("experiments/studies/dear/results/base/seed0/scores.json").write_text("{")
    assert agreements_with_others(own) == []


def test_a_study_without_results_at_hand_is_read_as_published(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = cheap_and_dear()
    dear = study_results(load_study("dear"))
    path = write_published(dear.study, dear.results, dear.summary)
    shutil.rmtree("experiments/studies/dear/results")
    (found,) = agreements_with_others(study_results(load_study("cheap")))
    assert found.ranks == before.ranks
    assert [change.differences for change in found.changes] == [change.differences for change in before.changes]
    published_at = json.loads(path.read_text())["published_at"]
    assert findings(found) == [*findings(before), f"dear: published on {published_at}, no results at hand."]
    ladder.main(["cheap", "dear"])
    assert f"dear: published on {published_at}, no results at hand." in capsys.readouterr().out


def test_a_study_whose_config_we_would_refuse_has_results(two: Path) -> None:
    path = Path("experiments/studies/dear/study.yaml")
    path.write_text(path.read_text().replace("placement: pre", "no_such_key: pre"))
    found = read_unresolved_study("dear")
    assert found.describe("pre_norm") == "norm.no_such_key pre"
    assert study_results(found).summary.row("pre_norm").difference is not None


def test_the_figure_has_both_differences(two: Path) -> None:
    found = cheap_and_dear()
    chart = ladder_chart(found, 200, 200)
    assert chart is not None
    picture = render_svg(chart)
    ElementTree.fromstring(picture)
    assert picture.count("<title>") == len(found.changes)
    assert "on grammar corpus" in picture


def test_the_command_writes_a_page_and_prints_its_path(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ladder.main(["cheap", "dear"])
    printed = capsys.readouterr().out
    path = Path("runs/report/ladder-cheap-dear/index.html")
    assert f"page: {path}" in printed
    assert "Order of 7 changes" in printed
    outline = Outline(path.read_text())
    assert outline.open == []
    assert outline.loads == ["href=data:,"]


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        (["cheap"], "two studies or more"),
        (["cheap", "cheap"], "each once"),
        (["cheap", "deer"], "did you mean 'dear'"),
    ],
)
def test_mistakes_are_one_line(two: Path, studies: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ladder.main(studies)
    assert "\n" not in str(caught.value)


def test_studies_without_a_shared_change_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_two(tmp_path, names=["base", "one_head"])
    path = Path("experiments/studies/dear")
    path.joinpath("study.yaml").write_text(path.joinpath("study.yaml").read_text().replace("one_head:", "single:"))
    with pytest.raises(UserError, match="share no change"):
        ladder.main(["cheap", "dear"])
