"""The plan of a study: what each of its cells will cost, and which differences its seeds can separate."""

import heapq
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.common import machine
from experiments.common.device_rates import LAYER_SECONDS, Gpu, Rate, gpu_named, measured_rate
from experiments.config.cell import cells_of
from experiments.config.run_config import RunConfig, flatten, to_dict
from experiments.config.study import Study, list_studies
from experiments.config.tuning import Tuning
from experiments.planning.looks import cell_count
from experiments.planning.step_times import Sample, StepTime, device_of, sample_of, shape_of, step_flops, time_step
from experiments.planning.tuning import tuning_cost
from experiments.reporting.paper import RUN_SD
from experiments.reporting.published import Published, read_published
from experiments.reporting.statistics import ALPHA, smallest_separable
from experiments.reporting.study_results import AT_HAND, study_results
from experiments.reporting.summary import summarise
from lit_transformer.config import Averaging
from lit_transformer.errors import UserError
from lit_transformer.flops import build_on_meta, parameter_count

CHECKPOINT_BYTES = 12
"""Bytes per parameter of a checkpoint: the weight and Adam's two moments, float32 each."""
WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Fleet:
    """GPUs of one kind: `name` as in `device_rates.GPUS`, their number, and the share of their peak that is assumed."""

    name: str
    gpu: Gpu
    count: int
    utilisation: float

    @classmethod
    def parse(cls, text: str, utilisation: float) -> "Fleet":
        """Read "H200:8" or "H200"; raise UserError for an unknown name or a bad count."""
        name, _, count = text.partition(":")
        if count and not (count.isdecimal() and int(count) > 0):
            raise UserError(f"--gpus {text}: '{count}' is no number of GPUs; write {name}:8")
        return cls(name, gpu_named(name), int(count or 1), utilisation)

    def seconds(self, flops: float, steps: int, layers: int) -> float:
        """Return the time of a training: at the assumed rate, but no faster than its kernels can be launched."""
        return max(flops / (self.gpu.peak * self.utilisation), steps * layers * LAYER_SECONDS)


@dataclass(frozen=True)
class CellCost:
    """The cost of one cell of a variant; `fleet_seconds` on one GPU of each fleet, `disk` in bytes."""

    variant: str
    parameters: int
    steps: int
    flops: float
    step_time: StepTime | None
    fleet_seconds: tuple[float, ...]
    disk: int

    @property
    def seconds(self) -> float | None:
        """The time on this machine; None where nothing was measured."""
        return None if self.step_time is None else self.step_time.seconds * self.steps


@dataclass(frozen=True)
class Plan:
    """The cost of a cell of each variant, and what it was computed from; `looks` says how many cells may suffice.

    With `tune`, whose cost `tuning` states, every cell is run twice, and has trials before.
    """

    study: str
    corpus: str
    seeds: int
    variants: list[CellCost]
    origin: str
    on_gpu: bool
    threads: int
    slots: int
    rate: Rate | None
    fleets: tuple[Fleet, ...]
    data_disk: int
    result_disk: int
    done: int
    separable: str
    looks: str = ""
    tune: Tuning | None = None
    tuning: str = ""
    factors: tuple[str, ...] = ()

    @property
    def trainings(self) -> int:
        """The cells of a variant, by the recipe and at its best value."""
        return self.seeds * (2 if self.tune else 1)

    @property
    def cells(self) -> int:
        return self.trainings * len(self.variants)

    def total(self, values: Iterable[float]) -> float:
        """Sum a figure per variant, of one training, over all cells and trials."""
        return (self.trainings + (self.seeds * self.tune.cost if self.tune else 0)) * sum(values)

    def makespan(self, seconds: Sequence[float], slots: int) -> float:
        """Return when the last cell ends if `slots` take cells in the order of `launch`; seconds: per variant."""
        cells = makespan(list(seconds) * self.seeds, slots)
        if self.tune is None:
            return cells
        trials = (
            makespan([share * own for own in seconds for _ in range(number * self.seeds)], slots)
            for number, share in zip(self.tune.numbers, self.tune.rungs, strict=True)
        )
        return 2 * cells + sum(trials)


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Return when the last of these jobs ends if the first free of `slots` takes each, in this order."""
    free = [0.0] * slots
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def make_plan(study: Study, seeds: int, fleets: tuple[Fleet, ...], slots: int, measure: bool) -> Plan:
    """Compute the cost of every cell of a study; `measure`: time training steps here, once for each shape of model."""
    base = study.config(study.baseline, study.seeds[0])
    configs = {variant: study.config(variant, study.seeds[0]) for variant in study.variants}
    sample = sample_of(study)
    threads = max(1, machine.cores() // slots)
    machine.set_up(base.trainer.matmul.value)
    torch.set_num_threads(threads)  # as `launch` gives to a cell
    step_times = time_steps(configs, sample) if measure else {}
    device = device_of(base)
    results = [_folder_bytes(cell.training_folder) for cell in cells_of(study) if cell.training_folder.is_dir()]
    return Plan(
        study=study.name,
        factors=tuple(study.design.description()) if study.design else (),
        corpus=study.corpus,
        seeds=seeds,
        variants=[
            _cell_cost(variant, config, sample, step_times.get(variant), fleets) for variant, config in configs.items()
        ],
        origin=sample.origin,
        on_gpu=device.type == "cuda",
        threads=threads,
        slots=slots,
        rate=measured_rate(device, base.trainer.precision.value) if measure else None,
        fleets=fleets,
        data_disk=_folder_bytes(study.data_folder),
        result_disk=sum(results) // len(results) if results else 0,
        done=sum(
            cell.scores_path.exists()
            for tuned in ([False, True] if study.tune else [False])
            for cell in cells_of(study, tuned)
        ),
        separable=separable(study, seeds),
        looks=cell_count(study).sentence(study.looks) if seeds == len(study.seeds) and len(study.looks) > 1 else "",
        tune=study.tune,
        tuning=tuning_cost(study),
    )


def time_steps(configs: Mapping[str, RunConfig], sample: Sample) -> dict[str, StepTime]:
    """Time the steps of each shape of model once, with progress on stderr; return the step time of each variant."""
    times: dict[object, StepTime] = {}
    shapes = {variant: shape_of(config) for variant, config in configs.items()}
    for variant, config in configs.items():
        if shapes[variant] not in times:
            progress = f"{len(times) + 1} of {len(set(shapes.values()))}"
            print(f"timing steps of {variant} ({progress})", file=sys.stderr, flush=True)
            times[shapes[variant]] = time_step(config, sample)
    return {variant: times[shape] for variant, shape in shapes.items()}


def _cell_cost(
    variant: str, config: RunConfig, sample: Sample, step_time: StepTime | None, fleets: tuple[Fleet, ...]
) -> CellCost:
    steps, flops = config.optim.steps, config.optim.steps * step_flops(config, sample)
    parameters = parameter_count(build_on_meta(config.model, sample.vocab_size))
    layers = config.model.encoder_layers + config.model.decoder_layers
    fleet_seconds = tuple(fleet.seconds(flops, steps, layers) for fleet in fleets)
    return CellCost(variant, parameters, steps, flops, step_time, fleet_seconds, disk_bytes(config, parameters))


def disk_bytes(config: RunConfig, parameters: int) -> int:
    """Return the bytes of a cell's last two checkpoints, of the weights that it averages, and of its model, twice.

    The model stands in the run folder and where DVC looks for it.
    """
    averaging = config.optim.averaging
    averaged = {Averaging.none: 0, Averaging.last: averaging.last + 1, Averaging.ema: 2}[averaging.kind]
    models = 1 if averaging.kind is Averaging.none else 2
    return parameters * (2 * CHECKPOINT_BYTES + WEIGHT_BYTES * (averaged + 2 * models))


def _folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def separable(study: Study, seeds: int) -> str:
    """Return a sentence on the smallest difference in BLEU that this many seeds separate.

    The noise, the sd of one run over seeds, is that of the study's results, else of the published ones on its corpus
    whose base is nearest, else that of a large model in the literature.
    """
    sd, origin = _noise(study)
    changes = len(study.variants) - 1
    if seeds < 2:
        return f"One seed separates nothing: a run varies by {sd:.2f} BLEU (sd over seeds; {origin})."
    one_test = smallest_separable(sd, seeds)
    strictest = smallest_separable(sd, seeds, ALPHA / max(changes, 1))
    return (
        f"{seeds} seeds separate a difference of {one_test:.2f} BLEU in one t-test, {strictest:.2f} at the strictest "
        f"step of the correction over {changes} changes: a run varies by {sd:.2f} BLEU (sd over seeds; {origin})."
    )


def _noise(study: Study) -> tuple[float, str]:
    """Return the sd of a run over seeds, and where it comes from."""
    try:
        results = study_results(study)
    except UserError:  # no results, or none that a report can be made of
        results = None
    if results and (noise := results.summary.noise):
        which = "results so far" if results.origin == AT_HAND else "published results"
        return noise.sd, f"this study's {which}, {noise.n} seeds"
    alike = [found for name in list_studies() if (found := _published(name)) and found.study.corpus == study.corpus]
    for found in sorted(alike, key=lambda found: _settings_apart(found.study, study)):
        if noise := summarise(found.study, found.results).noise:
            name = found.study.name
            return noise.sd, f"published results of {name}, on the same corpus with the nearest base, {noise.n} seeds"
    origin = f"published: one run of EN-DE varies by {RUN_SD}, T5 Table 1; small corpora vary more"
    return RUN_SD, origin


def _published(name: str) -> Published | None:
    try:
        return read_published(name)
    except UserError:  # a broken file, which `report` complains of
        return None


def _settings_apart(one: Study, other: Study) -> int:
    """Return in how many settings the bases of two studies differ as they are written; what is left out is a default.

    They are not resolved: published results may be of settings that this code does not know.
    """
    defaults = flatten(to_dict(RunConfig()))
    settings, others = (defaults | flatten(study.base) for study in (one, other))
    return sum(settings.get(key) != others.get(key) for key in settings.keys() | others.keys())
