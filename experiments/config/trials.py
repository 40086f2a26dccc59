"""Trials: short trainings of a row at each value of `tune`, what they found, which go on, and the value they choose.

experiments/studies/<study>/results/tuning/<variant>/<rung>/<value>-seed<k>.json    one trial, written by `tune`

What is chosen is a function of these records and nothing else: the same records choose the same value.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.config.run_config import config_hash
from experiments.config.study import Study
from experiments.config.tuning import Tuning
from lit_transformer.errors import UserError

FINISHED, DIVERGED, STOPPED = "finished", "diverged", "stopped"


@dataclass(frozen=True)
class Trial:
    """One value and one seed of a row, trained for a share of optim.steps."""

    study: Study
    variant: str
    value: float
    seed: int
    rung: float

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
        """The trial as a reader sees it: "base, optim.peak 0.001, seed 100, 25 % of the steps"."""
        assert self.study.tune
        return (
            f"{self.variant}, {self.study.tune.key} {self.value}, seed {self.seed}, {100 * self.rung:g} % of the steps"
        )

    @property
    def stage(self) -> str:
        """The name of its stage in the study's tuning/dvc.yaml."""
        assert self.study.tune
        return f"rung{self.study.tune.rungs.index(self.rung)}@{self.variant}-{self.value}-{self.seed}"

    @property
    def path(self) -> Path:
        """The file of its record."""
        return self.study.trials(self.variant) / str(self.rung) / f"{self.value}-seed{self.seed}.json"


@dataclass(frozen=True)
class TrialRecord:
    """What a trial found: the validation loss after `steps` steps in nats per token, None where it has none.

    `status` is finished, diverged, or stopped: a value that the rung before left behind, which is not trained. `hashes`
    are of the row's settings, without what the trial changes, and of the data.
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
    """A value beside the chosen one, tried as long as that at `rung`: its perplexity there is higher by `cost`.

    None where one of the two diverged.
    """

    value: float
    rung: float
    cost: float | None


@dataclass(frozen=True)
class Choice:
    """The value of a row that its trials choose. `at_edge`: the best may lie outside of the values tried.

    `diverged`: every trial of the last rung did, so that there was nothing to choose.
    """

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
        for value in tune.values
        for seed in tune.seeds
    ]


def plain_record(record: TrialRecord) -> dict[str, Any]:
    """Return a record as it is written; a stopped trial has nothing to say of a training."""
    defaults = {item.name: item.default for item in fields(TrialRecord)}
    return {name: value for name, value in vars(record).items() if value != defaults[name]}


def read_trials(study: Study, variant: str) -> list[TrialRecord]:
    """Return the records of a row's trials; what was found with other settings than the present ones does not count."""
    assert study.tune
    trials = [trial for trial in trials_of(study) if trial.variant == variant and trial.path.is_file()]
    records = [parse_record(trial.path.read_text(encoding="utf-8"), trial.path) for trial in trials]
    trained = {(record.seed, record.data_hash) for record in records if record.status != STOPPED}
    hashes = {(seed, data_hash): config_hash(study.config(variant, seed), data_hash) for seed, data_hash in trained}
    return [
        record
        for record in records
        if record.key == study.tune.key
        and (record.status == STOPPED or record.row_hash == hashes[record.seed, record.data_hash])
    ]


def parse_record(text: str, path: Path) -> TrialRecord:
    """Read a record; raises UserError for a file that is none."""
    try:
        return TrialRecord(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is no record of a trial ({error}); delete it and run its stage again") from None


def losses(records: Sequence[TrialRecord], rung: float, seeds: Sequence[int]) -> dict[float, float]:
    """Return the mean validation loss at a rung by value, of values tried with every seed; infinite if one diverged."""
    by_trial = {
        (record.value, record.seed): math.inf if record.valid_loss is None else record.valid_loss
        for record in records
        if record.rung == rung and record.status != STOPPED
    }
    values = dict.fromkeys(value for value, _ in by_trial)
    return {
        value: fmean(by_trial[value, seed] for seed in seeds)
        for value in values
        if all((value, seed) in by_trial for seed in seeds)
    }


def better_half(losses: Mapping[float, float]) -> list[float]:
    """Return the values of lowest loss, half of them rounded up, from the smallest; of equals the smaller ones."""
    ranked = sorted(losses, key=lambda value: (losses[value], value))
    return sorted(ranked[: math.ceil(len(ranked) / 2)])


def values_at(tune: Tuning, records: Sequence[TrialRecord], rung: float) -> list[float] | None:
    """Return the values that are tried at a rung; None while a trial of an earlier rung is missing."""
    values = list(tune.values)
    for share in tune.rungs[: tune.rungs.index(rung)]:
        found = losses(records, share, tune.seeds)
        if not set(values) <= set(found):
            return None
        values = better_half({value: found[value] for value in values})
    return values


def choose(tune: Tuning, records: Sequence[TrialRecord]) -> Choice | None:
    """Return the value of lowest mean loss at the last rung, of equals the smallest; None while a trial is missing."""
    last = tune.rungs[-1]
    values, found = values_at(tune, records, last), losses(records, last, tune.seeds)
    if values is None or not set(values) <= set(found):
        return None
    best = min(values, key=lambda value: (found[value], value))
    at_edge = best in (tune.values[0], tune.values[-1])
    return Choice(best, at_edge, _neighbours(tune, records, best), diverged=math.isinf(found[best]))


def chosen_value(study: Study, variant: str) -> float:
    """Return the value that a row's trials choose; raises UserError while a trial is missing."""
    if study.tune is None:
        raise UserError(f"study {study.name} has no `tune` in study.yaml, so no row has a best value; add it")
    choice = choose(study.tune, read_trials(study, variant))
    if choice is None:
        raise UserError(
            f"trials of {variant} are missing or outdated in {study.trials(variant)}, so no value is chosen; "
            f"run them: python -m experiments launch --study {study.name}"
        )
    return choice.value


def _neighbours(tune: Tuning, records: Sequence[TrialRecord], best: float) -> tuple[Neighbour, ...]:
    """Return what the values next to the best cost: half and twice of it where they were tried, else the nearest."""
    below = [value for value in tune.values if value < best]
    above = [value for value in tune.values if value > best]
    nearest_below = next((value for value in below if math.isclose(2 * value, best)), max(below, default=None))
    nearest_above = next((value for value in above if math.isclose(value, 2 * best)), min(above, default=None))
    found = []
    for value in (nearest_below, nearest_above):
        for share in reversed(tune.rungs):
            at_rung = losses(records, share, tune.seeds)
            if value is not None and {value, best} <= set(at_rung):
                cost = None
                if math.isfinite(at_rung[value]) and math.isfinite(at_rung[best]):
                    cost = math.exp(at_rung[value]) - math.exp(at_rung[best])
                found.append(Neighbour(value, share, cost))
                break
    return tuple(found)
