"""Where the numbers come from, and what in a study's cells does not match."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from experiments.reporting.formats import duration
from experiments.reporting.results import Results, grouped, shortened
from experiments.reporting.summary import Summary


@dataclass(frozen=True)
class Provenance:
    """Facts as (name, value), and one sentence per warning."""

    facts: list[tuple[str, str]]
    warnings: list[str]


def provenance(summary: Summary, results: Results) -> Provenance:
    """Collect commits, data, versions, machines and durations of all cells; warn where cells disagree."""
    trained = [record.training for record in results.records]
    seconds = [float(cell["seconds"]) for cell in trained if cell.get("seconds")]
    facts = [
        ("Evidence", f"{summary.corpus_level}; {len(trained)} of {len(trained) + len(summary.missing)} cells trained"),
        ("Commit of the code", _list(trained, "git_commit")),
        ("Data (sha256)", _list(trained, "data_hash")),
        ("Revision of the corpus on the hub", _list(trained, "corpus_revision")),
        *((f"BLEU on {', '.join(splits)}", signature) for signature, splits in _by_signature(summary).items()),
        (
            "Decoding",
            "; ".join(sorted({_settings(record.scores["decode"]) for record in results.records if record.scores})),
        ),
        ("Precision", _list(trained, "precision")),
        ("Machine", _list(trained, "machine")),
        ("Device", _list(trained, "device")),
        ("Threads", _list(trained, "threads")),
        ("Load average", _loads(trained)),
        ("Versions", "; ".join(sorted({_settings(cell.get("versions") or {}) for cell in trained}))),
        ("Training time", _durations(seconds)),
        ("Trained between", _span([str(cell["finished_at"]) for cell in trained if cell.get("finished_at")])),
    ]
    return Provenance([(name, value) for name, value in facts if value], _warnings(results))


def _warnings(results: Results) -> list[str]:
    warnings = []
    for key, title in (("code_hash", "versions of the training code"), ("data_hash", "data hashes")):
        groups = grouped((str(record.training.get(key, "unknown")), record.name) for record in results.records)
        if len(groups) > 1:
            values = "; ".join(f"{value[:12]} in {shortened(names)}" for value, names in groups.items())
            warnings.append(f"The cells come from different {title}: {values}.")
    for key in ("config_hash", "data_hash"):
        stale = [r.name for r in results.records if r.scores and r.scores.get(key) != r.training.get(key)]
        if stale:
            warnings.append(
                f"Scores of another {key.replace('_', ' ')} than their training: {shortened(stale, 8)}; evaluate again."
            )
    dirty = [record.name for record in results.records if str(record.training.get("git_commit")).endswith("-dirty")]
    if dirty:
        warnings.append(f"Trained with uncommitted changes to the code: {shortened(dirty, 8)}.")
    machines = {(record.training.get("machine"), record.training.get("threads")) for record in results.records}
    if len(machines) > 1:
        warnings.append("The cells ran on different machines or thread counts: their speeds do not compare.")
    return warnings


def _by_signature(summary: Summary) -> dict[str, list[str]]:
    return grouped((summary.signature(split), split) for split in summary.splits)


def _list(trained: list[dict[str, Any]], key: str) -> str:
    return ", ".join(sorted({str(cell[key]) for cell in trained if cell.get(key) is not None}))


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _durations(seconds: list[float]) -> str:
    if not seconds:
        return ""
    return f"{duration(sum(seconds))} in all, {duration(min(seconds))} to {duration(max(seconds))} per cell"


def _loads(trained: list[dict[str, Any]]) -> str:
    """Return the load averages at the end of the cells: times on a machine that others used do not compare."""
    loads = sorted(float(cell["load"]) for cell in trained if cell.get("load") is not None)
    if not loads:
        return ""
    return f"{loads[0]:.1f} to {loads[-1]:.1f} processes at the end of the cells, median {median(loads):.1f}"


def _span(times: list[str]) -> str:
    return f"{min(times)} and {max(times)}" if times else ""
