"""A study's page on W&B: its numbers are those of the report, over the runs that the report counts."""

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.commands.dashboard import main
from experiments.config.cell import cells_of
from experiments.config.run_config import config_hash
from experiments.config.study import Study
from experiments.reporting import tables
from experiments.reporting.claims import write_verdicts
from experiments.reporting.formats import bracketed
from experiments.reporting.headline import headline
from experiments.reporting.results import read_results
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Summary, summarise
from experiments.tracking.identity import RunIdentity
from lit_transformer.errors import UserError
from tests.synthetic_study import write_study
from tests.wandb_server import no_account, wandb_server

pytest.importorskip("wandb_workspaces")
NAMES = ["base", "no_positions", "pre_norm", "no_scaling", "hot"]
ARGUMENTS = ["--study", "made_up"]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    """A study with results and a report's verdicts; nobody is logged in."""
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=NAMES)
    for cell in cells_of(study):
        record = json.loads(cell.record_path.read_text())
        record |= {"config_hash": config_hash(cell.config, record["data_hash"]), "run_hash": run_hash(*cell_of(cell))}
        cell.record_path.write_text(json.dumps(record))
    write_verdicts(study, summary_of(study), read_results(study))
    with no_account(monkeypatch, tmp_path):
        yield study


def run_hash(variant: str, seed: int) -> str:
    return f"{variant}{seed}"


def cell_of(cell: Any) -> tuple[str, int]:
    return cell.variant, cell.seed


def summary_of(study: Study) -> Summary:
    return summarise(study, read_results(study))


def dry_run(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main([*ARGUMENTS, "--dry-run"])
    return yaml.safe_load(capsys.readouterr().out)


def panels(sections: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {section["name"]: section["panels"] for section in sections}


def found(spec: Any, key: str) -> list[Any]:
    """Return the values of a key anywhere in a spec."""
    if isinstance(spec, dict):
        return [value for name, value in spec.items() if name == key] + found(list(spec.values()), key)
    return [value for item in spec for value in found(item, key)] if isinstance(spec, list) else []


def check_runs(run_set: dict[str, Any]) -> None:
    """See that a set of runs is of the study, counted in its report, and grouped by all but the seed."""
    text = json.dumps(run_set["filters"])
    assert "made_up" in text
    hashes = {run_hash(variant, seed) for variant in NAMES for seed in range(3)}
    (listed,) = [value for value in found(run_set["filters"], "value") if isinstance(value, list)]
    assert set(listed) == hashes
    assert [(key["section"], key["name"]) for key in run_set["grouping"]] == [("config", "variant.value")]


def test_the_workspace_compares_variants_over_their_seeds(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    section = dry_run(capsys)["workspace"]["spec"]["section"]
    sections = section["panelBankConfig"]["sections"]
    assert {part["name"]: part["isOpen"] for part in sections} == {
        "What each change is worth": True,
        "Scores": True,
        "Validation": True,
        "Quality against cost": True,
        "Samples": True,
        "Speed, memory and gradients": False,
        "Probes": False,
    }
    (run_set,) = section["runSets"]
    check_runs(run_set)
    gid = base64.b64decode(run_set["baselineRunId"]).decode()
    assert gid.split(":")[2] == RunIdentity("made_up", "base", 0, run_hash("base", 0)).run_id
    assert list(run_set["runFeed"]["columnPinned"]) == [
        "run:displayName",
        "summary:test/bleu",
        "summary:test/ppl",
    ]
    own = panels(sections)
    bars = [panel["config"] for panel in own["Scores"]]
    assert [bar["metrics"] for bar in bars] == [["test/bleu"], ["test_long/bleu"], ["test_comp/bleu"], ["test/ppl"]]
    curves = [
        panel["config"] for name in ("Validation", "Speed, memory and gradients", "Probes") for panel in own[name]
    ]
    assert {curve["xAxis"] for curve in curves} == {"trainer/global_step"}
    for config in bars + curves:
        assert (config["groupBy"], config["groupAgg"], config["groupArea"]) == ("variant.value", "mean", "stderr")
        assert config["limit"] == 15, "W&B would draw the first ten runs only"
        assert config["aggregate"]
    assert {bar["barLimit"] for bar in bars} == {len(NAMES)}
    clouds = [panel["config"] for panel in own["Quality against cost"]]
    assert {cloud["yAxis"] for cloud in clouds} == {"summary:test/bleu"}
    assert section["settings"]["maxRuns"] == 15


def test_numbers_and_verdicts_are_those_of_the_report(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    specification, summary = dry_run(capsys), summary_of(study)
    own = panels(specification["workspace"]["spec"]["section"]["panelBankConfig"]["sections"])
    (differences,) = (panel["config"]["value"] for panel in own["What each change is worth"])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in differences.splitlines()[2:]]
    shown = {row[0]: row for row in cells}
    written = json.loads(study.verdicts_path.read_text())["rows"]
    assert len(written) == len(NAMES) - 1
    for row in written:
        _, _, _, difference, verdict = shown[row["variant"]]
        assert verdict.split(",")[0] == row["verdict"]
        if row["interval"]:
            assert difference == bracketed(Estimate(row["difference"], *row["interval"], row["n"]))
    blocks = specification["report"]["spec"]["blocks"]
    texts = json.dumps(blocks, ensure_ascii=False)
    assert headline(summary) in texts
    assert tables.markdown(summary) in found(blocks, "content")
    assert [panel["config"]["mediaKeys"] for panel in media(blocks)] == [["forest"], ["attention"]]
    sets = found(blocks, "runSets")
    check_runs(sets[1][0])


def media(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    grids = [panel for own in found(blocks, "panels") if isinstance(own, list) for panel in own]
    return [panel for panel in grids if panel["viewType"] == "Media Browser"]


def test_samples_stand_side_by_side(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    own = panels(dry_run(capsys)["workspace"]["spec"]["section"]["panelBankConfig"]["sections"])
    (text,) = (panel["config"]["value"] for panel in own["Samples"] if panel["viewType"] == "Markdown Panel")
    tables_shown = text.split("\n\n")
    assert len(tables_shown) == 4
    for shown in tables_shown:
        variants = [name for line in shown.splitlines()[2:] for name in line.split("|")[1].strip().split(", ")]
        assert sorted(variants) == sorted(set(NAMES) - {"hot"}), "each variant once; hot diverged"


def test_a_page_is_made_and_then_updated(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        main(ARGUMENTS)
        addresses = capsys.readouterr().out
        assert re.fullmatch(
            rf"workspace: {server.url}/someone/lit_transformer\?nw=\w+\n"
            rf"report: {server.url}/someone/lit_transformer/reports/made_up--\w+\n",
            addresses,
        )
        workspace, report = server.views.values()
        assert [view["type"] for view in server.views.values()] == ["project-view", "runs"]
        saved = json.loads(workspace["spec"])
        assert panels(saved["section"]["panelBankConfig"]["sections"])["Scores"][0]["config"]["groupArea"] == "stderr"
        (run,) = server.runs.values()
        assert run.summary["headline"] == headline(summary_of(study))
        assert run.summary["forest"]["_type"] == "html-file"
        changed = study.results("pre_norm", 1) / "scores.json"
        content = json.loads(changed.read_text())
        content["splits"]["test"]["bleu"] = 1.0
        changed.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"verdicts.json is not of the present results; .* report --study made_up"):
            main(ARGUMENTS)
        write_verdicts(study, summary_of(study), read_results(study))
        main(ARGUMENTS)
        assert capsys.readouterr().out == addresses
        assert len(server.views) == 2
        table = tables.markdown(summary_of(study))
        assert table in found(json.loads(server.views[report["id"]]["spec"])["blocks"], "content")
        assert len(server.runs) == 1
        del server.views[report["id"]]
        with pytest.raises(UserError, match=r"made_up--\w+ cannot be updated .*; delete .*saved.json"):
            main(ARGUMENTS)


def test_what_is_missing_is_reported_in_one_line(study: Study) -> None:
    with pytest.raises(UserError, match="wandb login"):
        main(ARGUMENTS)
    study.verdicts_path.unlink()
    with pytest.raises(UserError, match=r"verdicts.json is missing; `python -m experiments report --study made_up`"):
        main([*ARGUMENTS, "--dry-run"])


def test_before_the_first_score_it_says_what_to_run_next(study: Study) -> None:
    for cell in cells_of(study):
        cell.scores_path.unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"no cell .* evaluated yet; next: .* evaluate --study made_up --variant base"):
        main([*ARGUMENTS, "--dry-run"])


def test_without_the_extra_one_line_says_how_to_install_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where it is not installed."""
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt -e '\.\[dashboard\]'$"):
        main([*ARGUMENTS, "--dry-run"])
