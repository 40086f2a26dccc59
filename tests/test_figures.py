"""Pictures: every case drawn, nothing loaded, nothing squashed, and the same bytes for the same results."""

import itertools
import math
import re
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.reporting.figures import draw_figures
from experiments.reporting.figures.attention import attention_rows
from experiments.reporting.figures.curves import curve_rows, curves_chart
from experiments.reporting.figures.forest import forest_chart
from experiments.reporting.figures.lengths import length_heatmap_rows
from experiments.reporting.figures.style import (
    Figure,
    difference_scale,
    inline,
    render_png,
    render_svg,
    spread_labels,
    standalone,
)
from experiments.reporting.results import Results, read_results
from experiments.reporting.summary import Summary, summarise
from tests.synthetic_study import write_study


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary, Results]:
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        return root, *made(root, patch)


@pytest.fixture
def full(built: tuple[Path, Summary, Results], monkeypatch: pytest.MonkeyPatch) -> tuple[Summary, Results]:
    root, summary, results = built
    monkeypatch.chdir(root)
    return summary, deepcopy(results)


def made(root: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> tuple[Summary, Results]:
    monkeypatch.chdir(root)
    study = write_study(root, **options)  # type: ignore[arg-type]
    results = read_results(study)
    return summarise(study, results), results


@pytest.fixture(scope="module")
def drawn(built: tuple[Path, Summary, Results]) -> dict[str, Figure]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built[0])
        return {figure.name: figure for figure in draw_figures(*built[1:], {})}


def test_all_pictures_are_drawn_and_load_nothing(drawn: dict[str, Figure]) -> None:
    assert list(drawn) == ["forest", "curves", "cost", "by_length", "lengths", "attention", "heads", "splits"]
    for figure in drawn.values():
        for picture in (figure.wide, figure.narrow, standalone(figure.wide)):
            assert picture
            ElementTree.fromstring(picture)
            assert not re.search(r'href="(?!#)|url\((?!#)|<image|<script', picture)
            assert 'fill="white"' not in picture.split("<g", 1)[0]
    for label in ("no positions", "no residuals", "hot"):
        assert f">{label}<" in drawn["forest"].wide
    assert ">−52.52 [−55.18, −49.85]<" in drawn["forest"].wide
    assert ">diverged<" in drawn["forest"].wide


def test_the_same_results_give_the_same_bytes(full: tuple[Summary, Results]) -> None:
    first, second = forest_chart(full[0], 300), forest_chart(full[0], 300)
    assert first is not None
    assert second is not None
    assert render_svg(first) == render_svg(second)
    assert render_png(first) == render_png(second)


def test_a_narrow_picture_fits_a_phone(drawn: dict[str, Figure]) -> None:
    for figure in drawn.values():
        width = re.search(r'width="([\d.]+)"', figure.narrow or "")
        assert width
        assert float(width.group(1)) < 540


def test_inlined_pictures_share_no_id() -> None:
    picture = '<svg width="10" height="5"><clipPath id="c1"/><clipPath id="c10"/><g clip-path="url(#c1)"/></svg>'
    one, two = inline(picture, "a"), inline(picture, "b")
    ids = re.findall(r'id="([^"]+)"', one + two)
    assert len(ids) == len(set(ids)) == 4
    assert "url(#a-c1)" in one
    assert 'height="5"' not in one


def test_far_variants_do_not_squash_the_near_ones(full: tuple[Summary, Results]) -> None:
    values = [-91.0, -52.0, -3.0, -0.6, 0.3, 1.7]
    scale, ticks, bent = difference_scale(values, full[0].noise)
    content = scale.to_dict()

    def place(value: float) -> float:
        return math.copysign(math.log1p(abs(value) / content["constant"]), value)

    low, high = (place(end) for end in content["domain"])
    heights = {value: 300 * (high - place(value)) / (high - low) for value in values}
    assert heights[-0.6] - heights[0.3] > 15
    assert 0 <= min(heights.values()) < max(heights.values()) <= 300
    assert 0 in ticks
    assert bent


def test_near_differences_keep_a_linear_scale(full: tuple[Summary, Results]) -> None:
    scale, ticks, bent = difference_scale([-0.9, -0.3, 0.2], full[0].noise)
    assert scale.to_dict().get("type") is None
    assert not bent
    assert 0 in ticks
    assert len(ticks) >= 3


def test_mean_curve_stands_on_finished_seeds_only(full: tuple[Summary, Results]) -> None:
    rows = [row for row in curve_rows(*full) if row["panel"].startswith("no_norm")]
    mean = [row for row in rows if row["kind"] == "mean"]
    finished = [record for record in full[1].of("no_norm") if not record.diverged]
    last = [record.curve[-1]["valid_loss"] for record in finished]
    assert len(last) == 2
    assert mean[-1]["loss"] == pytest.approx(sum(last) / 2)
    assert (mean[-1]["low"], mean[-1]["high"]) == (min(last), max(last))
    assert [row["step"] for row in rows if row["kind"] == "stop"] == [350]
    assert {row["line"] for row in rows if row["kind"] == "seed"} == {"seed 2"}


def test_a_loss_that_is_not_a_number_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, results = made(tmp_path, monkeypatch, names=["base", "hot"])
    for record in results.of("hot"):
        record.curve[-1]["valid_loss"] = math.nan
    assert all(math.isfinite(row["loss"]) for row in curve_rows(summary, results))
    assert curves_chart(curve_rows(summary, results), 2, 100) is not None


def test_one_seed_draws_points_without_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, results = made(tmp_path, monkeypatch, seeds=1, names=["base", "one_head"])
    drawn = {figure.name: figure for figure in draw_figures(summary, results, {})}
    assert "without an interval" in drawn["forest"].caption
    assert ">not" not in drawn["forest"].wide


def test_without_scores_the_curves_are_still_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head"])
    for name in ("scores.json", "attention.json"):
        for path in tmp_path.rglob(name):
            path.unlink()
    results = read_results(study)
    assert [figure.name for figure in draw_figures(summarise(study, results), results, {})] == ["curves"]


def test_lengths_are_means_over_seeds(full: tuple[Summary, Results]) -> None:
    title, rows = length_heatmap_rows(*full)
    first = next(row for row in rows if row["variant"] == "base" and row["split"] == "test")
    own = [record.splits["test"]["by_length"][0]["exact_match"] for record in full[1].of("base")]
    assert title == "exact match (%)"
    assert first["value"] == pytest.approx(sum(own) / 3)


def test_bleu_replaces_exact_matches_where_there_are_hardly_any(full: tuple[Summary, Results]) -> None:
    for record in full[1].records:
        for split in record.splits.values():
            for bucket in split["by_length"]:
                bucket["exact_match"] = 1.0
    assert length_heatmap_rows(*full)[0] == "BLEU"


def test_attention_is_averaged_over_the_heads_of_the_last_layer() -> None:
    content = {"source": ["a", "b"], "target": ["x"], "cross": [[[[0.5, 0.5]]] * 2, [[[1.0, 0.0]], [[0.2, 0.8]]]]}
    rows = {(row["head"], row["s"]): row["weight"] for row in attention_rows(content)}
    assert rows == {(-1, 0): 0.6, (-1, 1): 0.4, (0, 0): 1.0, (1, 0): 0.2, (1, 1): 0.8}


def test_labels_are_spread_labels_and_stay_inside() -> None:
    placed = spread_labels([50, 51, 52, 299, 300, 0], 16, 0, 300)
    ordered = sorted(placed)
    assert all(b - a >= 16 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert ordered[0] >= 0
    assert ordered[-1] <= 300
    assert placed[0] < placed[1] < placed[2]
    assert spread_labels([10, 100], 16, 0, 300) == [10, 100]
