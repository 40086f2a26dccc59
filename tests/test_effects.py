"""Main effects and interactions: known truths are found, false claims are rare, and a report shows them."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from experiments.config.factors import Design, parse_design
from experiments.config.study import Study, load_study
from experiments.reporting import tables
from experiments.reporting.claims import write_verdicts
from experiments.reporting.effects import effect_weights, find_effects, sentences
from experiments.reporting.figures import draw_figures
from experiments.reporting.figures.effects import effects_figure, interactions_figure
from experiments.reporting.headline import headline
from experiments.reporting.page.report import report_page
from experiments.reporting.publication import publish
from experiments.reporting.published import read_published
from experiments.reporting.results import Results, read_results
from experiments.reporting.side_by_side import side_by_side
from experiments.reporting.statistics import ALPHA, contrasts, welch
from experiments.reporting.study_results import read_study_results
from experiments.reporting.summary import Summary, summarise
from experiments.reporting.verdicts import conclude
from tests.synthetic_study import write_cell

STUDIES = 3000
MARGIN = 1.0


def design_of(factors: int, fraction: dict[str, str] | None = None, levels: int = 2) -> Design:
    names = "ABCDEF"[:factors]
    content = {name: {f"{name}{i}": {"model": {name: i}} for i in range(levels)} for name in names}
    design = parse_design({"factors": content, "fraction": fraction}, "base", Path("study.yaml"))
    assert design
    return design


HALF = design_of(6, {"F": "A*B*C*D*E"})
DESIGNS = {
    "half of six": HALF,
    "quarter of six": design_of(6, {"E": "A*B*C", "F": "B*C*D"}),
    "all of three": design_of(3),
    "three levels": design_of(2, levels=3),
}


def naive_effect(design: Design, means: dict[str, float], levels: dict[str, str]) -> float:
    """Average over cells in plain loops: a difference of two means, or a difference of two such differences."""

    def mean(**where: str) -> float:
        inside = [means[name] for name, cell in design.cells.items() if all(cell[f] == v for f, v in where.items())]
        return sum(inside) / len(inside)

    if len(levels) == 1:
        ((name, level),) = levels.items()
        return mean(**{name: level}) - mean(**{name: design.factor(name).first})
    (a, on_a), (b, on_b) = levels.items()
    off_a, off_b = design.factor(a).first, design.factor(b).first
    where_on = mean(**{a: on_a, b: on_b}) - mean(**{a: on_a, b: off_b})
    return where_on - (mean(**{a: off_a, b: on_b}) - mean(**{a: off_a, b: off_b}))


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_contrasts_are_differences_of_cells_means(design: Design) -> None:
    samples = np.random.default_rng(1).normal(size=(len(design.cells), 3)) * 10
    means = dict(zip(design.cells, samples.mean(axis=1), strict=True))
    levels, weights = effect_weights(design)
    found = contrasts(weights, samples).mean
    assert found == pytest.approx([naive_effect(design, means, own) for own in levels])
    assert weights.sum(axis=1) == pytest.approx(0, abs=1e-12)


def test_the_effects_that_can_be_told_apart() -> None:
    """6 + 15 of the half; 6 + 7 of the quarter, whose 15 pairs are in 7 sets of aliases; 2 + 2 + 4 of three levels."""
    counts = {name: len(effect_weights(design)[0]) for name, design in DESIGNS.items()}
    assert counts == {"half of six": 21, "quarter of six": 13, "all of three": 6, "three levels": 8}


def test_a_contrast_of_two_samples_is_welchs_test() -> None:
    random = np.random.default_rng(2)
    samples = random.normal(size=(40, 2, 5)) * np.array([1.0, 4.0])[:, None]
    samples[0, 1, 4] = np.nan
    own, other = contrasts([[1, -1]], samples), welch(samples[:, 0], samples[:, 1])
    for name in ("mean", "error", "degrees"):
        assert getattr(own, name)[:, 0] == pytest.approx(getattr(other, name))
    assert own.p()[1:, 0] == pytest.approx(
        stats.ttest_ind(samples[1:, 0], samples[1:, 1], axis=-1, equal_var=False).pvalue
    )


def truth(design: Design, effects: dict[str, float]) -> NDArray[np.float64]:
    """Return the mean of each cell: the sum of the effects of its switched levels, "A" or "A B" for both together."""
    return np.array(
        [
            sum(
                value for names, value in effects.items() if all(not cell[name].endswith("0") for name in names.split())
            )
            for cell in design.cells.values()
        ]
    )


def noises(cells: int) -> dict[str, NDArray[np.float64]]:
    """Standard deviations of the cells' seeds, in BLEU."""
    place = np.arange(cells)
    return {
        "equal": np.ones(cells),
        "unequal": np.exp(np.random.default_rng(5).normal(size=cells)),
        "half of the cells ten times noisier": np.where(place % 2 == 0, 3.0, 0.3),
        "one cell four times noisier": np.where(place == 3, 4.0, 1.0),
    }


TRUTHS = {
    "nothing": {},
    "mixed": {"A": 5.0, "B": -20.0, "A B": 20.0, "C": 0.5, "D": -1.5, "C D": -3.0, "E": 0.8},
    "the margin": {"A": 1.0, "B": -1.0, "C": 1.0, "D": -1.0, "E": 1.0, "F": -1.0},
}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("noise", noises(1))
@pytest.mark.parametrize("effects", TRUTHS)
def test_one_study_in_twenty_makes_a_false_claim_and_intervals_hold(effects: str, noise: str, seeds: int) -> None:
    """Of any kind: an effect that is not there, the wrong sign, or equal for the margin and more."""
    levels, weights = effect_weights(HALF)
    means, sds = truth(HALF, TRUTHS[effects]), noises(len(HALF.cells))[noise]
    true = weights @ means
    drawn = np.random.default_rng(7).normal(size=(STUDIES, len(means), seeds)) * sds[:, None] + means[:, None]
    test = contrasts(weights, drawn)
    found = conclude(test.p(), np.ones(len(levels), dtype=bool), test.interval, MARGIN)
    true = np.where(np.abs(true) < 1e-9, 0.0, true)
    at_margin = np.abs(true) >= MARGIN - 1e-9
    wrong = ((found.call != 0) & (found.call != np.sign(true))) | (found.equal & at_margin)
    assert wrong.any(axis=-1).mean() <= ALPHA + 3.1 * math.sqrt(ALPHA * (1 - ALPHA) / STUDIES)
    low, high = test.interval()
    covered = ((low <= true) & (true <= high)).mean()
    assert 0.94 <= covered <= 0.96, covered
    if effects == "mixed" and noise == "equal":
        large = [place for place, own in enumerate(levels) if tuple(own) in {("B",), ("A", "B")}]
        assert (found.call[:, large] == np.sign(true[large])).mean() > 0.99


# A study of three factors with made-up results: no warm-up costs much, but only without the pre-norm.
FACTORS = """
name: made_up
question: What is each switch worth?
corpus: grammar
baseline: base
seeds: [0, 1, 2]
base: {recipe: paper, model: {}, data: {}, optim: {schedule: linear}, trainer: {}, decode: {}}
factors:
  norm: {post_norm: {}, pre_norm: {model: {norm: {placement: pre}}}}
  warmup: {warm: {}, no_warmup: {optim: {warmup: 0}}}
  dropout: {dropout_01: {}, no_dropout: {model: {dropout: 0.0}}}
labels: {pre_norm: pre-norm, no_warmup: no warm-up}
"""


def bleu_of(cell: dict[str, str], seed: int) -> float:
    value = 10.0 if cell["warmup"] == "no_warmup" and cell["norm"] == "post_norm" else 90.0
    value += 2.0 * (cell["dropout"] == "no_dropout") - 1.0 * (cell["norm"] == "pre_norm")
    return value + [-0.2, 0.0, 0.2][seed]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments/studies/made_up"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(FACTORS)
    loaded = load_study("made_up")
    assert loaded.design
    for name, cell in loaded.design.cells.items():
        for seed in loaded.seeds:
            write_cell(loaded.results(name, seed), name, seed, bleu_of(cell, seed), 0.2)
    return loaded


@pytest.fixture
def summarised(study: Study) -> tuple[Summary, Results]:
    results = read_results(study)
    return summarise(study, results), results


def test_the_interaction_is_found_with_its_numbers(summarised: tuple[Summary, Results]) -> None:
    found = summarised[0].effects
    assert found
    rows = {row.name: row for row in found.rows}
    assert list(rows) == [
        "pre_norm", "no_warmup", "no_dropout",
        "pre_norm x no_warmup", "pre_norm x no_dropout", "no_warmup x no_dropout",
    ]  # fmt: skip
    means = {name: row.difference.mean for name, row in rows.items()}
    assert means == pytest.approx(
        {
            "pre_norm": 39.0, "no_warmup": -40.0, "no_dropout": 2.0, "pre_norm x no_warmup": 80.0,
            "pre_norm x no_dropout": 0.0, "no_warmup x no_dropout": 0.0,
        }
    )  # fmt: skip
    verdicts = [row.verdict_text for row in found.rows]
    assert verdicts == ["better", "worse", "better", "better together", "equal", "equal"]
    assert rows["pre_norm x no_warmup"].label == "pre-norm x no warm-up"
    assert found.interactions[0].name == "pre_norm x no_warmup"
    assert found.margin_mean({"norm": "post_norm", "warmup": "no_warmup"}) == pytest.approx(11.0)
    # all eight variances are 0.04 of 3 seeds: the interval is that of 16 degrees of freedom
    half = stats.t.ppf(1 - ALPHA / 6 / 2, 16) * math.sqrt(8 * 0.04 / 3 / 16)
    row = rows["pre_norm x no_dropout"].difference
    assert (row.low, row.high) == pytest.approx((-2 * half, 2 * half))


def test_a_report_shows_effects_everywhere(study: Study, summarised: tuple[Summary, Results]) -> None:
    summary, results = summarised
    figures = draw_figures(summary, results, {})
    assert [figure.name for figure in figures][:3] == ["effects", "interactions", "forest"]
    for figure in figures[:2]:
        assert "pre-norm" in figure.wide
        assert figure.narrow
    page = report_page(summary, results, figures)
    assert 'id="effects-table"' in page
    assert page.index('id="table"') < page.index('id="effects-table"') < page.index('id="interactions"')
    assert "pre-norm x no warm-up" in page
    assert "better together" in page
    text = tables.markdown(summary)
    assert "## Main effects and interactions" in text
    assert "| pre-norm x no warm-up | +80.00 [" in text
    assert "all 2 x 2 x 2 = 8 combinations" in text
    assert headline(summary) == (
        "The largest effects: no warm-up (−40.0), pre-norm (+39.0) and no dropout (+2.0); the largest interaction: "
        "pre-norm x no warm-up (+80.0); 4 of 6 effects decided."
    )
    write_verdicts(study, summary, results)
    written = json.loads(study.verdicts_path.read_text())["effects"]
    assert summary.effects
    assert [row["effect"] for row in written] == [row.name for row in summary.effects.rows]
    assert written[3]["verdict"] == "better"
    console = Console(record=True, width=200)
    tables.terminal(summary, console)
    assert "better together" in console.export_text()


def test_published_results_keep_the_factors(study: Study) -> None:
    publish(study)
    published = read_published("made_up")
    assert published
    again, own = (find_effects(published.study, published.results), find_effects(study, read_results(study)))
    assert again
    assert own
    assert again.rows == own.rows
    assert "## Main effects and interactions" in Path("experiments/studies/made_up/published/table.md").read_text()
    both = side_by_side(read_study_results("made_up@published"), read_study_results("made_up"))
    assert len(both.variants) == 8


def test_effects_wait_for_three_seeds_of_every_cell(study: Study) -> None:
    shutil.rmtree(study.results("pre_norm+no_warmup", 2))
    found = find_effects(study, read_results(study))
    assert found
    assert not found.rows
    assert found.waiting == ["pre_norm+no_warmup"]
    assert "No effect is tested yet: 1 cell of 8 has fewer than 3 scored seeds." in sentences(found)
    summary = summarise(study, read_results(study))
    assert effects_figure(summary) is None
    assert interactions_figure(summary) is None
    assert "No effect is tested yet" in report_page(summary, read_results(study), [])


def test_a_run_that_diverged_counts_as_nothing_translated(study: Study) -> None:
    for seed in study.seeds:
        shutil.rmtree(study.results("no_warmup", seed))
        write_cell(study.results("no_warmup", seed), "no_warmup", seed, 0.0, 9.0, diverged=True)
    found = find_effects(study, read_results(study))
    assert found
    assert found.means["no_warmup"] == 0.0
    assert found.rows[1].difference.mean == pytest.approx(-42.5)  # a mean of four cells: 10 less in one of them


def test_a_cell_whose_seeds_fall_into_two_groups_is_named(study: Study) -> None:
    write_cell(study.results("no_warmup", 1), "no_warmup", 1, 88.0, 0.2)
    found = find_effects(study, read_results(study))
    assert found
    assert found.grouped == ["no_warmup"]
    assert "Seeds fall into two groups, against that assumption: no_warmup" in " ".join(sentences(found))


def test_a_study_without_factors_has_no_effects(study: Study) -> None:
    assert find_effects(replace(study, design=None), read_results(study)) is None
