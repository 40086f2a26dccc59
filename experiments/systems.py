"""Beside the rows of a study: all seeds of a variant as one model, and the system of the paper's Table 2 it is like.

A variant stands for a published system by its name (`SYSTEMS`). The paper's numbers are of another corpus and another
size, and its FLOPs are not counted but estimated, training time x GPUs x an assumed rate: both are shown, never joined
with ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.files import read_json
from experiments.paper import LABEL, TABLE2, System
from experiments.results import Results
from experiments.study import Study

TEST_SET = "newstest2014 EN-DE, tokenised BLEU"
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
    f"Columns that say '{LABEL}' are of the system of Table 2 that a row is like, published: another corpus, another "
    "size, single runs. Its FLOPs are training time x GPUs x an assumed sustained rate. Ours, without that word, are "
    "counted from the arithmetic, for one training."
)
NOTE_ENSEMBLE = "All seeds as one model: joined at every token, as decode.ensemble says; one figure, so no interval."


@dataclass(frozen=True)
class Beside:
    """What stands beside a row. `ensemble` is BLEU on the primary split, of `members` seeds as one model."""

    ensemble: float | None
    members: int
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
    """Return what stands beside each variant of which there is something to say.

    An ensemble of other trainings than the results hold is left out: DVC, too, calls its stage stale.
    """
    found = {}
    for variant in study.variants:
        ensemble, members = _ensemble(study.ensemble(variant) / "scores.json", results, variant)
        system = SYSTEMS.get(variant, "")
        row, row_ensemble = _published(system), _published(f"{system} ensemble")
        if ensemble is not None or row is not None:
            found[variant] = Beside(ensemble, members, row, row_ensemble)
    return found


def extras(rows: Mapping[str, Beside], split: str) -> list[Extra]:
    """Return the columns in which some row has a number; the first is of a split."""
    columns = [
        Extra("bleu_ensemble", f"BLEU {split}, all seeds as one model", lambda own: own.ensemble),
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


def _ensemble(path: Path, results: Results, variant: str) -> tuple[float | None, int]:
    if not path.exists() or results.primary is None:
        return None, 0
    scores = read_json(path)
    joined = {member["seed"]: member["config_hash"] for member in scores["ensemble"]["members"]}
    trained = {r.seed: r.training["config_hash"] for r in results.of(variant) if not r.diverged}
    if joined != trained or results.primary not in scores["splits"]:
        return None, 0
    return float(scores["splits"][results.primary]["bleu"]), len(joined)


def _published(name: str) -> System | None:
    return next((row for row in TABLE2 if row.model == name), None)


def _bleu(row: System | None) -> float | None:
    return None if row is None else row.bleu_en_de


def _flops(row: System | None) -> float | None:
    return None if row is None else row.flops_en_de
