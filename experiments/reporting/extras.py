"""Numbers beside a row that do not come from comparing seeds.

Three kinds: BLEU of all seeds as one ensemble; training FLOPs as the paper estimates them, time x devices x rate; and
the published system of Table 2 that the variant resembles. The paper's numbers are of another corpus and another
size, so they are shown beside ours and never combined with them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from experiments.common.device_rates import rate_of, time_times_rate
from experiments.config.study import Study
from experiments.reporting.paper import LABEL, TABLE2_TEST_SET, System, published_system
from experiments.reporting.results import Results

NOTE_SYSTEMS = (
    f"Columns labelled '{LABEL}' show the published system that a row resembles, from Table 2: another corpus, another "
    "size, single runs. FLOPs are counted in two ways: from the arithmetic of one training, and, in columns labelled "
    "time x rate, as in the paper: training time x devices x operations per second, where the paper assumes the rate "
    "and ours is that of a large matrix product on the machine, or the peak of its GPU."
)
NOTE_ENSEMBLE = (
    "All seeds as one model: an ensemble combined at every token by decode.ensemble; one value, no interval."
)


@dataclass(frozen=True)
class Extras:
    """The numbers beside one row.

    `ensemble_bleu` is BLEU on the primary split of all its seeds as one model. `time_flops` is the mean over its
    trainings of seconds x devices x FLOP/s of one device.
    """

    ensemble_bleu: float | None
    time_flops: float | None
    system: System | None
    system_ensemble: System | None


@dataclass(frozen=True)
class ExtraColumn:
    """A column: its name in files, its title, the number of a row, and its digits, None for powers of ten."""

    name: str
    title: str
    value: Callable[[Extras], float | None]
    digits: int | None = 2

    def of(self, extras: Mapping[str, Extras], variant: str) -> float | None:
        """Return the number of a variant, None where it has none."""
        return self.value(extras[variant]) if variant in extras else None


def collect_extras(study: Study, results: Results) -> dict[str, Extras]:
    """Return the extras by variant, none at all where no variant has an ensemble or resembles a published system.

    An ensemble of other trainings than those of the results is left out: DVC, too, calls its stage stale.
    """
    extras = {}
    for variant in study.variants:
        ensemble = _ensemble_bleu(results, variant)
        extras[variant] = Extras(ensemble, _time_flops(results, variant), *published_system(variant))
    shown = any(row.ensemble_bleu is not None or row.system is not None for row in extras.values())
    return extras if shown else {}


def extra_columns(extras: Mapping[str, Extras], split: str) -> list[ExtraColumn]:
    """Return the columns in which some row has a number; `split` is the one of the ensemble's BLEU."""
    columns = [
        ExtraColumn("bleu_ensemble", f"BLEU {split}, all seeds as one model", lambda row: row.ensemble_bleu),
        ExtraColumn("flops_time_times_rate", "training FLOPs (time x rate)", lambda row: row.time_flops, None),
        ExtraColumn(f"bleu_{LABEL}", f"BLEU {LABEL} ({TABLE2_TEST_SET})", lambda row: _bleu(row.system)),
        ExtraColumn(f"bleu_ensemble_{LABEL}", f"BLEU {LABEL}, ensemble", lambda row: _bleu(row.system_ensemble)),
        ExtraColumn(f"flops_{LABEL}", f"training FLOPs {LABEL} (time x rate)", lambda row: _flops(row.system), None),
        ExtraColumn(
            f"flops_ensemble_{LABEL}",
            f"training FLOPs {LABEL}, ensemble",
            lambda row: _flops(row.system_ensemble),
            None,
        ),
    ]
    return [column for column in columns if any(column.value(row) is not None for row in extras.values())]


def extra_notes(extras: Mapping[str, Extras]) -> list[str]:
    """Return the notes that explain these columns."""
    notes = [NOTE_ENSEMBLE] if any(row.ensemble_bleu is not None for row in extras.values()) else []
    return [*notes, NOTE_SYSTEMS] if any(row.system is not None for row in extras.values()) else notes


def _ensemble_bleu(results: Results, variant: str) -> float | None:
    scores = results.ensembles.get(variant)
    if scores is None or results.primary is None:
        return None
    members = {member["seed"]: member["config_hash"] for member in scores["ensemble"]["members"]}
    trained = {r.seed: r.training["config_hash"] for r in results.of(variant) if not r.diverged}
    if members != trained or results.primary not in scores["splits"]:
        return None
    return float(scores["splits"][results.primary]["bleu"])


def _time_flops(results: Results, variant: str) -> float | None:
    trainings = [record.training for record in results.of(variant) if not record.diverged]
    rated = [(training, rate) for training in trainings if (rate := rate_of(training))]
    flops = [
        time_times_rate(float(training["seconds"]) * int(training.get("devices", 1)), rate) for training, rate in rated
    ]
    return sum(flops) / len(flops) if flops else None


def _bleu(system: System | None) -> float | None:
    return None if system is None else system.bleu_en_de


def _flops(system: System | None) -> float | None:
    return None if system is None else system.flops_en_de
