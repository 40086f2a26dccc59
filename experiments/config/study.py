"""A study: a folder of deltas. Reads study.yaml, names folders, resolves each cell's config.

experiments/studies/<study>/study.yaml     the question, the corpus, the baseline, seeds, base and variants
experiments/studies/<study>/predictions/   what cheaper studies predict of it, written before it was run
experiments/studies/<study>/published/     the results that the project vouches for, compact; all of this is in git
data/<study>/                              the prepared corpus
runs/<study>/<variant>/seed<k>/            checkpoints, log, W&B files
experiments/studies/<study>/models/...     trained models
experiments/studies/<study>/results/...    what each cell found; trials in tuning/, cells at their best value in tuned/
experiments/studies/<study>/report/        table, figures, page; and beside it
experiments/studies/<study>/metrics.json   BLEU and perplexity of each variant, means over seeds
experiments/studies/<study>/verdicts.json  every verdict as numbers; none of these is in git, DVC keeps the last five
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from data_modules.config import DataConfig
from experiments.config.dvc_yaml import check_read_alike
from experiments.config.factors import FACTORS, FRACTION, JOINED, LONGEST_NAME, NAME, Design, parse_design
from experiments.config.run_config import RunConfig, flatten, known_keys, read_yaml, resolve, to_dict
from experiments.config.tuning import Tuning, parse_tuning
from lit_transformer.config import Schedule
from lit_transformer.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = Path("experiments/studies")
SECTIONS = ("model", "data", "optim", "trainer", "decode")
KEYS = ("name", "question", "corpus", "baseline", "seeds", "base", "variants")
ENSEMBLES = "ensembles"
"""The key of the variants of which all seeds are scored as one model too."""
TUNING, TUNED = "tuning", "tuned"
"""The folders of a study's trials, and of its cells at the values that these choose."""
OPTIONAL = ("looks", "margin", "labels", ENSEMBLES, "tune", FACTORS, FRACTION)
"""Keys that may be left out; `factors` take the place of `variants`."""
NOT_WITH_FACTORS = ("variants", "looks", ENSEMBLES, "tune")
"""Keys that a study with factors must leave out: every cell counts in every effect, with all of its seeds."""
NOT_TUNED = ("optim.steps", "optim.warmup", "seed")
"""Settings that a trial has of its own."""
MARGIN = 1.0
"""The margin of equality, in BLEU, of a study that states none."""
FREE_DATA = ("batch_tokens",)
"""Fields of `data` that may differ within a study: they do not touch the prepared corpus."""


@dataclass(frozen=True)
class Look:
    """A number of seeds per variant at which verdicts are given, and the share of alpha that it spends."""

    seeds: int
    share: float


@dataclass(frozen=True, eq=False)
class Study:
    """A question, a baseline and the deltas that may answer it. Paths are relative to the project's root.

    A variant is run with the first `seeds` of a look, and with those of the next while its verdict is open; a study of
    one seed has no look. A change within `margin` BLEU counts as equal. `labels` say in words what a variant is. With
    `tune`, every cell is run once more, at its own best value of one setting. With factors, `design` has the levels of
    each variant, and `labels` are of factors and levels.
    """

    name: str
    question: str
    corpus: str
    baseline: str
    seeds: list[int]
    base: dict[str, Any]
    variants: dict[str, dict[str, Any]]
    ensembles: list[str] = field(default_factory=list)
    looks: tuple[Look, ...] = ()
    margin: float = MARGIN
    labels: dict[str, str] = field(default_factory=dict)
    tune: Tuning | None = None
    design: Design | None = None

    @property
    def folder(self) -> Path:
        return STUDIES / self.name

    @property
    def report_folder(self) -> Path:
        return self.folder / "report"

    @property
    def metrics_path(self) -> Path:
        """BLEU and perplexity of each variant, beside the report: what `dvc exp show` and `dvc metrics` compare."""
        return self.folder / "metrics.json"

    @property
    def verdicts_path(self) -> Path:
        """Every verdict as numbers, beside the report: a metric of DVC, and what another program reads."""
        return self.folder / "verdicts.json"

    @property
    def data_folder(self) -> Path:
        return Path("data") / self.name

    @property
    def on_cpu(self) -> bool:
        """Whether the study itself says that its cells compute on the CPU, where there is a GPU too."""
        return self.config(self.baseline, self.seeds[0]).trainer.accelerator == "cpu"

    @cached_property
    def devices(self) -> int:
        """The most devices that a cell trains on at once. Raises UserError where that is over several nodes."""
        own = [self.baseline, *(name for name, delta in self.variants.items() if "trainer" in delta)]
        trainers = [self.config(name, self.seeds[0]).trainer for name in own]
        if any(trainer.num_nodes > 1 for trainer in trainers):
            raise UserError(
                f"study {self.name} sets trainer.num_nodes, and a launcher's cell stays on one node; start such cells "
                "by torchrun or srun (docs/scale.md)"
            )
        return max(trainer.devices for trainer in trainers)

    def results(self, variant: str, seed: int) -> Path:
        """Return the folder of one cell's results."""
        return self.folder / "results" / variant / f"seed{seed}"

    def models(self, variant: str, seed: int) -> Path:
        """Return the folder of one cell's trained model."""
        return self.folder / "models" / variant / f"seed{seed}"

    def trials(self, variant: str, seed: int) -> Path:
        """Return the folder of what a variant's trials for a seed found."""
        return self.folder / "results" / TUNING / variant / f"seed{seed}"

    def ensemble(self, variant: str) -> Path:
        """Return the folder of what all seeds of a variant score as one model."""
        return self.folder / "results" / ENSEMBLES / variant

    def config(self, variant: str, seed: int, overrides: Sequence[str] = ()) -> RunConfig:
        """Resolve one cell: defaults, base, the variant's delta, overrides."""
        cell = (variant, seed, tuple(overrides))
        if cell not in self._configs:
            where = f"study {self.name}, variant {variant}"
            resolved = resolve([self.base, self.delta(variant), {"seed": seed}], overrides, where)
            _check_same_corpus(self.data_config, resolved.data, where)
            self._configs[cell] = resolved
        return self._configs[cell]

    @cached_property
    def _configs(self) -> dict[tuple[str, int, tuple[str, ...]], RunConfig]:
        """The configs that were resolved: each takes some 50 ms, and a report asks for every cell's several times."""
        return {}

    @cached_property
    def data_config(self) -> DataConfig:
        """The corpus settings that all variants share."""
        return resolve([self.base], where=f"study {self.name}").data

    def delta(self, variant: str) -> dict[str, Any]:
        """Return a variant's own settings."""
        if variant not in self.variants:
            known = ", ".join(self.variants)
            raise UserError(f"study {self.name} has no variant '{variant}'{nearest(variant, self.variants)} ({known})")
        return self.variants[variant]

    @cached_property
    def _flat_baseline(self) -> dict[str, Any]:
        return flatten(to_dict(self.config(self.baseline, self.seeds[0])))

    def label(self, variant: str) -> str:
        """Return what a variant is in words: its label, or those of its levels, else its name with blanks."""
        parts = variant.split(JOINED) if self.design else [variant]
        return ", ".join(self.labels.get(part, part.replace("_", " ")) for part in parts)

    def describe(self, variant: str, overrides: Sequence[str] = ()) -> str:
        """Say what a variant, with overrides, changes, old value -> new: "attention.heads 4 -> 1, ..."."""
        base = self._flat_baseline
        own = flatten(to_dict(self.config(variant, self.seeds[0], overrides)))
        changes = [f"{short_key(key)} {base[key]} -> {own[key]}" for key in base if base[key] != own[key]]
        return ", ".join(changes) if changes else "the baseline"


def list_studies() -> list[str]:
    """Name every study of the project."""
    return sorted(path.parent.name for path in STUDIES.glob("*/study.yaml"))


def load_study(name: str) -> Study:
    """Read and check experiments/studies/<name>/study.yaml, every variant's config included."""
    path = STUDIES / name / "study.yaml"
    if not path.is_file() and path.with_name("layers.yaml").is_file():
        raise UserError(f"{path.parent} is a study without cells: `make layers` runs it")
    if not path.is_file():
        known = list_studies()
        raise UserError(f"no study '{name}' ({path} is missing){nearest(name, known)} (studies: {', '.join(known)})")
    content = read_yaml(path)
    check_read_alike(content, path)
    study = parse_study(content, path)
    if study.name != name:
        raise UserError(f"{path}: name is '{study.name}' but the folder is '{name}'; make them the same")
    return study


def parse_study(content: dict[str, Any], path: Path) -> Study:
    """Check the content of a study.yaml and every cell's config; errors name the path and the key."""
    for key in content:
        if key not in (known := (*KEYS, *OPTIONAL)):
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, known)} (known: {', '.join(known)})")
    for key in KEYS:
        if content.get(key) is None and not (key == "variants" and content.get(FACTORS)):
            raise UserError(f"{path}: the key '{key}' is missing")
    for key in NOT_WITH_FACTORS:
        if content.get(FACTORS) and content.get(key):
            raise UserError(f"{path}: {key} cannot stand beside {FACTORS}, whose cells all have all seeds; drop one")
    base = _mapping(content["base"], f"{path}: base")
    for section in SECTIONS:
        if section not in base:
            raise UserError(f"{path}: base has no section '{section}'; write `{section}: {{}}` to keep its defaults")
    if "recipe" not in base:
        raise UserError(f"{path}: base names no recipe; write `recipe: paper` to start from the paper's settings")
    baseline = str(content["baseline"])
    design = parse_design(content, baseline, path)
    variants = design.variants if design else _mapping(content["variants"], f"{path}: variants")
    for variant in [content["name"], baseline] if design else [content["name"], *variants]:
        if not isinstance(variant, str):
            raise UserError(f"{path}: the name {variant!r} is not text in YAML; choose another, or put it in quotes")
        if not re.fullmatch(NAME, variant):
            raise UserError(
                f"{path}: '{variant}' cannot name a stage; use letters, digits, _ and -, {LONGEST_NAME} at most and "
                "the first no -"
            )
    for key in ("question", "corpus"):
        if not isinstance(content[key], str):
            raise UserError(f"{path}: {key} is {content[key]!r}, which is not text in YAML; put it in quotes")
        if not content[key].strip().isprintable():
            raise UserError(f"{path}: {key} is {content[key]!r}; it must be one line of text")
    for variant, delta in variants.items():
        _mapping(delta, f"{path}: variants.{variant}")
    if baseline not in variants:
        raise UserError(f"{path}: the baseline '{baseline}' is no variant{nearest(baseline, variants)}")
    seeds = _seeds(content["seeds"], path)
    if content.get(ENSEMBLES) and len(content.get("looks") or {}) > 1:
        raise UserError(
            f"{path}: {ENSEMBLES} join all seeds of a variant, and looks may leave some out; drop one of them"
        )
    study = Study(
        str(content["name"]), str(content["question"]), str(content["corpus"]), baseline, seeds, base, variants,
        _ensembles(content.get(ENSEMBLES), variants, seeds, path),
        parse_looks(content.get("looks"), seeds, path), parse_margin(content.get("margin"), path),
        _labels(content.get("labels"), variants, design, path),
        parse_tuning(content.get("tune"), seeds, path), design,
    )  # fmt: skip
    by_label: dict[str, str] = {}
    for variant in variants:
        study.config(variant, seeds[0])
        other, label = by_label.setdefault(study.label(variant), variant), study.label(variant)
        if other != variant:
            raise UserError(f"{path}: {other} and {variant} have the same label, '{label}'; call one otherwise")
    if study.tune:
        _check_tunable(study, study.tune, path)
    if study.design:
        _check_levels(study, study.design, path)
    return study


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}; it must hold keys and values ({{}} for none)")
    return value


def _seeds(value: Any, path: Path) -> list[int]:
    if not isinstance(value, list) or not value or not all(type(seed) is int and 0 <= seed < 2**31 for seed in value):
        raise UserError(f"{path}: seeds is {value!r}; it must be a list of whole numbers below 2^31, such as [0, 1, 2]")
    if len(set(value)) != len(value):
        raise UserError(f"{path}: seeds holds {value!r}; each seed may stand once")
    return value


def parse_looks(value: Any, seeds: list[int], path: Path) -> tuple[Look, ...]:
    """Read `looks: {3: 0.4, 5: 0.6}`, seeds per variant to share of alpha; without it, one look at all seeds."""
    if value is None:
        return (Look(len(seeds), 1.0),) if len(seeds) >= 2 else ()
    example = "such as {3: 0.4, 5: 0.6}"
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: looks is {value!r}; it must map numbers of seeds to shares of alpha, {example}")
    if not all(type(number) is int and number >= 2 for number in value):
        raise UserError(f"{path}: looks has {list(value)}; a look needs two seeds or more, as a whole number")
    if not all(type(share) in (int, float) and share > 0 for share in value.values()):
        raise UserError(
            f"{path}: looks has the shares {list(value.values())}; each must be a number above 0, {example}"
        )
    if list(value) != sorted(value):
        raise UserError(f"{path}: looks has {list(value)}; the numbers of seeds must rise, {example}")
    if abs(sum(value.values()) - 1) > 1e-9:
        raise UserError(f"{path}: the shares of looks add up to {sum(value.values()):.4g}; they must add up to 1")
    if max(value) != len(seeds):
        raise UserError(
            f"{path}: the last of looks is at {max(value)} seeds, and seeds holds {len(seeds)}; give it as many"
        )
    return tuple(Look(number, float(share)) for number, share in value.items())


def parse_margin(value: Any, path: Path) -> float:
    """Read the margin of equality in BLEU."""
    if value is None:
        return MARGIN
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise UserError(f"{path}: margin is {value!r}; it must be a number of BLEU above 0, such as {MARGIN}")
    return float(value)


def _labels(value: Any, variants: dict[str, Any], design: Design | None, path: Path) -> dict[str, str]:
    labels = _mapping(value if value is not None else {}, f"{path}: labels")
    known, what = list(variants), "variant"
    if design:
        levels = [level for factor in design.factors for level in factor.levels]
        known, what = [design.baseline, *levels, *(factor.name for factor in design.factors)], "factor or level"
    for variant, label in labels.items():
        if variant not in known:
            raise UserError(f"{path}: labels names '{variant}', which is no {what}{nearest(variant, known)}")
        if not isinstance(label, str) or not label.strip() or not label.isprintable():
            raise UserError(f"{path}: the label of {variant} is {label!r}; it must be one line of text")
    return labels


def _ensembles(value: Any, variants: dict[str, Any], seeds: list[int], path: Path) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(f"{path}: {ENSEMBLES} is {value!r}; it must be a list of variants")
    for name in value:
        if not isinstance(name, str) or name not in variants:
            raise UserError(f"{path}: {ENSEMBLES} names '{name}', which is no variant{nearest(name, variants)}")
    if value and len(seeds) < 2:
        raise UserError(f"{path}: {ENSEMBLES} joins the seeds of a variant, and seeds holds one: give it two at least")
    if value and ENSEMBLES in variants:
        raise UserError(f"{path}: a variant is called '{ENSEMBLES}', the folder of their results; call it otherwise")
    return list(dict.fromkeys(value))


def _check_tunable(study: Study, tune: Tuning, path: Path) -> None:
    """Refuse a setting that cannot be tuned, or not alike in every row."""
    where, key = f"{path}: tune", tune.key
    if key not in (known := list(known_keys())):
        raise UserError(f"{where}: key is '{key}', which is no setting{nearest(key, known)}")
    value = attrgetter(key)(study.config(study.baseline, study.seeds[0]))
    if type(value) not in (int, float):
        raise UserError(f"{where}: key is '{key}', which is no number; tune a number, such as optim.peak")
    section = key.partition(".")[0]
    if key in NOT_TUNED or section in ("trainer", "decode", "tracking"):
        raise UserError(f"{where}: key is '{key}', which trials cannot choose; tune a setting of optim, model or data")
    for variant, delta in study.variants.items():
        config = study.config(variant, study.seeds[0])
        if key in flatten(delta) or attrgetter(key)(config) != value:
            raise UserError(f"{where}: the variant '{variant}' sets {key} itself; drop the variant or tune another key")
        other = "optim.multiplier" if config.optim.schedule is Schedule.paper else "optim.peak"
        if key in ("optim.peak", "optim.multiplier") and key != other:
            raise UserError(
                f"{where}: key is '{key}', which the schedule of '{variant}', {config.optim.schedule.name}, does not "
                f"read; tune {other} or choose another optim.schedule"
            )
    if taken := {TUNING, TUNED} & set(study.variants):
        raise UserError(f"{path}: a variant is called '{min(taken)}', a folder of trials; call it otherwise")
    for number in tune.values:
        study.config(study.baseline, study.seeds[0], [f"{key}={number}"])


def _check_levels(study: Study, design: Design, path: Path) -> None:
    """Refuse levels of a factor that are the same setting."""
    for factor in design.factors:
        seen: dict[str, dict[str, Any]] = {}
        for level, delta in factor.levels.items():
            settings = to_dict(resolve([study.base, delta], where=f"{path}: {FACTORS}.{factor.name}.{level}"))
            if other := next((name for name, own in seen.items() if own == settings), None):
                raise UserError(
                    f"{path}: {FACTORS}.{factor.name}: {other} and {level} are the same; change one of them"
                )
            seen[level] = settings


def _check_same_corpus(base: DataConfig, own: DataConfig, where: str) -> None:
    before, after = flatten(to_dict(base)), flatten(to_dict(own))
    for key in before:
        if before[key] != after[key] and key not in FREE_DATA:
            raise UserError(
                f"{where}: data.{key} differs from the study's base; a study prepares its corpus once, so only "
                f"{', '.join('data.' + name for name in FREE_DATA)} may differ: make another study for it"
            )


def short_key(key: str) -> str:
    """Drop the leading `model.`, which goes without saying."""
    return key.removeprefix("model.")
