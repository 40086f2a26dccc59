"""Trials: short trainings of a row at each value of `tune`, what they found, which go on, and the value they choose.

experiments/studies/<study>/results/tuning/<variant>/seed<k>/<rung>/<value>.json    one trial, written by `tune`

What is chosen for a seed of a row is a function of its records and nothing else.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import gt, lt
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.config.run_config import config_hash
from experiments.config.study import Study
from experiments.config.tuning import SEED, Tuning
from lit_transformer.errors import UserError

FINISHED, DIVERGED, STOPPED = "finished", "diverged", "stopped"


@dataclass(frozen=True)
class Trial:
    """One value, trained for a share of optim.steps, to choose for a variant and a seed of the study."""

    study: Study
    variant: str
    value: float
    seed: int
    rung: float

    @property
    def own_seed(self) -> int:
        """The seed of its training."""
        return self.seed + SEED

    @property
    def overrides(self) -> tuple[str, ...]:
        """The row's config as this trial changes it: the value, and a schedule for its own number of steps.

        Steps and warm-up are scaled by the rung and rounded to whole steps, at least 1 where there are any. A trial is
        validated once, at its end, and keeps no average of its weights.
        """
        assert self.study.tune
        config = self.study.config(self.variant, self.seed)
        steps = scaled(config.optim.steps, self.rung)
        return (
            f"{self.study.tune.key}={self.value}",
            f"optim.steps={steps}",
            f"optim.warmup={scaled(config.optim.warmup, self.rung)}",
            "optim.averaging.kind=none",
            f"trainer.validate_every={steps}",
        )

    @property
    def name(self) -> str:
        """The trial as a reader sees it: "base seed 0, optim.peak 0.001 for 25 % of the steps"."""
        assert self.study.tune
        setting, share = f"{self.study.tune.key} {self.value}", f"{100 * self.rung:g} %"
        return f"{self.variant} seed {self.seed}, {setting} for {share} of the steps"

    @property
    def stage(self) -> str:
        """The name of its stage in the study's tuning/dvc.yaml."""
        assert self.study.tune
        return f"rung{self.study.tune.rungs.index(self.rung)}@{self.variant}-{self.value}-{self.seed}"

    @property
    def path(self) -> Path:
        """The file of its record."""
        return self.study.trials(self.variant, self.seed) / str(self.rung) / f"{self.value}.json"


@dataclass(frozen=True)
class TrialRecord:
    """What a trial for a cell of this seed found: the validation loss after `steps` steps, None where it has none.

    In nats per token. `status` is finished, diverged, or stopped: a value that the rung before left behind, which is
    not trained. `row_hash` is of the row's settings, without what the trial changes, and of the data.
    """

    value: float
    seed: int
    rung: float
    key: str
    status: str
    steps: int = 0
    valid_loss: float | None = None
    seconds: float = 0.0
    row_hash: str = ""
    data_hash: str = ""
    code_hash: str = ""


@dataclass(frozen=True)
class Neighbour:
    """A value beside the best one: its perplexity is higher by `cost` at `rung`, the last at which both were tried.

    A mean over the seeds that tried both there; None where one of the two diverged.
    """

    value: float
    rung: float
    cost: float | None


@dataclass(frozen=True)
class Choice:
    """The values that the trials of a row choose, by the study's seed; `value` is the one chosen most often.

    `at_edge`: a better one may lie outside of the values tried. `diverged`: every trial of the last rung did.
    """

    by_seed: dict[int, float]
    value: float
    at_edge: bool
    neighbours: tuple[Neighbour, ...]
    diverged: bool = False


def scaled(steps: int, share: float) -> int:
    """Return a share of a number of steps in whole steps: none of none, else at least one."""
    return max(round(share * steps), min(steps, 1))


def trials_of(study: Study, rung: float | None = None) -> list[Trial]:
    """Return all trials of a study, or those of a rung, those of values that the rung before may stop included."""
    if study.tune is None:
        return []
    tune = study.tune
    rungs = tune.rungs if rung is None else (rung,)
    return [
        Trial(study, variant, value, seed, share)
        for share in rungs
        for variant in study.variants
        for seed in study.seeds
        for value in tune.values
    ]


def plain_record(record: TrialRecord) -> dict[str, Any]:
    """Return a record as it is written; a stopped trial has nothing to say of a training."""
    defaults = {item.name: item.default for item in fields(TrialRecord)}
    return {name: value for name, value in vars(record).items() if value != defaults[name]}


def read_trials(study: Study, variant: str, seed: int) -> list[TrialRecord]:
    """Return the records of a row's trials for a seed, without those of other settings than the present ones."""
    assert study.tune
    trials = [Trial(study, variant, value, seed, rung) for rung in study.tune.rungs for value in study.tune.values]
    found = [parse_record(trial.path.read_text("utf-8"), trial.path) for trial in trials if trial.path.is_file()]
    data = {record.data_hash for record in found if record.status != STOPPED}
    hashes = {data_hash: config_hash(study.config(variant, seed), data_hash) for data_hash in data}
    return [
        record
        for record in found
        if record.key == study.tune.key and (record.status == STOPPED or record.row_hash == hashes[record.data_hash])
    ]


def parse_record(text: str, path: Path) -> TrialRecord:
    """Read a record; raises UserError for a file that is none."""
    try:
        return TrialRecord(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is no record of a trial ({error}); delete it and run its stage again") from None


def losses(records: Sequence[TrialRecord], rung: float) -> dict[float, float]:
    """Return the validation loss by value of what a seed tried at a rung; infinite where it diverged."""
    return {
        record.value: math.inf if record.valid_loss is None else record.valid_loss
        for record in records
        if record.rung == rung and record.status != STOPPED
    }


def better_half(losses: Mapping[float, float]) -> list[float]:
    """Return the values of lowest loss, half of them rounded up, from the smallest; of equals the smaller ones."""
    ranked = sorted(losses, key=lambda value: (losses[value], value))
    return sorted(ranked[: math.ceil(len(ranked) / 2)])


def values_at(tune: Tuning, records: Sequence[TrialRecord], rung: float) -> list[float] | None:
    """Return the values that a seed tries at a rung; None while a trial of an earlier rung is missing."""
    values = list(tune.values)
    for share in tune.rungs[: tune.rungs.index(rung)]:
        found = losses(records, share)
        if not set(values) <= set(found):
            return None
        values = better_half({value: found[value] for value in values})
    return values


def choose(tune: Tuning, records: Sequence[TrialRecord]) -> float | None:
    """Return the value of lowest loss at a seed's last rung, of equals the smallest; None while a trial is missing."""
    values, found = values_at(tune, records, tune.rungs[-1]), losses(records, tune.rungs[-1])
    if values is None or not set(values) <= set(found):
        return None
    return min(values, key=lambda value: (found[value], value))


def row_choice(tune: Tuning, trials: Mapping[int, Sequence[TrialRecord]]) -> Choice | None:
    """Return what the trials of a row choose, from their records by seed; None while no seed has all of its trials."""
    by_seed = {seed: value for seed, records in trials.items() if (value := choose(tune, records)) is not None}
    if not by_seed:
        return None
    counts = Counter(by_seed.values())
    best = min(counts, key=lambda value: (-counts[value], value))
    chosen = [losses(trials[seed], tune.rungs[-1])[value] for seed, value in by_seed.items()]
    at_edge = best in (tune.values[0], tune.values[-1])
    neighbours = _neighbours(tune, list(trials.values()), best)
    return Choice(by_seed, best, at_edge, neighbours, diverged=all(map(math.isinf, chosen)))


def chosen_value(study: Study, variant: str, seed: int) -> float:
    """Return the value that a row's trials choose for a seed; raises UserError while one of them is missing."""
    if study.tune is None:
        raise UserError(f"study {study.name} has no `tune` in study.yaml, so no row has a best value; add it")
    value = choose(study.tune, read_trials(study, variant, seed))
    if value is None:
        raise UserError(
            f"trials of {variant} seed {seed} are missing or outdated in {study.trials(variant, seed)}, so no value is "
            f"chosen; run them: python -m experiments launch --study {study.name}"
        )
    return value


def _neighbours(tune: Tuning, trials: Sequence[Sequence[TrialRecord]], best: float) -> tuple[Neighbour, ...]:
    """Return what the values next to the best cost: half and twice of it where they were tried, else the nearest."""
    below, above = ([value for value in tune.values if other(value, best)] for other in (lt, gt))
    half = next((value for value in below if math.isclose(2 * value, best)), max(below, default=None))
    double = next((value for value in above if math.isclose(value, 2 * best)), min(above, default=None))
    found = []
    for value in [value for value in (half, double) if value is not None]:
        for rung in reversed(tune.rungs):
            by_seed = [losses(records, rung) for records in trials]
            pairs = [(at_rung[value], at_rung[best]) for at_rung in by_seed if value in at_rung and best in at_rung]
            if pairs:
                finite = all(math.isfinite(loss) for pair in pairs for loss in pair)
                cost = fmean(math.exp(other) - math.exp(own) for other, own in pairs) if finite else None
                found.append(Neighbour(value, rung, cost))
                break
    return tuple(found)
