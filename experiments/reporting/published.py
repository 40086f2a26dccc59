"""The published results of a study: what git keeps of them, in one file that is written and read here.

experiments/studies/<study>/published/results.json has one line per cell with every score, what the training cost and
where it ran, and the learning curve; one line per variant with its difference and verdict as published. Fields that all
cells share and signatures stand once. With `tune` in study.yaml, trials have a line each, and so have the cells at the
values that they chose. Translations, counts per sentence and probes are not published.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from experiments.common.io import read_json, write_text
from experiments.config.study import ENSEMBLES, KEYS, STUDIES, Study
from experiments.config.trials import TrialRecord, plain_record
from experiments.reporting.claims import protocol, verdict_row
from experiments.reporting.effects import effect_records
from experiments.reporting.results import SIGNATURE, Record, Results, TunedResults, checked
from experiments.reporting.statistics import Estimate
from experiments.reporting.summary import Row, Summary
from experiments.reporting.unresolved_study import UnresolvedStudy, unresolved_study
from experiments.reporting.verdicts import Verdict
from lit_transformer.errors import UserError

FORMAT = 2
OLDER_FORMAT = 1
OLDER_RULE = "a paired t-test over shared seeds with Holm's correction and no margin of equality"
"""How verdicts were given in files of the older format; each interval is that of its row alone."""
OLDER_VERDICTS = {"not separable": Verdict.OPEN}
CURVE = ("step", "train_loss", "valid_loss")
DIGITS = 6
"""Significant digits of losses and of rows; scores and costs are kept as they were measured."""


@dataclass(frozen=True)
class PublishedRow:
    """A variant as published: BLEU of the primary split, the difference to the baseline and the verdict on it.

    `wide` is the interval of that difference for new sentences too, None where sentences were not counted.
    """

    variant: str
    verdict: Verdict
    n: int
    bleu: Estimate | None
    difference: Estimate | None
    wide: Estimate | None
    p_adjusted: float | None


@dataclass(frozen=True)
class Published:
    """A study as published: its settings, its cells and its rows, whose verdicts were given by `rule`.

    `published_at` is a date, YYYY-MM-DD.
    """

    study: UnresolvedStudy
    results: Results
    rows: list[PublishedRow]
    rule: str
    published_at: str


def published_folder(name: str) -> Path:
    """Return the folder of a study's published results."""
    return STUDIES / name / "published"


def published_path(name: str) -> Path:
    """Return the file of a study's published results."""
    return published_folder(name) / "results.json"


def write_published(study: Study, results: Results, summary: Summary) -> Path:
    """Write the published results of a study and return their path.

    The same results give the same bytes: the date moves only when something else does.
    """
    path = published_path(study.name)
    text = json.dumps(_content(study, results, summary))
    content = json.loads(text, parse_constant=lambda _: None)  # a diverged run's losses may be no numbers
    before = read_json(path) if path.exists() else {}
    published_at = before.pop("published_at", "")
    if before != content:
        published_at = date.today().isoformat()
    write_text(path, _lines({"published_at": published_at, **content}))
    return path


def read_published(name: str) -> Published | None:
    """Read the published results of a study, None where there are none; raises UserError for a broken file."""
    path = published_path(name)
    return parse_published(path.read_text(encoding="utf-8"), name) if path.exists() else None


def parse_published(text: str, name: str) -> Published:
    """Read the text of published results, at hand or of an earlier revision."""
    path = published_path(name)
    try:
        content = json.loads(text)
        if content["format"] not in (FORMAT, OLDER_FORMAT):
            raise UserError(f"{path}: format {content['format']} is not the one that this code reads ({FORMAT})")
        study = unresolved_study(name, _read_settings(content["study"]), path)
        records = [_read_cell(cell, content) for cell in content["cells"]]
        ensembles = {
            variant: {**scores, "splits": _read_splits(scores["splits"], content["signatures"])}
            for variant, scores in content["ensembles"].items()
        }
        results = checked(study, records, ensembles, _read_tuned(study, content))
        rule = content["protocol"]["rule"] if content["format"] == FORMAT else OLDER_RULE
        return Published(study, results, [_read_row(row) for row in content["rows"]], rule, content["published_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not published results ({error!r}); publish the study again") from None


def _content(study: Study, results: Results, summary: Summary) -> dict[str, Any]:
    signatures = {split: results.signatures(split) for split in results.splits}
    tuned = results.tuned.cells.records if results.tuned else []
    common = {
        "training": _common([record.training for record in [*results.records, *tuned]]),
        "scores": _common([_unsplit(record.scores) for record in [*results.records, *tuned] if record.scores]),
    }
    content = {
        "format": FORMAT,
        "study": {
            **{key: getattr(study, key) for key in (*KEYS, ENSEMBLES, "margin", "labels")},
            "looks": {look.seeds: look.share for look in study.looks},
            **({"tune": asdict(study.tune)} if study.tune else {}),
            **(study.design.settings if study.design else {}),
        },
        "protocol": protocol(study, summary),
        "signatures": signatures,
        "common": common,
        "rows": [_row(row, summary) for row in summary.rows],
        "ensembles": {
            variant: {**_unsplit(scores), "splits": _splits(scores["splits"], signatures)}
            for variant, scores in results.ensembles.items()
        },
        "cells": [_cell(record, common, signatures) for record in results.records],
    }
    if summary.effects:
        content["effects"] = effect_records(summary.effects)
    if results.tuned:
        content["trials"] = [
            {"variant": variant, **plain_record(record)}
            for variant, by_seed in results.tuned.trials.items()
            for records in by_seed.values()
            for record in records
        ]
        content["tuned_cells"] = [_cell(record, common, signatures) for record in tuned]
    return content


def _read_tuned(study: Study, content: Mapping[str, Any]) -> TunedResults | None:
    if study.tune is None:
        return None
    trials: dict[str, dict[int, list[TrialRecord]]] = {
        variant: {seed: [] for seed in study.seeds} for variant in study.variants
    }
    for trial in content["trials"]:
        variant = trial["variant"]
        record = TrialRecord(**_without(trial, {"variant": variant}))
        trials[variant][record.seed].append(record)
    return TunedResults(trials, checked(study, [_read_cell(cell, content) for cell in content["tuned_cells"]], {}))


def _row(row: Row, summary: Summary) -> dict[str, Any]:
    verdict = verdict_row(row)
    return {
        "variant": row.variant,
        "n": row.n,
        "bleu": _estimate(row.score(summary.primary, "bleu")),
        "difference": _estimate(row.difference),
        "wide": _estimate(row.difference_wide),
        "p": [_rounded(p) for p in verdict["p"]],
        "p_adjusted": _rounded(row.p_adjusted),
        **{key: verdict[key] for key in ("verdict", "seeds_to_decide", "two_groups")},
    }


def _read_row(row: Mapping[str, Any]) -> PublishedRow:
    return PublishedRow(
        variant=row["variant"],
        verdict=OLDER_VERDICTS.get(row["verdict"]) or Verdict(row["verdict"]),
        n=row["n"],
        bleu=_read_estimate(row["bleu"]),
        difference=_read_estimate(row["difference"]),
        wide=_read_estimate(row["wide"]),
        p_adjusted=row["p_adjusted"] if "p_adjusted" in row else row["p_holm"],
    )


def _read_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a study as study.yaml has them: the keys of a mapping are text in JSON."""
    looks = {int(seeds): share for seeds, share in settings.get("looks", {}).items()}
    return {**settings, "looks": looks or None}


def _estimate(found: Estimate | None) -> list[float | int | None] | None:
    return None if found is None else [_rounded(found.mean), _rounded(found.low), _rounded(found.high), found.n]


def _read_estimate(parts: Sequence[Any] | None) -> Estimate | None:
    return None if parts is None else Estimate(*parts)


def _cell(record: Record, common: Mapping[str, Any], signatures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    cell: dict[str, Any] = {"variant": record.variant, "seed": record.seed}
    cell["training"] = _without(record.training, {**common["training"], **cell})
    if record.scores:
        scores = _without(_unsplit(record.scores), {**common["scores"], **cell})
        cell["scores"] = {**scores, "splits": _splits(record.splits, signatures)}
    cell["curve"] = {name: [_rounded(step.get(name)) for step in record.curve] for name in CURVE}
    return cell


def _read_cell(cell: Mapping[str, Any], content: Mapping[str, Any]) -> Record:
    names = {"variant": cell["variant"], "seed": cell["seed"]}
    training = {**content["common"]["training"], **names, **cell["training"]}
    scores = None
    if "scores" in cell:
        splits = _read_splits(cell["scores"]["splits"], content["signatures"])
        scores = {**content["common"]["scores"], **names, **cell["scores"], "splits": splits}
    columns = [[math.nan if value is None else float(value) for value in cell["curve"][name]] for name in CURVE]
    curve = [dict(zip(CURVE, step, strict=True)) for step in zip(*columns, strict=True)]
    return Record(cell["variant"], cell["seed"], training, scores, curve)


def _splits(splits: Mapping[str, Any], signatures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Leave out the signatures that all cells share, and turn scores by length into columns."""
    return {split: _split(scores, signatures.get(split, {})) for split, scores in splits.items()}


def _split(scores: Mapping[str, Any], signatures: Mapping[str, str]) -> dict[str, Any]:
    shared = {name + SIGNATURE: signature for name, signature in signatures.items()}
    packed = _without(scores, shared)
    if rows := scores.get("by_length"):
        packed["by_length"] = {name: [row[name] for row in rows] for name in rows[0]}
    return packed


def _read_splits(splits: Mapping[str, Any], signatures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {split: _read_split(packed, signatures.get(split, {})) for split, packed in splits.items()}


def _read_split(packed: Mapping[str, Any], signatures: Mapping[str, str]) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for name, value in packed.items():
        scores[name] = value
        if name in signatures and name + SIGNATURE not in packed:
            scores[name + SIGNATURE] = signatures[name]
    if columns := packed.get("by_length"):
        scores["by_length"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return scores


def _common(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields that have the same value in all of them."""
    first = mappings[0] if mappings else {}
    return {
        key: value
        for key, value in first.items()
        if key not in ("variant", "seed") and all(key in own and own[key] == value for own in mappings)
    }


def _without(mapping: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose value is not already known."""
    return {key: value for key, value in mapping.items() if key not in known or known[key] != value}


def _unsplit(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in scores.items() if key != "splits"}


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None


def _lines(content: Mapping[str, Any]) -> str:
    """Return JSON with one line per cell and per row, so that git shows which of them changed."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(_compact(entry) for entry in value) + "\n]"
        else:
            text = _compact(value)
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
