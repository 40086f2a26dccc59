"""Predictions: written down before the runs, refused after them, and scored beside what was found."""

import html
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.commands import ladder
from experiments.config.study import load_study
from experiments.reporting.prediction_scores import prediction_sections, score, shares
from experiments.reporting.predictions import Predictions, predictions_path, read_predictions
from experiments.reporting.published import write_published
from experiments.reporting.study_report import write_report
from experiments.reporting.study_results import study_results
from lit_transformer.errors import UserError
from tests.page_outline import Outline
from tests.synthetic_study import texts, write_trials
from tests.two_studies import write_two

NAMES = ["base", "no_positions", "one_head", "small_dk", "pre_norm", "no_dropout"]
DEAR = Path("experiments/studies/dear")
FILE = DEAR / "predictions/cheap.json"
BEFORE_THE_RUNS = "2026-01-01T00:00:00+00:00"
"""The made-up cells were trained on the day after."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies with results; those of "dear" are aside, but for the baseline's."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_two(root, names=NAMES)
        shutil.move(DEAR / "results", "aside")
        shutil.copytree("aside/base", DEAR / "results/base")
    return root


@pytest.fixture
def two(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def predict() -> Predictions:
    ladder.main(["cheap", "dear", "--predict"])
    return read_predictions("cheap", "dear")


def run_dear(written_at: str = BEFORE_THE_RUNS) -> None:
    """Let "dear" have been trained after the predictions were written."""
    shutil.copytree("aside", DEAR / "results", dirs_exist_ok=True)
    FILE.write_text(json.dumps(json.loads(FILE.read_text()) | {"written_at": written_at}))


def set_bleu(name: str, variant: str, change: Callable[[float], float]) -> None:
    """Change a variant's BLEU of every seed."""
    for path in Path("experiments/studies", name, "results", variant).rglob("scores.json"):
        content = json.loads(path.read_text())
        for split in content["splits"].values():
            split["bleu"] = change(split["bleu"])
        path.write_text(json.dumps(content))


def test_what_is_written(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = predict()
    lower = study_results(load_study("cheap"))
    assert predictions_path("cheap", "dear") == FILE
    assert (predictions.lower, predictions.upper) == ("cheap", "dear")
    assert (predictions.test_set, predictions.trained_before) == ("test", [])
    assert [row.variant for row in predictions.rows] == NAMES[1:]
    for row in predictions.rows:
        found = lower.summary.row(row.variant)
        assert found.difference is not None
        assert row.difference == pytest.approx(found.difference.mean, abs=1e-4)
        assert (row.verdict, row.n) == (found.verdict.value, 3)
    printed = capsys.readouterr().out
    assert f"{FILE}: commit it before these rows are trained" in printed
    assert predictions.rule in printed


def test_the_interval_holds_another_such_study_in_95_percent() -> None:
    """Two studies with the same truth: the interval of one, times sqrt(2), against the other's difference."""
    random = np.random.default_rng(0)
    one, two, base_one, base_two = random.normal(size=(4, 20_000, 3))
    test = stats.ttest_ind(one, base_one, axis=-1, equal_var=False)
    ends = test.confidence_interval(0.95)
    middle, half = (ends.high + ends.low) / 2, np.sqrt(2) * (ends.high - ends.low) / 2
    covered = np.abs(two.mean(axis=-1) - base_two.mean(axis=-1) - middle) <= half
    assert 0.94 < covered.mean() < 0.97


def test_the_interval_is_welchs_times_the_root_of_2(two: None) -> None:
    row = next(row for row in predict().rows if row.variant == "small_dk")
    results = study_results(load_study("cheap")).results
    own, base = (list(results.scores(name, "test", "bleu").values()) for name in ("small_dk", "base"))
    ends = stats.ttest_ind(own, base, equal_var=False).confidence_interval(0.95)
    assert row.high - row.low == pytest.approx(np.sqrt(2) * (ends.high - ends.low), abs=1e-3)
    assert row.relative.mean == pytest.approx(100 * row.difference / np.mean(base), abs=1e-3)


def test_a_prediction_is_never_overwritten(two: None) -> None:
    written_at, before = predict().written_at, FILE.read_bytes()
    with pytest.raises(UserError, match="stands; delete it") as caught:
        predict()
    assert written_at in str(caught.value)
    assert FILE.read_bytes() == before


def test_rows_with_results_are_refused(two: None) -> None:
    shutil.copytree("aside/one_head/seed1", DEAR / "results/one_head/seed1")
    with pytest.raises(UserError, match="dear has results of one_head already") as caught:
        predict()
    assert "\n" not in str(caught.value)
    assert not FILE.exists()


def test_published_rows_are_refused_and_rows_of_other_settings_are_named(two: None) -> None:
    shutil.copytree("aside", DEAR / "results", dirs_exist_ok=True)
    dear = study_results(load_study("dear"))
    write_published(dear.study, dear.results, dear.summary)
    shutil.rmtree(DEAR / "results")
    with pytest.raises(UserError, match=f"dear has results of {', '.join(NAMES[1:5])} and 1 more already"):
        predict()
    path = DEAR / "study.yaml"
    path.write_text(path.read_text().replace("d_model: 128,", "d_model: 256,"))
    assert predict().trained_before == NAMES[1:]


def test_trials_of_a_row_are_results_of_it(two: None) -> None:
    path = DEAR / "study.yaml"
    text = path.read_text().replace("optim: {}", "optim: {schedule: linear}")
    path.write_text(text + "tune: {values: [0.001, 0.002, 0.004], rungs: [0.25, 0.5]}\n")
    write_trials(load_study("dear"), "small_dk", 1, {0.001: 1.0, 0.002: 1.1, 0.004: 1.2})
    with pytest.raises(UserError, match="dear has results of small_dk already"):
        predict()


def keep_one_seed() -> None:
    for path in list(Path("experiments/studies/cheap/results").rglob("seed[12]")):
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda: shutil.rmtree("experiments/studies/cheap/results"), "cheap has no results yet"),
        (keep_one_seed, "without an interval"),
        (partial(set_bleu, "cheap", "base", lambda _: 0.1), "its baseline has learned nothing"),
    ],
)
def test_a_study_that_predicts_nothing_is_refused(two: None, spoil: Callable[[], Any], message: str) -> None:
    spoil()
    with pytest.raises(UserError, match=message) as caught:
        predict()
    assert "\n" not in str(caught.value)
    assert not FILE.exists()


def test_three_studies_predict_nothing(two: None) -> None:
    with pytest.raises(UserError, match="--predict takes two studies"):
        ladder.main(["cheap", "dear", "made_up", "--predict"])


def test_a_file_that_is_none_is_named(two: None) -> None:
    predict()
    FILE.write_text("{}")
    with pytest.raises(UserError, match=f"{FILE}: not predictions"):
        read_predictions("cheap", "dear")


def test_predictions_are_scored(two: None) -> None:
    predict()
    run_dear()
    set_bleu("dear", "pre_norm", lambda bleu: bleu - 8)
    dear = study_results(load_study("dear"))
    scores = score(read_predictions("cheap", "dear"), dear)
    predicted = {change.predicted.variant: change.predicted.difference for change in scores.changes}
    assert list(predicted) == NAMES[1:]
    found = {name: 0.3 * value for name, value in predicted.items()}
    found["pre_norm"] -= 8
    for change in scores.changes:
        name = change.predicted.variant
        base = np.mean(list(dear.results.scores("base", "test2016", "bleu").values()))
        assert change.bleu.mean == pytest.approx(found[name], abs=1e-3)
        assert change.relative.mean == pytest.approx(100 * found[name] / base, abs=1e-2)
        assert change.sign_right == (name != "pre_norm")
        assert change.within_bleu == (change.predicted.low <= found[name] <= change.predicted.high)
    names = list(predicted)
    right = sum(
        (predicted[a] < predicted[b]) == (found[a] < found[b]) for i, a in enumerate(names) for b in names[i + 1 :]
    )
    assert 0 < right < 10
    assert scores.pairs == (right, 10)
    assert scores.ranks is not None
    assert (1 + scores.ranks.kendall.value) / 2 == pytest.approx(right / 10)
    line = shares(scores)
    assert line.startswith(f"Pairs ordered as predicted: {right} of 10, {100 * right / 10:.0f} % [")
    assert "signs right: 4 of 5, 80 % [28, 99]" in line
    within = sum(change.within_bleu for change in scores.changes)
    assert f"found in the predicted interval: {within} of 5" in line


def test_the_command_and_the_report_show_them(two: None, no_figures: None, capsys: pytest.CaptureFixture[str]) -> None:
    predict()
    run_dear()
    ladder.main(["cheap", "dear"])
    printed, page = capsys.readouterr().out, Path("runs/report/ladder-cheap-dear/index.html").read_text()
    dear = study_results(load_study("dear"))
    report = write_report(dear.study, dear.summary, dear.results, texts()).read_text()
    line = shares(score(read_predictions("cheap", "dear"), dear))
    for text in (printed, html.unescape(page), html.unescape(report)):
        assert line in text
        assert "What cheap predicted of dear" in text
    for text in (page, report):
        assert Outline(text).open == []


def test_without_predictions_nothing_is_shown(two: None) -> None:
    shutil.copytree("aside", DEAR / "results", dirs_exist_ok=True)
    assert prediction_sections(study_results(load_study("dear")), {"cheap": None}) == []


def notes() -> str:
    cheap, dear = study_results(load_study("cheap")), study_results(load_study("dear"))
    (section,) = prediction_sections(dear, {"cheap": cheap})
    return " ".join(section.notes)


def test_a_row_trained_before_the_predictions_is_not_scored(two: None) -> None:
    predict()
    run_dear(written_at="2026-01-02T03:00:30+00:00")  # seed 0 was trained by then
    assert f"so not scored: {', '.join(NAMES[1:])}." in notes()
    assert "Signs right" not in notes()


def test_cheap_results_that_changed_are_told_and_the_predictions_stay(two: None) -> None:
    before = predict()
    run_dear()
    assert "have changed since" not in notes()
    cheap = study_results(load_study("cheap"))
    write_published(cheap.study, cheap.results, cheap.summary)
    shutil.move("experiments/studies/cheap/results", "cheap_results")
    assert "have changed since" not in notes()  # published, they are the same
    shutil.move("cheap_results", "experiments/studies/cheap/results")
    set_bleu("cheap", "one_head", lambda bleu: bleu + 5)
    assert "The results of cheap have changed since" in notes()
    assert read_predictions("cheap", "dear").rows == before.rows


def test_rows_not_trained_yet_are_named(two: None) -> None:
    predict()
    run_dear()
    shutil.rmtree(DEAR / "results/one_head")
    assert "Without a difference yet: one_head." in notes()


def test_two_rows_have_one_pair_and_no_test(two: None) -> None:
    predictions = predict()
    run_dear()
    two_rows = replace(predictions, written_at=BEFORE_THE_RUNS, rows=predictions.rows[:2])
    line = shares(score(two_rows, study_results(load_study("dear"))))
    assert line.startswith("Pairs ordered as predicted: 1 of 1, 100 %; signs right: 2 of 2")
