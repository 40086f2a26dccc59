"""Figures of the probes: means over seeds and layers, first and last steps, drawn where there are some."""

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.config.study import Study
from experiments.reporting.figures import draw_figures
from experiments.reporting.figures.probe import (
    HEADLINE,
    LARGEST_GRADIENT,
    gradient_rows,
    headline_rows,
    probe_csv,
    read_probes,
    softmax_rows,
    split_rows,
    splits_figure,
)
from experiments.reporting.results import Results, read_results
from experiments.reporting.study_report import write_report
from experiments.reporting.summary import Summary, summarise
from experiments.training.probe_csv import LAST, Key, read_probe, write_probe
from lit_transformer.errors import UserError
from tests.synthetic_study import write_study

NAMES = ["base", "one_head", "no_norm", "hot"]
MEASURED: list[Key] = [
    ("encoder", 1, "jacobian"), ("encoder", 2, "jacobian"), ("decoder", 1, "jacobian"), ("cross", 1, "jacobian"),
    ("encoder", 1, "score_std"), ("decoder", 1, "hidden_weight"), ("embedding", None, "gradient"),
    ("encoder", 1, "gradient"), ("encoder", 2, "gradient"), ("decoder", 1, "gradient"),
]  # fmt: skip


def write_probes(study: Study, names: list[str] = NAMES) -> None:
    """Write a probe.csv per cell: value (step + 100 seed + place of the measure) / 1000."""
    for name in names:
        for seed in study.seeds:
            rows = []
            for step in (0, 100, 200, 800):  # the last as in training.json
                keys = [*MEASURED, *([LAST] if step else [])]
                rows += [[step, *key, (step + 100 * seed + i) / 1000] for i, key in enumerate(keys)]
            write_probe(study.results(name, seed) / "probe.csv", rows)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Study, Summary, Results]:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=NAMES)
    write_probes(study)
    results = read_results(study)
    return study, summarise(study, results), results


def test_rows_are_means_over_layers_and_finished_seeds(made: tuple[Study, Summary, Results]) -> None:
    _, summary, results = made
    probes = read_probes(summary, results)
    rows = {(r["variant"], r["part"], r["step"]): r["value"] for r in softmax_rows(summary, probes)}
    assert rows["base", "encoder", 100] == pytest.approx((100 + 100 + 0.5) / 1000)  # seeds 0 to 2, layers 1 and 2
    assert rows["no_norm", "cross", 0] == pytest.approx((0 + 50 + 3) / 1000)  # its seed 2 diverged
    assert rows["hot", "cross", 0] == pytest.approx((0 + 100 + 3) / 1000)  # all diverged: shown nevertheless
    places, gradients = gradient_rows(probes)
    assert places == ["embedding", "encoder 1", "encoder 2", "decoder 1"]
    own = {row["moment"]: row["value"] for row in gradients if (row["variant"], row["place"]) == ("base", "encoder 2")}
    assert own == pytest.approx({"start": 0.108, "middle": 0.308, "end": 0.908})


def test_headlines_are_before_the_first_step_and_after_the_last(made: tuple[Study, Summary, Results]) -> None:
    rows = {(row["variant"], row["column"]): row for row in headline_rows(read_probes(*made[1:]))}
    titles = [title for title, _, _ in HEADLINE]
    base = [rows["base", title]["value"] for title in titles]
    assert base == pytest.approx([0.104, 0.904, 10.15, 90.15, 90.5])
    assert rows["base", LARGEST_GRADIENT]["value"] == pytest.approx(0.91)
    assert rows["base", titles[2]]["text"] == "10"


def test_the_table_has_first_and_last_steps_with_intervals(made: tuple[Study, Summary, Results]) -> None:
    text = probe_csv(read_probes(*made[1:]))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["step"] for row in rows} == {"0", "800"}
    row = next(row for row in rows if (row["variant"], row["measure"], row["step"]) == ("one_head", "score_std", "800"))
    assert float(row["mean"]) == pytest.approx(0.904)
    assert float(row["low"]) < 0.904 < float(row["high"])
    assert row["n"] == "3"
    assert {row["n"] for row in rows if row["variant"] == "no_norm"} == {"2"}


def test_pictures_are_drawn_for_desk_and_phone(made: tuple[Study, Summary, Results]) -> None:
    drawn = draw_figures(*made[1:], read_probes(*made[1:]))[-4:]
    assert [figure.name for figure in drawn] == ["splits", "inside", "softmax", "gradients"]
    for figure in drawn:
        assert figure.narrow
        for picture in (figure.wide, figure.narrow):
            ElementTree.fromstring(picture)
            assert not re.search(r'href="(?!#)|url\((?!#)|<image|<script', picture)
            for name in ("base", "one_head") if figure.name == "splits" else NAMES:
                assert f">{name}<" in picture
        width = re.search(r'width="([\d.]+)"', figure.narrow)
        assert width
        assert float(width.group(1)) < 540


def test_older_results_are_reported_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head"])
    results = read_results(study)
    summary = summarise(study, results)
    assert read_probes(summary, results) == {}
    write_report(study, summary, results, {})
    assert not (study.report_folder / "probe.csv").exists()
    assert not (study.report_folder / "softmax.svg").exists()
    write_probes(study, ["base"])  # a variant that was trained since
    write_report(study, summary, results, {})
    assert 'id="softmax"' in (study.report_folder / "index.html").read_text()
    assert "one_head" not in (study.report_folder / "probe.csv").read_text()


def test_one_test_set_is_not_set_beside_itself(made: tuple[Study, Summary, Results]) -> None:
    _, summary, _ = made
    assert {row["split"] for row in split_rows(summary)} == set(summary.splits)
    summary.splits[1:] = []
    assert splits_figure(summary) is None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "probe.csv"
    path.write_text("step,part,layer,measure,value\n0,encoder,1,entropy,many\n")
    with pytest.raises(UserError, match=r"probe\.csv: not written by a probe"):
        read_probe(path)


def test_a_file_that_is_cut_short_is_named(made: tuple[Study, Summary, Results]) -> None:
    """At any row and inside the last number; a diverged training ended before its last step."""
    study, summary, results = made
    path = study.results("base", 0) / "probe.csv"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    for cut in ("", *("".join(lines[:rows]) for rows in range(len(lines))), whole[:-1], whole[:-3]):
        path.write_text(cut)
        with pytest.raises(UserError, match=r"base/seed0/probe\.csv: .*; train this cell again"):
            read_probes(summary, results)
    path.write_text(whole)
    assert all(record.probe() for record in results.records)


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "probe.csv"
    write_probe(path, [[20, "all", None, "gradient", float("nan")], [20, "encoder", 2, "gradient", 0.12345678]])
    assert read_probe(path) == [(20, ("encoder", 2, "gradient"), 0.123457)]
