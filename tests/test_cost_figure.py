"""Cost against quality: the Pareto front against its definition, and a scale that does not squash; length curves."""

import random
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.reporting.figures import draw_figures
from experiments.reporting.figures.cost import cost_chart, cost_front, costs, lowest_on_scale, pareto_front
from experiments.reporting.figures.lengths import length_curve_rows, length_curves_chart
from experiments.reporting.figures.style import render_svg
from experiments.reporting.results import Results, read_results
from experiments.reporting.statistics import noise_floor
from experiments.reporting.summary import Summary, summarise
from tests.synthetic_study import write_study


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, Results]:
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        study = write_study(root)
        results = read_results(study)
        return summarise(study, results), results


def dominated(point: tuple[str, float, float], points: list[tuple[str, float, float]]) -> bool:
    """Return whether another point costs no more and is no worse, and is better in one of the two."""
    _, cost, quality = point
    return any(c <= cost and q >= quality and (c < cost or q > quality) for _, c, q in points)


def test_the_pareto_front_is_what_no_other_point_dominates() -> None:
    chooser = random.Random(0)
    for _ in range(200):
        points = [(str(i), chooser.randint(1, 6), chooser.random()) for i in range(chooser.randint(1, 12))]
        expected = {point[0] for point in points if not dominated(point, points)}
        front = pareto_front(points)
        assert set(front) == expected
        places = {name: (cost, quality) for name, cost, quality in points}
        assert [places[name] for name in front] == sorted(places[name] for name in front)


def test_equal_arithmetic_leaves_only_the_best_on_the_front(full: tuple[Summary, Results]) -> None:
    fronts = {cost.name: cost_front(full[0], cost) for cost in costs(*full)}
    assert list(fronts) == ["parameters", "training FLOPs", "seconds"]
    assert fronts["training FLOPs"][-1] == "pre_norm"
    assert "no_residuals" not in fronts["training FLOPs"]
    assert "hot" not in {name for names in fronts.values() for name in names}


def test_a_cost_that_is_the_same_everywhere_is_not_drawn(full: tuple[Summary, Results]) -> None:
    summary, results = full
    same = replace(summary, rows=[replace(row, parameters=1e6) for row in summary.rows])
    assert [cost.name for cost in costs(same, results)] == ["training FLOPs", "seconds"]


def test_a_few_scores_far_below_do_not_squash_the_rest() -> None:
    assert lowest_on_scale([90, 89, 88, 86, 20, 0]) == 86
    assert lowest_on_scale([90, 89, 88, 86, 78, 77.9]) == 78
    assert lowest_on_scale([27.3, 26.0, 25.1, 24.9]) == 24.9
    assert lowest_on_scale([0.0, 0.0]) == 0.0


def test_the_figure_has_every_scored_variant_and_labels_those_below_the_scale(full: tuple[Summary, Results]) -> None:
    picture = render_svg(cost_chart(full[0], costs(*full), 200, 200))
    for row in full[0].rows:
        count = picture.count(f"<title>{row.variant}: BLEU")
        assert count == (0 if row.variant == "hot" else 3)
    assert ">no_residuals 0.0<" in picture
    assert ">base<" in picture
    ElementTree.fromstring(picture)


def test_one_seed_has_no_band_and_no_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, seeds=1, names=["base", "one_head", "small_dk"])
    results = read_results(study)
    summary = summarise(study, results)
    picture = render_svg(cost_chart(summary, costs(summary, results), 200, 200))
    assert "mark-rect" not in picture
    drawn = {figure.name: figure.caption for figure in draw_figures(summary, results, {})}
    assert not any("noise floor" in caption or "interval" in caption for caption in (drawn["cost"], drawn["by_length"]))


def test_length_curves_stay_in_their_split_and_carry_the_noise_of_their_length(full: tuple[Summary, Results]) -> None:
    words, rows = length_curve_rows(*full)
    assert words == ["1-4", "5-8", "9-12", "13-16", "17-24", "25+"]
    assert {(entry["words"], entry["split"]) for entry in rows} == {
        *((length, "test") for length in words[:5]),
        ("25+", "test_long"),
    }
    own = [entry for entry in rows if entry["variant"] == "one_head" and entry["words"] == "5-8"]
    base = [record.splits["test"]["by_length"][1]["bleu"] for record in full[1].of("base")]
    kinds = {entry["kind"]: entry for entry in own}
    floor = noise_floor(base)
    assert floor is not None
    assert kinds["baseline"]["bleu"] == pytest.approx(sum(base) / 3)
    assert kinds["floor"]["high"] - kinds["floor"]["bleu"] == pytest.approx(floor.half_width)
    assert {entry["kind"] for entry in rows if entry["variant"] == "base"} == {"mean"}
    assert length_curves_chart(words, rows, 2, 100) is not None
