"""A study's results as records, one per variant and seed; refuses cells whose scores cannot share a column."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.common.io import read_json
from experiments.config.bleu_tokenizer import AUTO
from experiments.config.cell import Cell, cells_of
from experiments.config.run_config import RunConfig, config_hash, to_dict
from experiments.config.study import Study
from experiments.config.trials import TrialRecord, choose, read_trials
from experiments.scoring.bleu import EXACT_MATCH
from experiments.scoring.perplexity import PER_TOKEN
from experiments.scoring.sentences import Counts, corpus_bleu, read_counts, summands
from experiments.training.probe_csv import Key, read_probe
from lit_transformer.config import Stop
from lit_transformer.errors import UserError

PRIMARY = ("test", "test2016")
"""Splits on which a study is judged, best first; a corpus without either is judged on its first split."""
SIGNATURE = "_signature"
UNSIGNED = "none"
AVERAGED = "averaged_"
"""Before the name of a score of the average of the weights, where optim.averaging keeps one."""


@dataclass(frozen=True)
class Record:
    """Results of one variant and seed; `scores` is None while the cell is not evaluated.

    `cell` names the files that this record was read from, None for a published record: it has no translations, no
    counts per sentence, no attention and no probe.
    """

    variant: str
    seed: int
    training: dict[str, Any]
    scores: dict[str, Any] | None
    curve: list[dict[str, float]]
    cell: Cell | None = None

    @property
    def name(self) -> str:
        return f"{self.variant}/seed{self.seed}"

    @property
    def diverged(self) -> bool:
        return self.training["status"] == "diverged"

    @property
    def scored(self) -> bool:
        """True where the scores count: a diverged run is a result of its own and enters no mean."""
        return self.scores is not None and not self.diverged

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        return self.scores["splits"] if self.scores else {}

    def score(self, split: str, key: str) -> float | None:
        """Return one score of one split, or None where the cell has none."""
        value = self.splits.get(split, {}).get(key)
        return None if value is None else float(value)

    def signed(self, split: str) -> dict[str, str]:
        """Return the names of the cell's scores on a split, each with its signature, in the order of the file."""
        scores = self.splits.get(split, {})
        return {
            name: str(scores[name + SIGNATURE])
            for name, value in scores.items()
            if isinstance(value, int | float) and name + SIGNATURE in scores
        }

    def hypotheses(self, split: str) -> list[str]:
        """Return the translations of a split, one sentence each; empty where the cell has none.

        Raises UserError for a file of another length than the scores are of.
        """
        path = self.cell and self.cell.translations_folder / f"{split}.txt"
        if not path or not path.exists():
            return []
        try:
            *lines, end = path.read_text(encoding="utf-8").split("\n")
        except ValueError as error:
            raise UserError(f"{path}: not UTF-8 ({error}); evaluate this cell again") from None
        if end or len(lines) != self.splits.get(split, {}).get("sentences", len(lines)):
            raise UserError(f"{path}: cut short; evaluate this cell again")
        return lines

    def sentences(self, split: str) -> Counts | None:
        """Return what BLEU counts in each sentence of a split, (sentences, 6); None where the cell has no counts.

        Raises UserError for counts that do not add up to the cell's score.
        """
        bleu = self.score(split, "bleu")
        if self.cell is None or bleu is None:
            return None
        path = self.cell.sentences_path
        if not path.exists():
            return None
        counts = read_counts(path).get(split)
        whole = counts is not None and len(counts) == self.splits[split].get("sentences", len(counts))
        if counts is None or not whole or abs(corpus_bleu(summands(counts).sum(axis=0)) - bleu) > 1e-6:
            raise UserError(
                f"{path}: does not add up to the BLEU of scores.json on '{split}'; evaluate this cell again"
            )
        return counts

    def attention(self) -> dict[str, Any] | None:
        """Return the cross-attention of one sentence: source and target tokens, cross[layer][head][T][S]."""
        path = self.cell and self.cell.translations_folder / "attention.json"
        return read_json(path) if path and path.exists() else None

    def probe(self) -> list[tuple[int, Key, float]]:
        """Return what the probe measured while training: step, part, layer and measure, value."""
        return read_probe(self.cell.probe_path, None if self.diverged else self.training["steps"]) if self.cell else []


@dataclass(frozen=True)
class Results:
    """All cells of a study that were trained; `missing` were not, `unscored` were trained and not evaluated.

    `ensembles` has the scores of all seeds of a variant as one model, with the members they were computed from;
    `tuned` what was found at each row's best value, None for a study without `tune`.
    """

    records: list[Record]
    missing: list[str]
    unscored: list[str]
    ensembles: dict[str, dict[str, Any]] = field(default_factory=dict)
    tuned: "TunedResults | None" = None

    @cached_property
    def splits(self) -> list[str]:
        """The scored splits, the one on which the study is judged first."""
        splits = list(dict.fromkeys(split for record in self.records if record.scored for split in record.splits))
        first = [split for split in PRIMARY if split in splits]
        return first + [split for split in splits if split not in first]

    @cached_property
    def _by_variant(self) -> dict[str, list[Record]]:
        by_variant: dict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            by_variant[record.variant].append(record)
        return dict(by_variant)

    @cached_property
    def repeats(self) -> dict[str, dict[str, int]]:
        """By scored split how many pairs repeat another, and how many are in train; empty if that was not counted."""
        counted = [record.scores["repeats"] for record in self.records if record.scores and "repeats" in record.scores]
        return counted[0] if counted else {}

    @property
    def primary(self) -> str | None:
        """The split on which the study is judged, None before the first score."""
        return self.splits[0] if self.splits else None

    def of(self, variant: str) -> list[Record]:
        """Return the cells of a variant, in the order of the study's seeds."""
        return self._by_variant.get(variant, [])

    def scores(self, variant: str, split: str | None, key: str) -> dict[int, float]:
        """Return a score by seed, over the cells that finished training and have it."""
        scores = {record.seed: record.score(split, key) for record in self.of(variant) if split and record.scored}
        return {seed: score for seed, score in scores.items() if score is not None}

    def sentences(self, variant: str, split: str | None) -> dict[int, Counts]:
        """Return what BLEU counts in each sentence by seed, over the cells that finished training and have it."""
        counts = {record.seed: record.sentences(split) for record in self.of(variant) if split and record.scored}
        return {seed: own for seed, own in counts.items() if own is not None}

    def signatures(self, split: str) -> dict[str, str]:
        """Return every score that any cell has on a split, with the signature that all of these cells share."""
        return self._signatures.get(split, {})

    @cached_property
    def _signatures(self) -> dict[str, dict[str, str]]:
        signatures: dict[str, dict[str, str]] = {split: {} for split in self.splits}
        for record in self.records:
            for split in record.splits if record.scored else ():
                for name, signature in record.signed(split).items():
                    signatures[split].setdefault(name, signature)
        return signatures


@dataclass(frozen=True)
class TunedResults:
    """The trials of each row by seed, and the cells at the values that they choose."""

    trials: dict[str, dict[int, list[TrialRecord]]]
    cells: Results


def has_results(study: Study) -> bool:
    """Say whether any cell of the study was trained here."""
    return any(cell.record_path.exists() for cell in cells_of(study))


def read_results(study: Study) -> Results:
    """Read every cell of a study; what was found with other settings than the study's present ones does not count.

    Raises UserError where a file cannot be read, where nothing was trained yet, and where one column would mix test
    sets, or signatures of any score.
    """
    if not has_results(study):
        raise UserError(
            f"study {study.name} has no results yet in {study.folder / 'results'}; train a cell first: "
            f"python -m experiments train --study {study.name} --variant {study.baseline} --seed {study.seeds[0]}"
        )
    return checked(
        study,
        read_records([Cell(study, variant, seed) for variant in study.variants for seed in study.seeds]),
        {variant: scores for variant in study.variants if (scores := _read_ensemble(study, variant))},
        _read_tuned(study),
    )


def next_evaluation(study: Study, results: Results) -> str:
    """Return the commands that score what is trained; empty where everything is that did not diverge."""
    record = next((record for record in results.records if record.name in results.unscored), None)
    if record is None:
        return ""
    one = f"python -m experiments evaluate --study {study.name} --variant {record.variant} --seed {record.seed}"
    return f"next: {one}, or python -m experiments launch --study {study.name} for all that is missing"


def read_records(cells: Sequence[Cell]) -> list[Record]:
    """Read those of the cells that were trained with the study's present settings."""
    return [record for cell in cells if cell.record_path.exists() and (record := _read_cell(cell))]


def checked(
    study: Study,
    records: list[Record],
    ensembles: dict[str, dict[str, Any]],
    tuned: TunedResults | None = None,
) -> Results:
    """Return records as results of a study; raises UserError where a column would mix test sets or signatures."""
    trained = {record.name for record in records}
    cells = [f"{variant}/seed{seed}" for variant in study.variants for seed in study.seeds]
    missing = [name for name in cells if name not in trained]
    unscored = [record.name for record in records if record.scores is None and not record.diverged]
    results = Results(records, missing, unscored, ensembles, tuned)
    together = [*records, *(tuned.cells.records if tuned else [])]
    for split in results.splits:
        _refuse_mixtures(split, [record for record in together if record.scored and split in record.splits])
    return results


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Collect the second of each pair under the first, in order of appearance."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key, name in pairs:
        groups[key].append(name)
    return dict(groups)


def listed(cells: Sequence[str]) -> str:
    """Return the names of cells in one line, the seeds of a variant together: "base (seed 1, 2), one_head (seed 0)"."""
    by_variant = grouped((cell.rpartition("/seed")[0], cell.rpartition("/seed")[2]) for cell in cells)
    return ", ".join(f"{variant} (seed {', '.join(seeds)})" for variant, seeds in by_variant.items())


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Return the names in one line, the first few when there are many."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _read_tuned(study: Study) -> TunedResults | None:
    """Read the trials, and the cells that have all of theirs."""
    tune = study.tune
    if tune is None:
        return None
    trials = {variant: {seed: read_trials(study, variant, seed) for seed in study.seeds} for variant in study.variants}
    cells = [
        Cell(study, variant, seed, tuned=True)
        for variant, by_seed in trials.items()
        for seed, records in by_seed.items()
        if choose(tune, records) is not None
    ]
    return TunedResults(trials, checked(study, read_records(cells), {}))


def _read_cell(cell: Cell) -> Record | None:
    """Read a cell without scores of other decoding settings; None where it was trained with other settings."""
    training = _read_object(cell.record_path, "status")
    if "run_hash" in training and training["config_hash"] != config_hash(cell.config, training["data_hash"]):
        return None  # records without a run_hash are of older versions, whose config_hash meant something else
    if training["status"] not in ("finished", "diverged"):
        raise UserError(f"{cell.record_path}: status is {training['status']!r}; train this cell again")
    scores = _read_object(cell.scores_path, "splits") if cell.scores_path.exists() else None
    if scores and "code_hash" in scores and _is_outdated(scores, training, cell):
        scores = None
    if scores:
        averaged = scores.pop("averaged", {"splits": {}})["splits"]
        for split, own in scores["splits"].items():
            _sign(own)
            own |= {AVERAGED + key: value for key, value in averaged.get(split, {}).items()}
    curve = _read_curve(cell.curve_path)
    ends = curve[-1].get("step") if curve else None
    if cell.curve_path.exists() and training["status"] == "finished" and ends != training["steps"]:
        raise UserError(f"{cell.curve_path}: does not end at step {training['steps']}; train this cell again")
    return Record(cell.variant, cell.seed, training, scores, curve, cell)


def _is_outdated(scores: dict[str, Any], training: dict[str, Any], cell: Cell) -> bool:
    """Return whether scores are of another training, or of another search or tokenizer than the study asks for."""
    return _has_other_settings(scores, cell.config) or scores["config_hash"] != training["config_hash"]


def _has_other_settings(scores: dict[str, Any], config: RunConfig) -> bool:
    decode = to_dict(config.decode)
    older = {"stop": Stop.beam_finished.name, "bleu_tokenizer": AUTO}  # of scores written before these were choices
    return any(decode[name] != value for name, value in (older | scores.get("decode", {})).items())


def _read_ensemble(study: Study, variant: str) -> dict[str, Any] | None:
    """Read the scores of a variant's seeds as one model; None where there are none of the study's settings."""
    path = study.ensemble(variant) / "scores.json"
    if not path.exists():
        return None
    scores, config = _read_object(path, "splits"), study.config(variant, study.seeds[0])
    combined = scores["ensemble"].get("kind", config.decode.ensemble.value)
    if _has_other_settings(scores, config) or combined != config.decode.ensemble.value:
        return None
    for split in scores["splits"].values():
        _sign(split)
    return scores


def _read_object(path: Path, needed: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or needed not in content:
        raise UserError(f"{path}: has no '{needed}'; delete it and run its stage again")
    return content


def _read_curve(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return [{key: float(text or "nan") for key, text in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: not a table of numbers ({error}); train this cell again") from None


def _sign(scores: dict[str, Any]) -> None:
    """Give the scores of an older scores.json the signatures that evaluations did not write yet."""
    bleu = scores.get("bleu" + SIGNATURE, UNSIGNED)
    implied = {"ppl": PER_TOKEN, "exact_match": EXACT_MATCH, "brevity_penalty": bleu, "length_ratio": bleu}
    for name, signature in {"bleu": bleu, **implied}.items():
        if name in scores:
            scores.setdefault(name + SIGNATURE, signature)


def _refuse_mixtures(split: str, records: list[Record]) -> None:
    """Refuse two signatures or two test sets in a column; a study prepares its corpus once, so one data hash.

    Every score that a cell has is checked. A cell without a score has no number in its column, so nothing mixes.
    """
    for name in dict.fromkeys(name for record in records for name in record.signed(split)):
        having = [record for record in records if record.score(split, name) is not None]
        signatures = ((record.signed(split).get(name, UNSIGNED), record.name) for record in having)
        _refuse_two(split, name + SIGNATURE, grouped(signatures))
    sentences = grouped((str(record.splits[split].get("sentences")), record.name) for record in records)
    _refuse_two(split, "sentences", sentences)
    by_data = grouped((str((record.scores or {}).get("data_hash")), record.name) for record in records)
    _refuse_two(split, "data_hash", by_data)


def _refuse_two(split: str, what: str, groups: dict[str, list[str]]) -> None:
    if len(groups) > 1:
        values = "; ".join(f"{value} in {shortened(names)}" for value, names in groups.items())
        raise UserError(
            f"scores on '{split}' cannot share a column: {what} differs ({values}); evaluate these cells alike"
        )
