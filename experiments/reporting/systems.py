"""Beside the rows of a study: all seeds of a variant as one model, and the system of the paper's Table 2 it is like.

A variant stands for a published system by its name (`SYSTEMS`). The paper's numbers are of another corpus and another
size, and its FLOPs are not counted but estimated, training time x GPUs x an assumed rate: both are shown, never joined
with ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from experiments.common.device_rates import rate_of, time_times_rate
from experiments.config.study import Study
from experiments.reporting.paper import LABEL, TABLE2, System
from experiments.reporting.results import Results

TEST_SET = "newstest2014 EN-DE, tokenised"
SYSTEMS = {
    "bytenet_like": "ByteNet",
    "gnmt_like": "GNMT + RL",
    "convs2s_like": "ConvS2S",
    "moe_like": "MoE",
    "transformer_base_like": "Transformer base",
    "transformer_big_like": "Transformer big",
}
"""The row of Table 2 beside a variant of this name, in whatever study; without attention there is none."""

NOTE = (
    f"Columns that say '{LABEL}' are of the published system that a row is like, from Table 2: another corpus, another "
    "size, single runs. FLOPs are counted in two ways: from the arithmetic, of one training; and, where a column says "
    "time x rate, as the paper does, training time x devices x operations a second, the paper's rate being assumed, "
    "ours that of a large matrix product on the machine, or the peak of its GPU."
)
NOTE_ENSEMBLE = "All seeds as one model: joined at every token, as decode.ensemble says; one figure, so no interval."


@dataclass(frozen=True)
class Beside:
    """What stands beside a row. `ensemble` is BLEU on the primary split, of all its seeds as one model.

    `spent` is the mean over its trainings of seconds x devices x the rate of one, the paper's way to count FLOPs.
    """

    ensemble: float | None
    spent: float | None
    published: System | None
    published_ensemble: System | None


@dataclass(frozen=True)
class Extra:
    """A column of numbers: its name in files, its title, the number of a row, its digits, None for powers of ten."""

    name: str
    title: str
    value: Callable[[Beside], float | None]
    digits: int | None = 2

    def of(self, rows: Mapping[str, Beside], variant: str) -> float | None:
        """Return the number of a variant, None where it has none."""
        return self.value(rows[variant]) if variant in rows else None


def beside(study: Study, results: Results) -> dict[str, Beside]:
    """Return what stands beside each variant, nothing where no variant has an ensemble or is like a published system.

    An ensemble of other trainings than the results hold is left out: DVC, too, calls its stage stale.
    """
    found = {}
    for variant in study.variants:
        ensemble = _ensemble(results, variant)
        system = SYSTEMS.get(variant, "")
        published = _published(system), _published(f"{system} ensemble")
        found[variant] = Beside(ensemble, _spent(results, variant), *published)
    told = any(own.ensemble is not None or own.published is not None for own in found.values())
    return found if told else {}


def extras(rows: Mapping[str, Beside], split: str) -> list[Extra]:
    """Return the columns in which some row has a number; the first is of a split."""
    columns = [
        Extra("bleu_ensemble", f"BLEU {split}, all seeds as one model", lambda own: own.ensemble),
        Extra("flops_time_times_rate", "training FLOPs (time x rate)", lambda own: own.spent, None),
        Extra(f"bleu_{LABEL}", f"BLEU {LABEL} ({TEST_SET})", lambda own: _bleu(own.published)),
        Extra(f"bleu_ensemble_{LABEL}", f"BLEU {LABEL}, ensemble", lambda own: _bleu(own.published_ensemble)),
        Extra(f"flops_{LABEL}", f"training FLOPs {LABEL} (time x rate)", lambda own: _flops(own.published), None),
        Extra(
            f"flops_ensemble_{LABEL}",
            f"training FLOPs {LABEL}, ensemble",
            lambda own: _flops(own.published_ensemble),
            None,
        ),
    ]
    return [column for column in columns if any(column.value(own) is not None for own in rows.values())]


def notes(rows: Mapping[str, Beside]) -> list[str]:
    """Return what a reader of these columns must know."""
    found = [NOTE_ENSEMBLE] if any(own.ensemble is not None for own in rows.values()) else []
    return [*found, NOTE] if any(own.published is not None for own in rows.values()) else found


def _ensemble(results: Results, variant: str) -> float | None:
    scores = results.ensembles.get(variant)
    if scores is None or results.primary is None:
        return None
    joined = {member["seed"]: member["config_hash"] for member in scores["ensemble"]["members"]}
    trained = {r.seed: r.training["config_hash"] for r in results.of(variant) if not r.diverged}
    if joined != trained or results.primary not in scores["splits"]:
        return None
    return float(scores["splits"][results.primary]["bleu"])


def _spent(results: Results, variant: str) -> float | None:
    trainings = [record.training for record in results.of(variant) if not record.diverged]
    rated = [(own, rate) for own in trainings if (rate := rate_of(own))]
    spent = [time_times_rate(float(own["seconds"]) * int(own.get("devices", 1)), rate) for own, rate in rated]
    return sum(spent) / len(spent) if spent else None


def _published(name: str) -> System | None:
    return next((row for row in TABLE2 if row.model == name), None)


def _bleu(row: System | None) -> float | None:
    return None if row is None else row.bleu_en_de


def _flops(row: System | None) -> float | None:
    return None if row is None else row.flops_en_de
