"""The ladder: the same changes on two rungs, what one tells of the other, and the page that shows it."""

import html
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from synthetic_study import texts
from test_page import Outline
from two_studies import NAMES, write_two

from experiments.commands import ladder, report
from experiments.config.study import load_study
from experiments.reporting.figures.ladder import ladder_chart
from experiments.reporting.outline import read_outline
from experiments.reporting.rungs import climb, grid, ladders_of, read_rung, told
from lit_transformer.errors import UserError


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_two(tmp_path)
    return tmp_path


def set_bleu(name: str, variant: str, change: float) -> None:
    """Move a variant's BLEU of every seed."""
    for path in Path("experiments/studies", name, "results", variant).rglob("scores.json"):
        content = json.loads(path.read_text())
        for split in content["splits"].values():
            split["bleu"] += change
        path.write_text(json.dumps(content))


def test_a_rung_that_keeps_the_order_is_told_so(two: Path) -> None:
    found = climb(read_rung(load_study("cheap")), read_rung(load_study("dear")))
    assert [pair.variant for pair in found.pairs] == NAMES[1:]
    assert found.ranks is not None
    assert found.ranks.n == 7
    assert found.ranks.kendall.value == 1.0
    for pair in found.pairs:
        one, other = pair.differences
        assert other.mean == pytest.approx(0.3 * one.mean)
    sentences = told(found)
    assert sentences[0].startswith("Order of 7 changes on both rungs: Spearman 1.00 [")
    separable = [pair for pair in found.pairs if pair.lower.verdict.value in ("better", "worse")]
    assert f"Of {len(separable)} changes that grammar corpus tells from its baseline" in sentences[1]
    assert f"{len(separable)} point the same way on Multi30k" in sentences[1]


def test_a_change_that_turns_round_is_counted(two: Path) -> None:
    set_bleu("dear", "no_positions", 40.0)
    found = climb(read_rung(load_study("cheap")), read_rung(load_study("dear")))
    own = next(pair for pair in found.pairs if pair.variant == "no_positions")
    assert not own.same_sign
    assert found.ranks is not None
    assert found.ranks.kendall.value < 1.0
    row = next(row for row in grid(found).rows if row[0].text == "no_positions")
    assert [cell.text for cell in row][-1] == "no"


def test_two_changes_claim_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_two(tmp_path, upper_seeds=1, names=["base", "no_positions", "pre_norm"])
    found = climb(read_rung(load_study("cheap")), read_rung(load_study("dear")))
    assert found.ranks is None
    sentences = " ".join(told(found))
    assert "2 changes stand on both rungs: too few to compare an order" in sentences
    assert "One seed on Multi30k" in sentences
    assert "Spearman" not in sentences


def test_a_delta_that_differs_is_said(two: Path) -> None:
    path = Path("experiments/studies/dear/study.yaml")
    path.write_text(path.read_text().replace("heads: 1, d_k: 128", "heads: 1, d_k: 64"))
    found = climb(read_rung(load_study("cheap")), read_rung(load_study("dear")))
    assert "Set otherwise on the two rungs, since their baselines differ: one_head." in told(found)


def test_the_report_of_either_study_shows_the_ladder_cheap_rung_first(two: Path) -> None:
    for name in ("cheap", "dear"):
        rung = read_rung(load_study(name))
        found = ladders_of(rung.study, rung.results, rung.summary)
        assert [(one.lower.study.name, one.upper.study.name) for one in found] == [("cheap", "dear")]
    path = report.write_report(rung.study, rung.summary, rung.results, texts())
    text = path.read_text()
    assert "What grammar corpus predicts of Multi30k" in text
    assert told(found[0])[0] in html.unescape(text)
    assert (path.parent / "ladder-cheap-dear.svg").exists()
    outline = Outline(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_a_broken_study_beside_does_not_break_a_report(two: Path) -> None:
    rung = read_rung(load_study("cheap"))
    Path("experiments/studies/dear/results/base/seed0/scores.json").write_text("{")
    assert ladders_of(rung.study, rung.results, rung.summary) == []


def test_an_outline_reads_what_our_config_would_refuse(two: Path) -> None:
    path = Path("experiments/studies/dear/study.yaml")
    path.write_text(path.read_text().replace("placement: pre", "no_such_key: pre"))
    found = read_outline("dear")
    assert found.describe("pre_norm") == "norm.no_such_key pre"
    assert read_rung(found).summary.row("pre_norm").difference is not None


def test_the_picture_tells_both_differences(two: Path) -> None:
    from experiments.reporting.figures.style import render_svg

    found = climb(read_rung(load_study("cheap")), read_rung(load_study("dear")))
    chart = ladder_chart(found, 200, 200)
    assert chart is not None
    picture = render_svg(chart)
    ElementTree.fromstring(picture)
    assert picture.count("<title>") == len(found.pairs)
    assert "on grammar corpus" in picture


def test_the_command_writes_a_page_and_says_where(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ladder.main(["cheap", "dear"])
    told_ = capsys.readouterr().out
    path = Path("runs/report/ladder-cheap-dear/index.html")
    assert f"page: {path}" in told_
    assert "Order of 7 changes" in told_
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
