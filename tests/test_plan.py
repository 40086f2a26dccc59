"""The plan of a study: what it says a cell costs is what a cell costs, and its totals are sums."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from data_modules.prepared import PreparedCorpus
from data_modules.translation import TranslationDataModule
from experiments.commands.plan import main
from experiments.common.device_rates import GPUS
from experiments.config.run_config import RunConfig
from experiments.config.study import ROOT, load_study
from experiments.planning import plan, plan_table, step_times
from experiments.planning.plan import Fleet, disk_bytes, makespan, separable
from experiments.planning.step_times import Sample, StepTime, sample_of, shape_of, step_flops, time_step
from experiments.reporting.published import published_path, read_published
from experiments.reporting.summary import summarise
from lit_transformer import LitTransformer, build_transformer
from lit_transformer.config import Averaging
from lit_transformer.errors import UserError
from lit_transformer.flops import Work, build_on_meta, training_flops
from tests.small_cell import write_cells


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_cells(tmp_path)
    return tmp_path


@pytest.fixture
def at_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a project with our studies as they are in git, whatever was run in this one."""
    own = shutil.ignore_patterns("results", "models", "report", "verdicts.json")
    shutil.copytree(ROOT / "experiments/studies", tmp_path / "experiments/studies", ignore=own)
    monkeypatch.chdir(tmp_path)


def test_the_operations_of_a_step_are_those_of_the_batches(tiny: Path) -> None:
    """Over whole epochs nothing is estimated: the plan's figure is the sum over the batches that training reads."""
    study = load_study("tiny")
    config = study.config("read", 3, ["data.batch_tokens=40", "optim.accumulate=2", "optim.r_drop=1"])
    corpus = PreparedCorpus.open(study.data_folder)
    data = TranslationDataModule(corpus, config.data, seed=3)
    batches = data.batches_per_epoch()
    assert batches > 1
    counted, stream = 0, iter(data.train_dataloader())
    model = build_on_meta(config.model, corpus.vocab_size)
    for _ in range(batches):
        batch = next(stream)
        lengths = batch.src_layout.lengths, batch.tgt_layout.lengths
        counted += training_flops(model, Work.of_lengths(config.model, *lengths))
    found = step_flops(config, sample_of(study))
    assert found == pytest.approx(2 * 2 * counted / batches)  # two batches a step, each twice through the network


def test_steps_are_timed_and_the_time_of_a_cut_batch_is_scaled(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study("tiny")
    config, sample = study.config("base", 3), sample_of(study)
    whole = time_step(config, sample)
    assert whole.seconds > 0
    assert (whole.tokens, whole.cut) == (config.data.batch_tokens, False)
    assert 2 <= whole.steps <= step_times.STEPS
    seen = []

    def time(config: object, sample: object, tokens: int, device: object) -> tuple[float, float, int, float]:
        seen.append(tokens)
        return 1e-9, 0.5, 20, 1.0

    monkeypatch.setattr(step_times, "_time", time)
    monkeypatch.setattr(step_times, "CPU_FLOPS", step_flops(config, sample) / 1000)
    cut = time_step(config, sample)
    assert seen == [config.data.batch_tokens // 1000]
    assert cut.cut
    assert cut.seconds == pytest.approx(1e-9 * step_flops(config, sample) + 0.5)  # the update is not scaled


def test_shapes_that_take_the_same_time_are_timed_once(at_root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study("table3_multi30k")
    configs = {variant: study.config(variant, 0) for variant in study.variants}
    timed: list[RunConfig] = []

    def measured(config: RunConfig, sample: Sample) -> StepTime:
        timed.append(config)
        return StepTime(float(len(timed)), 20, config.data.batch_tokens, False, 1.0)

    monkeypatch.setattr(plan, "time_step", measured)
    found = plan.time_steps(configs, sample_of(study))
    assert len(timed) == 17
    assert found["base"] == found["drop02"] == found["ls0"] == found["ls02"]
    assert len({found[name] for name in ("base", "drop0", "h1", "dk16", "learned", "big")}) == 6
    base = configs["base"]
    assert shape_of(base) != shape_of(replace(base, data=replace(base.data, batch_tokens=99)))


def test_a_corpus_that_is_not_prepared_is_random_and_said_so(tiny: Path) -> None:
    study = load_study("tiny")
    (study.data_folder / "corpus.json").unlink()
    sample = sample_of(study)
    assert "random lengths" in sample.origin
    assert sample.vocab_size == study.data_config.vocab_size
    assert sample.source_lengths.max() <= study.data_config.max_length
    batch = sample.batch(sample.batches(1000)[0])
    assert batch.src.max() < sample.vocab_size
    assert batch.src_layout.lengths.tolist() == sample.source_lengths[sample.batches(1000)[0]].tolist()


def test_two_checkpoints_are_as_large_as_planned() -> None:
    """Against a saved one: weights and Adam's means; and an average of 5 keeps 6 more sets of weights."""
    config = RunConfig()
    network = build_transformer(replace(config.model, encoder_layers=1, decoder_layers=1), 1000)
    module = LitTransformer(network, config.optim)
    adam = cast(dict[str, Any], module.configure_optimizers())["optimizer"]
    torch.stack([parameter.sum() for parameter in network.parameters()]).sum().backward()
    adam.step()
    saved = io.BytesIO()
    torch.save({"state_dict": module.state_dict(), "optimizer": adam.state_dict()}, saved)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    models = 2 * 4 * parameters  # in the run folder and in DVC's place
    assert disk_bytes(config, parameters) == pytest.approx(2 * saved.tell() + models, rel=0.02)
    averaged = replace(
        config, optim=replace(config.optim, averaging=replace(config.optim.averaging, kind=Averaging.last))
    )
    assert disk_bytes(averaged, parameters) == parameters * (2 * 12 + 6 * 4) + 2 * models


def test_cells_are_taken_in_order_by_the_first_free_slot() -> None:
    assert makespan([4, 1, 1, 1], 1) == 7
    assert makespan([4, 1, 1, 1], 2) == 4
    assert makespan([1, 1, 1, 4], 2) == 5  # the long one comes last, as big does
    assert makespan([2, 3], 9) == 3


def test_a_fleet_is_as_fast_as_its_arithmetic_or_its_kernels() -> None:
    fleet = Fleet("H200", GPUS["H200"], 8, 0.5)
    assert fleet.seconds(989e12 * 60, 10, 12) == pytest.approx(120)
    assert fleet.seconds(1.0, 1000, 12) == pytest.approx(1000 * 12 * 1.5e-3)


def test_more_seeds_separate_less_and_the_noise_is_named(at_root: None) -> None:
    own, other = load_study("components"), load_study("table3_wmt14")
    assert "this study's published results, 5 seeds" in separable(own, 3)
    sentence = separable(other, 3)
    assert "0.25 BLEU in one t-test" in sentence  # t(0.975, 4) x 0.11 sqrt(2 / 3)
    assert "published: one run of EN-DE varies by 0.11" in sentence
    assert "0.16 BLEU in one" in separable(other, 5)
    assert "One seed separates nothing" in separable(other, 1)


def test_noise_is_that_of_the_same_corpus_before_that_of_a_large_model(at_root: None) -> None:
    """And there of the study whose base is nearest; on Multi30k published results are of one seed."""
    for name, nearest in (("context", "components"), ("table3_grammar", "pitfalls")):
        published = read_published(nearest)
        assert published is not None
        noise = summarise(published.study, published.results).noise
        assert noise is not None
        expected = f"varies by {noise.sd:.2f} BLEU (sd over seeds; published results of {nearest}, on the same corpus"
        assert expected in separable(load_study(name), 3)
    assert "published: one run of EN-DE" in separable(load_study("systems_multi30k"), 3)


def test_settings_that_this_code_does_not_know_are_no_obstacle(at_root: None) -> None:
    """Published results may be of an older version."""
    path = published_path("components")
    path.write_text(path.read_text().replace('"d_model":64', '"d_model":64,"d_modell":1', 1))
    published = read_published("components")
    assert published is not None
    assert published.study.base["model"]["d_modell"] == 1
    assert "on the same corpus with the nearest base" in separable(load_study("context"), 3)


def test_the_plan_is_printed_in_plain_lines(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--study", "tiny", "--gpus", "H200:2", "A100", "--seeds", "5", "--no-probe"])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert [line.partition(":")[0] for line in lines[1:4]] == ["base", "learned", "read"]
    assert "parameters" in lines[1]
    assert "FLOPs by arithmetic" in lines[1]
    assert "15 cells (3 variants, 5 seeds)" in text
    assert "Nothing was measured here" in text
    assert "ASSUMED: 30 %" in text
    assert "On 2 H200" in text
    assert "On 1 A100" in text
    assert "time here" not in text


def test_totals_are_sums_over_cells(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "time_step", lambda config, sample: StepTime(36.0, 20, 100, False, 1.0))
    found = plan.make_plan(load_study("tiny"), 3, (), 1, measure=True)
    assert [line.seconds for line in found.variants] == [360.0] * 3
    assert found.rate is not None
    text = "\n".join(plan_table.notes(found))
    assert "9 cells (3 variants, 3 seeds)" in text
    assert f"{9 * 360 * found.threads / 3600:,.3g} core-hours of training, 54 min 00 s with 1 cell at once" in text
    assert "Time x rate: " in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--study", "tinny"], "no study 'tinny'"),
        (["--study", "tiny", "--gpus", "H300:8"], "no GPU 'H300'; did you mean 'H200'"),
        (["--study", "tiny", "--gpus", "H200:many"], "'many' is no number of GPUs"),
        (["--study", "tiny", "--gpus", "H200:0"], "'0' is no number of GPUs"),
        (["--study", "tiny", "--utilisation", "1.5"], "--utilisation is 1.5"),
    ],
)
def test_a_mistake_is_one_line(tiny: Path, arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["--seeds", "--slots"])
def test_numbers_begin_at_one(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit):
        main(["--study", "tiny", option, "0"])
    assert f"argument {option}: 0 is no whole number of at least 1" in capsys.readouterr().err


def test_tuning_is_planned_with_trials_and_every_cell_twice(tiny: Path) -> None:
    path = Path("experiments/studies/tiny/study.yaml")
    plain = plan.make_plan(load_study("tiny"), 3, (), 2, measure=False)
    text = path.read_text().replace("optim: {steps: 10}", "optim: {steps: 10, schedule: constant}")
    path.write_text(text + "tune: {values: [0.001, 0.002, 0.004], rungs: [0.2, 0.5]}\n")
    tuned = plan.make_plan(load_study("tiny"), 3, (), 2, measure=False)
    assert tuned.cells == 2 * plain.cells
    assert tuned.total([1.0]) == pytest.approx(3 * (2 + 3 * 0.2 + 2 * 0.5))
    assert plain.total([1.0]) == 3
    trials = makespan([0.2] * 9, 2) + makespan([0.5] * 6, 2)
    assert tuned.makespan([1.0], 2) == pytest.approx(2 * makespan([1.0] * 3, 2) + trials)
    notes = plan_table.notes(tuned)
    assert "18 cells (3 variants, 3 seeds, twice, and trials)" in notes[0]
    assert (
        "Tuning: at most 45 trials, worth 14.4 cells (3 values of optim.peak, 20 % and 50 % of the steps); then"
        in notes[2]
    )
