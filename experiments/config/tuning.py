"""`tune` of study.yaml: every row of a study tries the same values of one setting, anew for each of its seeds.

A seed of a row is then one run of the whole procedure, the choice included. With one choice for all seeds of a row,
verdicts would take a choice by chance for a finding: where trials are noisy, more than half of simulated studies of
copies of the baseline claim a difference, and with a choice for each seed fewer than 1 in 20
(tests/test_family_wise_error.py).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_transformer.errors import UserError, nearest

KEY = "optim.peak"
"""The setting that is tuned unless study.yaml names another."""
RUNGS = (0.25,)
"""The shares of optim.steps that trials get unless study.yaml says otherwise."""
KEYS = ("values", "key", "rungs")
EXAMPLE = "such as {values: [0.001, 0.002, 0.004]}"
SEED = 1_000_000
"""What the seed of a trial adds to that of the cell for which it chooses: no training is chosen by its own luck."""


@dataclass(frozen=True)
class Tuning:
    """The trials of each seed of each row: values of `key`, from the smallest, and rungs.

    A rung is a share of optim.steps. All values are tried at the first one, and after each the better half goes on
    (successive halving: Jamieson and Talwalkar 2016); the last one chooses.
    """

    values: tuple[float, ...]
    key: str = KEY
    rungs: tuple[float, ...] = RUNGS

    @property
    def numbers(self) -> list[int]:
        """The number of values at each rung: half of those before, rounded up."""
        return [math.ceil(len(self.values) / 2**rung) for rung in range(len(self.rungs))]

    @property
    def cost(self) -> float:
        """The steps of one seed's trials in trainings of optim.steps."""
        return sum(n * share for n, share in zip(self.numbers, self.rungs, strict=True))


def parse_tuning(value: Any, seeds: list[int], path: Path) -> Tuning | None:
    """Read `tune: {values: [...]}`; errors name the path. Rows are not checked here."""
    if value is None:
        return None
    where = f"{path}: tune"
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}; it must hold keys and values, {EXAMPLE}")
    for key in value:
        if key not in KEYS:
            raise UserError(f"{where}: unknown key '{key}'{nearest(key, KEYS)} (known: {', '.join(KEYS)})")
    if value.get("values") is None:
        raise UserError(f"{where}: the key 'values' is missing; write it, {EXAMPLE}")
    if shared := sorted({seed + SEED for seed in seeds} & set(seeds)):
        raise UserError(
            f"{where}: the trials of seed {shared[0] - SEED} have the seed {shared[0]}, which seeds holds too; drop it"
        )
    tuning = Tuning(
        _values(value["values"], where),
        str(value.get("key") or KEY),
        _rungs(RUNGS if value.get("rungs") is None else value["rungs"], where),
    )
    if len(tuning.rungs) > 1 and tuning.numbers[-1] < 2:
        raise UserError(
            f"{where}: {len(tuning.rungs)} rungs leave one of {len(tuning.values)} values for the last of them, which "
            "has nothing to choose; drop a rung or add values"
        )
    return tuning


def _values(value: Any, where: str) -> tuple[float, ...]:
    if not _numbers(value) or not all(0 < number < math.inf for number in value):
        raise UserError(f"{where}: values is {value!r}; it must be a list of numbers above 0, {EXAMPLE}")
    if len(set(value)) != len(value):
        raise UserError(f"{where}: values holds {value!r}; each value may stand once")
    if len(value) < 2:
        raise UserError(f"{where}: values holds {value!r}; give it two values at least, or drop `tune`")
    return tuple(sorted(value))


def _rungs(value: Any, where: str) -> tuple[float, ...]:
    example = "such as [0.25, 0.5]"
    if not _numbers(value) or not value or not all(0 < share <= 1 for share in value):
        raise UserError(
            f"{where}: rungs is {value!r}; it must be a list of shares of optim.steps, above 0 and at most 1, {example}"
        )
    if list(value) != sorted(set(value)):
        raise UserError(f"{where}: rungs is {value!r}; the shares must rise, {example}")
    return tuple(value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(number) in (int, float) for number in value)
