"""A cell: one variant and one seed of a study. It owns every path and name of its run; nobody derives them again."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config.run_config import RunConfig

if TYPE_CHECKING:
    from experiments.config.study import Study


@dataclass(frozen=True)
class Cell:
    """One variant and one seed of a study, with its folders; overrides make it a run beside the study's own."""

    study: "Study"
    variant: str
    seed: int
    overrides: tuple[str, ...] = ()

    @property
    def config(self) -> RunConfig:
        return self.study.config(self.variant, self.seed, self.overrides)

    @property
    def label(self) -> str:
        """The variant's name; overrides of the training append their hash, so that the study's cell stays its own."""
        return self.variant + _hashed([key for key in self.overrides if not key.startswith("decode.")])

    @property
    def title(self) -> str:
        """The cell as a reader sees it."""
        return f"{self.study.name} / {self.label} / seed {self.seed}"

    @property
    def run_folder(self) -> Path:
        return Path("runs") / self.study.name / self.label / f"seed{self.seed}"

    @property
    def results_folder(self) -> Path:
        if self.overrides:
            decode = _hashed([key for key in self.overrides if key.startswith("decode.")])
            return self.run_folder / f"results{decode}"
        return self.study.results(self.variant, self.seed)

    @property
    def text_folder(self) -> Path:
        """Where sentences go: beside the scores where the corpus is the generated one, which is ours to show.

        Any other corpus may not be, and a good translation is a line of it: its sentences stay under runs/, out of git.
        """
        ours = self.study.corpus == "grammar" or self.results_folder.is_relative_to(self.run_folder)
        return self.results_folder if ours else self.run_folder / "text"

    @property
    def arguments(self) -> str:
        """The command line arguments that name this cell."""
        return " ".join(
            ["--study", self.study.name, "--variant", self.variant, "--seed", str(self.seed), *self.overrides]
        )


def _hashed(overrides: list[str]) -> str:
    """Return "+" and 6 hex digits of overrides, whatever their order unless one is a recipe; nothing for none."""
    ordered = any(override.startswith("recipe=") for override in overrides)
    text = json.dumps(overrides if ordered else sorted(overrides))
    return "+" + hashlib.sha256(text.encode()).hexdigest()[:6] if overrides else ""
