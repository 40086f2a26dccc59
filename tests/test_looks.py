"""Launching by looks: every row gets the first seeds, and only a row whose verdict is open gets more."""

from pathlib import Path

import numpy as np
import pytest

from experiments.commands import launch
from experiments.config.cell import cells_of, fused_folder
from experiments.config.stages import files_of, write_stages
from experiments.config.study import Look, Study, load_study
from experiments.launching.attempts import Job
from experiments.launching.cells import CellsRun
from experiments.launching.fused import fused_groups, training_job
from experiments.launching.looks import needed
from experiments.launching.stages import KINDS, Stages
from experiments.planning.looks import CellCount, cell_count, run_looks
from lit_transformer.errors import UserError
from tests.launch_options import launch_options, set_stale
from tests.synthetic_study import write_cell

STUDY = """
name: made_up
question: Who needs more seeds?
corpus: grammar
baseline: base
seeds: [7, 3, 5, 4, 9, 1]
looks: {3: 0.4, 5: 0.3, 6: 0.3}
base: {recipe: paper, model: {}, data: {}, optim: {}, trainer: {}, decode: {}}
variants:
  base: {}
  far: {model: {norm: {placement: pre}}}
  same: {model: {attention: {scale: none}}}
  noisy: {model: {dropout: 0.0}}
"""
BLEU = {
    "base": [60.0, 60.1, 59.9, 60.0, 60.1, 59.9],
    "far": [40.0, 40.1, 39.9, 40.0, 40.1, 39.9],
    "same": [60.1, 59.9, 60.0, 60.1, 59.9, 60.0],
    "noisy": [61.0, 66.0, 56.0, 60.0, 61.0, 59.0],
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    path = Path("experiments/studies/made_up/study.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(STUDY)
    return load_study("made_up")


def write(study: Study, variant: str, seed: int) -> None:
    write_cell(study.results(variant, seed), variant, seed, BLEU[variant][study.seeds.index(seed)], 0.2)


def stages(study: Study, **seeds: list[int]) -> set[str]:
    return {f"{kind}@{variant}-{seed}" for kind in KINDS for variant, own in seeds.items() for seed in own}


def every_stage(study: Study) -> set[str]:
    return stages(study, **dict.fromkeys(study.variants, study.seeds))


def test_every_row_begins_with_the_first_look_and_other_stages_stay(study: Study) -> None:
    stale = {*every_stage(study), "prepare", "report"}
    assert needed(study, stale) == {*stages(study, **{name: [7, 3, 5] for name in study.variants}), "prepare", "report"}


def test_only_open_rows_and_the_baseline_go_on(study: Study) -> None:
    for variant in study.variants:
        for seed in (7, 3, 5):
            write(study, variant, seed)
    stale = every_stage(study) - stages(study, **{name: [7, 3, 5] for name in study.variants})
    assert needed(study, stale) == stages(study, base=[4, 9], noisy=[4, 9])


def test_the_old_result_of_a_stale_cell_does_not_count(study: Study) -> None:
    for variant in study.variants:
        for seed in (7, 3, 5):
            write(study, variant, seed)
    done = stages(study, **{name: [7, 3, 5] for name in study.variants}) - stages(study, far=[3])
    assert needed(study, every_stage(study) - done) == stages(study, base=[4, 9], noisy=[4, 9], far=[3])
    scored_anew = every_stage(study) - done - {"train@far-3"}
    assert needed(study, scored_anew) == stages(study, base=[4, 9], noisy=[4, 9]) | {"evaluate@far-3"}


def test_a_study_without_looks_needs_whatever_is_stale(study: Study) -> None:
    path = Path("experiments/studies/made_up/study.yaml")
    path.write_text(STUDY.replace("looks: {3: 0.4, 5: 0.3, 6: 0.3}\n", ""))
    assert needed(load_study("made_up"), {"train@far-1", "report"}) == {"train@far-1", "report"}


def test_a_launch_goes_from_look_to_look(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell fails: its row stays at its look, and no cell runs twice."""
    ran: list[str] = []
    done: set[str] = set()
    cells = {cell.run_folder: cell for cell in cells_of(study)}

    def run_cells(jobs: list[Job], *rest: object) -> CellsRun:
        ran.append(f"{len(jobs)} cells")
        result = CellsRun()
        for job in jobs:
            cell = cells[job.folder]
            if cell.name == "same/seed3":
                result.failed[job] = "out of memory"
                continue
            write(study, cell.variant, cell.seed)
            done.update(cell.stage(kind) for kind in KINDS)
        return result

    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    monkeypatch.setattr(Stages, "of_ensembles", lambda self, study: None)
    set_stale(monkeypatch, lambda self: every_stage(study) - done | {"report"})
    monkeypatch.setattr(Stages, "run", lambda self, stage: ran.append(stage))
    monkeypatch.setattr(launch, "_run_cells", run_cells)
    options = launch_options()
    with pytest.raises(UserError, match="1 of 18 cells failed"):
        launch.launch(study, options)
    assert ran == ["12 cells", "4 cells", "2 cells", "report"]
    shown = capsys.readouterr().out
    assert shown.count("Still open, so further seeds follow: noisy\n") == 2
    assert "FAILED same seed 3: out of memory" in shown
    options.dry_run = True
    write_stages(files_of(study))
    launch.launch(study, options)
    shown = capsys.readouterr().out
    assert "1 of at most 24 cells to run" in shown
    assert (
        "Looks at 3, 5 and 6 seeds: 12 cells at least, about 18 if rows differ and vary as in the results at" in shown
    )


def test_a_launch_trains_seeds_as_one_before_their_cells_run(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One variant cannot be fused: its seeds are trained by their own stages, and a line says why."""
    ran: list[list[str]] = []
    done: set[str] = set()
    cells = {cell.run_folder: cell for cell in cells_of(study)}

    def run_cells(jobs: list[Job], *rest: object) -> CellsRun:
        ran.append([job.name for job in jobs])
        for stage in {part for job in jobs for part in job.command if part.startswith("evaluate@")}:
            cell = next(cell for cell in cells.values() if cell.stage("evaluate") == stage)
            write(study, cell.variant, cell.seed)
            done.update(cell.stage(kind) for kind in KINDS)
        return CellsRun({job: "norm.kind is batch" for job in jobs if job.name == "same seeds 7,3 as one"})

    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    monkeypatch.setattr(Stages, "of_ensembles", lambda self, study: None)
    set_stale(monkeypatch, lambda self: every_stage(study) - done | {"report"})
    monkeypatch.setattr(Stages, "run", lambda self, stage: None)
    monkeypatch.setattr(launch, "_run_cells", run_cells)
    launch.launch(study, launch_options(fuse=2))
    assert ran[0] == [f"{variant} seeds 7,3 as one" for variant in study.variants]
    assert ran[1] == [f"{variant} seeds 7,3" for variant in study.variants if variant != "same"]
    assert ran[2] == ["same seed 7", "same seed 3", *(f"{variant} seed 5" for variant in study.variants)]
    assert ran[3:5] == [["base seeds 4,9 as one", "noisy seeds 4,9 as one"], ["base seeds 4,9", "noisy seeds 4,9"]]
    assert ran[5:] == [["base seed 1", "noisy seed 1"]]
    assert "same seeds 7,3 as one failed, so one by one: norm.kind is batch" in capsys.readouterr().out
    job = training_job(fused_groups(cells_of(study), every_stage(study), 6)[0])
    assert job.command[3:] == ("--study", "made_up", "--variant", "base", "--seeds", "7,3,5,4,9,1")
    assert job.folder == fused_folder([cell for cell in cells.values() if cell.variant == "base"])


def test_the_cells_of_a_study_without_results(study: Study) -> None:
    assert cell_count(study) == CellCount(12, None, 24)
    assert cell_count(study).sentence(study.looks) == "Looks at 3, 5 and 6 seeds: 12 cells at least, 24 at most."


def test_rows_that_are_clear_run_no_further_seeds_and_the_baseline_as_many_as_any() -> None:
    looks = (Look(3, 0.5), Look(5, 0.5))
    steady = np.random.default_rng(0).normal(0.0, 0.01, (200, 1, 5))
    clear = np.concatenate([steady + 10, steady - 10, steady], axis=1)
    decisions, cells = run_looks(clear, -steady[:, 0], looks, margin=1.0)
    assert cells == 4 * 3
    assert not decisions.open.any()
    hidden = np.random.default_rng(1).normal(0.0, 50.0, (200, 1, 5))
    _, cells = run_looks(np.concatenate([clear, hidden], axis=1), -steady[:, 0], looks, margin=1.0)
    assert cells == pytest.approx(3 * 3 + 5 + 5, abs=0.2)
