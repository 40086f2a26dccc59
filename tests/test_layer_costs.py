"""Table 1, measured: paths and counts are exact, fits find known exponents, and the report follows from the results."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from experiments.commands import layers as command
from experiments.common.io import read_json, write_json
from experiments.config.run_config import read_yaml
from experiments.config.stages import stage_files
from experiments.config.study import ROOT, list_studies, load_study
from experiments.layer_costs.findings import find, fit_exponent, unreached
from experiments.layer_costs.layers import BY_KEY, LAYERS
from experiments.layer_costs.measure import count, count_exactly, path_length, peak_bytes, time_in_turns
from experiments.layer_costs.report import make_tables, write_report
from experiments.layer_costs.settings import STUDY, Settings, quick, read_settings
from lit_transformer.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def settings() -> Settings:
    return quick(read_settings(STUDY / "layers.yaml"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("self_attention", [1, 1, 1, 1, 1]),
        ("lstm", [2, 5, 9, 10, 30]),  # every token is a step
        ("convolution", [1, 4, 8, 9, 29]),  # kernel 3: one place further a layer
        ("dilated", [1, 3, 4, 4, 5]),  # 1 + 2 + 4 + ... places
        ("restricted", [1, 2, 3, 3, 10]),  # window 3: three places further a layer
    ],
)
def test_paths_are_followed_exactly(key: str, expected: list[int]) -> None:
    assert [path_length(BY_KEY[key], n, kernel=3, window=3) for n in (2, 5, 9, 10, 30)] == expected


def test_a_wider_kernel_and_a_long_sentence_shorten_and_lengthen_paths() -> None:
    assert path_length(BY_KEY["convolution"], 17, kernel=5, window=1) == 8
    assert path_length(BY_KEY["dilated"], 100, kernel=5, window=1) == 6  # 2 * (2^6 - 1) >= 99
    assert path_length(BY_KEY["restricted"], 70, kernel=3, window=4) == 18  # the band, beyond 48 tokens


def test_mixing_is_counted_as_the_paper_says(settings: Settings) -> None:
    """Forward and backward: three times two operations for each product of a number and another."""
    n, d, k, r = 128, 32, settings.kernel, settings.window
    expected = {
        "self_attention": 6 * 2 * n * n * d,
        "fused_attention": 6 * 2 * n * n * d,
        "convolution": 6 * n * k * 2 * d * d,  # twice the width, one half the other's gate
        "dilated": 6 * n * k * d * d,
        "restricted": 6 * 2 * n * 3 * r * d,  # blocks of r queries, each with three blocks of keys
    }
    for key, operations in expected.items():
        assert count(BY_KEY[key], n, d, settings)["mixing_operations"] == operations
    lstm = count(BY_KEY["lstm"], n, d, settings)["mixing_operations"]
    assert lstm == 6 * n * 8 * d * d - 2 * 4 * d * d  # the first state asks for no gradient
    whole = count(BY_KEY["self_attention"], n, d, settings)["operations"]
    assert whole == expected["self_attention"] + 6 * n * 4 * d * d


def test_only_the_recurrent_chain_grows_with_the_sentence(settings: Settings) -> None:
    for kind in LAYERS:
        short, longer, longest = (count(kind, n, 16, settings)["chain"] for n in (112, 128, 144))
        if kind.key == "lstm":
            assert longest - longer == longer - short > 16
        else:
            assert short == longer == longest < 100


def test_a_long_recurrence_is_told_from_short_ones(settings: Settings) -> None:
    assert count(BY_KEY["lstm"], 101, 16, settings) == count_exactly(BY_KEY["lstm"], 101, 16, settings)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_a_fit_finds_a_power_that_is_one(power: float) -> None:
    x = [128, 256, 512, 1024]
    fitted = fit_exponent(x, [3e-4 * size**power for size in x])
    assert fitted.value == pytest.approx(power, abs=1e-12)
    assert fitted.end == pytest.approx(power, abs=1e-12)
    assert fitted.high - fitted.low < 1e-6


@pytest.mark.parametrize("points", [3, 5, 9])
def test_intervals_of_exponents_cover_the_truth(points: int) -> None:
    random, x, covered, studies = np.random.default_rng(points), np.geomspace(64, 4096, points), 0, 2000
    for _ in range(studies):
        fitted = fit_exponent(x, 1e-6 * x**1.7 * np.exp(random.normal(0, 0.1, points)))
        covered += fitted.low <= 1.7 <= fitted.high
    assert covered / studies == pytest.approx(0.95, abs=0.02)  # four standard errors


def test_the_end_of_a_sum_of_two_powers_is_nearer_to_the_greater() -> None:
    x = [256, 512, 1024, 2048]
    fitted = fit_exponent(x, [size**2 + 1024 * size for size in x])
    assert 1 < fitted.value < fitted.end < 2


def test_peak_memory_is_of_what_lives_at_once() -> None:
    def run() -> None:
        one = torch.ones(1000)
        two = one + 1
        del one
        three = two + 1
        del two, three

    assert 8000 <= peak_bytes(run, CPU) < 8200


def test_layers_time_in_turns() -> None:
    turns: list[str] = []
    runs = {key: lambda key=key: turns.append(key) or sum(range(2_000_000)) for key in "abc"}
    seconds = time_in_turns(runs, 3, CPU)
    assert re.fullmatch("abc(a+b+c+){3}", "".join(turns))
    assert all(len(own) == 3 and min(own) > 0 for own in seconds.values())


def made_up(settings: Settings) -> dict[str, Any]:
    """Return results in which time grows exactly as the paper's count, but for restricted attention over d."""
    rows = []
    for n, d in settings.sizes:
        for kind in LAYERS:
            seconds = 1e-9 * n**kind.n * (d**1.5 if kind.key == "restricted" else d**kind.d)
            own = {"operations": 4 * n * d * d, "mixing_operations": n * d * d, "chain": 7, "peak_bytes": 8 * n * d}
            rows.append({"layer": kind.key, "n": n, "d": d, **own, "seconds": [2 * seconds, seconds]})
    paths = [{"layer": kind.key, "n": n, "path": n} for kind in LAYERS if not kind.path_of for n in (5, 9, 17)]
    about = {"device": "cpu", "threads": 1, "machine": "made up", "git_commit": "abc", "measured_at": "2026-01-01"}
    return {
        "rows": rows, "paths": paths, "load_before": 0.1, "load_after": 0.2, "versions": {"python": "3", "torch": "2"},
        **about,
    }  # fmt: skip


def test_findings_take_the_fastest_pass_and_say_what_is_not_reached(settings: Settings) -> None:
    findings = find(settings, made_up(settings))
    for found in findings:
        assert found.of_n["time"].value == pytest.approx(found.kind.n)
        assert found.mixing_share == 0.25
    (finding,) = unreached(findings)
    assert "power of d: " in finding
    assert finding.endswith("power of d: self-attention, restricted 1.50 against 1 (all its operations 2.00).")
    assert any(
        "n^2.00 d^1.00" in cell for table in make_tables(settings, findings) for row in table.rows for cell in row
    )


def test_the_report_follows_from_the_results_alone(settings: Settings, tmp_path: Path) -> None:
    results = made_up(settings)
    pages = []
    for name in ("one", "other"):
        write_json(tmp_path / name / "layers.json", results)
        write_report(settings, read_json(tmp_path / name / "layers.json"), tmp_path / name)
        pages.append({path.name: path.read_text() for path in sorted((tmp_path / name).iterdir())})
    assert pages[0] == pages[1]
    assert set(pages[0]) >= {"index.html", "table.md", "time.svg", "memory.svg", "operations.svg", "paths.svg"}
    assert "http" not in pages[0]["index.html"].replace("http://www.w3.org", "")
    changed = {**results, "paths": [{**entry, "path": entry["path"] + 1} for entry in results["paths"]]}
    write_report(settings, changed, tmp_path / "one")
    assert (tmp_path / "one/table.md").read_text() != pages[0]["table.md"]


def test_the_command_measures_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        command.main(["--quick", "--out", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    assert f"report: {tmp_path}/report/index.html" in capsys.readouterr().out
    results = json.loads((tmp_path / "results/layers.json").read_text())
    assert {row["layer"] for row in results["rows"]} == set(BY_KEY)
    assert all(row["peak_bytes"] > 0 and min(row["seconds"]) > 0 for row in results["rows"])
    kept, fused = ({r["n"]: r["peak_bytes"] for r in results["rows"] if r["layer"] == key and r["d"] == 16}
                   for key in ("self_attention", "fused_attention"))  # fmt: skip
    assert kept[192] / kept[64] > 6  # weights are kept, a square
    assert fused[192] / fused[64] < 4.5
    assert "self-attention, restricted" in (tmp_path / "report/table.md").read_text()


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("quickly", [False, True])
def test_the_report_alone_needs_results(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quickly: bool,
    elsewhere: bool,
) -> None:
    """The command that it names measures into the folder that the report reads; git's measurements are named too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / STUDY).mkdir(parents=True)
    shutil.copy(ROOT / STUDY / "layers.yaml", STUDY)
    options = ["--quick"] * quickly + ["--out", str(tmp_path / "out")] * elsewhere
    with pytest.raises(UserError) as error:
        command.main(["--stage", "report", *options])
    missing, measure_first, *published = str(error.value).split("; ")
    words = ["measure first: python -m experiments layers --stage measure", *options]
    assert measure_first == " ".join(words)
    assert published == ([] if options else [f"the published measurements are in {STUDY}/published"])
    results = Path(missing.removesuffix(" is missing"))
    write_json(results, made_up(settings) if quickly else read_json(ROOT / STUDY / "published/layers.json"))
    command.main(["--stage", "report", *options])
    assert capsys.readouterr().out == f"report: {results.parents[1] / 'report/index.html'}\n"


def test_a_measurement_needs_a_pass(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--repeats 0: it must be at least 1"):
        command.main(["--repeats", "0", "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("window: 16", "windows: 16", "unknown key 'windows'; did you mean 'window'"),
        ("width: 128", "width: 130", "the width 130 cannot be shared by 4 heads"),
        ("kernel: 3", "kernel: 4", "kernel is 4; choose an odd one"),
        ("repeats: 5", "repeats: 0", "repeats is 0; it must be a whole number"),
        ("heads: 4", "heads: four", "heads is 'four'"),
        ("fit_length: 1024", "fit_length: 4000", "three of them must be at least 4000"),
        ("path_lengths: [5, 9, 17, 33, 65, 129]", "path_lengths: [5]", "give at least three"),
        ("widths: [64, 128,", "widths: [0, 128,", "widths is"),
    ],
)
def test_mistakes_in_the_settings_are_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (STUDY / "layers.yaml").read_text()
    assert old in text
    (tmp_path / "layers.yaml").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)):
        read_settings(tmp_path / "layers.yaml")


def test_the_study_is_none_of_cells_and_its_stages_name_what_is_there() -> None:
    assert STUDY.name not in list_studies()
    with pytest.raises(UserError, match="without cells: `make layers`"):
        load_study(STUDY.name)
    (text,) = stage_files(STUDY.name).values()
    stages = yaml.safe_load(text)["stages"]
    results = f"{STUDY}/results/layers.json"
    assert stages["measure"]["outs"] == [{results: {"persist": True}}]
    assert results in stages["report"]["deps"]
    for stage in stages.values():
        assert [path for path in stage["deps"] if not Path(path).exists() and path != results] == []
    declared = {
        key for stage in stages.values() for params in stage["params"] for key in params[f"{STUDY}/layers.yaml"]
    }
    assert declared == set(read_yaml(STUDY / "layers.yaml"))


def test_sizes_are_measured_once() -> None:
    settings = read_settings(STUDY / "layers.yaml")
    assert len(settings.sizes) == len(settings.lengths) + len(settings.widths) - 1  # they cross in one
    assert replace(settings, length=7).sizes[-1] == (7, settings.widths[-1])
