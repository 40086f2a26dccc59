"""Reads a study's results folder: one Cell for a variant and seed, and a refusal where cells cannot share a column."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lit_transformer.errors import UserError

PRIMARY = ("test", "test2016")
"""Splits on which a study is judged, best first; a corpus without either is judged on its first split."""


class StudyLike(Protocol):
    """What the report needs to know of a study."""

    @property
    def name(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def corpus(self) -> str: ...
    @property
    def baseline(self) -> str: ...
    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def variants(self) -> Mapping[str, Any]: ...
    @property
    def report_folder(self) -> Path: ...
    def results(self, variant: str, seed: int) -> Path: ...
    def describe(self, variant: str) -> str: ...


@dataclass(frozen=True)
class Cell:
    """What one variant and seed left behind; `scores` is None while the cell is not evaluated."""

    variant: str
    seed: int
    training: dict[str, Any]
    scores: dict[str, Any] | None
    curve: list[dict[str, float]]
    hypotheses: dict[str, list[str]] = field(default_factory=dict)
    attention: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.variant}/seed{self.seed}"

    @property
    def diverged(self) -> bool:
        return self.training["status"] == "diverged"

    @property
    def scored(self) -> bool:
        return self.scores is not None and not self.diverged

    def score(self, split: str, key: str) -> float | None:
        """Return one score of one split, or None where the cell has none."""
        value = self.splits.get(split, {}).get(key)
        return None if value is None else float(value)

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        return self.scores["splits"] if self.scores else {}


@dataclass(frozen=True)
class Results:
    """All cells of a study that exist; `missing` never trained, `unscored` trained and were not evaluated."""

    cells: list[Cell]
    missing: list[str]
    unscored: list[str]
    splits: list[str]

    @property
    def primary(self) -> str | None:
        """The split on which the study is judged, None before the first score."""
        return self.splits[0] if self.splits else None

    def of(self, variant: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.variant == variant]

    def scores(self, variant: str, split: str | None, key: str) -> dict[int, float]:
        """Return a score by seed, over the cells that finished training and have it."""
        found = {cell.seed: cell.score(split, key) for cell in self.of(variant) if split and cell.scored}
        return {seed: value for seed, value in found.items() if value is not None}

    def signatures(self, split: str, key: str = "bleu_signature") -> dict[str, list[str]]:
        """Return the names of the scored cells by the signature of their score."""
        return grouped((cell.splits[split][key], cell.name) for cell in self.cells if cell.scored and split in cell.splits)


def read_results(study: StudyLike) -> Results:
    """Read every cell of a study.

    Raises UserError where a file cannot be read, where nothing was trained yet, and where one column would mix BLEU
    signatures or test sets.
    """
    cells, missing = [], []
    for variant in study.variants:
        for seed in study.seeds:
            cell = _read_cell(study.results(variant, seed), variant, seed)
            if cell is None:
                missing.append(f"{variant}/seed{seed}")
            else:
                cells.append(cell)
    if not cells:
        raise UserError(
            f"study '{study.name}' has no results yet; train a cell first: "
            f"python -m experiments.train --study {study.name} --variant {study.baseline} --seed {study.seeds[0]}"
        )
    unscored = [cell.name for cell in cells if cell.scores is None and not cell.diverged]
    results = Results(cells, missing, unscored, _ordered_splits(cells))
    _refuse_mixtures(study, results)
    return results


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Collect the second of each pair under the first, in order of appearance."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key, name in pairs:
        groups[key].append(name)
    return dict(groups)


def _read_cell(folder: Path, variant: str, seed: int) -> Cell | None:
    training = _read_json(folder / "training.json")
    if training is None:
        return None
    if training.get("status") not in ("finished", "diverged"):
        raise UserError(f"{folder / 'training.json'}: status is {training.get('status')!r}; train this cell again")
    scores = _read_json(folder / "scores.json")
    if scores is not None and "splits" not in scores:
        raise UserError(f"{folder / 'scores.json'}: has no 'splits'; evaluate this cell again")
    hypotheses = {
        path.name.split(".")[1]: path.read_text(encoding="utf-8").split("\n")
        for path in sorted(folder.glob("hypotheses.*.txt"))
    }
    return Cell(
        variant=variant,
        seed=seed,
        training=training,
        scores=scores,
        curve=_read_curve(folder / "curve.csv"),
        hypotheses=hypotheses,
        attention=_read_json(folder / "attention.json"),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); run this cell again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, found {type(content).__name__}; run this cell again")
    return content


def _read_curve(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return [{key: float(value) if value else float("nan") for key, value in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: not a table of numbers ({error}); train this cell again") from None


def _ordered_splits(cells: list[Cell]) -> list[str]:
    found = list(dict.fromkeys(split for cell in cells if cell.scored for split in cell.splits))
    first = [split for split in PRIMARY if split in found]
    return first + [split for split in found if split not in first]


def _refuse_mixtures(study: StudyLike, results: Results) -> None:
    """A column holds one signature and one test set; a variant that changes the data may differ in its data hash."""
    for split in results.splits:
        scored = [cell for cell in results.cells if cell.scored and split in cell.splits]
        for key in ("bleu_signature", "chrf_signature"):
            _refuse_two(split, key, grouped((str(cell.splits[split].get(key)), cell.name) for cell in scored))
        _refuse_two(split, "number of sentences", grouped((str(cell.splits[split]["sentences"]), cell.name) for cell in scored))
        same_data = [cell for cell in scored if "data" not in (study.variants[cell.variant] or {})]
        _refuse_two(split, "data hash", grouped((str((cell.scores or {}).get("data_hash")), cell.name) for cell in same_data))


def _refuse_two(split: str, what: str, groups: dict[str, list[str]]) -> None:
    if len(groups) < 2:
        return
    told = "; ".join(f"{value} in {shortened(names)}" for value, names in groups.items())
    raise UserError(f"scores on '{split}' cannot share a column, their {what} differs: {told}; evaluate these cells again alike")


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Return the names in one line, the first few when there are many."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
