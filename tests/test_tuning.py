"""Each row at its own best value: what study.yaml may say, which trials go on, what they choose, and the command."""

import json
import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from experiments.commands import array, launch, prepare, train, tune
from experiments.common.io import write_json
from experiments.config.cell import Cell, cell_of, cells_of
from experiments.config.run_config import config_hash
from experiments.config.stages import files_of, write_stages
from experiments.config.study import Study, load_study, parse_study
from experiments.config.trials import (
    DIVERGED,
    FINISHED,
    STOPPED,
    Choice,
    Neighbour,
    Trial,
    TrialRecord,
    better_half,
    choose,
    chosen_value,
    plain_record,
    read_trials,
    row_choice,
    scaled,
    trials_of,
    values_at,
)
from experiments.config.tuning import Tuning
from experiments.launching.attempts import Job
from experiments.launching.cells import CellsRun
from experiments.launching.looks import needed
from experiments.launching.stages import KINDS, Stages
from experiments.launching.tuning import next_trials
from experiments.planning.tuning import tuning_cost
from experiments.training import run
from experiments.training.run import Options
from lit_transformer.errors import UserError
from tests.launch_options import launch_options, set_stale
from tests.tiny_study import study_yaml

PATH = Path("tiny/study.yaml")
STUDY = """
seeds: [0, 1]
variants: {h1: {model: {attention: {heads: 1}}}, long: {optim: {steps: 24}}}
tune: {values: [0.002, 0.001, 0.004, 0.008], rungs: [0.25, 0.5]}
"""


def parsed(changes: str = "") -> Study:
    written = OmegaConf.create(study_yaml(STUDY))
    if changes.startswith("tune: ["):
        del written["tune"]
    content = OmegaConf.to_container(OmegaConf.merge(written, OmegaConf.create(changes)))
    return parse_study(content, PATH)  # type: ignore[arg-type]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Stand in a project with the study, no trial of which is done."""
    monkeypatch.chdir(tmp_path)
    path = Path("experiments/studies/tiny/study.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(study_yaml(STUDY))
    return load_study("tiny")


def write(
    study: Study, losses: dict[float, float], rung: float, variant: str = "base", seed: int = 0, data: str = "data"
) -> None:
    for value, loss in losses.items():
        trial = Trial(study, variant, value, seed, rung)
        row_hash = config_hash(study.config(variant, seed), data)
        record = TrialRecord(value, seed, rung, "optim.peak", FINISHED, 3, loss, 1.0, row_hash, data, "code")
        if math.isinf(loss):
            record = replace(record, status=DIVERGED, valid_loss=None)
        write_json(trial.path, plain_record(record))


def write_stopped(study: Study, values: list[float], rung: float, variant: str = "base", seed: int = 0) -> None:
    for value in values:
        path = Trial(study, variant, value, seed, rung).path
        write_json(path, plain_record(TrialRecord(value, seed, rung, "optim.peak", STOPPED)))


def test_what_study_yaml_says() -> None:
    assert parsed().tune == Tuning((0.001, 0.002, 0.004, 0.008), "optim.peak", (0.25, 0.5))
    assert parsed("tune: {rungs: null}").tune == Tuning((0.001, 0.002, 0.004, 0.008), "optim.peak", (0.25,))
    assert parsed("tune: null").tune is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("tune: [0.1, 0.2]", "tune is .*; it must hold keys and values"),
        ("tune: {value: [0.1]}", "tune: unknown key 'value'; did you mean 'values'"),
        ("tune: {values: null}", "tune: the key 'values' is missing; write it, such as"),
        ("tune: {values: [0.1]}", r"tune: values holds \[0.1\]; give it two values at least"),
        ("tune: {values: []}", "tune: values holds .*; give it two values at least"),
        ("tune: {values: 0.1}", "tune: values is 0.1; it must be a list of numbers above 0"),
        ("tune: {values: [0.1, 0]}", "tune: values is .*; it must be a list of numbers above 0"),
        ("tune: {values: [0.1, -0.1]}", "tune: values is .*; it must be a list of numbers above 0"),
        ("tune: {values: [0.1, .inf]}", "tune: values is .*; it must be a list of numbers above 0"),
        ("tune: {values: [0.1, .nan]}", "tune: values is .*; it must be a list of numbers above 0"),
        ("tune: {values: [0.1, true]}", "tune: values is .*; it must be a list of numbers above 0"),
        ("tune: {values: [0.1, 0.2, 0.1]}", "tune: values holds .*; each value may stand once"),
        ("tune: {seeds: [100]}", "tune: unknown key 'seeds' .known: values, key, rungs"),
        ("seeds: [5, 1000005]", "tune: the trials of seed 5 have the seed 1000005, which seeds holds too"),
        ("tune: {rungs: 0.5}", "tune: rungs is 0.5; it must be a list of shares of optim.steps"),
        ("tune: {rungs: []}", "tune: rungs is .*; it must be a list of shares of optim.steps"),
        ("tune: {rungs: [0, 0.5]}", "tune: rungs is .*above 0 and at most 1"),
        ("tune: {rungs: [0.5, 1.5]}", "tune: rungs is .*above 0 and at most 1"),
        ("tune: {rungs: [0.5, 0.25]}", "tune: rungs is .*; the shares must rise"),
        ("tune: {rungs: [0.25, 0.25]}", "tune: rungs is .*; the shares must rise"),
        ("tune: {rungs: [0.25, 0.5, 1]}", "tune: 3 rungs leave one of 4 values for the last .*; drop a rung"),
        ("tune: {key: optim.paek}", "tune: key is 'optim.paek', which is no setting; did you mean 'optim.peak'"),
        ("tune: {key: optim}", "tune: key is 'optim', which is no number"),
        ("tune: {key: optim.schedule}", "tune: key is 'optim.schedule', which is no number"),
        ("tune: {key: model.tie_output}", "tune: key is"),
        ("tune: {key: optim.steps}", "tune: key is 'optim.steps', which trials cannot choose"),
        ("tune: {key: optim.warmup}", "tune: key is 'optim.warmup', which trials cannot choose"),
        ("tune: {key: trainer.devices}", "tune: key is 'trainer.devices', which trials cannot choose"),
        ("tune: {key: decode.alpha}", "tune: key is 'decode.alpha', which trials cannot choose"),
        ("variants: {hot: {optim: {peak: 0.02}}}", "tune: the variant 'hot' sets optim.peak itself; drop the variant"),
        ("variants: {base: {optim: {peak: 0.02}}}", "tune: the variant 'base' sets optim.peak itself"),
        ("variants: {own: {optim: {schedule: paper}}}", "schedule of 'own', paper, does not read; tune optim.mult"),
        ("tune: {key: optim.multiplier}", "schedule of 'base', constant, does not read; tune optim.peak"),
        ("variants: {tuned: {}}", "a variant is called 'tuned', a folder of trials; call it otherwise"),
        ("tune: {key: model.dropout, values: [0.1, 0.2, 0.3, 2]}", "dropout is 2"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_file_and_the_fix(changes: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parsed(changes)
    assert "\n" not in str(error.value)
    assert "study" in str(error.value)


def test_a_trial_is_the_row_with_a_schedule_of_its_own_budget() -> None:
    study = parsed("base: {optim: {warmup: 3, averaging: {kind: last, last: 2, every: 6}}}")
    config = cell_of(Trial(study, "h1", 0.004, 7, 0.25)).config
    assert (config.optim.peak, config.optim.steps, config.optim.warmup, config.seed) == (0.004, 3, 1, 1_000_007)
    assert config.trainer.validate_every == 3
    assert config.model == study.config("h1", 7).model
    assert config.optim.averaging.kind.name == "none"
    assert cell_of(Trial(study, "long", 0.004, 0, 0.5)).config.optim.steps == 12
    whole = cell_of(Trial(study, "base", 0.004, 0, 1.0)).config
    assert (whole.optim.steps, whole.optim.warmup) == (12, 3)


def test_steps_are_rounded_to_whole_ones_and_none_stay_none() -> None:
    assert [scaled(10, share) for share in (0.25, 0.5, 0.76, 1)] == [2, 5, 8, 10]
    assert (scaled(3, 0.01), scaled(0, 0.5)) == (1, 0)


def slow_half(losses: dict[float, float]) -> list[float]:
    """Take the best away again and again, until half is taken."""
    left, taken = dict(losses), []
    while len(taken) * 2 < len(losses):
        best = None
        for value, loss in left.items():
            if best is None or loss < left[best] or (loss == left[best] and value < best):
                best = value
        assert best is not None
        taken.append(best)
        del left[best]
    return sorted(taken)


def test_the_better_half_is_what_one_would_take_by_hand() -> None:
    chooser = random.Random(3)
    for _ in range(500):
        values = chooser.sample(range(1, 100), chooser.randint(1, 9))
        losses = {float(value): chooser.choice([1.0, 2.0, chooser.random(), math.inf]) for value in values}
        assert better_half(losses) == slow_half(losses)


def test_halving_is_as_it_would_be_step_by_step() -> None:
    """Random losses of three rungs, written for values that go on and for others, which must not count."""
    chooser = random.Random(5)
    for _ in range(300):
        values = tuple(sorted(chooser.sample(range(1, 40), chooser.randint(5, 9))))
        tune = Tuning(values, rungs=(0.1, 0.3, 1.0))
        records: list[TrialRecord] = []
        left, best = list(values), 0
        for rung in tune.rungs:
            assert values_at(tune, records, rung) == left
            losses = {value: chooser.choice([2.0, chooser.random(), math.inf]) for value in left}
            for value in values:
                loss = losses.get(value, 0.0)
                status = (DIVERGED if math.isinf(loss) else FINISHED) if value in left else STOPPED
                known = loss if status == FINISHED else None
                records.append(TrialRecord(value, 0, rung, tune.key, status, valid_loss=known))
            best = min(value for value in left if losses[value] == min(losses.values()))
            left = slow_half(losses)
        for missing in records:
            if missing.status != STOPPED:
                assert choose(tune, [record for record in records if record is not missing]) is None
        chooser.shuffle(records)
        assert choose(tune, records) == best


def test_every_cell_takes_the_same_number_of_trials() -> None:
    tune = Tuning((1, 2, 3, 4, 5, 6, 7), rungs=(0.1, 0.25, 0.5))
    assert tune.numbers == [7, 4, 2]
    assert tune.cost == pytest.approx(0.7 + 1 + 1)


def test_what_a_row_chooses_and_what_the_values_beside_it_cost(study: Study) -> None:
    """At the last rung where both were tried: 0.002 at half of the steps by one seed, 0.008 at a quarter by both."""
    write(study, {0.001: 3.0, 0.002: 2.0, 0.004: 1.0, 0.008: 2.5}, 0.25)
    write(study, {0.002: 1.5, 0.004: 0.5}, 0.5)
    write_stopped(study, [0.001, 0.008], 0.5)
    assert study.tune is not None
    trials = {seed: read_trials(study, "base", seed) for seed in study.seeds}
    below, above = math.exp(1.5) - math.exp(0.5), math.exp(2.5) - math.exp(1.0)
    expected = (Neighbour(0.002, 0.5, pytest.approx(below)), Neighbour(0.008, 0.25, pytest.approx(above)))
    assert row_choice(study.tune, trials) == Choice({0: 0.004}, 0.004, False, expected)
    assert chosen_value(study, "base", 0) == 0.004
    write(study, {0.001: 1.0, 0.002: 3.0, 0.004: 2.0, 0.008: 2.25}, 0.25, seed=1)
    write(study, {0.001: 0.5, 0.004: 0.75}, 0.5, seed=1)
    trials = {seed: read_trials(study, "base", seed) for seed in study.seeds}
    above = (above + math.exp(2.25) - math.exp(2.0)) / 2
    expected = (Neighbour(0.002, 0.5, pytest.approx(below)), Neighbour(0.008, 0.25, pytest.approx(above)))
    choice = row_choice(study.tune, trials)
    assert choice is not None
    assert choice.by_seed == {0: 0.004, 1: 0.001}
    assert (choice.value, choice.at_edge) == (0.001, True)  # of equally frequent ones the smaller
    assert [beside.value for beside in choice.neighbours] == [0.002]


def test_beside_the_best_is_a_factor_of_two_where_it_was_tried() -> None:
    tune = Tuning((1, 1.5, 2, 3, 4), rungs=(0.5,))
    records = [TrialRecord(value, 7, 0.5, tune.key, FINISHED, valid_loss=abs(value - 2)) for value in tune.values]
    choice = row_choice(tune, {7: records, 8: []})
    assert choice is not None
    assert [beside.value for beside in choice.neighbours] == [1, 4]
    diverged = [replace(record, status=DIVERGED, valid_loss=None) for record in records]
    assert row_choice(tune, {7: diverged}) == Choice({7: 1}, 1, True, (Neighbour(2, 0.5, None),), diverged=True)
    records[-1] = replace(records[-1], status=DIVERGED, valid_loss=None)
    choice = row_choice(tune, {7: records})
    assert choice is not None
    assert choice.neighbours[1] == Neighbour(4, 0.5, None)
    assert row_choice(tune, {7: records[1:]}) is None


def test_an_equal_loss_chooses_the_smaller_value(study: Study) -> None:
    write(study, dict.fromkeys((0.001, 0.002, 0.004, 0.008), 2.0), 0.25)
    assert study.tune is not None
    assert values_at(study.tune, read_trials(study, "base", 0), 0.5) == [0.001, 0.002]
    write(study, {0.001: 1.0, 0.002: 1.0}, 0.5)
    assert chosen_value(study, "base", 0) == 0.001


def test_records_of_other_settings_do_not_count(study: Study) -> None:
    write(study, dict.fromkeys((0.001, 0.002, 0.004, 0.008), 2.0), 0.25)
    path = Path("experiments/studies/tiny/study.yaml")
    for changes in ("base: {model: {d_model: 8}}", "tune: {key: optim.label_smoothing}"):
        merged = OmegaConf.merge(OmegaConf.create(study_yaml(STUDY)), OmegaConf.create(changes))
        path.write_text(OmegaConf.to_yaml(merged))
        assert read_trials(load_study("tiny"), "base", 0) == []
    assert len(read_trials(study, "base", 0)) == 4
    Trial(study, "base", 0.001, 0, 0.25).path.write_text('{"loss": 1}')
    with pytest.raises(UserError, match=r"seed0/0.25/0.001.json is no record of a trial .*; delete it"):
        read_trials(study, "base", 0)


def test_a_tuned_cell_has_places_of_its_own_and_its_value_once_that_is_chosen(study: Study) -> None:
    cells = {tuned: Cell(study, "base", 0, tuned=tuned) for tuned in (False, True)}
    for name in ("run_folder", "training_folder", "model_folder", "evaluation_folder", "label", "arguments"):
        assert getattr(cells[True], name) != getattr(cells[False], name)
    assert cells[True].training_folder == study.folder / "results/tuned/base/seed0"
    assert cells[True].model_folder == study.folder / "models/tuned/base/seed0"
    assert cells[True].run_folder == Path("runs/tiny/tuned/base/seed0")
    with pytest.raises(
        UserError, match=r"trials of base seed 0 are missing or outdated .*: python -m experiments launch"
    ):
        _ = cells[True].config
    write(study, {0.001: 3.0, 0.002: 2.0, 0.004: 1.0, 0.008: 2.5}, 0.25)
    write(study, {0.002: 0.5, 0.004: 1.5}, 0.5)
    assert cells[True].config == replace(cells[False].config, optim=replace(cells[False].config.optim, peak=0.002))
    changed = Cell(study, "base", 0, ("optim.steps=24",), tuned=True)
    assert changed.config.optim.peak == 0.002
    assert changed.training_folder.is_relative_to(changed.run_folder)
    with pytest.raises(UserError, match=r"has no `tune` in study\.yaml"):
        _ = Cell(parsed("tune: null"), "base", 0, tuned=True).config


def test_a_tuned_cell_at_the_value_of_the_recipe_is_the_recipes_model(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("experiments/studies/tiny/study.yaml")
    path.write_text(path.read_text().replace("0.008", "0.01"))  # the recipe's
    study = load_study("tiny")
    prepare.main(["--study", "tiny"])
    recipe, tuned = (Cell(study, "base", 0, tuned=tuned) for tuned in (False, True))
    options = Options(wandb="disabled", quiet=True)
    run.train(recipe, options)
    data = json.loads(recipe.record_path.read_text())["data_hash"]
    write(study, {0.001: 3.0, 0.002: 2.0, 0.004: 2.5, 0.01: 1.0}, 0.25, data=data)
    write(study, {0.002: 2.0, 0.01: 0.5}, 0.5, data=data)
    run.train(tuned, options)
    assert "runs/tiny/tuned/base/seed0: the recipe has the best value" in capsys.readouterr().out
    for place in ("record_path", "curve_path", "probe_path"):
        assert getattr(tuned, place).read_bytes() == getattr(recipe, place).read_bytes()
    weights = [(cell.model_folder / "model.safetensors").read_bytes() for cell in (recipe, tuned)]
    assert weights[0] == weights[1]
    write(study, {0.002: 0.5, 0.01: 1.0}, 0.5, data=data)
    run.train(tuned, options)
    assert (
        json.loads(tuned.record_path.read_text())["run_hash"] != json.loads(recipe.record_path.read_text())["run_hash"]
    )
    assert (tuned.model_folder / "model.safetensors").read_bytes() != weights[0]


def test_the_trials_that_are_due(study: Study) -> None:
    every = {trial.stage for trial in trials_of(study)}
    assert "rung0@base-0.001-0" in every
    assert len(every) == 3 * 2 * 4 * 2
    to_train, stopped = next_trials(study, every)
    assert {trial.rung for trial in to_train} == {0.25}
    assert (len(to_train), stopped) == (24, [])
    for variant in study.variants:
        write(study, {0.001: 3.0, 0.002: 2.0, 0.004: 1.0, 0.008: 2.5}, 0.25, variant)
    later = {stage for stage in every if stage.startswith("rung1") and stage.endswith("-0")}
    to_train, stopped = next_trials(study, later | {"train@base-0"}, left_out={("h1", 0), ("base", 1)})
    assert {(trial.variant, trial.value) for trial in to_train} == {
        (variant, value) for variant in ("base", "long") for value in (0.002, 0.004)
    }
    assert {(trial.variant, trial.value) for trial in stopped} == {
        (variant, value) for variant in ("base", "long") for value in (0.001, 0.008)
    }
    assert next_trials(study, {"train@base-0"}) == ([], [])


def test_trials_of_seeds_that_no_open_verdict_needs_are_not_due(study: Study) -> None:
    path = Path("experiments/studies/tiny/study.yaml")
    more = OmegaConf.create("{seeds: [0, 1, 2, 3], looks: {2: 0.5, 4: 0.5}}")
    path.write_text(OmegaConf.to_yaml(OmegaConf.merge(OmegaConf.create(study_yaml(STUDY)), more)))
    study = load_study("tiny")
    every = {trial.stage for trial in trials_of(study)} | {
        cell.stage(kind) for cell in cells_of(study, tuned=True) for kind in KINDS
    }
    due = needed(study, every, tuned=True)
    assert {stage.rpartition("-")[2] for stage in due} == {"0", "1"}
    assert len(due) == len(every) / 2


def test_a_launch_goes_from_rung_to_rung_and_then_to_the_tuned_cells(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trial fails: its cell goes no further, the others do."""
    ran: list[str] = []
    done: set[str] = set()
    trials = {cell_of(trial).run_folder: trial for trial in trials_of(study)}
    cells = {cell.run_folder: cell for tuned in (False, True) for cell in cells_of(study, tuned)}
    rungs = {trial.stage for trial in trials.values()}

    def stage(cell: Cell, kind: str) -> str:
        return f"{cell.row}:{cell.stage(kind)}"

    def run_cells(jobs: list[Job], *rest: object) -> CellsRun:
        ran.append(f"{len(jobs)} {'trials' if jobs[0].folder in trials else 'cells'}")
        result = CellsRun()
        for job in jobs:
            if trial := trials.get(job.folder):
                if (trial.variant, trial.seed, trial.value) == ("h1", 1, 0.008):
                    result.failed[job] = "out of memory"
                    continue
                write(study, {trial.value: trial.value}, trial.rung, trial.variant, trial.seed)
                done.add(trial.stage)
            else:
                done.update(stage(cells[job.folder], kind) for kind in KINDS)
        return result

    def stale(self: Stages) -> set[str]:
        tuned = self.file != Path("dvc.yaml")
        own = {(cell.stage(kind), stage(cell, kind)) for cell in cells_of(study, tuned) for kind in KINDS}
        return {name for name, whole in own if whole not in done} | (rungs - done if tuned else {"report"})

    def run(self: Stages, first: str, *more: str) -> None:
        ran.append(f"{first}, {len(more)} more" if more else first)
        for trial in trials.values():
            if trial.stage in (first, *more):
                write_stopped(study, [trial.value], trial.rung, trial.variant, trial.seed)
                done.add(trial.stage)

    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    set_stale(monkeypatch, stale)
    monkeypatch.setattr(Stages, "run", run)
    monkeypatch.setattr(launch, "_run_cells", run_cells)
    options = launch_options(dry_run=True)
    write_stages(files_of(study))
    launch.launch(study, options)
    shown = capsys.readouterr().out
    assert "tiny: 6 of 6 cells to run" in shown
    assert "at most 48 trials to run, and 6 of 6 cells to run at their best value" in shown
    assert tuning_cost(study) in shown
    assert "tuning: rung1@h1-0.008-1" in shown
    options.dry_run = False
    with pytest.raises(UserError, match=r"1 of 45 cells and trials failed"):
        launch.launch(study, options)
    first_stopped = "rung1@base-0.004-0, 9 more"
    assert ran == ["6 cells", "24 trials", first_stopped, "10 trials", "5 cells", "report"]
    assert "FAILED h1 seed 1, optim.peak 0.008 for 25 % of the steps: out of memory" in capsys.readouterr().out


def test_the_list_of_a_slurm_array_is_that_of_the_next_step(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = {trial.stage for trial in trials_of(study)}
    tuned = {cell.stage(kind) for cell in cells_of(study, tuned=True) for kind in KINDS}
    stale = {"dvc.yaml": {"train@base-1"}, "tuning": every | tuned}
    monkeypatch.setattr(Stages, "of", lambda study: Stages(Path("dvc.yaml")))
    set_stale(monkeypatch, lambda self: stale["dvc.yaml" if self.file == Path("dvc.yaml") else "tuning"])

    def listed() -> list[str]:
        array.main(["--study", "tiny", "--list"])
        return capsys.readouterr().out.splitlines()

    assert listed() == ["base-1"]
    stale["dvc.yaml"] = set()
    assert set(listed()) == {stage for stage in every if stage.startswith("rung0")}
    stale["tuning"] = tuned
    assert listed() == [f"tuned/{variant}-{seed}" for seed in (0, 1) for variant in study.variants]
    stale["tuning"] = set()
    assert listed() == []
    with pytest.raises(UserError, match=r"has no cell 'rung0@base-0\.003-0'; did you mean 'rung0@base-0\.00"):
        array.main(["--study", "tiny", "--cell", "rung0@base-0.003-0"])


def test_the_cost_of_tuning_in_words(study: Study) -> None:
    assert tuning_cost(study) == (
        "Tuning: at most 36 trials, worth 12 cells (4 values of optim.peak, 25 % and 50 % of the steps); then at most "
        "6 cells again, each at its best value."
    )
    assert tuning_cost(parsed("tune: null")) == ""


TRIALS = """
base: {optim: {steps: 4, warmup: 1}, trainer: {validate_every: 4}}
tune: {values: [0.001, 0.01], rungs: [0.5]}
"""


def test_the_command_trains_a_trial_and_keeps_its_loss_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("experiments/studies/tiny/study.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(study_yaml(TRIALS))
    prepare.main(["--study", "tiny"])
    arguments = ["--study", "tiny", "--variant", "base", "--seed", "0", "--rung", "0.5", "--quiet"]
    for value in ("0.001", "1e-2"):
        tune.main([*arguments, f"optim.peak={value}"])
    study = load_study("tiny")
    records = read_trials(study, "base", 0)
    assert [(record.value, record.steps, record.status) for record in records] == [
        (0.001, 2, FINISHED),
        (0.01, 2, FINISHED),
    ]
    losses = {record.value: record.valid_loss for record in records}
    assert all(loss is not None and math.isfinite(loss) for loss in losses.values())
    assert len(set(losses.values())) == 2
    assert chosen_value(study, "base", 0) == min(losses, key=lambda value: losses[value] or 0)
    assert "base seed 0, optim.peak 0.01 for 50 % of the steps: validation loss" in capsys.readouterr().out
    tune.main([*arguments, "optim.peak=0.01"])
    assert capsys.readouterr().out.endswith("already tried; nothing to do\n")
    assert not [*Path("runs").rglob("*.ckpt"), *Path("runs").rglob("*.safetensors")]
    assert not list((study.folder / "results").rglob("scores.json"))
    train.main(["--study", "tiny", "--variant", "base", "--seed", "0", "--tuned", "--wandb", "disabled", "--quiet"])
    record = json.loads((study.folder / "results/tuned/base/seed0/training.json").read_text())
    assert (record["variant"], record["steps"]) == ("tuned/base", 4)
    assert record["config_hash"] == config_hash(Cell(study, "base", 0, tuned=True).config, record["data_hash"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--variant nobody --seed 0 --rung 0.25 optim.peak=0.001", "has no variant 'nobody'"),
        ("--variant base --seed 2 --rung 0.25 optim.peak=0.001", "2 is not among the seeds of study tiny: 0, 1"),
        ("--variant base --seed 0 --rung 0.3 optim.peak=0.001", "0.3 is not among the tune.rungs .*: 0.25, 0.5"),
        ("--variant base --seed 0 --rung 0.25 optim.peak=0.003", "0.003 is not among the tune.values"),
        ("--variant base --seed 0 --rung 0.25 optim.peak=", " is not among the tune.values"),
        (
            "--variant base --seed 0 --rung 0.25 optim.eps=0.001",
            "study tiny tunes optim.peak; write optim.peak=0.001",
        ),
        ("--variant base --seed 0 --rung 0.5 optim.peak=0.001", "trials of base seed 0 before rung 0.5 are missing"),
    ],
)
def test_only_trials_of_the_study_run(study: Study, arguments: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tune.main(["--study", "tiny", *arguments.split()])


def test_a_value_that_was_left_behind_writes_so_and_trains_nothing(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    write(study, {0.001: 3.0, 0.002: 2.0, 0.004: 1.0, 0.008: 2.5}, 0.25)
    tune.main(["--study", "tiny", "--variant", "base", "--seed", "0", "--rung", "0.5", "optim.peak=0.008"])
    record = json.loads(Trial(study, "base", 0.008, 0, 0.5).path.read_text())
    assert record == {"value": 0.008, "seed": 0, "rung": 0.5, "key": "optim.peak", "status": "stopped"}
    assert "stopped after the rung before" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_the_stages_of_rungs_follow_one_another(study: Study) -> None:
    paths = write_stages(files_of(study))
    assert paths == [study.folder / "dvc.yaml", study.folder / "tuning/dvc.yaml"]
    stages = read_yaml_text(paths[1])["stages"]
    assert list(stages) == ["rung0", "rung1", "train", "evaluate"]
    folder = "experiments/studies/${name}/results/tuning/${item.variant}/seed${item.seed}"
    assert not [dep for dep in stages["rung0"]["deps"] if "results" in dep]
    assert [dep for dep in stages["rung1"]["deps"] if "results" in dep] == [f"{folder}/0.25"]
    assert [dep for dep in stages["train"]["deps"] if "results" in dep] == [f"{folder}/0.25", f"{folder}/0.5"]
    assert "tune.values" not in str(stages["rung0"]["params"])
    assert "tune.values" in str(stages["rung1"]["params"])
    assert "--rung 0.5 optim.peak=${item.value}" in stages["rung1"]["cmd"]
    for first, second in pairwise(stages.values()):
        assert first["wdir"] == second["wdir"]


def read_yaml_text(path: Path) -> dict:
    return yaml.safe_load(path.read_text())
