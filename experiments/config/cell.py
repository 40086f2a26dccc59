"""A cell: one variant and one seed of a study. It owns every path and name of its run; nobody derives them again.

runs/<study>/<variant>/seed<k>/                         resume checkpoints, log, W&B files; unknown to DVC
experiments/studies/<study>/models/<variant>/seed<k>/   the trained model, kept by DVC, never in git
experiments/studies/<study>/results/<variant>/seed<k>/  what the cell found, kept by DVC, never in git:
    training.json  curve.csv  probe.csv                     written by `train`, as the model is
    scores.json  metrics.json  sentences.csv  translations/ written by `evaluate`

A tuned cell, at the value that its trials choose, has tuned/ before <variant> in all three.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.config.run_config import RunConfig
from experiments.config.study import TUNED, Study
from experiments.config.trials import Trial, chosen_value


@dataclass(frozen=True)
class Cell:
    """One variant and one seed of a study; overrides make it a run beside the study's own, all of it under runs/.

    `tuned`: at the value of study.yaml's `tune` that its trials choose.
    """

    study: Study
    variant: str
    seed: int
    overrides: tuple[str, ...] = ()
    tuned: bool = False

    @property
    def config(self) -> RunConfig:
        """The settings of this cell; raises UserError for a tuned one while one of its trials is missing."""
        return self.study.config(self.variant, self.seed, (*self.chosen, *self.overrides))

    @property
    def chosen(self) -> tuple[str, ...]:
        """What the trials of a tuned cell chose, as key=value; raises UserError while one of them is missing."""
        if not self.tuned:
            return ()
        value = chosen_value(self.study, self.variant, self.seed)
        assert self.study.tune
        return (f"{self.study.tune.key}={value}",)

    @property
    def row(self) -> str:
        """The variant, "tuned/<variant>" for a tuned cell: its place in every folder of cells."""
        return f"{TUNED}/{self.variant}" if self.tuned else self.variant

    @property
    def label(self) -> str:
        """The row's name; overrides of the training append their hash, so that the study's cell stays its own."""
        return self.row + _hashed(self.training_overrides)

    @property
    def name(self) -> str:
        """The cell within its study: "base/seed0"."""
        return f"{self.label}/seed{self.seed}"

    @property
    def title(self) -> str:
        """The cell as a reader sees it."""
        return f"{self.study.name} / {self.label} / seed {self.seed}"

    @property
    def arguments(self) -> list[str]:
        """The command line arguments that name this cell."""
        named = ["--study", self.study.name, "--variant", self.variant, "--seed", str(self.seed)]
        return [*named, *(["--tuned"] if self.tuned else []), *self.overrides]

    def stage(self, kind: str) -> str:
        """Return the name of this cell's stage in its dvc.yaml, tuning/dvc.yaml if tuned; kind: train or evaluate."""
        return f"{kind}@{self.variant}-{self.seed}"

    @property
    def run_folder(self) -> Path:
        return Path("runs") / self.study.name / self.label / f"seed{self.seed}"

    @property
    def training_folder(self) -> Path:
        """Where the outputs of `train` go."""
        return self.run_folder / "results" if self.training_overrides else self.study.results(self.row, self.seed)

    @property
    def model_folder(self) -> Path:
        """The trained model, as `lit_transformer.load_exported` reads it."""
        return self.run_folder / "model" if self.training_overrides else self.study.models(self.row, self.seed)

    @property
    def evaluation_folder(self) -> Path:
        """Where the outputs of `evaluate` go."""
        if not self.training_overrides and not self.decoding_overrides:
            return self.study.results(self.row, self.seed)
        return self.run_folder / f"results{_hashed(self.decoding_overrides)}"

    def testset_folder(self, name: str) -> Path:
        """Where the scores on a test set of sacreBLEU go, which is none of the study's."""
        return self.run_folder / f"testsets{_hashed(self.decoding_overrides)}" / name.replace("/", "_")

    @property
    def decoding_overrides(self) -> list[str]:
        """The overrides that ask for another search than the study's."""
        return [key for key in self.overrides if key.startswith("decode.")]

    @property
    def training_overrides(self) -> list[str]:
        """The overrides that make it another training than the study's."""
        return [key for key in self.overrides if not key.startswith(("decode.", "tracking."))]

    @property
    def record_path(self) -> Path:
        """What the training was, what it cost and how it ended."""
        return self.training_folder / "training.json"

    @property
    def averaged_model_folder(self) -> Path:
        """The model of the averaged weights, where optim.averaging keeps some."""
        return self.model_folder / "averaged"

    @property
    def curve_path(self) -> Path:
        """Losses and learning rate at each validation."""
        return self.training_folder / "curve.csv"

    @property
    def probe_path(self) -> Path:
        """What the probe measured at each validation."""
        return self.training_folder / "probe.csv"

    @property
    def scores_path(self) -> Path:
        """Every score of every test split, with its signature."""
        return self.evaluation_folder / "scores.json"

    @property
    def metrics_path(self) -> Path:
        """The headline scores, few enough for `dvc metrics show FILE ...`."""
        return self.evaluation_folder / "metrics.json"

    @property
    def sentences_path(self) -> Path:
        """What BLEU counts in each sentence."""
        return self.evaluation_folder / "sentences.csv"

    @property
    def translations_folder(self) -> Path:
        """One <split>.txt per test split, attention.json, and averaged/ for the averaged weights."""
        return self.evaluation_folder / "translations"


def cells_of(study: Study, tuned: bool = False) -> list[Cell]:
    """Return every cell of a study, seed by seed, so that an interrupted study holds whole comparisons."""
    return [Cell(study, variant, seed, tuned=tuned) for seed in study.seeds for variant in study.variants]


def fused_folder(cells: Sequence[Cell]) -> Path:
    """Return the run folder of the fused training of cells of one variant: runs/<study>/<variant>/fused0-4_7."""
    seeds = sorted(cell.seed for cell in cells)
    firsts = [seed for seed in seeds if seed - 1 not in seeds]
    lasts = [seed for seed in seeds if seed + 1 not in seeds]
    spans = [f"{first}-{last}" if first < last else f"{first}" for first, last in zip(firsts, lasts, strict=True)]
    return cells[0].run_folder.with_name(f"fused{'_'.join(spans)}")


def cell_of(trial: Trial) -> Cell:
    """Return the cell that a trial trains, under runs/."""
    return Cell(trial.study, trial.variant, trial.own_seed, trial.overrides)


def _hashed(overrides: list[str]) -> str:
    """Return "+" and 6 hex digits of overrides, whatever their order unless one is a recipe; nothing for none."""
    ordered = any(override.startswith("recipe=") for override in overrides)
    text = json.dumps(overrides if ordered else sorted(overrides))
    return "+" + hashlib.sha256(text.encode()).hexdigest()[:6] if overrides else ""
