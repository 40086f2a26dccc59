"""The tables of a GPU's results, from the JSON of `benchmarks.gpu`, as Markdown."""

from collections.abc import Mapping
from typing import Any

from benchmarks.decoding import PEER as GENERATE
from benchmarks.rounds import lead, markdown_table, two_decimals
from benchmarks.training import COMPILED, OURS, OURS_COMPILED

TESTS, TRAINING, DECODING, PROCESSES, FUSED = "CUDA tests", "training", "decoding", "processes", "fused"
"""Parts of the JSON; those of training and decoding go on with the size, ", compiled" after that."""
PEERS = {"x torch.nn": "torch.nn loop", "x torch.nn, compiled": COMPILED, "x Hugging Face": "Hugging Face Marian"}
"""Columns of the table of training, and the systems whose time is over ours."""


def markdown(record: Mapping[str, Any]) -> str:
    """Return what was measured, and what was not and why."""
    parts = {name: part["result"] for name, part in record["parts"].items() if "result" in part}
    missing = [
        f"* {name}: {part['status']}" + (f" ({part['error']})" if "error" in part else "")
        for name, part in record["parts"].items()
        if part["status"] != "done"
    ]
    blocks = [_heading(record), _tests(parts), _training(parts), _cells(parts), _decoding(parts)]
    blocks += ["Not done:\n\n" + "\n".join(missing)] if missing else []
    return "\n\n".join(block.strip() for block in blocks if block)


def _heading(record: Mapping[str, Any]) -> str:
    card, versions = record["card"], record["versions"]
    device = record["machine"]
    if card:
        device = f"{card['name']} ({card['memory_gb']:.0f} GB), driver {card['driver']}, CUDA {card['cuda']}"
    return f"{device}, torch {versions['torch']}, {record['precision']}, commit {record['git_commit']}:"


def _tests(parts: Mapping[str, Any]) -> str:
    if TESTS not in parts:
        return ""
    found = parts[TESTS]
    failed = "".join(f"\n* {name}: {message}" for name, message in found["failed"].items())
    return f"CUDA tests: {found['passed']} passed, {found['skipped']} skipped, {len(found['failed'])} failed.{failed}"


def _training(parts: Mapping[str, Any]) -> str:
    rows = []
    for name, result in parts.items():
        if not name.startswith(TRAINING):
            continue
        ours = OURS_COMPILED if name.endswith("compiled") else OURS
        systems, settings = result["systems"], result["settings"]
        if ours not in systems:
            continue
        numbers = systems[ours]
        peers = [two_decimals(lead(systems, peer, ours) if peer in systems else None) for peer in PEERS.values()]
        rate, memory = numbers["target_tokens_per_second"]["median"], numbers["peak_memory_gb"]
        speed = [f"{settings['tokens']:,}", f"{rate:,.0f}", f"{numbers['share_of_matrix_peak']:.0%}"]
        rows.append([name, *speed, *peers, f"{memory:.1f}"])
    header = ["", "tokens a batch", "target tokens/s", "of peak", *PEERS, "GB"]
    return markdown_table(header, rows) if rows else ""


def _cells(parts: Mapping[str, Any]) -> str:
    rows = []
    ways = {PROCESSES: "{} at once", FUSED: "{} fused"}
    results = [(words.format(count), cells) for way, words in ways.items() for count, cells in _counts(parts, way)]
    for name, cells in results:
        times = cells["cells_per_hour"] / results[0][1]["cells_per_hour"]
        rows.append([name, f"{cells['cells_per_hour']:,.0f}", f"{times:.2f}", f"{cells['peak_memory_gb']:.2f}"])
    header = ["the default study's baseline", "cells/hour", "x the first row", "GB per process"]
    return markdown_table(header, rows) if rows else ""


def _counts(parts: Mapping[str, Any], way: str) -> list[tuple[str, Any]]:
    return list(parts.get(way, {}).get(way, {}).items())


def _decoding(parts: Mapping[str, Any]) -> str:
    rows = []
    for name, result in parts.items():
        if name.startswith(DECODING):
            systems = result["systems"]
            sentences, tokens = systems[OURS]["sentences_per_second"]["median"], systems[OURS]["tokens_per_second"]
            ratio = lead(systems, GENERATE, OURS) if GENERATE in systems else None
            name = f"{name}, beam {result['settings']['beam']}"
            rows.append([name, f"{sentences:,.0f}", f"{tokens:,.0f}", two_decimals(ratio)])
    return markdown_table(["", "sentences/s", "tokens/s", "x Hugging Face"], rows) if rows else ""
